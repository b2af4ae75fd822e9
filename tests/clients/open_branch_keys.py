#!/usr/bin/env python3
"""open_branch_keys.py DATABASE ENDPOINT ROLE ACCOUNT REPOSITORY…: the database of a server on AWS KMS holds no key material,
and each repository's branch key is opened by KMS, for the role, under that repository's context and under no other."""
import sqlite3
import sys

import boto3
from botocore.exceptions import ClientError


def main(path, endpoint, role, account, *repositories):
    at = {"endpoint_url": endpoint, "region_name": "us-east-1"}
    base = {"aws_access_key_id": "AKIATESTBASE", "aws_secret_access_key": "test"}
    session = boto3.client("sts", **at, **base).assume_role(RoleArn=role, RoleSessionName="reader")["Credentials"]
    kms = boto3.client(
        "kms", **at, aws_access_key_id=session["AccessKeyId"], aws_secret_access_key=session["SecretAccessKey"],
        aws_session_token=session["SessionToken"],
    )
    database = sqlite3.connect(path)
    assert database.execute("SELECT count(*) FROM kms_materials").fetchone() == (0,), "key material is in the database"
    rows = database.execute(
        "SELECT r.name, b.kms_key, b.wrapped FROM branch_keys b JOIN repositories r ON r.uid = b.repository ORDER BY r.name"
    ).fetchall()
    assert [name for name, _, _ in rows] == sorted(repositories), rows
    for name, key, wrapped in rows:
        assert key.split(":")[4] == role.split(":")[4], f"{key} is not in the account of {role}"
        context = {"aws:ecr:arn": f"arn:aws:ecr:us-east-1:{account}:repository/{name}"}
        opened = kms.decrypt(CiphertextBlob=wrapped, KeyId=key, EncryptionContext=context)
        assert len(opened["Plaintext"]) == 32
        try:
            kms.decrypt(CiphertextBlob=wrapped, KeyId=key, EncryptionContext={"aws:ecr:arn": "another"})
        except ClientError:
            continue
        raise AssertionError(f"{name}: the branch key opens under another context")
    print(f"{len(rows)} branch keys: opened by KMS under their repository's context, and under no other")


main(*sys.argv[1:])
