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
import math
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
    ("ANCHOR_ANNOUNCE", [[True, True, False], 20, ["192.0.2.1:4700"], min(NODE, OTHER)[:8],
                         b"".join(sorted([NODE[:8], OTHER[:8]])), OTHER[:8]], {
        "can_anchor": True, "public_reachable": True, "is_mobile": False, "uptime": 20,
        "endpoints": ["192.0.2.1:4700"], "present": [min(NODE, OTHER).hex()], "serves": [NODE.hex(), OTHER.hex()],
        "elected": OTHER.hex()}),
    ("receipt", [[sha256(b"chat")[:16], sha256(b"reply")[:16]], NODE[:8] + OTHER[:8]], {
        "ids": [sha256(b"chat")[:16].hex(), sha256(b"reply")[:16].hex()], "authors": [NODE.hex(), OTHER.hex()]}),
    # As earlier versions write it: of whom is not said.
    ("receipt", [[sha256(b"chat")[:16]]], {"ids": [sha256(b"chat")[:16].hex()], "authors": [bytes(32).hex()],
        "earlier": True}),
]
# Names that are refused: one hides the direction of what follows, the others show nothing.
BODIES += [("circle.name", [name], None) for name in ("\u061cab", "a\u202eb", "\u2800", "\u3164\u00ad")]
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
    pairs = [pair for pair in (query or "").split("&") if pair]
    if pairs:
        target += "?" + "&".join(sorted(pairs, key=lambda pair: pair.split("=")[0]))
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


def ticket(ts, nonce):
    signed = request("GET", "/v1/relay/ws", None, b"", ts, nonce)
    headers = signed["headers"]
    mac, signature = (headers[name] for name in ("x-felund-signature", "x-felund-node-signature"))
    parts = [NODE, HINT, ts.to_bytes(8, "big"), *map(bytes.fromhex, (nonce, mac, signature))]
    return {"ts": ts, "nonce": nonce, "canonical": signed["canonical"], "ticket": b64(b"".join(parts))}


