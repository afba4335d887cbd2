//! A session's handshake and records, byte by byte (`docs/protocol.md` §12): for a peer that breaks the rules where it
//! likes, and for an observer who tries to open what was recorded. Nothing of the core's session code is used here.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream, ToSocketAddrs},
};

use aes_gcm::{Aes256Gcm, KeyInit, aead::Aead};
use felund_core::{
    ids::NodeId,
    keys::{CircleSecret, NodeKey},
};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use minicbor::{Decoder, Encoder};
use rand_core::Rng;
use sha2::{Digest, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::{api, wait};

/// Which side says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Who dialed.
    Initiator,
    /// Who listens.
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

/// Random bytes.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    api::rng().fill_bytes(&mut bytes);
    bytes
}

/// HKDF-SHA256 with an output of 32 bytes.
///
/// # Panics
/// Never: 32 bytes is a length that HKDF has.
#[must_use]
pub fn hkdf(ikm: &[u8], salt: Option<&[u8]>, info: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    Hkdf::<Sha256>::new(salt, ikm).expand(info, &mut out).expect("a length that HKDF has");
    out
}

/// HMAC-SHA256.
///
/// # Panics
/// Never: HMAC takes keys of any length.
#[must_use]
pub fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// HELLO or CHALLENGE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// 1.
    pub version: u64,
    /// Random.
    pub nonce: [u8; 32],
    /// An X25519 public key.
    pub ephemeral: [u8; 32],
    /// Eight bytes each.
    pub tags: Vec<u8>,
}

impl Offer {
    /// The bytes that travel.
    ///
    /// # Panics
    /// Never: a `Vec` takes what is written.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut e = Encoder::new(Vec::new());
        e.array(4)
            .and_then(|e| e.u64(self.version))
            .and_then(|e| e.bytes(&self.nonce))
            .and_then(|e| e.bytes(&self.ephemeral))
            .and_then(|e| e.bytes(&self.tags))
            .expect("a Vec takes everything");
        e.into_writer()
    }

    /// Reads what the other side sent.
    ///
    /// # Panics
    /// When it is no offer.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut d = Decoder::new(bytes);
        assert_eq!(d.array().expect("an array"), Some(4));
        let version = d.u64().expect("a version");
        let mut bytes = || d.bytes().expect("bytes").to_vec();
        let (nonce, ephemeral, tags) = (bytes(), bytes(), bytes());
        let array = |bytes: Vec<u8>| bytes.try_into().expect("32 bytes");
        Self { version, nonce: array(nonce), ephemeral: array(ephemeral), tags }
    }
}

/// What members of a circle recognise.
#[must_use]
pub fn tag(circle: &CircleSecret, role: Role, nonces: &[u8]) -> [u8; 8] {
    let key = hkdf(circle.secret().expose(), None, b"felund-session-tag-v1");
    let mac = hmac(&key, &[role.label(), nonces].concat());
    [mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], mac[6], mac[7]]
}

/// The keys of both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    /// Seals what the initiator sends.
    pub to_responder: [u8; 32],
    /// Seals what the responder sends.
    pub to_initiator: [u8; 32],
}

