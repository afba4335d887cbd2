//! Signals: what two members say to each other to open a DataChannel, sealed so that whoever carries it, a relay or
//! another member, reads nothing and alters nothing (`docs/protocol.md` §12.8).

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;

use super::sdp::{MAX_CANDIDATE, MAX_SDP};
use crate::{
    config::{MAX_SIGNAL_LEN, SIGNAL_SKEW_MS},
    envelope::{pad, unpad},
    ids::{CircleId, NodeId, byte_string},
    keys::{NodeKey, seal_to},
    relay_api::SignalKind,
};

const DOMAIN: &[u8] = b"felund-signal-v1";
/// Most candidates in one signal.
pub(super) const MAX_CANDIDATES: usize = 16;
/// The purpose of the sessions of this version: a DataChannel for the mesh. Calls will have their own.
const MESH: u64 = 0;

/// Names one attempt to connect; drawn by whoever begins it.
pub(crate) type SessionId = [u8; 16];

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Signal {
    /// "I am here and would like a connection." Answered by an offer, or by a knock if the other side is to offer.
    #[n(0)]
    Knock {
        /// It answers a knock, and is not answered by another.
        #[n(0)]
        answer: bool,
    },
    /// An offer; a round above 0 restarts ICE on a connection that exists.
    #[n(1)]
    Offer {
        /// Counts offers of this session.
        #[n(0)]
        round: u32,
        /// The description.
        #[n(1)]
        sdp: String,
    },
    /// The answer to the offer of the same round.
    #[n(2)]
    Answer {
        /// Of the offer.
        #[n(0)]
        round: u32,
        /// The description.
        #[n(1)]
        sdp: String,
    },
    /// ICE candidates of the sender's description of the same round.
    #[n(3)]
    Candidates {
        /// Of the description.
        #[n(0)]
        round: u32,
        /// Candidate attributes, RFC 8839 §5.1, without `a=`.
        #[n(1)]
        candidates: Vec<String>,
    },
    /// This session will not come about, or is over.
    #[n(4)]
    Bye,
}

impl Signal {
    /// What a relay sees of it.
    pub(crate) const fn kind(&self) -> SignalKind {
        match self {
            Self::Offer { .. } => SignalKind::Offer,
            Self::Answer { .. } => SignalKind::Answer,
            Self::Knock { .. } | Self::Candidates { .. } | Self::Bye => SignalKind::Candidate,
        }
    }

    fn is_bounded(&self) -> bool {
        match self {
            Self::Knock { .. } | Self::Bye => true,
            Self::Offer { sdp, .. } | Self::Answer { sdp, .. } => sdp.len() <= MAX_SDP,
            Self::Candidates { candidates, .. } => {
                candidates.len() <= MAX_CANDIDATES && candidates.iter().all(|c| c.len() <= MAX_CANDIDATE)
            }
        }
    }
}

/// A signal with what it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Letter {
    #[n(0)]
    purpose: u64,
    /// The session.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(crate) session: SessionId,
    /// The sender's clock, unix milliseconds; grows with every letter of a sender.
    #[n(2)]
    pub(crate) sent_at: u64,
    /// What is said.
    #[n(3)]
    pub(crate) signal: Signal,
}

/// What is sealed: the sender, its signature, and the letter as it was signed.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Signed {
    #[n(0)]
    from: NodeId,
    #[cbor(n(1), with = "byte_string")]
    signature: [u8; 64],
    #[cbor(n(2), with = "minicbor::bytes")]
    letter: Vec<u8>,
}

/// Why a signal was not taken. Nothing follows from it but that it is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignalError {
    /// It is not sealed to this node and circle, or was altered on its way.
    Sealed,
    /// It opens to something else than a signal within its bounds.
    Malformed,
    /// The sender's key did not sign it for this recipient.
    Forged,
    /// It was sent too long ago, or is from the future.
    Stale,
    /// A purpose that this build does not know.
    Unknown,
}

impl SignalError {
    /// What happened, in words that are the same every time.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Sealed => "altered, or for somebody else",
            Self::Malformed => "malformed",
            Self::Forged => "not signed by its sender",
            Self::Stale => "of another time",
            Self::Unknown => "of a kind that this version does not know",
        }
    }
}

impl Letter {
    pub(crate) const fn new(session: SessionId, sent_at: u64, signal: Signal) -> Self {
        Self { purpose: MESH, session, sent_at, signal }
    }

