#!/usr/bin/env python3
"""kms_calls.py ROLE EXTERNAL_ID SESSION: reads what moto's recorder saw from stdin and counts the calls by name.

Fails if a call of KMS was signed by other credentials than a role's, or the role was not the one, asked for as told.
"""
import base64
import collections
import json
import re
import sys
import urllib.parse


def main(role, external_id, session):
    seen = collections.Counter()
    for line in filter(str.strip, sys.stdin):
        call = json.loads(line)
        headers = {name.lower(): value for name, value in call["headers"].items()}
        signed = re.search(r"Credential=(\w+)/\d+/[\w-]+/(\w+)/", headers["authorization"])
        key, service = signed.groups()
        if service == "sts":
            body = base64.b64decode(call["body"]).decode() if call["body_encoded"] else call["body"]
            form = dict(urllib.parse.parse_qsl(body))
            told = (form["Action"], form["RoleArn"], form["ExternalId"], form["RoleSessionName"])
            assert told == ("AssumeRole", role, external_id, session), f"STS was asked for {form}"
            assert not key.startswith("ASIA"), "a role's session assumed the role"
            name = "AssumeRole"
        else:
            name = headers["x-amz-target"].rpartition(".")[2]
            assert service == "kms" and key.startswith("ASIA"), f"{service} {name} is signed by {key}: the role was not used"
            assert "x-amz-security-token" in headers, f"{name} came without the session's token"
        seen[name] += 1
    print(" ".join(f"{name}={count}" for name, count in sorted(seen.items())) or "none")


main(*sys.argv[1:])
