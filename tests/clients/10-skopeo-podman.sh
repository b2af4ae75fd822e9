#!/usr/bin/env bash
# skopeo, and podman or buildah, push, pull and delete through `transship dev`, also after it was started again.
. "$(dirname "$0")/lib.sh"

login() { skopeo login --tls-verify=false --username AWS --password "$("$TRANSSHIP" token)" "$host" >/dev/null; }
# push LAYOUT NAME, pull LAYOUT NAME: what comes back is the layout, bit for bit.
push() { skopeo copy -q --all --preserve-digests --dest-tls-verify=false "oci:$work/$1" "docker://$host/$account/$2"; }
pull() {
    rm -rf "$work/back"
    skopeo copy -q --all --preserve-digests --src-tls-verify=false "docker://$host/$account/$2" "oci:$work/back:latest"
    same_image "$work/$1" "$work/back"
}
inspect() { skopeo inspect --tls-verify=false "$@"; }
delete() { skopeo delete --tls-verify=false "docker://$host/$account/$1"; }
tags() { skopeo list-tags --tls-verify=false "docker://$host/$account/$1" | "$PYTHON" -c 'import json,sys; print(*json.load(sys.stdin)["Tags"])'; }
entry() { told "$work/$1/index.json" '["manifests"][0]["digest"]'; }

start_dev
"$PYTHON" "$here/layout.py" "$work/image" 3000000 50000
"$PYTHON" "$here/layout.py" "$work/other" 70000
"$PYTHON" "$here/layout.py" --index "$work/multi" 1000000 2000000 10
login
push image team/app:v1
pull image team/app:v1
push multi team/app:multi
pull multi team/app:multi
[ "$(ls "$work/back/blobs/sha256" | wc -l)" = 10 ] || fail "an index and three images of three blobs each were expected"
push other team/app:v2
[ "$(tags team/app)" = "multi v1 v2" ] || fail "the tags are $(tags team/app)"
echo "$(skopeo --version): an image and an index of 3 platforms went and came back bit for bit; tags: $(tags team/app)"

unknown='unauthorized|authentication required|invalid username'
app=docker://$host/$account/team/app
refused "$unknown" inspect --creds AWS:wrong "$app:v1"
refused "$unknown" inspect --no-creds "$app:v1"
prod=$(AWS_ACCESS_KEY_ID=$(told "$work/info.json" '["accounts"][1]["access_key_id"]') \
    AWS_SECRET_ACCESS_KEY=$(told "$work/info.json" '["accounts"][1]["secret_access_key"]') "$TRANSSHIP" token)
refused 'denied' inspect --creds "AWS:$prod" "$app:v1"
skopeo logout --all >/dev/null
"$TRANSSHIP" login >/dev/null
inspect "$app:v1" >/dev/null || fail "skopeo does not find what login stored"
echo "a wrong password, none, and another account's are refused; what login stores is found"

engine=podman
command -v podman >/dev/null || engine=buildah
run() { "$engine" --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"; }
run pull -q --tls-verify=false "docker://$host/$account/team/app:v1" >/dev/null
run tag "$host/$account/team/app:v1" "$host/$account/team/copy:v2"
run push -q --tls-verify=false "$host/$account/team/copy:v2" >/dev/null
ids() { inspect --config "docker://$host/$account/$1" | "$PYTHON" -c 'import json,sys; print(json.load(sys.stdin)["rootfs"]["diff_ids"])'; }
[ "$(ids team/app:v1)" = "$(ids team/copy:v2)" ] || fail "$engine pushed other layers than it pulled"
run rmi -f "$host/$account/team/app:v1" "$host/$account/team/copy:v2" >/dev/null
run pull -q --tls-verify=false "docker://$host/$account/team/copy:v2" >/dev/null
echo "$($engine --version): pulled, pushed to another repository, pulled again: the layers are the same"

kill "${pids[0]}"
wait "${pids[0]}" || fail "dev did not end well"
pids=()
start_dev
login
pull image team/app:v1
pull multi team/app:multi
pull other team/app:v2
ids team/copy:v2 >/dev/null
echo "after a restart everything is pulled as before"

# skopeo deletes by the digest behind a tag, so every tag of the image goes; a tag alone goes by the API.
push other team/app:v3
status=$(curl -s -o /dev/null -w '%{http_code}' -X DELETE -u "AWS:$("$TRANSSHIP" token)" "http://$host/v2/$account/team/app/manifests/v3")
[ "$status" = 202 ] || fail "the deletion of a tag is answered $status"
[ "$(tags team/app)" = "multi v1 v2" ] || fail "after the deletion of v3 the tags are $(tags team/app)"
pull other team/app:v2
delete team/app:v2
[ "$(tags team/app)" = "multi v1" ] || fail "after the deletion of v2 the tags are $(tags team/app)"
refused 'manifest unknown|not found' inspect "$app@$(entry other)"
delete "team/app@$(entry image)"
[ "$(tags team/app)" = multi ] || fail "after the deletion by digest the tags are $(tags team/app)"
refused 'manifest unknown|not found' inspect "$app:v1"
pull multi team/app:multi
ids team/copy:v2 >/dev/null
echo "a tag, an image by its tag and one by its digest are deleted, and nothing else"
