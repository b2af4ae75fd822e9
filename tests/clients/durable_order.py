#!/usr/bin/env python3
"""In a trace of the server, each blob was synced, then its folder, then the database's log, before the answer that
acknowledged it. A call comes after another if it began when the other had returned.

    durable_order.py check TRACE DATA   checks a trace by `strace -f -y` of a server with this data folder
    durable_order.py selftest           passes the recorded trace beside this file, and refuses it with each step left out,
                                        failed, out of order, or begun too early
"""
import os
import re
import sys
from collections import namedtuple

CALL = re.compile(r"^(\d+)\s+(\w+)\((\d+)<([^>]*)>")
RESUMED = re.compile(r"^(\d+)\s+<\.\.\. (\w+) resumed>")
RESULT = re.compile(r"\)\s+= (-?\d+)")
WRITES, SYNCS = ("write", "pwrite64", "writev", "sendto", "sendmsg"), ("fdatasync", "fsync")
STEPS = "last write, sync of the blob, sync of its folder, commit and its sync, 201"

Event = namedtuple("Event", "name path text began ended")


class Wrong(Exception):
    """The order is another."""


def events(lines):
    """The calls that succeeded, in the order of their beginnings."""
    begun, done = {}, []
    for at, line in enumerate(lines):
        call, resumed, result = CALL.match(line), RESUMED.match(line), RESULT.search(line)
        if call and "<unfinished" in line:
            begun[call[1]] = call[2], call[4], line, at
        elif call and result and int(result[1]) >= 0:
            done.append(Event(call[2], call[4], line, at, at))
        elif resumed and resumed[1] in begun:
            name, path, text, began = begun.pop(resumed[1])
            if name == resumed[2] and result and int(result[1]) >= 0:
                done.append(Event(name, path, text, began, at))
    return sorted(done, key=lambda event: event.began)


def check(lines, data):
    """How many blobs were written, all of them in order."""
    seen, blobs, log = events(lines), os.path.join(data, "blobs") + os.sep, os.path.join(data, "metadata.db-wal")

    def after(step, names, path):
        found = next((e for e in seen if e.began > step.ended and e.name in names and e.path == path), None)
        if not found:
            raise Wrong(f"after line {step.ended + 1}: no {' or '.join(names)} of {path}")
        return found

    files = sorted({e.path for e in seen if e.name in WRITES and e.path.startswith(blobs)})
    for path in files:
        last = max((e for e in seen if e.name in WRITES and e.path == path), key=lambda e: e.ended)
        folder = after(after(last, SYNCS, path), SYNCS, os.path.dirname(path))
        commit = after(after(folder, WRITES, log), SYNCS, log)
        # The first answer after the last byte: if it is to another request, all the stricter.
        answer = next((e for e in seen if e.began > last.ended and e.name in WRITES and "HTTP/1.1 201" in e.text), None)
        if not answer or answer.began < commit.ended:
            raise Wrong(f"{path}: the commit is synced at line {commit.ended + 1}, the answer is {answer and answer.began + 1}")
    return len(files)


def selftest():
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "durable_order.trace"), encoding="utf-8") as file:
        good = file.read().splitlines()
    if check(good, "/data") != 2:
        sys.exit("the recorded trace has two blobs")
    tried = 0
    for broken, what in breaks(good):
        tried += 1
        try:
            check(broken, "/data")
        except Wrong:
            continue
        sys.exit(f"this trace passed: {what}")
    print(f"the recorded trace passes, and none of {tried} that are broken")


def breaks(good):
    """The trace with one thing broken, and what."""
    answers = [at for at, line in enumerate(good) if "HTTP/1.1 201" in line]
    for path in sorted({m[4] for m in map(CALL.match, good) if m and m[2] == "write" and m[4].startswith("/data/blobs/")}):
        of = lambda names, where, start, end: [
            at for at, line in enumerate(good[:end]) if at >= start and (m := CALL.match(line)) and m[2] in names and m[4] == where
        ]
        write = of(["write"], path, 0, len(good))[-1]
        answer = next(at for at in answers if at > write)
        blob = of(["fdatasync"], path, write, answer)
        folder = of(["fsync"], os.path.dirname(path), write, answer)
        commit = of(["fsync"], "/data/metadata.db-wal", folder[-1], answer)
        commits = of(["pwrite64"], "/data/metadata.db-wal", folder[-1], answer)
        for what, lines in (("blob", blob), ("folder", folder), ("commit", commit), ("answer", answers)):
            yield without(good, lines), f"{path}: no {what}"
        for what, lines in (("blob", blob), ("folder", folder), ("commit", commit)):
            failed = [line.replace("= 0", "= -1 EIO (Input/output error)") if at in lines else line for at, line in enumerate(good)]
            yield failed, f"{path}: the sync of the {what} fails"
        yield without(good, commits), f"{path}: nothing is committed"
        order = [("blob", blob, write), ("folder", folder, blob[0]), ("commit", commit, folder[0]), ("answer", [answer], commit[0])]
        for what, lines, before in order:
            yield moved(good, lines, before), f"{path}: {what} too early"
            yield overlapping(good, lines, before), f"{path}: {what} begun too early"
        yield moved(good, commits, commit[-1] + 1), f"{path}: the commit is written after its sync"
        late = good[write].split(maxsplit=1)
        yield good[:answer] + [f"99999 {late[1]}"] + good[answer:], f"{path}: a write just before the answer"


def without(lines, at):
    return [line for number, line in enumerate(lines) if number not in at]


def moved(lines, at, before):
    kept = [(number, line) for number, line in enumerate(lines) if number not in at]
    where = next(i for i, (number, _) in enumerate(kept) if number >= before)
    return [line for _, line in kept[:where]] + [lines[number] for number in at] + [line for _, line in kept[where:]]


def overlapping(lines, at, before):
    """The calls return where they did, and began before."""
    begins, returns = [], {}
    for number in at:
        call, result = CALL.match(lines[number]), lines[number].rpartition(") ")[2]
        thread = 90_000 + number
        begins.append(f"{thread} {lines[number].split(maxsplit=1)[1].rpartition(')')[0]} <unfinished ...>")
        returns[number] = f"{thread} <... {call[2]} resumed>) {result}"
    changed = [returns.get(number, line) for number, line in enumerate(lines)]
    return changed[:before] + begins + changed[before:]


def main(arguments):
    if arguments == ["selftest"]:
        return selftest()
    _, trace, data = arguments
    with open(trace, encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    try:
        blobs = check(lines, os.path.realpath(data))
    except Wrong as wrong:
        sys.exit(f"{STEPS}: {wrong}")
    if blobs < 2:
        sys.exit("too few blobs were written under trace")
    print(f"{blobs} blobs: {STEPS}: in this order for each")


main(sys.argv[1:])
