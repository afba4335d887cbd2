//! The four messages before a session, as states.
//!
//! HELLO and CHALLENGE are clear: version, nonce, ephemeral key and, per candidate circle, a tag that only its members
//! recognise. HELLO_AUTH and WELCOME travel under the keys agreed so far and carry node ids and proofs; both cover
//! everything said before, both roles, and the transport's binding.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use minicbor::{Decode, Encode, bytes::ByteArray};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};

use super::record::{Direction, Session};
use crate::{
    ids::{CircleId, NodeId, byte_string},
    keys::{CircleSecret, NodeKey, hkdf, random},
    redact::Secret,
};

const VERSION: u64 = 1;
/// Most tags in one message: more circles than one node may hold.
const MAX_TAGS: usize = 64;
/// Tags are filled up with random ones to a multiple of this, so that their number tells little.
const TAG_STEP: usize = 4;

/// What the transport adds to the proofs, so that a session cannot be moved to another: on a DataChannel both DTLS
/// certificate fingerprints, the initiator's first; nothing on TCP.
pub type Binding = Vec<u8>;

/// Why a handshake or a session ended. Nothing was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionError {
    /// Bytes that are no message of this protocol.
    Malformed,
    /// A version this build does not speak.
    UnsupportedVersion(u64),
    /// The two share no circle.
    NoCommonCircle,
    /// What the two sides said to each other is not what each of them heard: bytes changed on the way, such as an
    /// attempt to bring both to an older version.
    AlteredHandshake,
    /// The two are at the ends of different transports: somebody between them replaced what they connect by, such as
    /// the descriptions a DataChannel is made from.
    WrongBinding,
    /// The other side did not prove a circle that it named.
    BadCircleProof,
    /// The other side did not prove that the node it claims to be is its own.
    BadNodeProof,
    /// The other side is this node.
    Myself,
    /// A record was altered, or sealed by someone without this session's key.
    Altered,
    /// A record came a second time.
    Replayed,
    /// A record came before one that should have come first, or that one was left out.
    Reordered,
    /// A record is shorter than any can be.
    Truncated,
    /// A record or frame over its limit.
    TooLarge,
    /// The counter of a direction is used up.
    Spent,
}

impl SessionError {
    /// What happened, in words that are the same every time: for logs, and to count by.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed bytes",
            Self::UnsupportedVersion(_) => "another version of sessions",
            Self::NoCommonCircle => "no circle in common",
            Self::AlteredHandshake => "a handshake altered on its way",
            Self::WrongBinding => "a connection that does not end at the peer",
            Self::BadCircleProof => "a circle that was not proved",
            Self::BadNodeProof => "a node key that was not proved",
            Self::Myself => "an address that leads back to this node",
            Self::Altered => "an altered record",
            Self::Replayed => "a replayed record",
            Self::Reordered => "a record out of order",
            Self::Truncated => "a truncated record",
            Self::TooLarge => "more than a record or frame may hold",
            Self::Spent => "a counter used up",
        }
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())?;
        match self {
            Self::UnsupportedVersion(v) => write!(f, ": the peer speaks {v}, this build {VERSION}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for SessionError {}

/// Who this node is and which circles it offers.
#[derive(Debug, Clone, Copy)]
pub struct Local<'a> {
    /// Its identity.
    pub key: &'a NodeKey,
    /// Its circles.
    pub circles: &'a [CircleSecret],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Initiator,
    Responder,
}

impl Role {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Initiator => b"initiator",
            Self::Responder => b"responder",
        }
    }
}

/// HELLO and CHALLENGE alike.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Offer {
    #[n(0)]
    version: u64,
    #[cbor(n(1), with = "minicbor::bytes")]
    nonce: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    ephemeral: [u8; 32],
    /// Tags of eight bytes, one after the other.
    #[cbor(n(3), with = "minicbor::bytes")]
    tags: Vec<u8>,
}

