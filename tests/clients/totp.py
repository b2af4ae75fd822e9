"""The code that an authenticator shows: usage totp.py SEED STEPS, where STEPS is how many half minutes from now."""

import base64
import hashlib
import hmac
import struct
import sys
import time

seed, later = sys.argv[1], int(sys.argv[2])
key = base64.b32decode(seed + "=" * (-len(seed) % 8))
digest = hmac.new(key, struct.pack(">q", int(time.time()) // 30 + later), hashlib.sha1).digest()
at = digest[-1] & 15
print(f"{(struct.unpack('>I', digest[at:at + 4])[0] & 0x7fffffff) % 1_000_000:06}")
