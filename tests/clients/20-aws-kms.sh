#!/usr/bin/env bash
# Pushes and pulls where moto stands in for AWS KMS and STS: the calls are counted on moto's side, and by who signed them.
. "$(dirname "$0")/lib.sh"
: "${MOTO:?is the address of a moto server}"

role=arn:aws:iam::210987654321:role/registry/kms
port=$(free_port)
# configure STS: writes the configuration, with STS there.
configure() {
    cat >"$work/config.toml" <<TOML
region = "us-east-1"
listen = "127.0.0.1:$port"
data = "$work/data"

[kms]
kind = "aws"
endpoint = "$MOTO"
role_arn = "$role"
external_id = "who-asks"
sts_endpoint = "$1"

[registry]
create_on_push = true
TOML
}
serve() {
    AWS_ACCESS_KEY_ID=AKIATESTBASE AWS_SECRET_ACCESS_KEY=test "$TRANSSHIP" serve --config "$work/config.toml" >>"$work/serve.log" 2>&1 &
    pids=($!)
    wait_for "the start of transship serve" 30 curl -s -o /dev/null "$TRANSSHIP_ENDPOINT/v2/"
}
stop() { kill "${pids[0]}" && wait "${pids[0]}" 2>/dev/null || true; pids=(); }
# What the recorder of moto saw since it was started: each call by name, and how many.
calls() { curl -sf "$MOTO/moto-api/recorder/download-recording" | "$PYTHON" "$here/kms_calls.py" "$role" who-asks transship; }
record() { curl -sf -X POST "$MOTO/moto-api/recorder/reset-recording" >/dev/null && curl -sf -X POST "$MOTO/moto-api/recorder/start-recording" >/dev/null; }
push() { skopeo copy -q --preserve-digests --dest-tls-verify=false --dest-creds "$creds" "oci:$work/$1" "$registry/$2"; }
pull() {
    rm -rf "$work/back"
    skopeo copy -q --preserve-digests --src-tls-verify=false --src-creds "$creds" "$registry/$2" "oci:$work/back:latest"
    same_image "$work/$1" "$work/back"
}

export TRANSSHIP_ENDPOINT=http://127.0.0.1:$port
configure "$MOTO"
record
serve
AWS_ACCESS_KEY_ID=$(told "$work/data/bootstrap.json" '["accounts"][0]["access_key_id"]')
AWS_SECRET_ACCESS_KEY=$(told "$work/data/bootstrap.json" '["accounts"][0]["secret_access_key"]')
account=$(told "$work/data/bootstrap.json" '["accounts"][0]["id"]')
export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
registry=docker://127.0.0.1:$port/$account
creds=AWS:$("$TRANSSHIP" token)
"$PYTHON" "$here/layout.py" "$work/image" 2000000 2000 30
"$PYTHON" "$here/layout.py" "$work/other" 500000

push image team/one:v1
first=$(calls)
push image team/two:v1
push other team/one:v2
pushed=$(calls)
pull image team/one:v1 && pull image team/two:v1 && pull other team/one:v2
pulled=$(calls)
echo "KMS and STS: a push into a new repository: $first; with pushes of another image and into a second repository: $pushed;" \
    "with 3 pulls: $pulled"
has() { grep -qw "$2" <<<"$1" || fail "$2 was expected, not: $1"; }
has "$first" GenerateDataKey=1
has "$pushed" GenerateDataKey=2
has "$pushed" AssumeRole=1
[ "$pulled" = "$pushed" ] || fail "a pull with the branch key in memory calls KMS or STS: $pulled"
stop

# A new process has neither branch keys nor credentials in memory.
record
serve
creds=AWS:$("$TRANSSHIP" token)
for _ in 1 2 3 4 5; do
    pull image team/one:v1 && pull image team/two:v1
done
cold=$(calls)
echo "10 pulls from 2 repositories by a new process: $cold"
[ "$cold" = "AssumeRole=1 Decrypt=2" ] || fail "cold pulls need one AssumeRole, and one Decrypt for each repository; there were: $cold"
stop
"$PYTHON" "$here/open_branch_keys.py" "$work/data/metadata.db" "$MOTO" "$role" "$account" team/one team/two

# Nobody answers on port 9: the role is not to be had.
configure http://127.0.0.1:9
record
serve
status=$(curl -s -o "$work/answer" -w '%{http_code}' -X POST -u "AWS:$("$TRANSSHIP" token)" "$TRANSSHIP_ENDPOINT/v2/$account/team/one/blobs/uploads/")
[ "$status" = 503 ] || fail "a push without the role is answered $status: $(cat "$work/answer")"
for word in "$role" KMS STS; do
    grep -qF "$word" "$work/answer" || fail "$word is not in the answer: $(cat "$work/answer")"
done
[ "$(calls)" = none ] || fail "KMS was called without the role: $(calls)"
echo "a push without the role: 503 $("$PYTHON" -c 'import json,sys; print(json.load(sys.stdin)["errors"][0]["message"])' <"$work/answer")"