/// HELLO_AUTH and WELCOME alike.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Auth {
    #[n(0)]
    node_id: NodeId,
    #[cbor(n(1), with = "byte_string")]
    signature: [u8; 64],
    /// Proofs of 32 bytes, one per shared circle in ascending order of their ids.
    #[cbor(n(2), with = "minicbor::bytes")]
    proofs: Vec<u8>,
    /// SHA-256 of the binding, if there is one: the proofs cover it already, and this names what is wrong.
    #[n(3)]
    bound: Option<ByteArray<32>>,
}

fn parse<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, SessionError> {
    minicbor::decode(bytes).map_err(|_| SessionError::Malformed)
}

fn cbor<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("writing to a Vec is infallible")
}

pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// What members of a circle recognise in an offer: fresh for every nonce, and different per role.
fn tag(circle: &CircleSecret, role: Role, nonces: &[u8]) -> [u8; 8] {
    let key: [u8; 32] = hkdf(circle.secret().expose(), None, b"felund-session-tag-v1");
    let mac = hmac(&key, &[role.label(), nonces]);
    mac[..8].try_into().expect("a MAC has 32 bytes")
}

/// Tags in random order of value, filled up with random ones.
pub(crate) fn tags(
    wanted: impl Iterator<Item = [u8; 8]>,
    at_least: usize,
    rng: &mut impl CryptoRng,
) -> Vec<u8> {
    let mut tags: Vec<[u8; 8]> = wanted.take(MAX_TAGS).collect();
    let len = tags.len().max(at_least).max(1).next_multiple_of(TAG_STEP).min(MAX_TAGS);
    tags.resize_with(len, || random(rng));
    tags.sort_unstable();
    tags.concat()
}

impl Offer {
    fn read(bytes: &[u8]) -> Result<Self, SessionError> {
        let offer: Self = parse(bytes)?;
        if offer.version != VERSION {
            return Err(SessionError::UnsupportedVersion(offer.version));
        }
        if offer.tags.len() > MAX_TAGS * 8 || !offer.tags.len().is_multiple_of(8) {
            return Err(SessionError::Malformed);
        }
        Ok(offer)
    }

    fn names(&self, tag: [u8; 8]) -> bool {
        self.tags.chunks_exact(8).any(|other| other == tag)
    }
}

/// The circles of ours that an offer names, in ascending order of their ids.
fn recognised<'a>(local: Local<'a>, named: impl Fn(&CircleSecret) -> bool) -> Vec<&'a CircleSecret> {
    let mut shared: Vec<&CircleSecret> = local.circles.iter().filter(|circle| named(circle)).collect();
    shared.sort_by_key(|circle| circle.circle_id());
    shared
}

/// What both sides agreed on before either has proved anything.
struct Agreed {
    circles: Vec<(CircleId, CircleSecret)>,
    transcript: [u8; 32],
    salt: [u8; 16],
    bound: Option<ByteArray<32>>,
    to_responder: Direction,
    to_initiator: Direction,
}

impl Agreed {
    fn new(
        shared: &[&CircleSecret],
        ephemeral: &StaticSecret,
        theirs: [u8; 32],
        nonces: [&[u8; 32]; 2],
        messages: [&[u8]; 2],
        binding: &[u8],
    ) -> Result<Self, SessionError> {
        let first = shared.first().ok_or(SessionError::NoCommonCircle)?;
        let agreed = ephemeral.diffie_hellman(&PublicKey::from(theirs));
        if !agreed.was_contributory() {
            return Err(SessionError::Malformed);
        }
        let ikm = zeroize::Zeroizing::new([first.secret().expose().as_slice(), agreed.as_bytes()].concat());
        let salt = nonces.map(<[u8; 32]>::as_slice).concat();
        let key = Secret::new(hkdf::<32>(&ikm, Some(&salt), b"felund-session-v1"));
        let derive = |info: &[u8]| Secret::new(hkdf::<32>(key.expose(), None, info));
        let mut transcript = Sha256::new();
        for part in [messages[0], messages[1], binding] {
            transcript.update((part.len() as u64).to_be_bytes());
            transcript.update(part);
        }
        Ok(Self {
            circles: shared.iter().map(|circle| (circle.circle_id(), (*circle).clone())).collect(),
            transcript: transcript.finalize().into(),
            salt: hkdf(key.expose(), None, b"felund-session-salt-v1"),
            bound: (!binding.is_empty()).then(|| <[u8; 32]>::from(Sha256::digest(binding)).into()),
            to_responder: Direction::new(derive(b"felund-session-to-responder-v1")),
            to_initiator: Direction::new(derive(b"felund-session-to-initiator-v1")),
        })
    }