    /// Signs as `key` and seals to a member's wrap key; `None` if that key is none or the letter is too long.
    pub(crate) fn seal(
        &self,
        key: &NodeKey,
        circle: &CircleId,
        to: &NodeId,
        wrap_key: &[u8; 32],
        rng: &mut impl CryptoRng,
    ) -> Option<Vec<u8>> {
        let letter = cbor(self);
        let from = key.id();
        let signature = key.sign(&said(circle, &from, to, &letter));
        let mut plain = cbor(&Signed { from, signature, letter });
        pad(&mut plain);
        seal_to(wrap_key, &context(circle, to), &plain, rng).filter(|sealed| sealed.len() <= MAX_SIGNAL_LEN)
    }

    /// Opens what was sealed to `key` and checks who sent it and when.
    pub(crate) fn open(
        sealed: &[u8],
        key: &NodeKey,
        circle: &CircleId,
        wall: u64,
    ) -> Result<(NodeId, Self), SignalError> {
        if sealed.len() > MAX_SIGNAL_LEN {
            return Err(SignalError::Malformed);
        }
        let me = key.id();
        let plain = key.open_sealed(&context(circle, &me), sealed).ok_or(SignalError::Sealed)?;
        let plain = unpad(&plain).ok_or(SignalError::Malformed)?;
        let signed: Signed = minicbor::decode(plain).map_err(|_| SignalError::Malformed)?;
        if !signed.from.verify(&said(circle, &signed.from, &me, &signed.letter), &signed.signature) {
            return Err(SignalError::Forged);
        }
        let mut decoder = minicbor::Decoder::new(&signed.letter);
        let purpose = decoder.array().and_then(|_| decoder.u64()).map_err(|_| SignalError::Malformed)?;
        if purpose != MESH {
            return Err(SignalError::Unknown);
        }
        let letter: Self = minicbor::decode(&signed.letter).map_err(|_| SignalError::Malformed)?;
        if !letter.signal.is_bounded() {
            return Err(SignalError::Malformed);
        }
        if letter.sent_at.abs_diff(wall) > SIGNAL_SKEW_MS {
            return Err(SignalError::Stale);
        }
        Ok((signed.from, letter))
    }
}

fn cbor<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("writing to a Vec is infallible")
}

fn context(circle: &CircleId, to: &NodeId) -> Vec<u8> {
    [DOMAIN, &circle.0, &to.0].concat()
}

