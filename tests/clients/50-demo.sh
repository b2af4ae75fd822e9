#!/usr/bin/env bash
# The demo succeeds, and each of five things broken makes the step fail that proves it.
. "$(dirname "$0")/lib.sh"

demo() { (cd "$work" && "$TRANSSHIP" demo --report "$work/report.json" "$@" >"$work/demo.log" 2>&1); }
check() {
    "$PYTHON" - "$work/report.json" "$@" <<'PY'
import json, sys
report, broken = json.load(open(sys.argv[1])), sys.argv[2:]
steps = {step["name"]: step["ok"] for step in report["steps"]}
needed = {"push", "replicate", "receipt", "keys_differ", "scoped_pull", "denied_push", "denied_foreign", "revoke"}
assert needed <= steps.keys(), f"missing: {needed - steps.keys()}"
assert report["ok"] == (not broken), report
for name in broken or needed:
    assert steps[name] == (not broken), f"{name}: {steps}"
print("demo with", report["client"], "-", "failed as it should: " + ", ".join(broken) if broken else "every step ok")
PY
}

demo || fail "the demo failed"
check
for case in no-grant:scoped_pull wrong-tag:scoped_pull no-consent:replicate same-key:keys_differ no-revoke:revoke; do
    ! demo --break "${case%%:*}" || fail "the demo succeeded with ${case%%:*}"
    check "${case##*:}"
done
(PATH=/nonexistent && demo) || fail "the demo failed with the built-in client"
check

# Interrupted in the middle, it ends its servers and removes its folder.
for signal in INT TERM; do
    mkdir "$work/tmp-$signal"
    # A job of a shell without job control ignores SIGINT, and hands that on.
    (cd "$work" && TMPDIR=$work/tmp-$signal exec "$PYTHON" -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$TRANSSHIP" demo >"$work/interrupted-$signal.log" 2>&1) &
    pids=($!)
    wait_for "the first steps of the demo" 60 grep -q '^ok .*push' "$work/interrupted-$signal.log"
    mapfile -t servers < <(pgrep -P "${pids[0]}" -f 'serve --config')
    [ ${#servers[@]} = 2 ] || fail "two servers were expected, not ${servers[*]:-none}"
    kill -"$signal" "${pids[0]}"
    ! wait "${pids[0]}" || fail "a demo that was interrupted succeeded"
    pids=()
    for server in "${servers[@]}"; do
        ! kill -0 "$server" 2>/dev/null || fail "server $server is left after SIG$signal"
    done
    [ -z "$(ls "$work/tmp-$signal")" ] || fail "$(ls "$work/tmp-$signal") is left after SIG$signal"
done
echo "an interrupted demo leaves no process and no folder"
