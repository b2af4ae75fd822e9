"""An issuer of identity tokens over HTTPS on 127.0.0.1, until it is stopped: usage oidc_issuer.py FOLDER.

The folder gets its root (ca.pem), its tokens (main.jwt and feature.jwt as GitHub Actions has them for two branches, pod.jwt
as a cluster has them, forged.jwt by another key under the same kid) and, last, its URL (issuer).
"""

import base64
import datetime
import http.server
import ipaddress
import json
import pathlib
import ssl
import sys
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

folder = pathlib.Path(sys.argv[1])
key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
pages = {}


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def certificates():
    """A root, and a server's certificate for 127.0.0.1 that it signed, with its key."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def certificate(name, public, issuer, signer, authority):
        built = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            built = built.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        return built.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    (folder / "ca.pem").write_bytes(certificate("root", root.public_key(), "root", root, True))
    (folder / "leaf.pem").write_bytes(certificate("issuer", leaf.public_key(), "root", root, False))
    (folder / "leaf.key.pem").write_bytes(
        leaf.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def token(signer, claims):
    message = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "k", "typ": "JWT"}, claims))
    return f"{message}.{encoded(signer.sign(message.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(pages.get(self.path, {})).encode()
        self.send_response(200 if self.path in pages else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


certificates()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder / "leaf.pem", folder / "leaf.key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
url = f"https://127.0.0.1:{server.server_address[1]}"
numbers = key.public_key().public_numbers()
pages["/.well-known/openid-configuration"] = {"issuer": url, "jwks_uri": f"{url}/keys"}
pages["/keys"] = {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k", "n": encoded(numbers.n.to_bytes(256, "big")),
                            "e": encoded(numbers.e.to_bytes(3, "big"))}]}
now = int(time.time())
common = {"iss": url, "iat": now, "nbf": now - 60, "exp": now + 3600}


def github(branch):
    return common | {"aud": "sts.amazonaws.com", "sub": f"repo:acme/app:ref:refs/heads/{branch}", "repository": "acme/app",
                     "repository_id": "1296269", "ref": f"refs/heads/{branch}", "actor": "octocat", "workflow": "release"}


pod = common | {"aud": ["sts.amazonaws.com"], "sub": "system:serviceaccount:shop:web",
                "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "web", "uid": "u"}}}
other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
for name, signer, claims in [("main", key, github("main")), ("feature", key, github("feature")), ("pod", key, pod),
                             ("forged", other, github("main"))]:
    (folder / f"{name}.jwt").write_text(token(signer, claims))
(folder / "issuer").write_text(url)
server.serve_forever()