write("signing", {
    "api_signing_key": API_KEY.hex(),
    "node_seed": SEED.hex(),
    "requests": [
        request("GET", "/v1/messages", "limit=50&after=00000000000000ff", b"", 1_771_930_320, "00" * 16),
        request("GET", "/v1/peers", None, b"", 1_771_930_321, "0123456789abcdef" * 2),
        request("POST", "/v1/messages", None, b'{"messages":[]}', 1_771_930_322, "ff" * 16),
        request("GET", "/v1/messages", "&limit=50&&after=00000000000000ff&", b"", 1_771_930_324, "11" * 16),
        request("GET", "/v1/peers", "&", b"", 1_771_930_325, "22" * 16),
    ],
    "ticket": ticket(1_771_930_323, "00112233445566778899aabbccddeeff"),
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


# --- sessions ---------------------------------------------------------------------------------------------


def hmac256(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def length(data):
    return len(data).to_bytes(8, "big") + data


def drawn(label, n):
    """What a side draws: a hash of its name, so that this file can be made again."""
    return b"".join(sha256(f"{label} {i}".encode()) for i in range(n // 32 + 1))[:n]


def circle_id(secret):
    return hkdf(secret, b"felund-circle-id-v2", 16)


def session_tag(secret, role, nonces):
    return hmac256(hkdf(secret, b"felund-session-tag-v1", 32), role + nonces)[:8]


def offer(draw, tags, at_least):
    """HELLO or CHALLENGE; the random bytes are taken in the order private key, nonce, filling tags."""
    count = -(-max(len(tags), at_least, 1) // 4) * 4
    fill = [draw[64 + 8 * i:72 + 8 * i] for i in range(count - len(tags))]
    private = X25519PrivateKey.from_private_bytes(draw[:32])
    return private, cbor([1, draw[32:64], public(private), b"".join(sorted(tags + fill))])


def direction(key, counter, plain):
    return AESGCM(key).encrypt(counter.to_bytes(12, "big"), plain, b"")


NAMES = ("both 1", "both 2", "initiator only", "responder only")
SECRETS = {name: sha256(b"circle " + name.encode()) for name in NAMES}
INITIATOR, RESPONDER = ["both 1", "initiator only", "both 2"], ["responder only", "both 2", "both 1"]
SHARED = sorted(circle_id(SECRETS[name]) for name in ("both 1", "both 2"))
IN_ORDER = sorted((SECRETS[name] for name in ("both 1", "both 2")), key=circle_id)
DRAW_I, DRAW_R = drawn("initiator", 256), drawn("responder", 256)
NONCE_I, NONCE_R = DRAW_I[32:64], DRAW_R[32:64]
EPHEMERAL_I, HELLO = offer(DRAW_I, [session_tag(SECRETS[n], b"initiator", NONCE_I) for n in INITIATOR], 0)
EPHEMERAL_R, CHALLENGE = offer(DRAW_R, [session_tag(s, b"responder", NONCE_I + NONCE_R) for s in IN_ORDER], 4)


def handshake(binding):
    z = EPHEMERAL_I.exchange(EPHEMERAL_R.public_key())
    session = hkdf(IN_ORDER[0] + z, b"felund-session-v1", 32, NONCE_I + NONCE_R)
    to_responder = hkdf(session, b"felund-session-to-responder-v1", 32)
    to_initiator = hkdf(session, b"felund-session-to-initiator-v1", 32)
    transcript = sha256(length(HELLO) + length(CHALLENGE) + length(binding))

    def auth(role, seed):
        key = Ed25519PrivateKey.from_private_bytes(seed)
        said = b"felund-session-auth-v1" + role + transcript + public(key)
        parts = [public(key), key.sign(said), b"".join(hmac256(s, said) for s in IN_ORDER)]
        return cbor(parts + [sha256(binding)] if binding else parts)

    a, b = auth(b"initiator", SEED), auth(b"responder", OTHER_SEED)
    large = bytes(16_368)
    return {
        "binding": binding.hex(),
        "hello": HELLO.hex(),
        "challenge": CHALLENGE.hex(),
        "shared_secret": z.hex(),
        "session_key": session.hex(),
        "to_responder": to_responder.hex(),
        "to_initiator": to_initiator.hex(),
        "salt": hkdf(session, b"felund-session-salt-v1", 16).hex(),
        "transcript": transcript.hex(),
        "auth_initiator": a.hex(),
        "auth_responder": b.hex(),
        "hello_auth": direction(to_responder, 0, a).hex(),
        "welcome": direction(to_initiator, 0, b).hex(),
        "records": [
            {
                "from": "initiator",
                "frame": cbor([6, []]).hex(),
                "records": [direction(to_responder, 1, b"\0" + cbor([6, []])).hex()],
            },
            {
                "from": "responder",
                "frame": cbor([7, []]).hex(),
                "records": [direction(to_initiator, 1, b"\0" + cbor([7, []])).hex()],
            },
            {"from": "initiator", "frame": "", "records": [direction(to_responder, 2, b"\0").hex()]},
        ],
        "zeros": {
            "from": "responder",
            "length": len(large),
            "records_sha256": [
                sha256(direction(to_initiator, 2, b"\1" + large[:16_367])).hex(),
                sha256(direction(to_initiator, 3, b"\0" + large[16_367:])).hex(),
            ],
        },
    }


# --- local networks ---------------------------------------------------------------------------------------


def lan_tag(secret, salt, hour):
    return hmac256(hkdf(secret, b"felund-lan-tag-v1", 32), salt + hour.to_bytes(8, "big"))[:8]


def announcement(secrets, hour, draw):
    """The random bytes are taken in the order instance, salt, filling tags."""
    salt, count = draw[8:24], -(-max(len(secrets), 1) // 4) * 4
    fill = [draw[24 + 8 * i:32 + 8 * i] for i in range(count - len(secrets))]
    tags = b"".join(sorted([lan_tag(s, salt, hour) for s in secrets] + fill))
    chunks = [tags[at:at + 128] for at in range(0, len(tags), 128)]
    return {
        "circles": [s.hex() for s in secrets],
        "random": draw.hex(),
        "instance": draw[:8].hex(),
        "properties": {"v": b"1".hex(), "s": salt.hex()} | {f"t{n}": chunk.hex() for n, chunk in enumerate(chunks)},
    }


LAN_MS = 1_771_930_300_000
LAN_HOUR = LAN_MS // 3_600_000
write("lan", {
    "unix_ms": LAN_MS,
    "hour": LAN_HOUR,
    "tags": [
        {"circle": SECRETS[n].hex(), "salt": drawn("lan salt", 16).hex(), "hour": hour,
         "tag": lan_tag(SECRETS[n], drawn("lan salt", 16), hour).hex()}
        for n in NAMES[:2] for hour in (LAN_HOUR, LAN_HOUR + 1)
    ],
    "announcements": [
        announcement([SECRETS[n] for n in NAMES[:2]], LAN_HOUR, drawn("lan", 64)),
        announcement([sha256(b"lan circle %d" % n) for n in range(18)], LAN_HOUR, drawn("lan many", 64)),
    ],
})


WINDOW = [1_771_930_300_000, [[CHANNEL, 1_771_930_310_000]]]
PEER_FRAMES = [
    ("peers", [0, [0, [[OTHER, ["192.0.2.1:4700", "[2001:db8::1]:4700"]]]]]),
    ("peers_observed", [0, [1, [], "203.0.113.7"]]),
    ("summary", [1, [1, [0, [3, bytes(range(16)), WINDOW]]]]),
    ("same", [1, [0, [1, []]]]),
    ("symbols", [1, [0, [2, [3, 24, bytes(range(13)), [0, []]]]]]),
    ("more", [1, [0, [3, [48]]]]),
    ("msgs_req", [2, [0, bytes(range(16))]]),
    ("msgs_send", [3, [0, [ENVELOPE], True]]),
    ("msg_new", [4, [0, ENVELOPE]]),
    ("confirm", [5, [0, [sha256(b"chat")[:16], sha256(b"reply")[:16]], NODE[:8] + OTHER[:8]]]),
    # As earlier versions write it: of whom is not said.
    ("confirm_unsaid", [5, [0, [sha256(b"chat")[:16]]]]),
    ("ping", [6, []]),
    ("pong", [7, []]),
    ("ephemeral", [8, [0, ENVELOPE]]),
    ("signal", [16, [0, OTHER, bytes(range(48))]]),
]
write("sessions", {
    "initiator": {"seed": SEED.hex(), "circles": [SECRETS[n].hex() for n in INITIATOR], "random": DRAW_I.hex()},
    "responder": {"seed": OTHER_SEED.hex(), "circles": [SECRETS[n].hex() for n in RESPONDER], "random": DRAW_R.hex()},
    "shared": [c.hex() for c in SHARED],
    "handshakes": [handshake(b""), handshake(drawn("certificates", 64))],
    "frames": [{"name": n, "cbor": cbor(f).hex()} for n, f in PEER_FRAMES],
})


# --- signals ----------------------------------------------------------------------------------------------

SDP = "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=fingerprint:sha-256 " + ":".join(["A7"] * 32) + "\r\n"
SIGNALS = [
    ("knock", [0, [True]]),
    ("offer", [1, [0, SDP]]),
    ("answer", [2, [3, SDP]]),
    ("candidates", [3, [0, ["candidate:1 1 udp 2130706431 192.0.2.1 9 typ host"]]]),
    ("bye", [4, []]),
]


def signal(name, signal, sent_at):
    signer = Ed25519PrivateKey.from_private_bytes(SEED)
    letter = cbor([0, sha256(name.encode())[:16], sent_at, signal])
    domain = b"felund-signal-v1" + CIRCLE
    plain = pad(cbor([public(signer), signer.sign(domain + public(signer) + OTHER + letter), letter]))
    draw = drawn(f"signal {name}", 32)
    # How an implementation makes its ephemeral key is its own affair: these vectors are to be opened.
    ephemeral = X25519PrivateKey.from_private_bytes(draw)
    payload = hpke_seal(public(wrap_private(OTHER_SEED)), domain + OTHER, plain, ephemeral)
    return {"name": name, "session": sha256(name.encode())[:16].hex(), "sent_at": sent_at, "letter": letter.hex(),
            "payload": payload.hex()}


write("signals", {
    "circle_id": CIRCLE.hex(),
    "from_seed": SEED.hex(),
    "to_seed": OTHER_SEED.hex(),
    "sdp": SDP,
    "fingerprint": "a7" * 32,
    "signals": [signal(name, body, 1_771_930_320_000 + i) for i, (name, body) in enumerate(SIGNALS)],
})


# --- anti-entropy -----------------------------------------------------------------------------------------

M64 = (1 << 64) - 1


def siphash13_128(key, data):
    def rotate(x, n):
        return (x << n | x >> 64 - n) & M64

    def rounds(v, n):
        a, b, c, d = v
        for _ in range(n):
            a, c = (a + b) & M64, (c + d) & M64
            b, d = rotate(b, 13) ^ a, rotate(d, 16) ^ c
            a = (rotate(a, 32) + d) & M64
            c = (c + b) & M64
            b, d = rotate(b, 17) ^ c, rotate(d, 21) ^ a
            c = rotate(c, 32)
        return a, b, c, d

    k0, k1 = (int.from_bytes(key[i:i + 8], "little") for i in (0, 8))
    v = (k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D ^ 0xEE, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573)
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for i in range(0, len(padded), 8):
        word = int.from_bytes(padded[i:i + 8], "little")
        v = rounds((v[0], v[1], v[2], v[3] ^ word), 1)
        v = (v[0] ^ word, v[1], v[2], v[3])
    v = rounds((v[0], v[1], v[2] ^ 0xEE, v[3]), 3)
    first = v[0] ^ v[1] ^ v[2] ^ v[3]
    v = rounds((v[0], v[1] ^ 0xDD, v[2], v[3]), 3)
    return first, v[0] ^ v[1] ^ v[2] ^ v[3]


def mix(x):
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & M64
    x = (x ^ x >> 27) * 0x94D049BB133111EB & M64
    return x ^ x >> 31


def symbol_check(id):
    return mix(id ^ 0x66656C756E640001) >> 32


def indices(id, end):
    i, state, out = 0, id, []
    while i < end:
        out.append(i)
        state = (state + 0x9E3779B97F4A7C15) & M64
        u = ((mix(state) >> 32) + 1.0) / 4294967296.0
        i += max(1, math.ceil((i + 1.5) * (1.0 / math.sqrt(u) - 1.0)))
    return out


def symbols(ids, end):
    out = [[0, 0, 0] for _ in range(end)]
    for id in ids:
        for i in indices(id, end):
            out[i] = [out[i][0] ^ id, out[i][1] ^ symbol_check(id), out[i][2] + 1]
    return out


def first_symbols(ours, theirs):
    return min(65_536, 24 + -(-3 * abs(ours - theirs) // 2))


def symbol_bytes(part, count, start):
    out = b""
    for i, (sum_, check, n) in enumerate(part, start):
        v = n - 2 * count // (i + 2)
        v = 2 * v if v >= 0 else -2 * v - 1
        out += sum_.to_bytes(8, "big") + check.to_bytes(4, "big")
        while v >= 128:
            out += bytes([v & 127 | 128])
            v >>= 7
        out += bytes([v])
    return out


def decode(difference):
    """What peeling finds: ids with their signs; None if it gets stuck."""
    difference, found = [list(s) for s in difference], {}
    while pure := [s for s in difference if abs(s[2]) == 1 and symbol_check(s[0]) == s[1]]:
        id, sign = pure[0][0], pure[0][2]
        found[id] = sign
        for i in indices(id, len(difference)):
            s = difference[i]
            difference[i] = [s[0] ^ id, s[1] ^ symbol_check(id), s[2] - sign]
    return None if any(map(any, difference)) else found


SYNC_SALT = bytes(range(0x20, 0x30))
KEYS = [(1_771_930_320_000 + 7 * i, sha256(f"message {i}".encode())[:16]) for i in range(40)]
AUTHORS = [sha256(f"author {i % 3}".encode()) for i in range(40)]
HASHES = [siphash13_128(SYNC_SALT, ts.to_bytes(8, "big") + id + author) for (ts, id), author in zip(KEYS, AUTHORS)]
SHORT = [h[0] for h in HASHES]
FIRST, SECOND = range(0, 37), range(2, 40)
FIRST_COUNT = first_symbols(len(FIRST), len(SECOND))
SETS = {}
for name, members in (("first", FIRST), ("second", SECOND)):
    sums = [sum(HASHES[i][half] for i in members) & M64 for half in (0, 1)]
    stream = symbols([SHORT[i] for i in members], 2 * FIRST_COUNT)
    SETS[name] = {
        "members": [members.start, members.stop],
        "count": len(members),
        "fingerprint": b"".join(s.to_bytes(8, "big") for s in sums).hex(),
        "symbols": [{"sum": f"{s:016x}", "check": f"{c:08x}", "count": n} for s, c, n in stream],
        "bytes": symbol_bytes(stream[:FIRST_COUNT], len(members), 0).hex(),
        "more_bytes": symbol_bytes(stream[FIRST_COUNT:], len(members), FIRST_COUNT).hex(),
    }
STREAMS = [symbols([SHORT[i] for i in members], FIRST_COUNT) for members in (FIRST, SECOND)]
FOUND = decode([[b[0] ^ a[0], b[1] ^ a[1], b[2] - a[2]] for a, b in zip(*STREAMS)])
assert FOUND == {SHORT[i]: -1 for i in (0, 1)} | {SHORT[i]: 1 for i in (37, 38, 39)}
write("sync", {
    "salt": SYNC_SALT.hex(),
    "keys": [
        {"created_ts": ts, "msg_id": id.hex(), "author_node_id": author.hex(), "short_id": f"{s:016x}"}
        for (ts, id), author, s in zip(KEYS, AUTHORS, SHORT)
    ],
    "indices": {"id": f"{SHORT[0]:016x}", "below": 65_536, "are": indices(SHORT[0], 65_536)},
    "first_symbols": [[a, b, first_symbols(a, b)] for a, b in ((0, 0), (37, 38), (5, 2), (0, 1 << 20))],
    "sets": SETS,
    "at_first": FIRST_COUNT,
    "first_decodes_second": {
        "ours": sorted(f"{SHORT[i]:016x}" for i in (0, 1)),
        "theirs": sorted(f"{SHORT[i]:016x}" for i in (37, 38, 39)),
    },
})
