#!/usr/bin/env python3
"""Makes an OCI layout with one entry.

    layout.py DIR BYTES…            an image; a layer of tar with random content for each number
    layout.py --index DIR BYTES…    an index; an image of another platform for each number
    layout.py --artifact DIR OF     an artifact whose subject is the entry of the layout OF
    layout.py --large DIR BYTES     an image; one layer, a tar of a file of so many bytes that do not compress
"""
import gzip
import hashlib
import io
import json
import os
import subprocess
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
        return self.manifest(architecture, ids, layers)

    def manifest(self, architecture, ids, layers):
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

    def artifact(self, subject):
        config = self.put(b"{}", "") | {"mediaType": "application/vnd.oci.empty.v1+json"}
        layer = self.put(b"signed " + subject["digest"].encode(), "") | {"mediaType": "application/vnd.example.signature.v1"}
        kind = "application/vnd.oci.image.manifest.v1+json"
        artifact = {"schemaVersion": 2, "mediaType": kind, "artifactType": "application/vnd.example.signature", "config": config}
        subject = {name: subject[name] for name in ("mediaType", "digest", "size")}
        return self.put(json.dumps(artifact | {"layers": [layer], "subject": subject}).encode(), "manifest.v1+json")

    def large(self, size):
        path = os.path.join(self.folder, "layer.tar")
        # A stream under a fixed key: fast, the same each time, and nothing makes it smaller.
        stream = ["openssl", "enc", "-aes-128-ctr", "-nosalt", "-K", "5" * 32, "-iv", "0" * 32, "-in", "/dev/zero"]
        with subprocess.Popen(stream, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as made:
            with tarfile.open(path, "w") as archive:
                entry = tarfile.TarInfo("large")
                entry.size = size
                archive.addfile(entry, made.stdout)
            made.kill()
        with open(path, "rb") as file:
            hashed = hashlib.file_digest(file, "sha256").hexdigest()
        layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": f"sha256:{hashed}", "size": os.path.getsize(path)}
        os.rename(path, os.path.join(self.blobs, hashed))
        return self.manifest("amd64", [layer["digest"]], [layer])

    def close(self, entry):
        entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
        for name, content in (
            ("index.json", {"schemaVersion": 2, "manifests": [entry]}),
            ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
        ):
            with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
                json.dump(content, file)


def main(arguments):
    kind = arguments.pop(0) if arguments[0].startswith("--") else "--image"
    folder, *rest = arguments
    layout = Layout(folder)
    if kind == "--artifact":
        with open(os.path.join(rest[0], "index.json"), encoding="utf-8") as file:
            entry = layout.artifact(json.load(file)["manifests"][0])
    else:
        sizes = [int(size) for size in rest]
        entry = {"--image": lambda: layout.image("amd64", sizes), "--index": lambda: layout.index(sizes),
                 "--large": lambda: layout.large(*sizes)}[kind]()
    layout.close(entry)


main(sys.argv[1:])
