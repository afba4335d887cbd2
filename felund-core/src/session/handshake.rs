//! The four messages before a session, as states.
//!
//! HELLO and CHALLENGE are clear: version, nonce, ephemeral key and, per candidate circle, a tag that only its members
//! recognise. HELLO_AUTH and WELCOME travel under the keys agreed so far and carry node ids and proofs; both cover
//! everything said before, both roles, and the transport's binding.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};

use super::record::{Direction, Session};
use crate::{
    ids::{CircleId, NodeId, decode_array},
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
    /// The other side did not prove its node or a circle.
    BadProof,
    /// The other side is this node.
    Myself,
    /// A record was altered, replayed, reordered or cut.
    BadRecord,
    /// A record or frame over its limit.
    TooLarge,
    /// The counter of a direction is used up.
    Spent,
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the peer sent a malformed handshake or record"),
            Self::UnsupportedVersion(v) => {
                write!(f, "the peer speaks session version {v}, this build {VERSION}")
            }
            Self::NoCommonCircle => f.write_str("the peer shares no circle with this node"),
            Self::BadProof => f.write_str("the peer did not prove its node key or a circle"),
            Self::Myself => f.write_str("the address leads back to this node"),
            Self::BadRecord => f.write_str("a record was altered, replayed, reordered or cut"),
            Self::TooLarge => f.write_str("the peer sent more than a record or frame may hold"),
            Self::Spent => f.write_str("the session has used up its counter"),
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
    #[cbor(n(1), with = "signature")]
    signature: [u8; 64],
    /// Proofs of 32 bytes, one per shared circle in ascending order of their ids.
    #[cbor(n(2), with = "minicbor::bytes")]
    proofs: Vec<u8>,
}

mod signature {
    use minicbor::{Decoder, Encoder};

    pub(super) fn encode<C, W: minicbor::encode::Write>(
        bytes: &[u8; 64],
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(bytes)?.ok()
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<[u8; 64], minicbor::decode::Error> {
        super::decode_array(d)
    }
}

fn parse<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, SessionError> {
    minicbor::decode(bytes).map_err(|_| SessionError::Malformed)
}

fn cbor<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("writing to a Vec is infallible")
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
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
fn tags(wanted: impl Iterator<Item = [u8; 8]>, at_least: usize, rng: &mut impl CryptoRng) -> Vec<u8> {
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
        cbor(&Auth { node_id, signature: key.sign(&said), proofs })
    }

