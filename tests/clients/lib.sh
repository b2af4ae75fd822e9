# For the client tests: a working folder, an organization on free ports, and their end. Sourced.
#
# TRANSSHIP is the program, PYTHON an interpreter with moto and tink; tests/run sets both.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${TRANSSHIP:?names the program}" "${PYTHON:?names the interpreter}"
work=$(mktemp -d)
pids=()
# A home of its own: nobody's credentials are read or written.
export HOME=$work/home REGISTRY_AUTH_FILE=$work/auth.json
mkdir "$HOME"
unset DOCKER_CONFIG XDG_CONFIG_HOME XDG_RUNTIME_DIR XDG_STATE_HOME TRANSSHIP_ENDPOINT AWS_PROFILE AWS_SESSION_TOKEN

finish() {
    local status=${1:-$?}
    [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true
    [ ${#pids[@]} = 0 ] || wait "${pids[@]}" 2>/dev/null || true
    [ $status = 0 ] || for log in "$work"/*.log "$work"/org/*/serve.log; do
        [ ! -s "$log" ] || { echo "--- $log"; tail -n 40 "$log"; } >&2
    done
    rm -rf "$work"
}
trap finish EXIT

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# Runs a check for at most so many seconds.
wait_for() {
    local what=$1 seconds=$2 try
    shift 2
    for ((try = 0; try < seconds * 5; try++)); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.2
    done
    fail "$what did not happen within $seconds s"
}

# A port such that it and the next are free.
free_port() {
    "$PYTHON" - <<'PY'
import socket
while True:
    with socket.socket() as a, socket.socket() as b:
        a.bind(("127.0.0.1", 0))
        try:
            b.bind(("127.0.0.1", a.getsockname()[1] + 1))
        except (OSError, OverflowError):
            continue
        print(a.getsockname()[1])
        break
PY
}

told() { "$PYTHON" -c 'import json,sys; print(eval("d"+sys.argv[2], {"d": json.load(open(sys.argv[1]))}))' "$@"; }

# Starts `transship dev` in the folder org, again at the same port with what it kept; sets host, account and the credentials of its first
# account in its first region.
start_dev() {
    port=${port:-$(free_port)}
    rm -f "$work/info.json"
    "$TRANSSHIP" dev --dir "${org:-$work/org}" --port "$port" --info "$work/info.json" >>"$work/dev.log" 2>&1 &
    pids+=($!)
    wait_for "the start of transship dev" 30 test -s "$work/info.json"
    TRANSSHIP_ENDPOINT=$(told "$work/info.json" '["regions"][0]["endpoint"]')
    AWS_ACCESS_KEY_ID=$(told "$work/info.json" '["accounts"][0]["access_key_id"]')
    AWS_SECRET_ACCESS_KEY=$(told "$work/info.json" '["accounts"][0]["secret_access_key"]')
    export TRANSSHIP_ENDPOINT AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
    account=$(told "$work/info.json" '["accounts"][0]["id"]')
    host=${TRANSSHIP_ENDPOINT#http://}
}

# Runs a command that must be refused, in words that match the pattern.
refused() {
    local words=$1
    shift
    ! "$@" >"$work/refused" 2>&1 || fail "it should have been refused: $*"
    grep -qiE "$words" "$work/refused" || fail "the refusal does not say $words: $(cat "$work/refused")"
}

# Two layouts hold the same image: the same manifest, and the same bytes in every blob.
same_image() {
    diff <(cd "$1/blobs" && find . -type f -exec sha256sum {} + | sort) \
        <(cd "$2/blobs" && find . -type f -exec sha256sum {} + | sort) || fail "what came back is not what was pushed"
}
