#!/usr/bin/env python3
"""Vectors for the sealed formats of docs/formats.md, made and read by other code than the product's.

The streams are Google's Tink (`pip install tink`); HKDF, AES-GCM and AES are `pip install cryptography`; the rest is
written here from docs/formats.md alone.

    envelope.py write FILE   makes the vectors: fixed keys, but Tink chooses the headers, so each run differs
    envelope.py check FILE   verifies vectors, failures included
    envelope.py open FILE    opens a blob sealed by the product, from the root key down: the test
                             `a_sealed_blob_is_handed_to_an_independent_program` writes it where
                             TRANSSHIP_ENVELOPE_OUT says
"""
import hashlib
import io
import json
import struct
import sys
import uuid

import tink
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from tink import proto_keyset_format, secret_key_access, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

CSS, HEADER, TAG = 65536, 40, 16


class Refused(Exception):
    """The bytes are not what was sealed."""


# --- primitives -------------------------------------------------------------------------------------------------


def hkdf(ikm, salt, info):
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(ikm)


def wrap(ikm, salt, info, aad, plain):
    return AESGCM(hkdf(ikm, salt, info)).encrypt(bytes(12), plain, aad)


def unwrap(ikm, salt, info, aad, sealed):
    try:
        return AESGCM(hkdf(ikm, salt, info)).decrypt(bytes(12), sealed, aad)
    except InvalidTag:
        raise Refused("wrap") from None


def lp(text):
    raw = text.encode()
    return struct.pack(">H", len(raw)) + raw


def uid(text):
    return uuid.UUID(text).bytes


def pattern(length):
    return bytes((7 * i + 3) % 251 for i in range(length))


def named(name, length=32):
    return hashlib.sha256(b"transship vector " + name.encode()).digest()[:length]


def named_uid(name):
    return str(uuid.UUID(bytes=named(name, 16), version=4))


# --- part streams: Tink ---------------------------------------------------------------------------------------


def primitive(key):
    params = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingParams(
        ciphertext_segment_size=CSS, derived_key_size=32, hkdf_hash_type=common_pb2.SHA256
    )
    value = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(version=0, key_value=key, params=params)
    keyset = tink_pb2.Keyset(primary_key_id=1)
    entry = keyset.key.add(key_id=1, status=tink_pb2.ENABLED, output_prefix_type=tink_pb2.RAW)
    entry.key_data.type_url = "type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey"
    entry.key_data.value = value.SerializeToString()
    entry.key_data.key_material_type = tink_pb2.KeyData.SYMMETRIC
    handle = proto_keyset_format.parse(keyset.SerializeToString(), secret_key_access.TOKEN)
    return handle.primitive(streaming_aead.StreamingAead)


def part_aad(account, blob, part, css=CSS):
    return f"v1|acct={account}|blob={blob}|css={css}|part={part}".encode()


class KeptOpen(io.BytesIO):
    """Tink closes what it writes to; the bytes are still wanted."""

    def close(self):
        pass


def tink_seal(key, aad, plain):
    out = KeptOpen()
    with primitive(key).new_encrypting_stream(out, aad) as stream:
        stream.write(plain)
    return out.getvalue()


def tink_open(key, aad, sealed):
    try:
        with primitive(key).new_decrypting_stream(io.BytesIO(sealed), aad) as stream:
            return stream.read()
    except (tink.TinkError, OSError, ValueError) as error:
        raise Refused(str(error)) from None


def seal_under(header, key, aad, plain):
    """What Tink makes under this header: from its specification, for Tink lets no one choose the header."""
    cipher = AESGCM(hkdf(key, header[1:33], aad))
    first, rest = plain[: CSS - HEADER - TAG], plain[CSS - HEADER - TAG :]
    pieces = [first] + [rest[i : i + CSS - TAG] for i in range(0, len(rest), CSS - TAG)]
    out = header
    for number, piece in enumerate(pieces):
        last = bytes([number == len(pieces) - 1])
        out += cipher.encrypt(header[33:] + struct.pack(">I", number) + last, piece, b"")
    return out