    fn signed(&self, role: Role, node: &NodeId) -> Vec<u8> {
        [b"felund-session-auth-v1", role.label(), &self.transcript, &node.0].concat()
    }

    fn auth(&self, role: Role, key: &NodeKey) -> Vec<u8> {
        let node_id = key.id();
        let said = self.signed(role, &node_id);
        let proofs =
            self.circles.iter().flat_map(|(_, secret)| hmac(secret.secret().expose(), &[&said])).collect();
        cbor(&Auth { node_id, signature: key.sign(&said), proofs, bound: self.bound })
    }

    fn check(&self, role: Role, bytes: &[u8], me: &NodeKey) -> Result<NodeId, SessionError> {
        let auth: Auth = parse(bytes)?;
        if auth.node_id == me.id() {
            return Err(SessionError::Myself);
        }
        // Whoever sealed this record knows a circle's secret; whoever is between the two could not have written it.
        if auth.bound != self.bound {
            return Err(SessionError::WrongBinding);
        }
        let said = self.signed(role, &auth.node_id);
        let circles = auth.proofs.len() == self.circles.len() * 32
            && auth.proofs.chunks_exact(32).zip(&self.circles).all(|(proof, (_, secret))| {
                let mut mac =
                    Hmac::<Sha256>::new_from_slice(secret.secret().expose()).expect("HMAC takes any key");
                mac.update(&said);
                mac.verify_slice(proof).is_ok()
            });
        // Either proof alone shows that both sides mean the same handshake.
        match (circles, auth.node_id.verify(&said, &auth.signature)) {
            (true, true) => Ok(auth.node_id),
            (true, false) => Err(SessionError::BadNodeProof),
            (false, true) => Err(SessionError::BadCircleProof),
            (false, false) => Err(SessionError::AlteredHandshake),
        }
    }

    fn into_session(self, role: Role, peer: NodeId) -> Session {
        let (tx, rx) = match role {
            Role::Initiator => (self.to_responder, self.to_initiator),
            Role::Responder => (self.to_initiator, self.to_responder),
        };
        Session {
            peer,
            circles: self.circles.into_iter().map(|(id, _)| id).collect(),
            salt: self.salt,
            initiated: role == Role::Initiator,
            tx,
            rx,
            partial: Vec::new(),
        }
    }
}

/// Has sent HELLO and waits for CHALLENGE.
pub struct Initiator {
    ephemeral: StaticSecret,
    nonce: [u8; 32],
    hello: Vec<u8>,
    binding: Binding,
}

/// Has sent HELLO_AUTH and waits for WELCOME.
pub struct AwaitWelcome(Agreed);

/// Waits for HELLO.
#[derive(Debug)]
pub struct Responder {
    binding: Binding,
}

/// Has sent CHALLENGE and waits for HELLO_AUTH.
pub struct AwaitAuth(Agreed);

macro_rules! opaque {
    ($($state:ident),*) => {$(
        impl fmt::Debug for $state {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($state))
            }
        }
    )*};
}
opaque!(Initiator, AwaitWelcome, AwaitAuth);

