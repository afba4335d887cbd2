//! Invites: what one person sends another so that they can join a circle (`docs/protocol.md` §3).
//!
//! `felund1.` and base64url of a deterministic CBOR array `[2, secret, relay, peers, name]` followed by the first
//! four bytes of its SHA-256, so that a typo is told from a foreign text. The earlier form, base64 of a JSON object
//! `{v, secret, peer}`, is still understood. An invite is the circle's secret: whoever has it is a member.

use std::fmt;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use minicbor::{Decoder, Encoder};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{
    circle::clean_name,
    config::{MAX_INVITE_LEN, MAX_INVITE_PEERS},
    ids::{base64_encode, decode_array},
    redact::Secret,
    relay_api::clean_relay_url,
};

const PREFIX: &str = "felund1.";
const VERSION: u64 = 2;
const CHECKSUM_LEN: usize = 4;
/// Longest `host:port` of a peer, in bytes.
const MAX_PEER_LEN: usize = 128;

/// What an invite carries.
#[derive(Debug, Clone)]
pub struct Invite {
    /// The circle's secret.
    pub secret: Secret<[u8; 32]>,
    /// Base URL of its relay.
    pub relay: Option<String>,
    /// `host:port` of members that listen, at most 8.
    pub peers: Vec<String>,
    /// The circle's name when the invite was made.
    pub name: Option<String>,
}

/// Why a text is not an invite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InviteError {
    /// There is no `felund1.` in it.
    NotAnInvite,
    /// It is longer than any invite.
    TooLong,
    /// The checksum does not fit: a typo, or cut off.
    Damaged,
    /// A version this build does not know.
    UnsupportedVersion(u64),
    /// The relay's address is wrong; the text says how.
    BadRelay(String),
    /// It decodes, but a part is not what it should be.
    Malformed(&'static str),
}

impl fmt::Display for InviteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnInvite => f.write_str("That is not an invite. An invite starts with felund1."),
            Self::TooLong => f.write_str("That is too long to be an invite."),
            Self::Damaged => f.write_str(
                "The invite is damaged: a character is wrong or missing. Copy it whole, or ask for it again.",
            ),
            Self::UnsupportedVersion(v) => {
                write!(f, "The invite is of version {v}, which this Felund does not know. Update Felund.")
            }
            Self::BadRelay(why) => write!(f, "The invite names a relay that cannot be used: {why}"),
            Self::Malformed(part) => write!(f, "The invite's {part} is wrong. Ask for another one."),
        }
    }
}

impl std::error::Error for InviteError {}

/// The earlier form.
#[derive(Deserialize)]
struct Earlier {
    #[serde(default)]
    v: Option<u64>,
    secret: String,
    #[serde(default)]
    peer: Option<String>,
}

impl Invite {
    /// The code.
    #[must_use]
    pub fn encode(&self) -> String {
        // With long addresses as many as fit.
        let mut peers = self.peers.len().min(MAX_INVITE_PEERS);
        loop {
            let code = self.encode_with(&self.peers[..peers]);
            if code.len() <= PREFIX.len() + MAX_INVITE_LEN || peers == 0 {
                return code;
            }
            peers -= 1;
        }
    }

