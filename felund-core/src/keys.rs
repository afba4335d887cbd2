//! Every key of the protocol and how it is derived (`docs/protocol.md` §2).
//!
//! Only the constructions named there, from the established crates. Keys live in redacting, wiping wrappers; none
//! of them has `Debug` output, equality or serialisation beyond what its use needs.

use std::fmt;

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
};
use ed25519_dalek::{Signer as _, SigningKey};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use hpke::{
    Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _, aead::AesGcm256, kdf::HkdfSha256,
    kem::X25519HkdfSha256,
};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256, Sha512};

use crate::{
    ids::{ChannelId, CircleId, NodeId},
    redact::Secret,
    relay_api::signing::ApiKey,
};

type Key32 = Secret<[u8; 32]>;

/// Length of an HPKE-wrapped 32-byte key: encapsulated key, ciphertext, tag.
pub const WRAPPED_LEN: usize = 32 + 32 + 16;

pub(crate) fn hkdf<const N: usize>(ikm: &[u8], salt: Option<&[u8]>, info: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    Hkdf::<Sha256>::new(salt, ikm).expand(info, &mut out).expect("N is far below 255 hash lengths");
    out
}

/// Fills an array from the injected randomness.
pub(crate) fn random<const N: usize>(rng: &mut impl CryptoRng) -> [u8; N] {
    let mut out = [0; N];
    rng.fill_bytes(&mut out);
    out
}

/// AES-256-GCM with a fresh random nonce in front: `iv ‖ ciphertext ‖ tag`.
fn seal_random(key: &Key32, aad: &[u8], plaintext: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
    let iv: [u8; 12] = random(rng);
    let mut out = iv.to_vec();
    out.extend(gcm_seal(key, &iv, aad, plaintext));
    out
}

pub(crate) fn gcm_seal(key: &Key32, iv: &[u8; 12], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    Aes256Gcm::new(key.expose().into())
        .encrypt(iv.into(), Payload { msg: plaintext, aad })
        .expect("plaintexts are far below GCM's 64 GiB limit")
}

pub(crate) fn gcm_open(key: &Key32, iv: &[u8; 12], aad: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>> {
    Aes256Gcm::new(key.expose().into()).decrypt(iv.into(), Payload { msg: ciphertext, aad }).ok()
}

/// This device's identity: an Ed25519 key and the X25519 key derived from the same seed.
pub struct NodeKey {
    seed: Key32,
    signing: SigningKey,
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.id().short())
    }
}

impl NodeKey {
    /// A new identity.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self::from_seed(Secret::new(random(rng)))
    }

    /// The identity of a seed (RFC 8032 private key).
    #[must_use]
    pub fn from_seed(seed: Key32) -> Self {
        let signing = SigningKey::from_bytes(seed.expose());
        Self { seed, signing }
    }

    pub(crate) const fn seed(&self) -> &Key32 {
        &self.seed
    }

    /// The public key.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId(self.signing.verifying_key().to_bytes())
    }

    /// Ed25519 over `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }

    fn wrap_secret(&self) -> <X25519HkdfSha256 as hpke::Kem>::PrivateKey {
        let bytes: [u8; 32] = hkdf(self.seed.expose(), None, b"felund-wrap-v2");
        <X25519HkdfSha256 as hpke::Kem>::PrivateKey::from_bytes(&bytes)
            .expect("any 32 bytes are an X25519 key")
    }

    /// The public half of the wrap key, announced in `member.hello`.
    #[must_use]
    pub fn wrap_public(&self) -> [u8; 32] {
        X25519HkdfSha256::sk_to_pk(&self.wrap_secret()).to_bytes().into()
    }

    /// Opens a key that was wrapped for this node by [`wrap_key`] under the same context.
    #[must_use]
    pub fn unwrap_key(&self, context: &[u8], wrapped: &[u8]) -> Option<MessageKey> {
        self.open_sealed(context, wrapped)?.try_into().ok().map(MessageKey::from_bytes)
    }

    /// Opens what [`seal_to`] sealed to this node under the same context.
    pub(crate) fn open_sealed(&self, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (encapped, ciphertext) = sealed.split_at_checked(32)?;
        let encapped = <X25519HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(encapped).ok()?;
        hpke::single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &self.wrap_secret(),
            &encapped,
            context,
            ciphertext,
            b"",
        )
        .ok()
    }

    /// Seals what this device keeps for itself; see [`StoreKey`].
    #[must_use]
    pub fn store_key(&self) -> StoreKey {
        StoreKey(Secret::new(hkdf(self.seed.expose(), None, b"felund-store-v2")))
    }
}

/// HPKE base mode (RFC 9180 §6.1) of a message key to a member's wrap key. The context is what the key is for;
/// the wrapped key opens under no other.
#[must_use]
pub fn wrap_key(
    to: &[u8; 32],
    context: &[u8],
    key: &MessageKey,
    rng: &mut impl CryptoRng,
) -> Option<Vec<u8>> {
    seal_to(to, context, key.0.expose(), rng)
}

/// HPKE base mode, single shot: encapsulated key ‖ ciphertext ‖ tag. `None` when `to` is no X25519 key.
pub(crate) fn seal_to(
    to: &[u8; 32],
    context: &[u8],
    plain: &[u8],
    rng: &mut impl CryptoRng,
) -> Option<Vec<u8>> {
    let to = <X25519HkdfSha256 as hpke::Kem>::PublicKey::from_bytes(to).ok()?;
    let (encapped, ciphertext) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &to,
        context,
        plain,
        b"",
        rng,
    )
    .ok()?;
    let mut out = encapped.to_bytes().to_vec();
    out.extend(ciphertext);
    Some(out)
}