def cipher_len(plain_len):
    more = max(0, plain_len - (CSS - HEADER - TAG))
    return HEADER + plain_len + TAG * (1 + -(-more // (CSS - TAG)))


# --- blobs: parts and commitment ------------------------------------------------------------------------------


def commitment(key, e):
    sha512 = bytes.fromhex(e.get("sha512", ""))
    canonical = bytes([1, 1]) + e["account"].encode() + uid(e["blob"]) + bytes.fromhex(e["sha256"])
    canonical += bytes([len(sha512)]) + sha512
    canonical += struct.pack(">QII", e["size"], e["css"], len(e["parts"]))
    canonical += b"".join(bytes.fromhex(p["header"]) + struct.pack(">I", p["plain_len"]) for p in e["parts"])
    return hkdf(key, b"", b"transship/commit/v1\0" + hashlib.sha256(canonical).digest())


def open_blob(key, e, obj):
    if commitment(key, e).hex() != e["commit"]:
        raise Refused("commitment")
    if sum(cipher_len(p["plain_len"]) for p in e["parts"]) != len(obj):
        raise Refused("length")
    plain, at = b"", 0
    for number, part in enumerate(e["parts"]):
        sealed = obj[at : at + cipher_len(part["plain_len"])]
        at += len(sealed)
        if sealed[:HEADER].hex() != part["header"]:
            raise Refused("header")
        plain += tink_open(key, part_aad(e["account"], e["blob"], number, e["css"]), sealed)
    if hashlib.sha256(plain).hexdigest() != e["sha256"]:
        raise Refused("digest")
    if "sha512" in e and hashlib.sha512(plain).hexdigest() != e["sha512"]:
        raise Refused("digest")
    return plain


def make_blob(name, lengths, sha512=False):
    key, account, blob = named(f"{name} data key"), "111122223333", named_uid(f"{name} blob")
    plain, at, obj, parts = pattern(sum(lengths)), 0, b"", []
    for number, length in enumerate(lengths):
        sealed = tink_seal(key, part_aad(account, blob, number), plain[at : at + length])
        obj, at = obj + sealed, at + length
        parts.append({"header": sealed[:HEADER].hex(), "plain_len": length})
    e = {"account": account, "blob": blob, "sha256": hashlib.sha256(plain).hexdigest(), "size": len(plain)}
    e |= {"sha512": hashlib.sha512(plain).hexdigest()} if sha512 else {}
    e |= {"css": CSS, "parts": parts}
    e["commit"] = commitment(key, e).hex()
    case = {"name": name, "data_key": key.hex(), "envelope": e, "object_sha256": hashlib.sha256(obj).hexdigest()}
    return case | ({"object": obj.hex()} if len(obj) < 400 else {})


def rebuild(case):
    """The object of a case: the plaintext is the pattern, and the headers determine the rest."""
    key, e, at, obj = bytes.fromhex(case["data_key"]), case["envelope"], 0, b""
    for number, part in enumerate(e["parts"]):
        plain = pattern(e["size"])[at : at + part["plain_len"]]
        aad = part_aad(e["account"], e["blob"], number)
        obj += seal_under(bytes.fromhex(part["header"]), key, aad, plain)
        at += part["plain_len"]
    assert hashlib.sha256(obj).hexdigest() == case["object_sha256"], case["name"]
    assert obj.hex() == case.get("object", obj.hex()), case["name"]
    return obj


def edited(case, edit):
    """The key, envelope and object of a case after an edit."""
    key = bytes.fromhex(edit.get("data_key", case["data_key"]))
    obj = b"".join(rebuild(case)[a:b] for a, b in edit["pieces"]) if "pieces" in edit else rebuild(case)
    if "flip" in edit:
        obj = obj[: edit["flip"]] + bytes([obj[edit["flip"]] ^ 1]) + obj[edit["flip"] + 1 :]
    obj += bytes.fromhex(edit.get("append", ""))
    return key, case["envelope"] | edit.get("envelope", {}), obj


def recommitted(case, edit):
    """An edit by someone who knows the data key and commits anew: then only the segments can refuse."""
    e = case["envelope"] | edit["envelope"]
    commit = commitment(bytes.fromhex(case["data_key"]), e).hex()
    return edit | {"envelope": edit["envelope"] | {"commit": commit}}


def tamperings(many, one):
    size = cipher_len(200_000)
    parts = many["envelope"]["parts"]
    second = cipher_len(parts[0]["plain_len"])
    third = second + cipher_len(parts[1]["plain_len"])
    end = third + cipher_len(parts[2]["plain_len"])
    swapped = {"parts": [parts[1], parts[0], parts[2]]}
    fewer = {"parts": parts[:2], "size": parts[0]["plain_len"] + parts[1]["plain_len"]}
    cut = {"parts": [one["envelope"]["parts"][0] | {"plain_len": 3 * CSS - HEADER - 3 * TAG}], "size": 3 * CSS - HEADER - 3 * TAG}
    cut["sha256"] = hashlib.sha256(pattern(cut["size"])).hexdigest()
    fewer["sha256"] = hashlib.sha256(pattern(fewer["size"])).hexdigest()
    return [
        ("one", "a bit of the ciphertext", {"flip": 70_000}),
        ("one", "a bit of a tag", {"flip": CSS - 1}),
        ("one", "a bit of the salt in the object", {"flip": 5}),
        ("one", "a bit of the nonce prefix in the object", {"flip": 36}),
        ("one", "the header's length byte", {"flip": 0}),
        ("one", "the last segment is missing", {"pieces": [[0, 3 * CSS]]}),
        ("one", "the last segment is missing, committed anew", recommitted(one, {"pieces": [[0, 3 * CSS]], "envelope": cut})),
        ("one", "the last byte is missing", {"pieces": [[0, size - 1]]}),
        ("one", "a byte more at the end", {"append": "00"}),
        ("one", "nothing is left", {"pieces": []}),
        ("one", "two segments change places", {"pieces": [[0, CSS], [2 * CSS, 3 * CSS], [CSS, 2 * CSS], [3 * CSS, size]]}),
        ("one", "a segment twice, another missing", {"pieces": [[0, 2 * CSS], [CSS, 2 * CSS], [3 * CSS, size]]}),
        ("one", "another account", {"envelope": {"account": "444455556666"}}),
        ("one", "another account, committed anew", recommitted(one, {"envelope": {"account": "444455556666"}})),
        ("one", "another blob", {"envelope": {"blob": named_uid("another blob")}}),
        ("one", "another blob, committed anew", recommitted(one, {"envelope": {"blob": named_uid("another blob")}})),
        ("one", "another digest", {"envelope": {"sha256": "00" * 32}}),
        ("one", "a SHA-512 more", {"envelope": {"sha512": hashlib.sha512(pattern(200_000)).hexdigest()}}),
        ("known by its SHA-512", "another SHA-512", {"envelope": {"sha512": "00" * 64}}),
        ("one", "another size", {"envelope": {"size": 200_001}}),
        ("one", "another segment size", {"envelope": {"css": 131_072}}),
        ("one", "another commitment", {"envelope": {"commit": "00" * 32}}),
        ("one", "another data key", {"data_key": named("another data key").hex()}),
        ("many", "two parts change places", {"pieces": [[second, third], [0, second], [third, end]], "envelope": swapped}),
        (
            "many",
            "two parts change places, committed anew",
            recommitted(many, {"pieces": [[second, third], [0, second], [third, end]], "envelope": swapped}),
        ),
        ("many", "the last part is missing", {"pieces": [[0, third]], "envelope": fewer}),
        ("many", "the last part is missing in the object", {"pieces": [[0, third]]}),
    ]


# --- one ciphertext under two keys ----------------------------------------------------------------------------


def gf_mul(x, y):
    z, v = 0, y
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            z ^= v
        v = v >> 1 ^ (0xE1 << 120 if v & 1 else 0)
    return z


def gf_inverse(x):
    result, power = 1 << 127, x  # 1 in GCM's bit order; x^(2^128 - 2)
    for _ in range(127):
        power = gf_mul(power, power)
        result = gf_mul(result, power)
    return result


def aes_block(key, block):
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def ghash(h, blocks):
    y = 0
    for block in blocks:
        y = gf_mul(y ^ block, h)
    return y


def salamander():
    """A part of one segment that opens under two data keys: the last block makes both tags equal."""
    account, blob = "111122223333", named_uid("salamander blob")
    keys = [named("salamander one"), named("salamander two")]
    header = bytes([HEADER]) + named("salamander salt") + named("salamander prefix", 7)
    derived = [hkdf(key, header[1:33], part_aad(account, blob, 0)) for key in keys]
    nonce = header[33:] + struct.pack(">I", 0) + b"\x01"
    stream = [[aes_block(k, nonce + struct.pack(">I", 2 + i)) for i in range(4)] for k in derived]
    wanted = [(0, b"GOOD-IMAGE layer"), (1, b"EVIL-IMAGE layer"), (0, b" one seen by all")]
    xor = lambda a, b: bytes(x ^ y for x, y in zip(a, b))
    blocks = [int.from_bytes(xor(text, stream[who][i]), "big") for i, (who, text) in enumerate(wanted)]
    h = [int.from_bytes(aes_block(k, bytes(16)), "big") for k in derived]
    mask = [int.from_bytes(aes_block(k, nonce + struct.pack(">I", 1)), "big") for k in derived]
    lengths = 4 * 16 * 8
    # ghash is linear: solve for the block that is multiplied by h squared.
    without = [ghash(h[i], blocks + [0, lengths]) ^ mask[i] for i in range(2)]
    factor = gf_mul(h[0], h[0]) ^ gf_mul(h[1], h[1])
    blocks.append(gf_mul(without[0] ^ without[1], gf_inverse(factor)))
    tags = [ghash(h[i], blocks + [lengths]) ^ mask[i] for i in range(2)]
    assert tags[0] == tags[1]
    obj = header + b"".join(b.to_bytes(16, "big") for b in blocks + [tags[0]])
    plains = [tink_open(key, part_aad(account, blob, 0), obj) for key in keys]
    assert plains[0] != plains[1] and plains[0].startswith(b"GOOD") and plains[1][16:].startswith(b"EVIL")
    e = {"account": account, "blob": blob, "sha256": hashlib.sha256(plains[0]).hexdigest(), "size": 64, "css": CSS}
    e["parts"] = [{"header": header.hex(), "plain_len": 64}]
    e["commit"] = commitment(keys[0], e).hex()
    return {
        "data_keys": [key.hex() for key in keys],
        "plains": [plain.hex() for plain in plains],
        "object": obj.hex(),
        "envelope": e,
        "outcomes": ["opens", "refused"],
    }


# --- wraps ----------------------------------------------------------------------------------------------------


def place(label, w):
    info = f"transship/{label}/v1\0".encode() + uid(w["repository_uid"]) + uid(w["blob"])
    aad = lp(w["repository_arn"]) + uid(w["repository_uid"]) + uid(w["blob"]) + bytes.fromhex(w.get("commit", ""))
    return info, aad


def open_wrap(label, w):
    return unwrap(bytes.fromhex(w["branch_key"]), bytes.fromhex(w["salt"]), *place(label, w), bytes.fromhex(w["wrapped"]))


def make_wraps(label):
    w = {
        "branch_key": named(f"{label} branch key").hex(),
        "repository_arn": "arn:aws:ecr:us-east-1:111122223333:repository/team/app",
        "repository_uid": named_uid(f"{label} repository"),
        "blob": named_uid(f"{label} blob"),
        "salt": named(f"{label} salt", 16).hex(),
    }
    if label == "link":
        w["commit"] = named("link commit").hex()
    key = named(f"{label} data key")
    w["wrapped"] = wrap(bytes.fromhex(w["branch_key"]), bytes.fromhex(w["salt"]), *place(label, w), key).hex()
    cases = [w | {"name": f"{label}", "outcome": "opens", "data_key": key.hex()}]
    changes = {
        "branch_key": named("other branch key").hex(),
        "repository_arn": w["repository_arn"] + "s",
        "repository_uid": named_uid("other repository"),
        "blob": named_uid("other blob"),
        "salt": named("other salt", 16).hex(),
        "wrapped": w["wrapped"][:-1] + ("0" if w["wrapped"][-1] != "0" else "1"),
    }
    if label == "link":
        changes["commit"] = named("other commit").hex()
    return cases + [w | {"name": f"{label} with another {k}", "outcome": "refused", k: v} for k, v in changes.items()]


def open_root(root, purpose, aad, sealed):
    if len(sealed) < 33 or sealed[0] != 1:
        raise Refused("root")
    return unwrap(root, sealed[1:17], b"transship/root/v1\0" + purpose.encode(), aad, sealed[17:])


def seal_root(root, purpose, aad, plain, salt):
    return b"\x01" + salt + wrap(root, salt, b"transship/root/v1\0" + purpose.encode(), aad, plain)


def material_aad(arn, version):
    return lp(arn) + struct.pack(">I", version)


def kms_aad(header, context):
    pairs = sorted(context.items(), key=lambda pair: pair[0].encode())
    return header + struct.pack(">H", len(pairs)) + b"".join(lp(k) + lp(v) for k, v in pairs)


def open_kms(root, row, sealed, context):
    if len(sealed) != 38 + 48 or sealed[:2] != b"\x01\x01":
        raise Refused("form")
    if sealed[2:18] != uid(row["arn"].rsplit("/", 1)[1]):
        raise Refused("key")
    version = struct.unpack(">I", sealed[18:22])[0]
    for m in row["materials"]:
        if m["version"] == version:
            aad = material_aad(row["arn"], version)
            material = open_root(root, "kms-material", aad, bytes.fromhex(m["sealed"]))
            aad = kms_aad(sealed[:38], context)
            return unwrap(material, sealed[22:38], b"transship/kms/v1\0", aad, sealed[38:])
    raise Refused("material version")


def make_kms():
    root = named("root key")
    arn = "arn:aws:kms:us-east-1:111122223333:key/" + named_uid("kms key")
    seal = lambda v: seal_root(root, "kms-material", material_aad(arn, v), named(f"material {v}"), named(f"salt {v}", 16))
    row = {"arn": arn, "materials": [{"version": v, "sealed": seal(v).hex()} for v in (1, 2)]}
    context = {"aws:ecr:arn": "arn:aws:ecr:us-east-1:111122223333:repository/team/app"}
    wide = context | {"Z": "capital", "a": "", "é": "two bytes"}
    cases = []
    for version, ctx in ((1, context), (2, wide), (1, {})):
        header = b"\x01\x01" + uid(arn.rsplit("/", 1)[1]) + struct.pack(">I", version) + named(f"kms salt {version}", 16)
        plain = named(f"branch key {version}")
        sealed = header + wrap(named(f"material {version}"), header[22:], b"transship/kms/v1\0", kms_aad(header, ctx), plain)
        case = {"name": f"material {version}, {len(ctx)} pairs", "ciphertext": sealed.hex(), "context": ctx}
        cases.append(case | {"outcome": "opens", "plain": plain.hex()})
    good = bytes.fromhex(cases[0]["ciphertext"])
    bad = lambda name, sealed, ctx, error: cases.append(
        {"name": name, "ciphertext": sealed.hex(), "context": ctx, "outcome": "refused", "kms_error": error}
    )
    flip = lambda at: good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
    bad("another context", good, {"aws:ecr:arn": "x"}, "InvalidCiphertextException")
    bad("a pair more", good, context | {"a": "b"}, "InvalidCiphertextException")
    bad("no context", good, {}, "InvalidCiphertextException")
    bad("another version of the form", flip(0), context, "InvalidCiphertextException")
    bad("another key's id", flip(2), context, "IncorrectKeyException")
    bad("material that is not there", flip(18), context, "InvalidCiphertextException")
    bad("material that is another", good[:21] + b"\x02" + good[22:], context, "InvalidCiphertextException")
    bad("another salt", flip(30), context, "InvalidCiphertextException")
    bad("another tag", flip(85), context, "InvalidCiphertextException")
    bad("a byte less", good[:-1], context, "InvalidCiphertextException")
    bad("nothing", b"", context, "InvalidCiphertextException")
    secret = seal_root(root, "access-key", b"AKIAEXAMPLE", b"wJalrXUtnFEMI", named("secret salt", 16))
    secret = {"purpose": "access-key", "aad": b"AKIAEXAMPLE".hex(), "sealed": secret.hex(), "plain": b"wJalrXUtnFEMI".hex()}
    return {"root_key": root.hex(), "row": row, "cases": cases, "secret": secret}


# --- the three modes ------------------------------------------------------------------------------------------


def write(path):
    first, following = CSS - HEADER - TAG, CSS - TAG
    lengths = [0, 1, first - 1, first, first + 1, first + following, first + following + 1, 5 * following + 17, 20 * following + 5]
    blobs = [make_blob(f"length {n}", [n]) for n in lengths]
    blobs.append(make_blob("one", [200_000]))
    blobs.append(make_blob("many", [70_000, 70_000, 33]))
    blobs.append(make_blob("small parts", [1, 0, 20]))
    blobs.append(make_blob("known by its SHA-512", [70_000, 1], sha512=True))
    by_name = {case["name"]: case for case in blobs}
    cases = tamperings(by_name["many"], by_name["one"])
    vectors = {
        "about": "see tests/vectors/envelope.py and docs/formats.md; byte i of every plaintext is (7 i + 3) mod 251",
        "blobs": blobs,
        "tampered": [{"name": n, "blob": b, "edit": e, "outcome": "refused"} for b, n, e in cases],
        "salamander": salamander(),
        "links": make_wraps("link"),
        "uploads": make_wraps("upload"),
        "kms": make_kms(),
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(vectors, file, indent=1, ensure_ascii=False)
        file.write("\n")
    check(path)


def outcome(function, *arguments):
    try:
        return "opens", function(*arguments)
    except Refused:
        return "refused", None


def check(path):
    with open(path, encoding="utf-8") as file:
        v = json.load(file)
    by_name = {case["name"]: case for case in v["blobs"]}
    for case in v["blobs"]:
        plain = open_blob(bytes.fromhex(case["data_key"]), case["envelope"], rebuild(case))
        assert plain == pattern(case["envelope"]["size"]), case["name"]
    for case in v["tampered"]:
        got = outcome(open_blob, *edited(by_name[case["blob"]], case["edit"]))[0]
        assert got == case["outcome"], case["name"]
    s = v["salamander"]
    for key, plain, expected in zip(s["data_keys"], s["plains"], s["outcomes"]):
        key, obj, e = bytes.fromhex(key), bytes.fromhex(s["object"]), s["envelope"]
        assert tink_open(key, part_aad(e["account"], e["blob"], 0), obj).hex() == plain
        assert outcome(open_blob, key, e, obj)[0] == expected
    for label in ("link", "upload"):
        for case in v[label + "s"]:
            got, key = outcome(open_wrap, label, case)
            assert got == case["outcome"] and (key is None or key.hex() == case["data_key"]), case["name"]
    k = v["kms"]
    for case in k["cases"]:
        sealed = bytes.fromhex(case["ciphertext"])
        got, plain = outcome(open_kms, bytes.fromhex(k["root_key"]), k["row"], sealed, case["context"])
        assert got == case["outcome"] and (plain is None or plain.hex() == case["plain"]), case["name"]
    secret = {name: value if name == "purpose" else bytes.fromhex(value) for name, value in k["secret"].items()}
    opened = open_root(bytes.fromhex(k["root_key"]), secret["purpose"], secret["aad"], secret["sealed"])
    assert opened == secret["plain"]
    count = [len(x) for x in (v["blobs"], v["tampered"], v["links"], v["uploads"], k["cases"])]
    print("checked: {} blobs, {} tamperings, 1 salamander, {} links, {} uploads, {} KMS ciphertexts".format(*count))


def parts_table(table):
    rows = [table[i : i + 44] for i in range(0, len(table), 44)]
    return [{"header": row[:40].hex(), "plain_len": struct.unpack(">I", row[40:])[0]} for row in rows]


def open_product(path):
    with open(path, encoding="utf-8") as file:
        v = json.load(file)
    root, repository = bytes.fromhex(v["root_key"]), v["repository"]
    context = {"aws:ecr:arn": repository["repository_arn"]}
    branch = open_kms(root, v["kms_key"], bytes.fromhex(v["wrapped_branch_key"]), context)
    place_of = repository | {"branch_key": branch.hex()}
    e = v["envelope"] | {"parts": parts_table(bytes.fromhex(v["envelope"]["parts"]))}
    key = open_wrap("link", place_of | v["link"] | {"blob": e["blob"], "commit": e["commit"]})
    assert open_wrap("upload", place_of | v["upload"] | {"blob": e["blob"]}) == key
    assert key.hex() == v["data_key"]
    plain = open_blob(key, e, bytes.fromhex(v["object"]))
    assert plain == pattern(e["size"])
    assert open_root(root, "access-key", b"AKIAEXAMPLE", bytes.fromhex(v["secret"])) == b"wJalrXUtnFEMI"
    print(f"opened: {e['size']} bytes in {len(e['parts'])} parts from the root key down, sha256:{e['sha256']}")


if __name__ == "__main__":
    streaming_aead.register()
    modes_by_name = {"write": write, "check": check, "open": open_product}
    if len(sys.argv) != 3 or sys.argv[1] not in modes_by_name:
        sys.exit(__doc__)
    modes_by_name[sys.argv[1]](sys.argv[2])