fn said(circle: &CircleId, from: &NodeId, to: &NodeId, letter: &[u8]) -> Vec<u8> {
    [DOMAIN, &circle.0, &from.0, &to.0, letter].concat()
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
    use serde_json::Value;

    use super::*;
    use crate::redact::Secret;

    const CIRCLE: CircleId = CircleId([7; 16]);
    const NOW: u64 = 1_780_000_000_000;

    fn key(seed: u8) -> NodeKey {
        NodeKey::from_seed(Secret::new([seed; 32]))
    }

    fn sealed(letter: &Letter, from: &NodeKey, to: &NodeKey) -> Vec<u8> {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        letter.seal(from, &CIRCLE, &to.id(), &to.wrap_public(), &mut rng).unwrap()
    }

    fn knock(sent_at: u64) -> Letter {
        Letter::new([1; 16], sent_at, Signal::Knock { answer: false })
    }

    #[test]
    fn signals_open_as_documented() {
        let all: Value = serde_json::from_str(include_str!("../../../../docs/vectors/signals.json")).unwrap();
        let bytes = |v: &Value| hex::decode(v.as_str().unwrap()).unwrap();
        let array = |v: &Value| -> [u8; 32] { bytes(v).try_into().unwrap() };
        let circle = CircleId(bytes(&all["circle_id"]).try_into().unwrap());
        let from = NodeKey::from_seed(Secret::new(array(&all["from_seed"]))).id();
        let to = NodeKey::from_seed(Secret::new(array(&all["to_seed"])));
        let sdp = all["sdp"].as_str().unwrap().to_owned();
        assert_eq!(super::super::sdp::fingerprint(&sdp), Some(array(&all["fingerprint"])));
        let candidates = vec!["candidate:1 1 udp 2130706431 192.0.2.1 9 typ host".to_owned()];
        let expected = [
            Signal::Knock { answer: true },
            Signal::Offer { round: 0, sdp: sdp.clone() },
            Signal::Answer { round: 3, sdp },
            Signal::Candidates { round: 0, candidates },
            Signal::Bye,
        ];
        let vectors = all["signals"].as_array().unwrap();
        assert_eq!(vectors.len(), expected.len());
        for (v, signal) in vectors.iter().zip(expected) {
            let sent_at = v["sent_at"].as_u64().unwrap();
            let letter = Letter::new(bytes(&v["session"]).try_into().unwrap(), sent_at, signal);
            assert_eq!(cbor(&letter), bytes(&v["letter"]), "{}", v["name"]);
            assert_eq!(Letter::open(&bytes(&v["payload"]), &to, &circle, sent_at), Ok((from, letter)));
        }
    }

    #[test]
    fn whoever_carries_a_signal_can_neither_read_nor_alter_it() {
        let (from, to) = (key(1), key(2));
        let letter = Letter::new([1; 16], NOW, Signal::Offer { round: 0, sdp: "v=0 192.0.2.77".into() });
        let payload = sealed(&letter, &from, &to);
        for part in [&b"192.0.2.77"[..], &from.id().0, &[1; 16]] {
            assert!(!payload.windows(part.len()).any(|window| window == part));
        }
        for bit in (0..payload.len() * 8).step_by(7) {
            let mut altered = payload.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Letter::open(&altered, &to, &CIRCLE, NOW), Err(SignalError::Sealed), "bit {bit}");
        }
        assert_eq!(Letter::open(&payload[..payload.len() - 1], &to, &CIRCLE, NOW), Err(SignalError::Sealed));
        assert_eq!(Letter::open(&payload, &key(3), &CIRCLE, NOW), Err(SignalError::Sealed));
        assert_eq!(Letter::open(&payload, &to, &CircleId([8; 16]), NOW), Err(SignalError::Sealed));
        assert_eq!(Letter::open(&payload, &to, &CIRCLE, NOW), Ok((from.id(), letter)));
    }

    #[test]
    fn nobody_signals_as_another_or_passes_on_what_was_signed_for_somebody_else() {
        let (alice, bob, cleo) = (key(1), key(2), key(3));
        let reseal = |from: NodeId, signature: [u8; 64], letter: &Letter| {
            let mut plain = cbor(&Signed { from, signature, letter: cbor(letter) });
            pad(&mut plain);
            let mut rng = ChaCha20Rng::seed_from_u64(2);
            seal_to(&bob.wrap_public(), &context(&CIRCLE, &bob.id()), &plain, &mut rng).unwrap()
        };
        let letter = knock(NOW);
        // Cleo got it from Alice and seals it to Bob, in Alice's name.
        let to_cleo = alice.sign(&said(&CIRCLE, &alice.id(), &cleo.id(), &cbor(&letter)));
        let by_cleo = cleo.sign(&said(&CIRCLE, &alice.id(), &bob.id(), &cbor(&letter)));
        for signature in [to_cleo, by_cleo, [0; 64]] {
            let payload = reseal(alice.id(), signature, &letter);
            assert_eq!(Letter::open(&payload, &bob, &CIRCLE, NOW), Err(SignalError::Forged));
        }
    }

    #[test]
    fn signals_of_another_time_or_purpose_or_beyond_their_bounds_are_dropped() {
        let (from, to) = (key(1), key(2));
        let open = |letter: &Letter| Letter::open(&sealed(letter, &from, &to), &to, &CIRCLE, NOW).map(drop);
        assert_eq!(open(&knock(NOW - SIGNAL_SKEW_MS)), Ok(()));
        assert_eq!(open(&knock(NOW + SIGNAL_SKEW_MS)), Ok(()));
        assert_eq!(open(&knock(NOW - SIGNAL_SKEW_MS - 1)), Err(SignalError::Stale));
        assert_eq!(open(&knock(NOW + SIGNAL_SKEW_MS + 1)), Err(SignalError::Stale));
        assert_eq!(open(&Letter { purpose: 1, ..knock(NOW) }), Err(SignalError::Unknown));
        let sdp = "x".repeat(MAX_SDP + 1);
        let large = [
            Signal::Answer { round: 0, sdp },
            Signal::Candidates { round: 0, candidates: vec![String::new(); MAX_CANDIDATES + 1] },
            Signal::Candidates { round: 0, candidates: vec!["x".repeat(MAX_CANDIDATE + 1)] },
        ];
        for signal in large {
            assert_eq!(open(&Letter::new([1; 16], NOW, signal)), Err(SignalError::Malformed));
        }
        let too_long = Letter::new([1; 16], NOW, Signal::Bye);
        assert!(
            Letter { signal: Signal::Offer { round: 0, sdp: "x".repeat(MAX_SIGNAL_LEN) }, ..too_long }
                .seal(&from, &CIRCLE, &to.id(), &to.wrap_public(), &mut ChaCha20Rng::seed_from_u64(1))
                .is_none()
        );
    }
}
