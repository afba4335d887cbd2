//! A member with a client of its own: seals and signs whatever it likes, correctly.

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use felund_core::{
    envelope::{Compression, Envelope, Header},
    ids::{ChannelId, MsgId},
    keys::{CircleSecret, NodeKey},
    redact::Secret,
};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};

/// What can be in a `type` header: every type of this version, and one of another.
pub(crate) const KINDS: [&str; 12] = [
    "chat.text",
    "circle.name",
    "member.hello",
    "channel.create",
    "channel.join",
    "channel.leave",
    "channel.request",
    "channel.approve",
    "channel.rename",
    "ANCHOR_ANNOUNCE",
    "receipt",
    "something.else",
];

pub(crate) fn circle(n: u8) -> CircleSecret {
    CircleSecret::from_secret(Secret::new([n; 32]))
}

pub(crate) fn node(n: u8) -> NodeKey {
    NodeKey::from_seed(Secret::new([n; 32]))
}

/// What an envelope says and carries; `plain` is sealed as it is, without padding or compression being added.
pub(crate) struct Sheet<'a> {
    pub(crate) author: &'a NodeKey,
    pub(crate) circle: &'a CircleSecret,
    pub(crate) channel: ChannelId,
    pub(crate) id: u64,
    pub(crate) ts: u64,
    pub(crate) kind: &'a str,
    pub(crate) compression: Compression,
    pub(crate) plain: &'a [u8],
}

fn key(circle: &CircleSecret, salt: Option<&[u8]>, first: &[u8], second: &[u8]) -> [u8; 32] {
    let mut epoch = [0; 32];
    let _ = Hkdf::<Sha256>::new(None, circle.secret().expose()).expand(first, &mut epoch);
    let mut sender = [0; 32];
    let _ = Hkdf::<Sha256>::new(salt, &epoch).expand(second, &mut sender);
    sender
}

impl Sheet<'_> {
    /// `None` when it is too large for an envelope, or empty.
    pub(crate) fn seal(&self) -> Option<Envelope> {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&self.id.to_be_bytes());
        let header = Header {
            msg_id: MsgId(id),
            circle_id: self.circle.circle_id(),
            channel_id: self.channel,
            author_node_id: self.author.id(),
            created_ts: self.ts,
            kind: self.kind.to_owned(),
            key_id: "epoch-0".to_owned(),
            compression: self.compression,
        };
        let (aad, iv) = (header.aad(), [7; 12]);
        let sender = key(self.circle, Some(&header.author_node_id.0), b"felund-msg-v1", b"felund-sender-v2");
        let payload = Payload { msg: self.plain, aad: &aad };
        let enc = Aes256Gcm::new((&sender).into()).encrypt((&iv).into(), payload).ok()?;
        let said = [&b"felund-envelope-v2"[..], &Sha256::digest(&aad), &iv, &Sha256::digest(&enc)].concat();
        let sig = self.author.sign(&said);
        Envelope::new(header, iv, enc, sig).ok()
    }
}

/// A body as honest authors pad it, only not to a bucket.
pub(crate) fn padded(body: &[u8]) -> Vec<u8> {
    [body, &[0x80]].concat()
}
