#!/usr/bin/env python3
"""Makes an OCI layout of one image: layout.py DIR BYTES… makes a layer of tar with random content for each number."""
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile


def main(folder, sizes):
    blobs = os.path.join(folder, "blobs", "sha256")
    os.makedirs(blobs)

    def put(content, media_type):
        digest = hashlib.sha256(content).hexdigest()
        with open(os.path.join(blobs, digest), "wb") as file:
            file.write(content)
        return {"mediaType": "application/vnd.oci.image." + media_type, "digest": "sha256:" + digest, "size": len(content)}

    layers, ids = [], []
    for number, size in enumerate(sizes):
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            entry = tarfile.TarInfo(f"file-{number}")
            entry.size = size
            archive.addfile(entry, io.BytesIO(os.urandom(size)))
        ids.append("sha256:" + hashlib.sha256(tar.getvalue()).hexdigest())
        layers.append(put(gzip.compress(tar.getvalue(), 1), "layer.v1.tar+gzip"))
    rootfs = {"type": "layers", "diff_ids": ids}
    config = put(json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode(), "config.v1+json")
    image = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers}
    manifest = put(json.dumps(image).encode(), "manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    for name, content in (
        ("index.json", {"schemaVersion": 2, "manifests": [manifest]}),
        ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
    ):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            json.dump(content, file)


main(sys.argv[1], [int(size) for size in sys.argv[2:]])
