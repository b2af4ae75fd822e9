#!/usr/bin/env bash
# A push and a pull where moto stands in for AWS KMS: the calls are counted on moto's side.
. "$(dirname "$0")/lib.sh"
: "${MOTO:?is the address of a moto server}"

port=$(free_port)
cat >"$work/config.toml" <<TOML
region = "us-east-1"
listen = "127.0.0.1:$port"
data = "$work/data"

[kms]
kind = "aws"
endpoint = "$MOTO"

[registry]
create_on_push = true
TOML
AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test "$TRANSSHIP" serve --config "$work/config.toml" >"$work/serve.log" 2>&1 &
pids+=($!)
export TRANSSHIP_ENDPOINT=http://127.0.0.1:$port
wait_for "the start of transship serve" 30 curl -s -o /dev/null "$TRANSSHIP_ENDPOINT/v2/"
AWS_ACCESS_KEY_ID=$(told "$work/data/bootstrap.json" '["accounts"][0]["access_key_id"]')
AWS_SECRET_ACCESS_KEY=$(told "$work/data/bootstrap.json" '["accounts"][0]["secret_access_key"]')
account=$(told "$work/data/bootstrap.json" '["accounts"][0]["id"]')
export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY

# What the recorder of moto saw since it was started: each call of KMS by name, and how many.
calls() {
    curl -sf "$MOTO/moto-api/recorder/download-recording" | "$PYTHON" -c '
import collections, json, sys
seen = collections.Counter()
for line in filter(str.strip, sys.stdin):
    headers = {name.lower(): value for name, value in json.loads(line)["headers"].items()}
    seen[headers.get("x-amz-target", "").rpartition(".")[2]] += 1
print(" ".join(f"{name}={count}" for name, count in sorted(seen.items())))'
}
record() { curl -sf -X POST "$MOTO/moto-api/recorder/reset-recording" >/dev/null && curl -sf -X POST "$MOTO/moto-api/recorder/start-recording" >/dev/null; }

"$PYTHON" "$here/layout.py" "$work/image" 2000000 2000 30
target=docker://127.0.0.1:$port/$account/team/app
creds=AWS:$("$TRANSSHIP" token)
record
skopeo copy -q --preserve-digests --dest-tls-verify=false --dest-creds "$creds" "oci:$work/image" "$target:v1"
pushed=$(calls)
skopeo copy -q --preserve-digests --src-tls-verify=false --src-creds "$creds" "$target:v1" "oci:$work/back:latest"
same_image "$work/image" "$work/back"
pulled=$(calls)
kill "${pids[0]}" && wait "${pids[0]}" 2>/dev/null || true

# A new process has no branch key in memory: one Decrypt serves the whole pull.
AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test "$TRANSSHIP" serve --config "$work/config.toml" >"$work/again.log" 2>&1 &
pids=($!)
wait_for "the second start" 30 curl -s -o /dev/null "$TRANSSHIP_ENDPOINT/v2/"
record
creds=AWS:$("$TRANSSHIP" token)
skopeo copy -q --preserve-digests --src-tls-verify=false --src-creds "$creds" "$target:v1" "oci:$work/cold:latest"
same_image "$work/image" "$work/cold"
cold=$(calls)
echo "AWS KMS calls: push of 4 blobs into a new repository: ${pushed:-none}; with the pull after it: ${pulled:-none};" \
    "pull by a new process: ${cold:-none}"
[[ $pushed =~ GenerateDataKey[A-Za-z]*=1 ]] || fail "one data key makes a repository's branch key; there were: $pushed"
[ "$pulled" = "$pushed" ] || fail "a pull with the branch key in memory calls KMS: $pulled"
[ "$cold" = "Decrypt=1" ] || fail "a cold pull needs exactly one Decrypt; there were: $cold"
