#!/usr/bin/env bash
# The order of system calls between the last bytes of a blob and its 201.
. "$(dirname "$0")/lib.sh"

start_dev
"$PYTHON" "$here/layout.py" "$work/image" 5000000
server=$(pgrep -P "${pids[0]}" -f us-east-1) || fail "no server process"
strace -f -y -qq -s 32 -e trace=write,writev,pwrite64,sendto,sendmsg,fdatasync,fsync -o "$work/trace" -p "$server" 2>"$work/strace.log" &
tracer=$!
pids+=("$tracer")
wait_for "the attachment of strace" 10 grep -q '^TracerPid:[[:space:]]*[1-9]' "/proc/$server/status"
skopeo copy -q --preserve-digests --dest-tls-verify=false --dest-creds "AWS:$("$TRANSSHIP" token)" "oci:$work/image" "docker://$host/$account/team/app:v1"
kill "$tracer" && wait "$tracer" 2>/dev/null || true
"$PYTHON" "$here/durable_order.py" check "$work/trace" "$work/org/us-east-1/data"
