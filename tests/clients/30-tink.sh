#!/usr/bin/env bash
# Stock Tink opens stored blobs, from the root key, the database and docs/formats.md.
. "$(dirname "$0")/lib.sh"

start_dev
"$PYTHON" "$here/layout.py" "$work/image" 40000000 1000
skopeo copy -q --preserve-digests --dest-tls-verify=false --dest-creds "AWS:$("$TRANSSHIP" token)" "oci:$work/image" "docker://$host/$account/team/app:v1"
kill "${pids[0]}" && wait "${pids[0]}" 2>/dev/null || true
pids=()
"$PYTHON" "$here/open_stored.py" "$work/org/us-east-1/data" "$account" team/app "$work/image/blobs/sha256"
