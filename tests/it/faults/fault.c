/* Counts a process's durable steps, and lets one of them fail or be the last. Loaded before libc with LD_PRELOAD.
 *
 * strace can do the same, but counts for each thread; these steps are counted for the process, so that a sweep from 1 to
 * the last meets each of them. FAULT_CONTROL names a file that holds one struct control and is shared with the test. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SYNC = 1, WRITE = 2, NAME = 4, SEND = 8 };
enum { KILL = -1, TEAR = -2 };

struct control {
    _Atomic int64_t kinds;   /* which steps count */
    _Atomic int64_t at;      /* the step that meets the fault, from 1; 0 is none */
    _Atomic int64_t action;  /* KILL before it, TEAR: kill after half of it, else the errno it fails with */
    _Atomic int64_t stays;   /* whether every later step fails too */
    _Atomic int64_t steps;   /* steps so far */
    _Atomic int64_t met;     /* how many met the fault */
    _Atomic int64_t read;    /* bytes read from files of objects */
    _Atomic int64_t written; /* bytes written to them */
    char only[64];           /* steps count on files whose path has this in it, or ends with it before a $; empty for all */
    char where[256];         /* the path of the first step that met the fault */
};

static struct control *control;

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("FAULT_CONTROL");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED) control = map;
}

static void end(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static int is_meant(const char *path, const char *only) {
    size_t length = strlen(only), whole = strlen(path);
    if (!length) return 1;
    if (only[length - 1] != '$') return strstr(path, only) != NULL;
    return whole >= length - 1 && !strncmp(path + whole - (length - 1), only, length - 1);
}

/* 0: go on; 1: do half of it and end; else the errno to fail with. */
static int step(int kind, const char *path) {
    if (!control || !(control->kinds & kind)) return 0;
    if (!is_meant(path, control->only)) return 0;
    int64_t now = atomic_fetch_add(&control->steps, 1) + 1;
    int64_t at = control->at;
    if (!at || (control->stays ? now < at : now != at)) return 0;
    if (atomic_fetch_add(&control->met, 1) == 0) snprintf(control->where, sizeof control->where, "%s", path);
    if (control->action == KILL) end();
    if (control->action == TEAR) {
        if (kind != WRITE) end();
        return 1;
    }
    return (int)control->action + 1;
}

static void path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    path[length < 0 ? 0 : length] = 0;
}

/* What a write to a descriptor is: to a file, to a socket, or to nothing that matters. */
static int kind_of(int fd) {
    struct stat about;
    if (fd <= 2 || !control || fstat(fd, &about)) return 0;
    return S_ISREG(about.st_mode) ? WRITE : S_ISSOCK(about.st_mode) ? SEND : 0;
}

static int step_fd(int kind, int fd) {
    char path[256] = "";
    if (!kind || !control) return 0;
    path_of(fd, path, sizeof path);
    return step(kind, path);
}

static void counted(_Atomic int64_t *counter, int fd, ssize_t bytes) {
    char path[256] = "";
    if (!control || bytes <= 0 || fd <= 2) return;
    path_of(fd, path, sizeof path);
    if (strstr(path, "/data/blobs/")) atomic_fetch_add(counter, bytes);
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define MEET(verdict) \
    int verdict_ = (verdict); \
    if (verdict_ > 1) { errno = verdict_ - 1; return -1; }

int fsync(int fd) { REAL(fsync); MEET(step_fd(SYNC, fd)); return real(fd); }
int fdatasync(int fd) { REAL(fdatasync); MEET(step_fd(SYNC, fd)); return real(fd); }

#define WRITES(name, signature, call, half, size) \
    ssize_t name signature { \
        REAL(name); \
        MEET(step_fd(kind_of(fd), fd)); \
        if (verdict_ == 1) { if (real half < 0) end(); end(); } \
        ssize_t done = real call; \
        if (control) counted(&control->written, fd, done); \
        return done; \
    }
WRITES(write, (int fd, const void *from, size_t size), (fd, from, size), (fd, from, size / 2), size)
WRITES(pwrite64, (int fd, const void *from, size_t size, off64_t to), (fd, from, size, to), (fd, from, size / 2, to), size)
WRITES(pwrite, (int fd, const void *from, size_t size, off_t to), (fd, from, size, to), (fd, from, size / 2, to), size)
WRITES(writev, (int fd, const struct iovec *from, int count), (fd, from, count), (fd, from, (count + 1) / 2), count)

ssize_t send(int fd, const void *from, size_t size, int flags) {
    REAL(send); MEET(step_fd(SEND, fd)); return real(fd, from, size, flags);
}
ssize_t sendmsg(int fd, const struct msghdr *from, int flags) {
    REAL(sendmsg); MEET(step_fd(SEND, fd)); return real(fd, from, flags);
}

int rename(const char *from, const char *to) { REAL(rename); MEET(step(NAME, to)); return real(from, to); }
int unlink(const char *path) { REAL(unlink); MEET(step(NAME, path)); return real(path); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); MEET(step(NAME, path)); return real(path, mode); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); MEET(step_fd(NAME, fd)); return real(fd, size); }
int ftruncate(int fd, off_t size) { REAL(ftruncate); MEET(step_fd(NAME, fd)); return real(fd, size); }

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        static int (*real)(const char *, int, ...); \
        if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = va_arg(more, mode_t); \
        va_end(more); \
        if (control && flags & O_CREAT && access(path, F_OK)) { MEET(step(NAME, path)); } \
        return real(path, flags, mode); \
    }
OPENS(open)
OPENS(open64)

ssize_t read(int fd, void *to, size_t size) {
    REAL(read);
    ssize_t done = real(fd, to, size);
    if (control) counted(&control->read, fd, done);
    return done;
}
ssize_t pread64(int fd, void *to, size_t size, off64_t from) {
    REAL(pread64);
    ssize_t done = real(fd, to, size, from);
    if (control) counted(&control->read, fd, done);
    return done;
}
