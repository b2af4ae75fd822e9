#!/usr/bin/env bash
# skopeo, and podman or buildah, push and pull through `transship dev`.
. "$(dirname "$0")/lib.sh"

start_dev
"$PYTHON" "$here/layout.py" "$work/image" 3000000 50000
password=$("$TRANSSHIP" token)

skopeo login --tls-verify=false --username AWS --password "$password" "$host" >/dev/null
skopeo copy -q --preserve-digests --dest-tls-verify=false "oci:$work/image" "docker://$host/$account/team/app:v1"
skopeo copy -q --preserve-digests --src-tls-verify=false "docker://$host/$account/team/app:v1" "oci:$work/back:latest"
same_image "$work/image" "$work/back"
skopeo list-tags --tls-verify=false "docker://$host/$account/team/app" | grep -q '"v1"' || fail "skopeo lists no tag v1"
! skopeo copy -q --src-tls-verify=false --src-creds AWS:wrong "docker://$host/$account/team/app:v1" "dir:$work/denied" 2>/dev/null ||
    fail "a wrong password pulled"
echo "skopeo $(skopeo --version | awk '{print $3}'): pushed, pulled, listed; a wrong password was refused"

engine=podman
command -v podman >/dev/null || engine=buildah
run() { "$engine" --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"; }
run pull -q --tls-verify=false "docker://$host/$account/team/app:v1" >/dev/null
run tag "$host/$account/team/app:v1" "$host/$account/team/copy:v2"
run push -q --tls-verify=false "$host/$account/team/copy:v2" >/dev/null
ids() { skopeo inspect --config --tls-verify=false "docker://$host/$account/$1" | "$PYTHON" -c 'import json,sys; print(json.load(sys.stdin)["rootfs"]["diff_ids"])'; }
[ "$(ids team/app:v1)" = "$(ids team/copy:v2)" ] || fail "$engine pushed other layers than it pulled"
run rmi -f "$host/$account/team/app:v1" "$host/$account/team/copy:v2" >/dev/null
run pull -q --tls-verify=false "docker://$host/$account/team/copy:v2" >/dev/null
echo "$($engine --version): pulled, pushed to another repository, pulled again: the layers are the same"
