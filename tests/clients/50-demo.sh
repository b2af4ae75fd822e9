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
