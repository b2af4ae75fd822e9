#!/usr/bin/env python3
"""open_stored.py DATA ACCOUNT REPOSITORY PUSHED: opens each blob of a repository in a stopped server's data folder, by
docs/formats.md, and compares it with the file of its digest in the folder PUSHED."""
import os
import sqlite3
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "vectors"))
import envelope

LINKS = "SELECT digest, blob, branch_version, salt, wrapped FROM links WHERE repository = ?"
BLOBS = "SELECT account, digest, sha256, size, segment, parts, commitment FROM blobs WHERE uid = ?"


def read(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read()


def main(data, account, name, pushed):
    db = sqlite3.connect(os.path.join(data, "metadata.db"))
    one = lambda sql, *key: db.execute(sql, key).fetchone()
    (region,) = one("SELECT region FROM nodes")
    (repository,) = one("SELECT uid FROM repositories WHERE account = ? AND name = ?", account, name)
    arn = f"arn:aws:ecr:{region}:{account}:repository/{name}"
    root, seen, parts = read(data, "root.key"), set(), 0
    for digest, blob, version, salt, wrapped in db.execute(LINKS, (repository,)).fetchall():
        key, ciphertext = one("SELECT kms_key, wrapped FROM branch_keys WHERE repository = ? AND version = ?", repository, version)
        materials = db.execute("SELECT version, sealed FROM kms_materials WHERE key = ?", (key,)).fetchall()
        row = {"arn": key, "materials": [{"version": v, "sealed": sealed.hex()} for v, sealed in materials]}
        branch = envelope.open_kms(root, row, ciphertext, {"aws:ecr:arn": arn})
        owner, stored, beside, size, css, table, commit = one(BLOBS, blob)
        assert stored == digest
        uid = str(uuid.UUID(bytes=blob))
        link = {"branch_key": branch.hex(), "repository_arn": arn, "repository_uid": str(uuid.UUID(bytes=repository))}
        link |= {"blob": uid, "commit": commit.hex(), "salt": salt.hex(), "wrapped": wrapped.hex()}
        sealed = {"account": owner, "blob": uid, "sha256": (beside or digest).removeprefix("sha256:"), "size": size, "css": css}
        sealed |= {"sha512": digest.removeprefix("sha512:")} if beside else {}
        sealed |= {"parts": envelope.parts_table(table), "commit": commit.hex()}
        plain = envelope.open_blob(envelope.open_wrap("link", link), sealed, read(data, "blobs", owner, uid[:2], uid))
        assert plain == read(pushed, sealed["sha256"]), digest
        seen.add(sealed["sha256"])
        parts += len(sealed["parts"])
    manifests = {row[0].removeprefix("sha256:") for row in db.execute("SELECT digest FROM manifests")}
    assert seen | manifests == set(os.listdir(pushed)), "a pushed blob is not there"
    assert parts > len(seen), "no blob had several parts"
    print(f"Tink opened {len(seen)} stored blobs in {parts} parts: the bytes are those that were pushed")


envelope.streaming_aead.register()
main(*sys.argv[1:])