/// The context under which an invite channel's key is wrapped: domain, circle, channel, recipient.
#[must_use]
pub fn channel_wrap_context(circle: &CircleId, channel: &ChannelId, to: &NodeId) -> Vec<u8> {
    [&b"felund-channel-wrap-v2"[..], &circle.0, &channel.0, &to.0].concat()
}

/// What makes a circle: 32 random bytes. Knowing them is membership in epoch 0.
#[derive(Debug, Clone)]
pub struct CircleSecret(Key32);

impl CircleSecret {
    /// A new circle's secret.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(Secret::new(random(rng)))
    }

    /// From an invite or from storage.
    #[must_use]
    pub const fn from_secret(secret: Key32) -> Self {
        Self(secret)
    }

    /// The 32 bytes, for an invite or for sealed storage.
    #[must_use]
    pub const fn secret(&self) -> &Key32 {
        &self.0
    }

    /// Names the circle among its members.
    #[must_use]
    pub fn circle_id(&self) -> CircleId {
        CircleId(hkdf(self.0.expose(), None, b"felund-circle-id-v2"))
    }

    /// Signs requests to relays.
    #[must_use]
    pub fn api_key(&self) -> ApiKey {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose()).expect("HMAC takes keys of any length");
        mac.update(b"api-v1");
        ApiKey::from_bytes(mac.finalize().into_bytes().into())
    }

    /// The message key of epoch 0.
    #[must_use]
    pub fn epoch_0(&self) -> MessageKey {
        MessageKey::from_bytes(hkdf(self.0.expose(), None, b"felund-msg-v1"))
    }

    /// The channel everyone is in.
    #[must_use]
    pub fn general(&self) -> ChannelId {
        ChannelId(hkdf(self.0.expose(), None, b"felund-general-v2"))
    }

    /// The channel of control events.
    #[must_use]
    pub fn control(&self) -> ChannelId {
        ChannelId(hkdf(self.0.expose(), None, b"felund-control-v2"))
    }
}

/// An epoch's or a channel's key. Messages are sealed under a sender key derived from it, so that random 96-bit
/// nonces stay far below their bound.
#[derive(Debug, Clone)]
pub struct MessageKey(Key32);

impl MessageKey {
    /// Takes the 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::new(bytes))
    }

    /// A fresh invite channel's key.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self::from_bytes(random(rng))
    }

    pub(crate) const fn secret(&self) -> &Key32 {
        &self.0
    }

    /// The AES-256-GCM key of one author under this key.
    pub(crate) fn sender(&self, author: &NodeId) -> Key32 {
        Secret::new(hkdf(self.0.expose(), Some(&author.0), b"felund-sender-v2"))
    }

    /// The key of a `key` channel: HKDF over epoch key ‖ Argon2id(passphrase, salt = channel_id).
    ///
    /// `None` when there is no memory for Argon2id (19 MiB). Takes tens of milliseconds by design.
    #[must_use]
    pub fn for_passphrase(&self, passphrase: &str, channel: &ChannelId) -> Option<Self> {
        let stretched = stretch(passphrase, &channel.0)?;
        let ikm = zeroize::Zeroizing::new([self.0.expose().as_slice(), stretched.expose()].concat());
        Some(Self::from_bytes(hkdf(&ikm, None, b"felund-channel-v2")))
    }

    /// Lets somebody who derives a channel key see whether it is the right one, without a message to try it on.
    #[must_use]
    pub fn check_value(&self) -> [u8; 16] {
        hkdf(self.0.expose(), None, b"felund-channel-check-v2")
    }
}

/// Argon2id (RFC 9106), version 1.3: 19 MiB, 2 passes, 1 lane; 32 bytes.
fn stretch(passphrase: &str, salt: &[u8; 16]) -> Option<Key32> {
    let mut out = [0; 32];
    argon2::Argon2::default().hash_password_into(passphrase.as_bytes(), salt, &mut out).ok()?;
    Some(Secret::new(out))
}

/// Seals this device's own records at rest: circle secrets, names, drafts. Without a passphrase the key's seed
/// lies beside them, and this keeps plaintext out of the file; with one it also keeps a thief out.
#[derive(Debug)]
pub struct StoreKey(Key32);

impl StoreKey {
    /// The key that a passphrase makes; the salt is random and stored beside what it seals.
    #[must_use]
    pub fn from_passphrase(passphrase: &str, salt: &[u8; 16]) -> Option<Self> {
        stretch(passphrase, salt).map(Self)
    }

    /// Seals under a label that must be given again to open: records cannot be swapped.
    #[must_use]
    pub fn seal(&self, label: &str, value: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
        seal_random(&self.0, label.as_bytes(), value, rng)
    }

    /// Opens; `None` when key, label or bytes are not the ones that were sealed.
    #[must_use]
    pub fn open(&self, label: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (iv, ciphertext) = sealed.split_first_chunk::<12>()?;
        gcm_open(&self.0, iv, label.as_bytes(), ciphertext)
    }
}

/// What two people compare out of band: 60 digits in groups of five, the same on both sides.
///
/// SHA-512 iterated 5,200 times over each key, 30 digits of each, lower half first: the construction of numeric
/// fingerprints in wide use.
#[must_use]
pub fn safety_number(a: &NodeId, b: &NodeId) -> String {
    fn half(node: &NodeId) -> String {
        let mut hash = [&b"felund-safety-v2"[..], &node.0].concat();
        for _ in 0..5_200 {
            hash = Sha512::new().chain_update(&hash).chain_update(node.0).finalize().to_vec();
        }
        let group = |five: &[u8]| five.iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte)) % 100_000;
        hash.chunks_exact(5).take(6).map(|five| format!("{:05}", group(five))).collect::<Vec<_>>().join(" ")
    }
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    format!("{} {}", half(low), half(high))
}