    fn encode_with(&self, peers: &[String]) -> String {
        let mut e = Encoder::new(Vec::with_capacity(128));
        e.array(5)
            .and_then(|e| e.u64(VERSION))
            .and_then(|e| e.bytes(self.secret.expose()))
            .and_then(|e| e.encode(&self.relay))
            .and_then(|e| e.encode(peers))
            .and_then(|e| e.encode(&self.name))
            .expect("writing to a Vec is infallible");
        let mut bytes = e.into_writer();
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum[..CHECKSUM_LEN]);
        format!("{PREFIX}{}", base64_encode(&bytes))
    }

    /// Reads a code, or a link or text that holds one.
    ///
    /// # Errors
    /// Each names what is wrong and what to do; see [`InviteError`].
    pub fn parse(text: &str) -> Result<Self, InviteError> {
        if text.len() > 4 * MAX_INVITE_LEN {
            return Err(InviteError::TooLong);
        }
        // Phones like to capitalise what comes first, and people write of a code before they give it.
        let lower = text.to_ascii_lowercase();
        let mut failure = InviteError::NotAnInvite;
        for (at, _) in lower.match_indices(PREFIX) {
            match Self::parse_at(&text[at + PREFIX.len()..]) {
                Err(e) if failure == InviteError::NotAnInvite => failure = e,
                Err(_) => {}
                invite => return invite,
            }
        }
        Err(failure)
    }

    /// Reads what follows the prefix.
    fn parse_at(text: &str) -> Result<Self, InviteError> {
        // Mail programs break long lines and people write on after a code: a piece is taken in after the other
        // until the checksum fits. Quotes, brackets and what follows them are not part of the code.
        let mut code = String::new();
        let mut failure = InviteError::Damaged;
        for piece in text.split_whitespace() {
            let end = piece.find(|c: char| !c.is_ascii_alphanumeric() && !"-_+/=".contains(c));
            let before = code.len();
            code.push_str(&piece[..end.unwrap_or(piece.len())]);
            if code.len() > MAX_INVITE_LEN {
                return Err(if failure == InviteError::Damaged { InviteError::TooLong } else { failure });
            }
            // What directly follows a code, an underscore for instance, may look like more of it.
            for end in (before + 1..=code.len()).rev() {
                match Self::parse_code(&code[..end]) {
                    Err(InviteError::Damaged) => {}
                    Err(e) => failure = e,
                    invite => return invite,
                }
            }
            if end.is_some() {
                break;
            }
        }
        Err(failure)
    }

    fn parse_code(code: &str) -> Result<Self, InviteError> {
        let bytes = decode_base64(code).ok_or(InviteError::Damaged)?;
        if bytes.first() == Some(&b'{') {
            return Self::parse_earlier(&bytes);
        }
        // One code, one spelling: only the earlier form was ever written in the other alphabet or padded.
        if code.contains(['+', '/', '=']) { Err(InviteError::Damaged) } else { Self::parse_cbor(&bytes) }
    }

    fn parse_cbor(bytes: &[u8]) -> Result<Self, InviteError> {
        let body_len = bytes.len().checked_sub(CHECKSUM_LEN).ok_or(InviteError::Damaged)?;
        let (body, checksum) = bytes.split_at(body_len);
        if Sha256::digest(body)[..CHECKSUM_LEN] != *checksum {
            return Err(InviteError::Damaged);
        }
        let mut d = Decoder::new(body);
        let wrong = |part| move |_| InviteError::Malformed(part);
        let fields = d.array().map_err(wrong("form"))?.unwrap_or_default();
        let version = d.u64().map_err(wrong("version"))?;
        if version != VERSION {
            return Err(InviteError::UnsupportedVersion(version));
        }
        if fields < 5 {
            return Err(InviteError::Malformed("form"));
        }
        let secret = decode_array(&mut d).map_err(wrong("secret"))?;
        let relay: Option<&str> = d.decode().map_err(wrong("relay"))?;
        let count = d.array().map_err(wrong("list of peers"))?.unwrap_or(u64::MAX);
        if count > MAX_INVITE_PEERS as u64 {
            return Err(InviteError::Malformed("list of peers"));
        }
        let peers = (0..count)
            .map(|_| d.str().map_err(wrong("list of peers")).and_then(clean_peer))
            .collect::<Result<Vec<_>, _>>()?;
        let name: Option<&str> = d.decode().map_err(wrong("name"))?;
        let relay = relay.map(clean_relay_url).transpose().map_err(InviteError::BadRelay)?;
        Ok(Self { secret: Secret::new(secret), relay, peers, name: name.and_then(clean_name) })
    }

    fn parse_earlier(bytes: &[u8]) -> Result<Self, InviteError> {
        let earlier: Earlier = serde_json::from_slice(bytes).map_err(|_| InviteError::Damaged)?;
        if let Some(v) = earlier.v.filter(|v| *v != 1) {
            return Err(InviteError::UnsupportedVersion(v));
        }
        let hexadecimal = hex::decode(&earlier.secret).ok().filter(|bytes| bytes.len() == 32);
        let secret =
            hexadecimal.or_else(|| decode_base64(&earlier.secret)).and_then(|bytes| bytes.try_into().ok());
        let secret = Secret::new(secret.ok_or(InviteError::Malformed("secret"))?);
        let mut invite = Self { secret, relay: None, peers: Vec::new(), name: None };
        match earlier.peer.as_deref().filter(|peer| !peer.is_empty()) {
            Some(url) if url.contains("://") => {
                invite.relay = Some(clean_relay_url(url).map_err(InviteError::BadRelay)?);
            }
            Some(peer) => invite.peers.push(clean_peer(peer)?),
            None => {}
        }
        Ok(invite)
    }
}

fn clean_peer(peer: &str) -> Result<String, InviteError> {
    let port = peer
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty())
        .and_then(|(_, port)| port.parse::<u16>().ok());
    let fits = peer.len() <= MAX_PEER_LEN && !peer.contains(|c: char| c.is_whitespace() || c.is_control());
    if fits && port.is_some() { Ok(peer.into()) } else { Err(InviteError::Malformed("peer address")) }
}