    fn check(&self, role: Role, bytes: &[u8], me: &NodeKey) -> Result<NodeId, SessionError> {
        let auth: Auth = parse(bytes)?;
        if auth.node_id == me.id() {
            return Err(SessionError::Myself);
        }
        let said = self.signed(role, &auth.node_id);
        let proven = auth.proofs.len() == self.circles.len() * 32
            && auth.proofs.chunks_exact(32).zip(&self.circles).all(|(proof, (_, secret))| {
                let mut mac =
                    Hmac::<Sha256>::new_from_slice(secret.secret().expose()).expect("HMAC takes any key");
                mac.update(&said);
                mac.verify_slice(proof).is_ok()
            });
        if proven && auth.node_id.verify(&said, &auth.signature) {
            Ok(auth.node_id)
        } else {
            Err(SessionError::BadProof)
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
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    struct Side {
        key: NodeKey,
        circles: Vec<CircleSecret>,
        rng: ChaCha20Rng,
    }

    impl Side {
        fn new(seed: u8, circles: &[u8]) -> Self {
            let circles = circles.iter().map(|c| CircleSecret::from_secret(Secret::new([*c; 32]))).collect();
            let key = NodeKey::from_seed(Secret::new([seed; 32]));
            Self { key, circles, rng: ChaCha20Rng::seed_from_u64(u64::from(seed)) }
        }

        fn local(&self) -> Local<'_> {
            Local { key: &self.key, circles: &self.circles }
        }
    }

    /// Runs a handshake through `tamper`, which may alter each of the four messages.
    fn shake(
        a: &mut Side,
        b: &mut Side,
        bindings: [&[u8]; 2],
        mut tamper: impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<(Session, Session), SessionError> {
        let mut pass = |step, mut bytes: Vec<u8>| {
            tamper(step, &mut bytes);
            bytes
        };
        let local = Local { key: &a.key, circles: &a.circles };
        let (initiator, hello) = Initiator::new(local, bindings[0].to_vec(), &mut a.rng);
        let local = Local { key: &b.key, circles: &b.circles };
        let responder = Responder::new(bindings[1].to_vec());
        let (responder, challenge) = responder.greeted(local, &pass(0, hello), &mut b.rng)?;
        let (initiator, auth) = initiator.challenged(a.local(), &pass(1, challenge))?;
        let (theirs, welcome) = responder.authenticated(b.local(), &pass(2, auth))?;
        Ok((initiator.welcomed(a.local(), &pass(3, welcome))?, theirs))
    }

    fn plain(a: &mut Side, b: &mut Side) -> Result<(Session, Session), SessionError> {
        shake(a, b, [b"", b""], |_, _| {})
    }

    #[test]
    fn both_sides_learn_who_is_there_and_exactly_what_they_share() {
        let (mut a, mut b) = (Side::new(1, &[1, 2, 3]), Side::new(2, &[9, 3, 1]));
        let (mine, theirs) = plain(&mut a, &mut b).unwrap();
        assert_eq!((mine.peer(), theirs.peer()), (b.key.id(), a.key.id()));
        let mut shared: Vec<_> = [0, 2].map(|i: usize| a.circles[i].circle_id()).to_vec();
        shared.sort_unstable();
        assert_eq!((mine.circles(), theirs.circles()), (&shared[..], &shared[..]));
        assert_eq!(mine.salt(), theirs.salt());
        assert_ne!(mine.outranks(a.key.id()), !theirs.outranks(b.key.id()), "both keep the same one");
    }

    #[test]
    fn strangers_and_oneself_are_turned_away() {
        let error = |a: &[u8], b: &[u8], seeds: [u8; 2]| {
            plain(&mut Side::new(seeds[0], a), &mut Side::new(seeds[1], b)).unwrap_err()
        };
        assert_eq!(error(&[1], &[2], [1, 2]), SessionError::NoCommonCircle);
        assert_eq!(error(&[], &[2], [1, 2]), SessionError::NoCommonCircle);
        assert_eq!(error(&[1], &[1], [7, 7]), SessionError::Myself);
    }

    #[test]
    fn an_altered_bit_in_any_message_ends_the_handshake() {
        for step in 0..4 {
            let mut len = 0;
            let measured =
                shake(&mut Side::new(1, &[1]), &mut Side::new(2, &[1]), [b"", b""], |at, bytes| {
                    if at == step {
                        len = bytes.len();
                    }
                });
            assert!(measured.is_ok());
            for bit in (0..len * 8).step_by(5) {
                let outcome =
                    shake(&mut Side::new(1, &[1]), &mut Side::new(2, &[1]), [b"", b""], |at, bytes| {
                        if at == step {
                            bytes[bit / 8] ^= 1 << (bit % 8);
                        }
                    });
                assert!(outcome.is_err(), "message {step}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_session_moved_to_another_transport_is_noticed() {
        let outcome = shake(&mut Side::new(1, &[1]), &mut Side::new(2, &[1]), [b"one", b"other"], |_, _| {});
        assert!(outcome.is_err());
    }

    #[test]
    fn an_observer_sees_no_id_and_no_tag_twice() {
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for _ in 0..2 {
            let (mut a, mut b) = (Side::new(1, &[1]), Side::new(2, &[1]));
            a.rng = ChaCha20Rng::seed_from_u64(seen.len() as u64 + 10);
            shake(&mut a, &mut b, [b"", b""], |_, bytes| seen.push(bytes.clone())).unwrap();
        }
        let (a, b) = (Side::new(1, &[1]), Side::new(2, &[1]));
        let ids = [a.key.id().0.to_vec(), b.key.id().0.to_vec(), a.circles[0].circle_id().0.to_vec()];
        for message in &seen {
            for id in &ids {
                assert!(!message.windows(id.len()).any(|window| window == id));
            }
        }
        let tags = |hello: &[u8]| Offer::read(hello).unwrap().tags;
        let (first, second) = (tags(&seen[0]), tags(&seen[4]));
        assert!(first.chunks(8).all(|tag| !second.chunks(8).any(|other| other == tag)));
        assert_eq!(first.len(), TAG_STEP * 8, "their number tells little");
    }

    #[test]
    fn records_carry_frames_of_any_size_and_refuse_replay_reordering_and_cuts() {
        let (mut a, mut b) = (Side::new(1, &[1]), Side::new(2, &[1]));
        let (mut mine, mut theirs) = plain(&mut a, &mut b).unwrap();
        for len in [0, 1, 16_367, 16_368, 100_000] {
            let frame: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let records = mine.seal(&frame).unwrap();
            assert!(records.iter().all(|record| record.len() <= super::super::MAX_RECORD));
            let opened: Vec<_> = records.iter().filter_map(|record| theirs.open(record).unwrap()).collect();
            assert_eq!(opened, [frame]);
        }
        assert_eq!(mine.seal(&vec![0; 2 << 20]).unwrap_err(), SessionError::TooLarge);
        type Attack = fn(&mut Session, &mut Session) -> Result<Option<Vec<u8>>, SessionError>;
        let broken: [Attack; 3] = [
            |tx, rx| {
                let records = tx.seal(b"again").unwrap();
                rx.open(&records[0]).unwrap();
                rx.open(&records[0])
            },
            |tx, rx| {
                let (_first, second) = (tx.seal(b"one").unwrap(), tx.seal(b"two").unwrap());
                rx.open(&second[0])
            },
            |tx, rx| {
                let mut record = tx.seal(b"cut").unwrap().remove(0);
                record.pop();
                rx.open(&record)
            },
        ];
        for broken in broken {
            let (mut mine, mut theirs) = plain(&mut a, &mut b).unwrap();
            assert_eq!(broken(&mut mine, &mut theirs), Err(SessionError::BadRecord));
        }
    }
}
