# For 60-clients.sh: what is pushed, the daemons, and how it is told. Sourced after lib.sh.
#
# TRANSSHIP_SKIPPED, if it is set, is a file to which every SKIPPED line goes too.
CLIENTS=(skopeo podman buildah ctr docker crane oras)
ARCHITECTURES=(amd64 arm64 s390x)
LARGE_BYTES=$((2 << 30))
export PATH=$work/tools/usr/sbin:$work/tools/usr/bin:$PATH
export DOCKER_CONFIG=$work/docker-config
tools=$work/tools

version() { told_version=$1; }
seen() { echo "$told_version: $*"; }
skipped() {
    echo "$told_version: SKIPPED: $*" | tee -a "${TRANSSHIP_SKIPPED:-/dev/null}"
}

entry() { told "$work/$1/index.json" '["manifests"][0]["digest"]'; }
# The tag under which a referrer goes in; it is found by its subject, not by this.
tag_of() { echo "a-$1"; }
# The platforms of an index, or the image itself: the digest of the configuration, which is the id of the image.
config_of() {
    "$PYTHON" - "$work/$1" "${2:-}" <<'PY'
import json, sys
folder, architecture = sys.argv[1:]
read = lambda digest: json.load(open(f"{folder}/blobs/sha256/{digest.partition(':')[2]}"))
entry = read(json.load(open(f"{folder}/index.json"))["manifests"][0]["digest"])
for image in entry.get("manifests", []):
    if image["platform"]["architecture"] == architecture:
        entry = read(image["digest"])
print(entry["config"]["digest"])
PY
}
layer_of() {
    "$PYTHON" -c 'import json,sys; f=sys.argv[1]; d=json.load(open(f+"/index.json"))["manifests"][0]["digest"][7:]; print(json.load(open(f+"/blobs/sha256/"+d))["layers"][0]["digest"])' "$work/$1"
}
file_of() { echo "$work/$1/blobs/sha256/$(layer_of "$1" | cut -d: -f2)"; }

# What a client cannot bring or fetch itself, skopeo does: to_registry LAYOUT NAME, from_registry LAYOUT NAME.
to_registry() {
    skopeo copy -q --all --preserve-digests --dest-tls-verify=false --dest-creds "AWS:$password" "oci:$work/$1" "docker://$host/$account/$2"
}
from_registry() {
    rm -rf "$scratch/back"
    skopeo copy -q --all --preserve-digests --src-tls-verify=false --src-creds "AWS:$password" "docker://$host/$account/$2" "oci:$scratch/back:latest"
    same_image "$work/$1" "$scratch/back"
    rm -rf "$scratch/back"
}
ask() { curl -sSf -u "AWS:$password" -H 'Accept: */*' "http://$host/v2/$account/$1"; }

# refers REPOSITORY [COUNT]: the image's referrers are so many, and the artifact is one of them, with its type.
refers() {
    ask "$1/referrers/$(entry image)" | "$PYTHON" -c 'import json, sys
found = {m["digest"]: m["artifactType"] for m in json.load(sys.stdin)["manifests"]}
digest, count = sys.argv[1:]
assert len(found) == int(count) and found[digest] == "application/vnd.example.signature", found' "$(entry artifact)" "${2:-1}" ||
        fail "the registry lists other referrers"
}