/// Either alphabet, with or without padding.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text = text.replace('+', "-").replace('/', "_");
    GeneralPurpose::new(&alphabet::URL_SAFE, config).decode(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn invite() -> Invite {
        Invite {
            secret: Secret::new([7; 32]),
            relay: Some("https://chat.example".into()),
            peers: vec!["192.0.2.1:4700".into()],
            name: Some("garden club".into()),
        }
    }

    #[test]
    fn invites_round_trip_bare_linked_wrapped_and_quoted() {
        let code = invite().encode();
        let (head, tail) = code.split_at(40);
        for text in [
            code.clone(),
            format!("https://chat.example/#{code}"),
            format!("  <{code}>\n"),
            format!("\"{code}\""),
            format!("web+felund:{code}"),
            format!("{code} see you there"),
            format!("_{code}_"),
            format!("{code}-and-so-on"),
            format!("felund1. is how it begins: {code}"),
            format!("{code}. See you there"),
            code.replace("felund1.", "Felund1."),
            format!("Join us: {head}\r\n  {tail}"),
        ] {
            let parsed = Invite::parse(&text).unwrap();
            assert_eq!(parsed.secret.expose(), &[7; 32]);
            assert_eq!(parsed.encode(), code);
        }
    }

    #[test]
    fn every_single_typo_is_noticed() {
        let code = invite().encode();
        for at in PREFIX.len()..code.len() {
            for other in (' '..='~').filter(|other| !code[at..].starts_with(*other)) {
                let typo = format!("{}{other}{}", &code[..at], &code[at + 1..]);
                assert!(Invite::parse(&typo).is_err(), "{typo}");
            }
            assert!(Invite::parse(&code[..at]).is_err(), "cut off at {at}");
        }
    }

    #[test]
    fn the_earlier_form_is_understood() {
        let code = |json: String| format!("{PREFIX}{}", base64_encode(json.as_bytes()));
        let secret = hex::encode([9; 32]);
        let direct =
            Invite::parse(&code(format!(r#"{{"v":1,"secret":"{secret}","peer":"192.0.2.9:9999"}}"#)))
                .unwrap();
        assert_eq!((direct.secret.expose(), &*direct.peers[0]), (&[9; 32], "192.0.2.9:9999"));
        let relayed =
            code(format!(r#"{{"v":1,"secret":"{}","peer":"https://r.example/"}}"#, base64_encode(&[9; 32])));
        assert_eq!(Invite::parse(&relayed).unwrap().relay.as_deref(), Some("https://r.example"));
        let url = format!(r#"{{"secret":"{}","peer":"http://r.example:8080"}}"#, base64_encode(&[0xfb; 32]));
        let standard = base64::engine::general_purpose::STANDARD.encode(&url);
        let relayed = Invite::parse(&format!("{PREFIX}{standard}")).unwrap();
        assert_eq!(
            (relayed.secret.expose(), relayed.relay.as_deref()),
            (&[0xfb; 32], Some("http://r.example:8080"))
        );
        let later = code(format!(r#"{{"v":3,"secret":"{secret}"}}"#));
        assert_eq!(Invite::parse(&later).unwrap_err(), InviteError::UnsupportedVersion(3));
    }

    #[test]
    fn errors_name_what_is_wrong() {
        assert_eq!(Invite::parse("hello").unwrap_err(), InviteError::NotAnInvite);
        assert_eq!(Invite::parse("felund1.!!").unwrap_err(), InviteError::Damaged);
        let bad = Invite { relay: Some("javascript://x".into()), ..invite() }.encode();
        assert!(matches!(Invite::parse(&bad).unwrap_err(), InviteError::BadRelay(_)));
    }

    #[test]
    fn what_is_too_long_is_refused_early() {
        assert_eq!(Invite::parse(&"a".repeat(9_000)).unwrap_err(), InviteError::TooLong);
        assert_eq!(
            Invite::parse(&format!("{PREFIX}{}", "a".repeat(3_000))).unwrap_err(),
            InviteError::TooLong
        );
    }

    proptest! {
        #[test]
        fn any_invite_round_trips(
            secret in any::<[u8; 32]>(),
            relay in prop::option::of("https?://[a-z]{1,20}\\.example(:[1-9][0-9]{0,3})?"),
            peers in prop::collection::vec("[a-z0-9]{1,10}:[1-9][0-9]{0,3}", 0..8),
            name in prop::option::of("[a-zé🌱]{1,64}"),
        ) {
            let code = Invite { secret: Secret::new(secret), relay, peers, name }.encode();
            prop_assert!(code.len() <= MAX_INVITE_LEN);
            prop_assert_eq!(Invite::parse(&code).unwrap().encode(), code);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Invite::parse(&text);
            let _ = Invite::parse(&format!("{PREFIX}{}", base64_encode(&bytes)));
        }
    }
}
