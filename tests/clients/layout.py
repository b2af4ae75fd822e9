#!/usr/bin/env python3
"""Makes an OCI layout with one entry.

    layout.py DIR BYTES…            an image; a layer of tar with random content for each number
    layout.py --index DIR BYTES…    an index; an image of another platform for each number
"""
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile

ARCHITECTURES = ("amd64", "arm64", "s390x", "riscv64")


class Layout:
    def __init__(self, folder):
        self.folder = folder
        self.blobs = os.path.join(folder, "blobs", "sha256")
        os.makedirs(self.blobs)

    def put(self, content, media_type):
        digest = hashlib.sha256(content).hexdigest()
        with open(os.path.join(self.blobs, digest), "wb") as file:
            file.write(content)
        return {"mediaType": "application/vnd.oci.image." + media_type, "digest": "sha256:" + digest, "size": len(content)}

    def image(self, architecture, sizes):
        layers, ids = [], []
        for number, size in enumerate(sizes):
            tar = io.BytesIO()
            with tarfile.open(fileobj=tar, mode="w") as archive:
                entry = tarfile.TarInfo(f"file-{number}")
                entry.size = size
                archive.addfile(entry, io.BytesIO(os.urandom(size)))
            ids.append("sha256:" + hashlib.sha256(tar.getvalue()).hexdigest())
            layers.append(self.put(gzip.compress(tar.getvalue(), 1), "layer.v1.tar+gzip"))
        rootfs = {"type": "layers", "diff_ids": ids}
        config = self.put(json.dumps({"architecture": architecture, "os": "linux", "rootfs": rootfs}).encode(), "config.v1+json")
        kind = "application/vnd.oci.image.manifest.v1+json"
        image = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers}
        return self.put(json.dumps(image).encode(), "manifest.v1+json")

    def index(self, sizes):
        images = [
            self.image(name, [size]) | {"platform": {"architecture": name, "os": "linux"}}
            for name, size in zip(ARCHITECTURES, sizes, strict=False)
        ]
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": images}
        return self.put(json.dumps(index).encode(), "index.v1+json")

    def close(self, entry):
        entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
        for name, content in (
            ("index.json", {"schemaVersion": 2, "manifests": [entry]}),
            ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
        ):
            with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
                json.dump(content, file)


def main(arguments):
    several = arguments[0] == "--index"
    folder, *sizes = arguments[several:]
    layout, sizes = Layout(folder), [int(size) for size in sizes]
    layout.close(layout.index(sizes) if several else layout.image("amd64", sizes))


main(sys.argv[1:])