# Each platform of a pushed list has the content that it has in the layout, however it was compressed on the way.
same_platforms() {
    local arch
    [ "$(ask "${1%:*}/manifests/${1#*:}" | "$PYTHON" -c 'import json,sys; print(*sorted(m["platform"]["architecture"] for m in json.load(sys.stdin)["manifests"]))')" = "${ARCHITECTURES[*]}" ] ||
        fail "the list that was pushed has other platforms"
    for arch in "${ARCHITECTURES[@]}"; do
        skopeo inspect --config --override-arch "$arch" --tls-verify=false --creds "AWS:$password" "docker://$host/$account/$1" >"$scratch/config"
        diff <(told "$scratch/config" '["architecture"], d["rootfs"]["diff_ids"]') \
            <(told "$work/multi/blobs/sha256/$(config_of multi "$arch" | cut -d: -f2)" '["architecture"], d["rootfs"]["diff_ids"]') ||
            fail "the image of $arch that was pushed is another"
    done
}

# Every blob of a layout is in another, with the same bytes.
holds_image() {
    local blob
    for blob in "$1"/blobs/sha256/*; do
        cmp "$blob" "$2/blobs/sha256/$(basename "$blob")" || fail "what came back is not what was pushed"
    done
}

# Runs a command; what it says is told when it fails.
quiet() { "$@" >"$scratch/quiet.log" 2>&1 || { cat "$scratch/quiet.log" >&2; fail "$told_version: $* failed"; }; }

# Runs a command, and remembers how long it took: timed push|pull COMMAND…
timed() {
    local what=$1 from=$EPOCHREALTIME
    shift
    quiet "$@"
    [ "$what" = pull ] || times=
    times="${times:+$times, }$what $("$PYTHON" -c 'import sys; print(f"{float(sys.argv[2]) - float(sys.argv[1]):.1f} s")' "$from" "$EPOCHREALTIME")"
}

# All of it went over the wire into this registry: nothing of the size was there before.
stored_whole() {
    local bytes
    bytes=$(du -sbc "$scratch"/org/*/data/blobs | tail -n 1 | cut -f 1)
    [ "$bytes" -ge "$LARGE_BYTES" ] || fail "the registry keeps $bytes bytes, and the layer alone has $LARGE_BYTES"
}

start_containerd() {
    [ ! -e "$scratch/containerd.sock" ] || return 0
    cat >"$scratch/containerd.toml" <<TOML
version = 2
root = "$scratch/containerd"
state = "$scratch/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "$scratch/containerd.sock"
TOML
    containerd --config "$scratch/containerd.toml" >"$work/containerd.log" 2>&1 &
    pids+=($!)
    export CONTAINERD_ADDRESS=$scratch/containerd.sock
    wait_for "the start of containerd" 30 ctr --timeout 1s namespaces ls
}
# Every blob of a layout is in containerd's store; it stores none that does not hash to its digest.
ctr_holds() {
    local digest
    for digest in $(ls "$work/$1/blobs/sha256"); do
        [ "$(ctr content get "sha256:$digest" | sha256sum | cut -d' ' -f1)" = "$digest" ] || fail "ctr has not the blob $digest of $1"
    done
}

start_dockerd() {
    start_containerd
    export DOCKER_HOST=unix://$scratch/docker.sock
    [ -e /etc/docker/key.json ] || made+=(/etc/docker/key.json)
    [ -e /etc/docker ] || made+=(/etc/docker)
    [ -e /run/docker ] || made+=(/run/docker)
    DOCKER_TMPDIR=$scratch/docker-tmp dockerd --data-root "$scratch/docker" --exec-root "$scratch/docker-exec" \
        --pidfile "$scratch/docker.pid" --host "$DOCKER_HOST" --containerd "$scratch/containerd.sock" --storage-driver=vfs \
        --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --bridge=none >"$work/dockerd.log" 2>&1 &
    pids+=($!)
    wait_for "the start of dockerd" 60 docker version
}

# Ends what was started for a client, the last first, and removes what it kept.
end_client() {
    local at mount
    for ((at = ${#pids[@]} - 1; at >= 0; at--)); do
        kill "${pids[at]}" 2>/dev/null || true
        wait "${pids[at]}" 2>/dev/null || true
    done
    pids=()
    while read -r mount; do
        umount "$mount" || true
    done < <(awk -v at="$scratch/" 'index($2, at) == 1 { print $2 }' /proc/mounts | sort -r)
    [ ${#made[@]} = 0 ] || rm -rf "${made[@]}"
    made=()
    rm -rf "$scratch" "$DOCKER_CONFIG" "$HOME/.docker" "$HOME/.local" "$REGISTRY_AUTH_FILE"
}
made=()
scratch=$work/none
ended() {
    local status=$?
    [ $status = 0 ] || cat "$scratch"/org/*/serve.log >"$work/regions.log" 2>/dev/null || true
    end_client
    finish $status
}
trap ended EXIT
# A command that fails by itself says where, before the logs.
set -E
trap 'echo "$(basename "$0"): line $LINENO of ${FUNCNAME[0]:-the script}: failed: $BASH_COMMAND" >&2' ERR

# skopeo, podman and buildah need the configuration that comes with installing them; the others are only unpacked.
find_clients() {
    local name missing=()
    command -v dockerd >/dev/null || missing+=(docker.io)
    command -v containerd >/dev/null || missing+=(containerd)
    command -v runc >/dev/null || missing+=(runc)
    for name in crane oras; do
        command -v "$name" >/dev/null || missing+=("$name")
    done
    mkdir -p "$tools"
    for name in "${missing[@]}"; do
        "$here/packages.sh" "$tools" "$name" >>"$work/packages.log" 2>&1 || echo "no package $name: $(tail -n 1 "$work/packages.log")"
    done
}

run_clients() {
    local client
    [ $# != 0 ] || set -- "${CLIENTS[@]}"
    find_clients
    "$PYTHON" "$here/layout.py" "$work/image" 300000 2000
    "$PYTHON" "$here/layout.py" --index "$work/multi" 1000000 200000 10
    "$PYTHON" "$here/layout.py" --artifact "$work/artifact" "$work/image"
    "$PYTHON" "$here/layout.py" --large "$work/large" "$LARGE_BYTES"
    for client in "$@"; do
        told_version=$client
        if ! command -v "$client" >/dev/null; then
            skipped "all of it: there is no $client, neither here nor among the packages"
            continue
        fi
        scratch=$work/$client
        mkdir "$scratch"
        port=
        org=$scratch/org start_dev
        password=$("$TRANSSHIP" token)
        "client_$client"
        end_client
    done
}