impl Initiator {
    /// Begins; the bytes are HELLO.
    pub fn new(local: Local<'_>, binding: Binding, rng: &mut impl CryptoRng) -> (Self, Vec<u8>) {
        let (ephemeral, nonce) = (StaticSecret::from(random::<32>(rng)), random::<32>(rng));
        let own = local.circles.iter().map(|circle| tag(circle, Role::Initiator, &nonce));
        let tags = tags(own, 0, rng);
        let hello =
            cbor(&Offer { version: VERSION, nonce, ephemeral: PublicKey::from(&ephemeral).to_bytes(), tags });
        (Self { ephemeral, nonce, hello: hello.clone(), binding }, hello)
    }

    /// Takes CHALLENGE; the bytes are HELLO_AUTH.
    pub fn challenged(self, local: Local<'_>, bytes: &[u8]) -> Result<(AwaitWelcome, Vec<u8>), SessionError> {
        let offer = Offer::read(bytes)?;
        let nonces = [self.nonce, offer.nonce].concat();
        let shared = recognised(local, |circle| offer.names(tag(circle, Role::Responder, &nonces)));
        let (nonces, messages) = ([&self.nonce, &offer.nonce], [self.hello.as_slice(), bytes]);
        let mut agreed =
            Agreed::new(&shared, &self.ephemeral, offer.ephemeral, nonces, messages, &self.binding)?;
        let auth = agreed.auth(Role::Initiator, local.key);
        let auth = agreed.to_responder.seal(&auth)?;
        Ok((AwaitWelcome(agreed), auth))
    }
}

impl AwaitWelcome {
    /// Takes WELCOME.
    pub fn welcomed(mut self, local: Local<'_>, bytes: &[u8]) -> Result<Session, SessionError> {
        let auth = self.0.to_initiator.open(bytes)?;
        let peer = self.0.check(Role::Responder, &auth, local.key)?;
        Ok(self.0.into_session(Role::Initiator, peer))
    }
}

impl Responder {
    /// Waits for whoever connected.
    #[must_use]
    pub const fn new(binding: Binding) -> Self {
        Self { binding }
    }

    /// Takes HELLO; the bytes are CHALLENGE. Who shares no circle gets no answer.
    pub fn greeted(
        self,
        local: Local<'_>,
        bytes: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<(AwaitAuth, Vec<u8>), SessionError> {
        let offer = Offer::read(bytes)?;
        let shared = recognised(local, |circle| offer.names(tag(circle, Role::Initiator, &offer.nonce)));
        let (ephemeral, nonce) = (StaticSecret::from(random::<32>(rng)), random::<32>(rng));
        let nonces = [offer.nonce, nonce].concat();
        let own = shared.iter().map(|circle| tag(circle, Role::Responder, &nonces));
        let tags = tags(own, offer.tags.len() / 8, rng);
        let public = PublicKey::from(&ephemeral).to_bytes();
        let challenge = cbor(&Offer { version: VERSION, nonce, ephemeral: public, tags });
        let (nonces, messages) = ([&offer.nonce, &nonce], [bytes, challenge.as_slice()]);
        let agreed = Agreed::new(&shared, &ephemeral, offer.ephemeral, nonces, messages, &self.binding)?;
        Ok((AwaitAuth(agreed), challenge))
    }
}

impl AwaitAuth {
    /// Takes HELLO_AUTH; the bytes are WELCOME.
    pub fn authenticated(
        mut self,
        local: Local<'_>,
        bytes: &[u8],
    ) -> Result<(Session, Vec<u8>), SessionError> {
        let auth = self.0.to_responder.open(bytes)?;
        let peer = self.0.check(Role::Initiator, &auth, local.key)?;
        let welcome = self.0.auth(Role::Responder, local.key);
        let welcome = self.0.to_initiator.seal(&welcome)?;
        Ok((self.0.into_session(Role::Responder, peer), welcome))
    }
}

#[cfg(test)]
mod tests;
