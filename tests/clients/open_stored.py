#!/usr/bin/env python3
"""open_stored.py DATA ACCOUNT REPOSITORY PUSHED: opens each blob and manifest of a repository in a stopped server's data
folder, by docs/formats.md, and compares it with the file of its digest in the folder PUSHED. Changed bytes do not open."""
import os
import sqlite3
import sys
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "vectors"))
import envelope

LINKS = "SELECT digest, blob, branch_version, salt, wrapped FROM links WHERE repository = ?"
BLOBS = "SELECT account, digest, sha256, size, segment, parts, commitment FROM blobs WHERE uid = ?"
MANIFESTS = "SELECT digest, uid, branch_version, salt, wrapped, size, parts, commitment, sealed FROM manifests WHERE repository = ?"


def read(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read()


class Repository:
    def __init__(self, data, account, name):
        self.data, self.account = data, account
        self.db = sqlite3.connect(os.path.join(data, "metadata.db"))
        (region,) = self.one("SELECT region FROM nodes")
        (self.uid,) = self.one("SELECT uid FROM repositories WHERE account = ? AND name = ?", account, name)
        self.arn = f"arn:aws:ecr:{region}:{account}:repository/{name}"

    def one(self, sql, *key):
        return self.db.execute(sql, key).fetchone()

    def branch(self, version):
        key, ciphertext = self.one("SELECT kms_key, wrapped FROM branch_keys WHERE repository = ? AND version = ?", self.uid, version)
        materials = self.db.execute("SELECT version, sealed FROM kms_materials WHERE key = ?", (key,)).fetchall()
        row = {"arn": key, "materials": [{"version": v, "sealed": sealed.hex()} for v, sealed in materials]}
        return envelope.open_kms(read(self.data, "root.key"), row, ciphertext, {"aws:ecr:arn": self.arn})

    def key(self, blob, version, salt, wrapped, commit):
        link = {"branch_key": self.branch(version).hex(), "repository_arn": self.arn, "repository_uid": str(uuid.UUID(bytes=self.uid))}
        link |= {"blob": str(uuid.UUID(bytes=blob)), "commit": commit.hex(), "salt": salt.hex(), "wrapped": wrapped.hex()}
        return envelope.open_wrap("link", link)

    def objects(self):
        """(digest, data key, description, sealed bytes) of each blob and manifest."""
        for digest, blob, version, salt, wrapped in self.db.execute(LINKS, (self.uid,)).fetchall():
            owner, stored, beside, size, css, table, commit = self.one(BLOBS, blob)
            assert stored == digest
            uid = str(uuid.UUID(bytes=blob))
            sealed = described(owner, uid, beside or digest, size, css, table, commit)
            sealed |= {"sha512": digest.removeprefix("sha512:")} if beside else {}
            yield digest, self.key(blob, version, salt, wrapped, commit), sealed, read(self.data, "blobs", owner, uid[:2], uid)
        for digest, blob, version, salt, wrapped, size, table, commit, row in self.db.execute(MANIFESTS, (self.uid,)).fetchall():
            sealed = described(self.account, str(uuid.UUID(bytes=blob)), digest, size, envelope.CSS, table, commit)
            yield digest, self.key(blob, version, salt, wrapped, commit), sealed, row


def described(account, blob, digest, size, css, table, commit):
    return {
        "account": account, "blob": blob, "sha256": digest.removeprefix("sha256:"), "size": size, "css": css,
        "parts": envelope.parts_table(table), "commit": commit.hex(),
    }


def must_not_open(key, sealed, changed):
    try:
        envelope.open_blob(key, sealed, changed)
    except envelope.Refused:
        return
    raise AssertionError(f"{sealed['sha256']}: changed bytes opened")


def main(data, account, name, pushed):
    seen, parts = set(), 0
    for digest, key, sealed, stored in Repository(data, account, name).objects():
        assert envelope.open_blob(key, sealed, stored) == read(pushed, sealed["sha256"]), digest
        must_not_open(key, sealed, stored[:-1] + bytes([stored[-1] ^ 1]))
        must_not_open(key, sealed, stored[:-1])
        seen.add(sealed["sha256"])
        parts += len(sealed["parts"])
    assert seen == set(os.listdir(pushed)), "a pushed blob or manifest is not there"
    assert parts > len(seen), "no blob had several parts"
    print(f"Tink opened {len(seen)} stored blobs and manifests in {parts} parts: the bytes are those that were pushed; changed ones do not open")


envelope.streaming_aead.register()
main(*sys.argv[1:])
