#!/usr/bin/env python3
"""durable_order.py TRACE DATA: in a trace of the server, each blob was synced, then its folder, then the database's log,
before the answer that acknowledged it."""
import os
import re
import sys

CALL = re.compile(r"^\d+\s+(?:\[[^]]*\]\s+)?(\w+)\((\d+)<([^>]*)>")
RESUMED = re.compile(r"^(\d+)\s+<\.\.\. (\w+) resumed>")


def events(trace):
    """(call, path, text) in the order of completion."""
    begun = {}
    with open(trace, encoding="utf-8", errors="replace") as file:
        for line in file:
            thread, call = line.split(maxsplit=1)[0], CALL.match(line)
            if call and "<unfinished" in line:
                begun[thread] = (call[1], call[3], line)
            elif call:
                yield call[1], call[3], line
            elif RESUMED.match(line) and thread in begun:
                name, path, first = begun.pop(thread)
                yield name, path, first


def main(trace, data):
    seen, blobs = list(events(trace)), os.path.join(os.path.realpath(data), "blobs") + os.sep
    log = os.path.join(os.path.realpath(data), "metadata.db-wal")
    find = lambda after, names, path: next(
        (i for i, (name, where, _) in enumerate(seen) if i > after and name in names and where == path), None
    )
    writes = ("write", "pwrite64", "writev")
    files = {path for name, path, _ in seen if name in writes and path.startswith(blobs)}
    assert len(files) >= 2, "too few blobs were written under trace"
    for path in sorted(files):
        last = max(i for i, (name, where, _) in enumerate(seen) if name in writes and where == path)
        blob = find(last, ("fdatasync", "fsync"), path)
        folder = find(blob if blob is not None else len(seen), ("fsync",), os.path.dirname(path))
        commit = find(folder if folder is not None else len(seen), ("fdatasync", "fsync"), log)
        answer = next((i for i, (name, _, text) in enumerate(seen) if i > last and "HTTP/1.1 201" in text), None)
        order = [last, blob, folder, commit, answer]
        steps = "last write, fdatasync of the blob, fsync of its folder, sync of the log, 201"
        assert None not in order and order == sorted(order), f"{path}: {steps} are at {order}"
    print(f"{len(files)} blobs: {steps}: in this order for each")


main(*sys.argv[1:])