impl Keys {
    /// From the first shared circle's secret, what the ephemeral keys agree on, and both nonces, the initiator's first.
    #[must_use]
    pub fn derive(secret: &[u8; 32], agreed: &[u8], nonces: [&[u8; 32]; 2]) -> Self {
        let session = hkdf(
            &[secret.as_slice(), agreed].concat(),
            Some(&nonces.map(<[u8; 32]>::as_slice).concat()),
            b"felund-session-v1",
        );
        Self {
            to_responder: hkdf(&session, None, b"felund-session-to-responder-v1"),
            to_initiator: hkdf(&session, None, b"felund-session-to-initiator-v1"),
        }
    }
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

/// Seals a record.
///
/// # Panics
/// Never: records are short.
#[must_use]
pub fn seal(key: &[u8; 32], counter: u64, plain: &[u8]) -> Vec<u8> {
    Aes256Gcm::new(key.into()).encrypt((&nonce(counter)).into(), plain).expect("short enough")
}

/// Opens a record.
#[must_use]
pub fn open(key: &[u8; 32], counter: u64, record: &[u8]) -> Option<Vec<u8>> {
    Aes256Gcm::new(key.into()).decrypt((&nonce(counter)).into(), record).ok()
}

/// The hash of everything said in the clear, on TCP.
#[must_use]
pub fn transcript(hello: &[u8], challenge: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [hello, challenge, b""] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// HELLO_AUTH or WELCOME: who says it, under which key, and for which circles.
///
/// # Panics
/// Never: a `Vec` takes what is written.
#[must_use]
pub fn auth(
    role: Role,
    transcript: &[u8; 32],
    claimed: NodeId,
    key: &NodeKey,
    circles: &[&CircleSecret],
) -> Vec<u8> {
    let said = [b"felund-session-auth-v1", role.label(), transcript, &claimed.0].concat();
    let proofs: Vec<u8> = circles.iter().flat_map(|circle| hmac(circle.secret().expose(), &said)).collect();
    let mut e = Encoder::new(Vec::new());
    e.array(3)
        .and_then(|e| e.bytes(&claimed.0))
        .and_then(|e| e.bytes(&key.sign(&said)))
        .and_then(|e| e.bytes(&proofs))
        .expect("a Vec takes everything");
    e.into_writer()
}

/// One side of a handshake that has said its offer.
#[derive(Debug)]
pub struct Side {
    /// Who.
    pub key: NodeKey,
    /// Its ephemeral key's private half.
    pub ephemeral: [u8; 32],
    /// Drawn for this handshake.
    pub nonce: [u8; 32],
}

impl Side {
    /// Draws everything afresh.
    #[must_use]
    pub fn new() -> Self {
        Self { key: NodeKey::generate(&mut api::rng()), ephemeral: random(), nonce: random() }
    }

    /// The offer of a node in this circle; `heard` is the initiator's nonce if this answers it.
    #[must_use]
    pub fn offer(&self, circle: &CircleSecret, heard: Option<&[u8; 32]>) -> Offer {
        let tag = match heard {
            None => tag(circle, Role::Initiator, &self.nonce),
            Some(first) => tag(circle, Role::Responder, &[*first, self.nonce].concat()),
        };
        let mut tags = [tag, random(), random(), random()];
        tags.sort_unstable();
        let ephemeral = PublicKey::from(&StaticSecret::from(self.ephemeral)).to_bytes();
        Offer { version: 1, nonce: self.nonce, ephemeral, tags: tags.concat() }
    }

    /// What this side's private and the other's public half agree on.
    #[must_use]
    pub fn agree(&self, theirs: &[u8; 32]) -> [u8; 32] {
        StaticSecret::from(self.ephemeral).diffie_hellman(&PublicKey::from(*theirs)).to_bytes()
    }
}

impl Default for Side {
    fn default() -> Self {
        Self::new()
    }
}

/// Whole messages over TCP.
#[derive(Debug)]
pub struct Wire(TcpStream);

impl Wire {
    /// Dials.
    ///
    /// # Panics
    /// When nobody answers.
    #[must_use]
    pub fn dial(address: impl ToSocketAddrs) -> Self {
        Self::over(TcpStream::connect(address).expect("somebody listens"))
    }

    /// Takes a connection that is there.
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(wait::PATIENCE)).expect("a connection that is there");
        Self(stream)
    }

    /// Sends a message; one that has been closed meanwhile takes it in silence.
    ///
    /// # Panics
    /// When it is longer than four bytes can say.
    pub fn send(&mut self, message: &[u8]) {
        let len = u32::try_from(message.len()).expect("a length of four bytes");
        self.raw(&[&len.to_be_bytes(), message].concat());
    }

    /// Sends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// Ends this side's half.
    pub fn finish(&mut self) {
        let _ = self.0.shutdown(Shutdown::Write);
    }

    /// The next message; `None` once the other side has closed.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        let mut len = [0; 4];
        self.0.read_exact(&mut len).ok()?;
        let mut message = vec![0; usize::try_from(u32::from_be_bytes(len)).ok()?];
        self.0.read_exact(&mut message).ok()?;
        Some(message)
    }

    /// Waits until the other side closes, whatever it still says; how many messages these were.
    ///
    /// # Panics
    /// When it keeps the connection.
    pub fn until_closed(&mut self) -> usize {
        let mut buffer = [0; 4096];
        let mut said = 0;
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return said,
                Ok(n) => said += n,
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return said,
                Err(e) => panic!("the connection was not closed: {e}"),
            }
        }
    }
}
