"""A second implementation of docs/protocol.md, which writes the vectors beside it.

It shares no code with Felund, so that code and vectors cannot be the same mistake; felund-core's tests read
what it writes. Run by hand when the protocol changes:

    python3 -m venv /tmp/v && /tmp/v/bin/pip install cryptography argon2-cffi
    /tmp/v/bin/python docs/vectors/generate.py
"""

import base64
import hashlib
import hmac
import json
import pathlib
import zlib

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HERE = pathlib.Path(__file__).parent


def write(name, value):
    (HERE / f"{name}.json").write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def sha256(data):
    return hashlib.sha256(data).digest()


def hkdf(ikm, info, length, salt=b""):
    prk = hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest()
    out, block = b"", b""
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([len(out) // 32 + 1]), hashlib.sha256).digest()
        out += block
    return out[:length]


def argon2id(passphrase, salt):
    return hash_secret_raw(passphrase.encode(), salt, 2, 19 * 1024, 1, 32, Type.ID, 19)


def b64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def cbor(value):
    """Deterministic CBOR (RFC 8949 §4.2.1) of the few types the protocol uses."""

    def head(major, n):
        for size, code in ((1, 24), (2, 25), (4, 26), (8, 27)):
            if n < 24:
                return bytes([major << 5 | n])
            if n < 1 << 8 * size:
                return bytes([major << 5 | code]) + n.to_bytes(size, "big")

    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    return head(4, len(value)) + b"".join(map(cbor, value))


def public(key):
    return key.public_key().public_bytes_raw()


# --- keys -------------------------------------------------------------------------------------------------

SECRET = bytes(range(32))
SEED = bytes(range(0x40, 0x60))
NODE_KEY = Ed25519PrivateKey.from_private_bytes(SEED)
NODE = public(NODE_KEY)
OTHER_SEED = bytes(range(0x60, 0x80))
OTHER = public(Ed25519PrivateKey.from_private_bytes(OTHER_SEED))

CIRCLE = hkdf(SECRET, b"felund-circle-id-v2", 16)
API_KEY = hmac.new(SECRET, b"api-v1", hashlib.sha256).digest()
HINT = sha256(API_KEY)
EPOCH_0 = hkdf(SECRET, b"felund-msg-v1", 32)
GENERAL = hkdf(SECRET, b"felund-general-v2", 16)
CONTROL = hkdf(SECRET, b"felund-control-v2", 16)


def sender_key(key, author):
    return hkdf(key, b"felund-sender-v2", 32, salt=author)


def channel_id(creator, nonce):
    return sha256(b"felund-channel-id-v2" + creator + nonce)[:16]


def passphrase_key(epoch_key, passphrase, channel):
    return hkdf(epoch_key + argon2id(passphrase, channel), b"felund-channel-v2", 32)


def check_value(key):
    return hkdf(key, b"felund-channel-check-v2", 16)


def wrap_private(seed):
    return X25519PrivateKey.from_private_bytes(hkdf(seed, b"felund-wrap-v2", 32))


def safety_number(a, b):
    def half(node):
        digest = b"felund-safety-v2" + node
        for _ in range(5200):
            digest = hashlib.sha512(digest + node).digest()
        return [f"{int.from_bytes(digest[i:i + 5], 'big') % 100_000:05}" for i in range(0, 30, 5)]

    return " ".join(half(min(a, b)) + half(max(a, b)))


CHANNEL_NONCE = bytes(range(0xA0, 0xB0))
CHANNEL = channel_id(NODE, CHANNEL_NONCE)
PASSPHRASE = "correct horse"
CHANNEL_KEY = passphrase_key(EPOCH_0, PASSPHRASE, CHANNEL)

write("keys", {
    "circle_secret": SECRET.hex(),
    "circle_id": CIRCLE.hex(),
    "api_signing_key": API_KEY.hex(),
    "circle_hint": HINT.hex(),
    "epoch_0_key": EPOCH_0.hex(),
    "general_channel_id": GENERAL.hex(),
    "control_channel_id": CONTROL.hex(),
    "node_seed": SEED.hex(),
    "node_id": NODE.hex(),
    "wrap_public": public(wrap_private(SEED)).hex(),
    "sender_key": sender_key(EPOCH_0, NODE).hex(),
    "channel": {
        "nonce": CHANNEL_NONCE.hex(),
        "channel_id": CHANNEL.hex(),
        "passphrase": PASSPHRASE,
        "argon2id": argon2id(PASSPHRASE, CHANNEL).hex(),
        "key": CHANNEL_KEY.hex(),
        "check": check_value(CHANNEL_KEY).hex(),
    },
    "other_seed": OTHER_SEED.hex(),
    "other_node_id": OTHER.hex(),
    "safety_number": safety_number(NODE, OTHER),
})


# --- padding ----------------------------------------------------------------------------------------------

def bucket(n):
    if n < 2:
        return n
    exponent = n.bit_length() - 1
    significant = exponent.bit_length()
    mask = (1 << (exponent - significant)) - 1
    return (n + mask) & ~mask


def pad(body):
    return (body + b"\x80").ljust(bucket(len(body) + 1), b"\0")


lengths = [0, 1, 2, 7, 8, 9, 15, 16, 31, 32, 63, 64, 99, 127, 128, 199, 255, 256, 999, 1000, 1023, 1024, 4095,
           4096, 10_000, 16_384, 60_000]
write("padding", [{"body_len": n, "padded_len": bucket(n + 1)} for n in lengths])


# --- envelopes --------------------------------------------------------------------------------------------

def envelope(name, channel, ts, kind, body, key, deflate=False, seed=SEED):
    signer = Ed25519PrivateKey.from_private_bytes(seed)
    author = public(signer)
    msg_id, iv = sha256(name.encode())[:16], sha256(b"iv" + name.encode())[:12]
    compression, plain = "none", body
    if deflate:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        compression, plain = "deflate", packer.compress(body) + packer.flush()
    padded = pad(plain)
    headers = [2, msg_id, CIRCLE, channel, author, ts, kind, "epoch-0", compression]
    aad = cbor(headers)
    enc = AESGCM(sender_key(key, author)).encrypt(iv, padded, aad)
    signed = b"felund-envelope-v2" + sha256(aad) + iv + sha256(enc)
    sig = signer.sign(signed)
    names = ["v", "msg_id", "circle_id", "channel_id", "author_node_id", "created_ts", "type", "key_id", "compression"]
    text = {n: h.hex() if isinstance(h, bytes) else h for n, h in zip(names, headers)}
    return {
        "name": name,
        "author_seed": seed.hex(),
        "message_key": key.hex(),
        "body": body.hex(),
        "padded_plaintext": padded.hex(),
        "aad": aad.hex(),
        "signed_bytes": signed.hex(),
        "cbor": cbor(headers + [iv, enc, sig]).hex(),
        "json": text | {"iv": b64(iv), "enc": b64(enc), "sig": b64(sig)},
    }


TS = 1_771_930_320_123
ENVELOPES = [
    envelope("chat", GENERAL, TS, "chat.text", cbor(["seed swap on saturday? 🌱"]), EPOCH_0),
    envelope("hello", CONTROL, TS + 1, "member.hello",
             cbor(["alice", public(wrap_private(SEED)), [False, False, True]]), EPOCH_0),
    envelope("passphrase channel", CHANNEL, TS + 2, "chat.text", cbor(["only for those who know"]), CHANNEL_KEY),
    envelope("compressed", GENERAL, TS + 3, "chat.text", cbor(["ha" * 300]), EPOCH_0, deflate=True),
    envelope("unknown type", GENERAL, 2**40, "poll.create", cbor([["tea", "coffee"]]), EPOCH_0, seed=OTHER_SEED),
]
write("envelopes", ENVELOPES)


# --- event bodies -----------------------------------------------------------------------------------------

# --- HPKE (RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM) ---------------------

def hpke_seal(recipient, info, plaintext, ephemeral):
    def extract(suite, salt, label, ikm):
        return hmac.new(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, hashlib.sha256).digest()

    def expand(suite, prk, label, info, length):
        labeled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
        return hmac.new(prk, labeled + b"\x01", hashlib.sha256).digest()[:length]

    kem, suite = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x02"
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    encapped = public(ephemeral)
    secret = expand(kem, extract(kem, b"", b"eae_prk", shared), b"shared_secret", encapped + recipient, 32)
    context = b"\0" + extract(suite, b"", b"psk_id_hash", b"") + extract(suite, b"", b"info_hash", info)
    prk = extract(suite, secret, b"secret", b"")
    key, nonce = expand(suite, prk, b"key", context, 32), expand(suite, prk, b"base_nonce", context, 12)
    return encapped + AESGCM(key).encrypt(nonce, plaintext, b"")


WRAP_CONTEXT = b"felund-channel-wrap-v2" + CIRCLE + CHANNEL + OTHER
INVITE_CHANNEL_KEY = bytes(range(0xC0, 0xE0))
EPHEMERAL = X25519PrivateKey.from_private_bytes(bytes(range(0xE0, 0x100)))
WRAPPED = hpke_seal(public(wrap_private(OTHER_SEED)), WRAP_CONTEXT, INVITE_CHANNEL_KEY, EPHEMERAL)

write("channel-wrap", {
    "circle_id": CIRCLE.hex(),
    "channel_id": CHANNEL.hex(),
    "recipient_seed": OTHER_SEED.hex(),
    "recipient_node_id": OTHER.hex(),
    "recipient_wrap_public": public(wrap_private(OTHER_SEED)).hex(),
    "ephemeral_private": bytes(range(0xE0, 0x100)).hex(),
    "context": WRAP_CONTEXT.hex(),
    "channel_key": INVITE_CHANNEL_KEY.hex(),
    "wrapped": WRAPPED.hex(),
})

BODIES = [
    ("chat.text", ["hey everyone"], {"text": "hey everyone"}),
    ("circle.name", ["garden club"], {"name": "garden club"}),
    ("member.hello", ["alice", public(wrap_private(SEED)), [True, False, True]], {
        "name": "alice", "wrap_key": public(wrap_private(SEED)).hex(),
        "can_anchor": True, "public_reachable": False, "is_mobile": True}),
    ("channel.create", [CHANNEL_NONCE, "seeds", 0], {"nonce": CHANNEL_NONCE.hex(), "name": "seeds", "access": "public"}),
    ("channel.create", [CHANNEL_NONCE, "seeds", 1, check_value(CHANNEL_KEY)], {
        "nonce": CHANNEL_NONCE.hex(), "name": "seeds", "access": "key", "check": check_value(CHANNEL_KEY).hex()}),
    ("channel.create", [CHANNEL_NONCE, "seeds", 2], {"nonce": CHANNEL_NONCE.hex(), "name": "seeds", "access": "invite"}),
    ("channel.join", [CHANNEL], {"channel_id": CHANNEL.hex()}),
    ("channel.leave", [CHANNEL], {"channel_id": CHANNEL.hex()}),
    ("channel.request", [CHANNEL], {"channel_id": CHANNEL.hex()}),
    ("channel.approve", [CHANNEL, OTHER, WRAPPED], {
        "channel_id": CHANNEL.hex(), "member": OTHER.hex(), "wrapped": WRAPPED.hex()}),
    ("channel.rename", [CHANNEL, "bulbs"], {"channel_id": CHANNEL.hex(), "name": "bulbs"}),
]
write("bodies", [{"type": t, "cbor": cbor(body).hex(), "means": means} for t, body, means in BODIES])


# --- invites ----------------------------------------------------------------------------------------------

def invite(relay, peers, name):
    body = cbor([2, SECRET, relay, peers, name])
    return {"relay": relay, "peers": peers, "name": name, "cbor": body.hex(),
            "code": "felund1." + b64(body + sha256(body)[:4])}


def earlier(peer, secret, encode):
    text = json.dumps({"v": 1, "secret": secret, "peer": peer}).encode()
    return {"json": text.decode(), "code": "felund1." + encode(text)}


write("invites", {
    "circle_secret": SECRET.hex(),
    "current": [
        invite("https://chat.example", [], "garden club"),
        invite(None, ["192.0.2.1:4700", "[2001:db8::1]:4700"], None),
        invite("http://127.0.0.1:8080", ["192.0.2.1:4700"], "gärtner 🌱"),
    ],
    "earlier": [
        earlier("192.0.2.9:9999", SECRET.hex(), b64) | {"peers": ["192.0.2.9:9999"], "relay": None},
        earlier("https://r.example", b64(SECRET), lambda t: base64.b64encode(t).decode())
        | {"peers": [], "relay": "https://r.example"},
    ],
    "refused": [
        {"text": "hello", "why": "not an invite"},
        {"text": "felund1." + b64(cbor([2, SECRET, None, [], None]) + b"\0\0\0\0"), "why": "damaged"},
        {"text": (lambda body: "felund1." + b64(body + sha256(body)[:4]))(cbor([3, SECRET, None, [], None])),
         "why": "unsupported version"},
        {"text": (lambda body: "felund1." + b64(body + sha256(body)[:4]))(cbor([2, SECRET, "ftp://x", [], None])),
         "why": "bad relay"},
    ],
})


# --- request signing --------------------------------------------------------------------------------------

def request(method, path, query, body, ts, nonce):
    target = path
    if query:
        target += "?" + "&".join(sorted(query.split("&"), key=lambda pair: pair.split("=")[0]))
    canonical = "\n".join([method, target, sha256(body).hex(), str(ts), nonce, NODE.hex()])
    return {
        "method": method, "path": path, "query": query, "body": body.decode(), "ts": ts, "nonce": nonce,
        "canonical": canonical,
        "headers": {
            "x-felund-node": NODE.hex(),
            "x-felund-circle": HINT.hex(),
            "x-felund-ts": str(ts),
            "x-felund-nonce": nonce,
            "x-felund-signature": hmac.new(API_KEY, canonical.encode(), hashlib.sha256).hexdigest(),
            "x-felund-node-signature": NODE_KEY.sign(canonical.encode()).hex(),
        },
    }


write("signing", {
    "api_signing_key": API_KEY.hex(),
    "node_seed": SEED.hex(),
    "requests": [
        request("GET", "/v1/messages", "limit=50&after=00000000000000ff", b"", 1_771_930_320, "00" * 16),
        request("GET", "/v1/peers", None, b"", 1_771_930_321, "0123456789abcdef" * 2),
        request("POST", "/v1/messages", None, b'{"messages":[]}', 1_771_930_322, "ff" * 16),
    ],
})


# --- WebSocket frames -------------------------------------------------------------------------------------

ENVELOPE = bytes.fromhex(ENVELOPES[0]["cbor"])
PEER = [OTHER, ["192.0.2.1:4700"], [False, True, False], 1_771_930_300]
FRAMES = {
    "client": [
        ("attach", [0, ["token-abc", 255]]),
        ("post", [1, [HINT, 7, [ENVELOPE]]]),
        ("ephemeral", [2, [HINT, ENVELOPE]]),
        ("signal", [3, [HINT, ["session-1", OTHER, 0, b"sealed", 60]]]),
        ("detach", [4, [HINT]]),
        ("ping", [5, [42]]),
    ],
    "server": [
        ("attached", [0, [HINT, [PEER], 1_771_930_320]]),
        ("live", [1, [HINT, 256, ENVELOPE]]),
        ("caught_up", [2, [HINT, 256]]),
        ("stored", [3, [HINT, 7, [[sha256(b"chat")[:16], 256]]]]),
        ("presence", [4, [HINT, PEER, True]]),
        ("ephemeral", [5, [HINT, ENVELOPE]]),
        ("signal", [6, [HINT, [1, "session-1", OTHER, 2, b"sealed", 1_771_930_380]]]),
        ("refused", [7, [HINT, 7, "RATE_LIMITED", "slow down", True, 1500]]),
        ("refused without circle", [7, [None, None, "BAD_REQUEST", "malformed frame", False, 0]]),
        ("pong", [8, [42]]),
    ],
}
write("frames", {side: [{"name": n, "cbor": cbor(f).hex()} for n, f in frames] for side, frames in FRAMES.items()})


# --- local storage ----------------------------------------------------------------------------------------

STORE_KEY = hkdf(SEED, b"felund-store-v2", 32)
SALT = bytes(range(0x10, 0x20))


def seal_record(key, label, value):
    iv = sha256(b"iv" + label.encode())[:12]
    return iv + AESGCM(key).encrypt(iv, value, label.encode())


RECORD = f"circle/{CIRCLE.hex()}"
VALUE = cbor([SECRET, "https://chat.example", [], "garden club", 1000, 30])
write("storage", {
    "node_seed": SEED.hex(),
    "store_key": STORE_KEY.hex(),
    "record": RECORD,
    "value": VALUE.hex(),
    "sealed": seal_record(STORE_KEY, RECORD, VALUE).hex(),
    "passphrase": PASSPHRASE,
    "salt": SALT.hex(),
    "passphrase_key": argon2id(PASSPHRASE, SALT).hex(),
    "sealed_seed": seal_record(argon2id(PASSPHRASE, SALT), "identity", SEED).hex(),
    "identity_plain": cbor([0, [SEED]]).hex(),
    "identity_locked": cbor([1, [SALT, seal_record(argon2id(PASSPHRASE, SALT), "identity", SEED)]]).hex(),
})
