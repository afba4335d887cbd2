//! Codecs under random input: what is written reads back, what is not canonical is refused, nothing panics.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use felund_core::{
    circle::Body,
    envelope::{
        Compression, Draft, Envelope, EnvelopeError, Header, Verified, open, receive, seal_with, unpad,
    },
    ids::{ChannelId, CircleHint, CircleId, Cursor, MsgId, NodeId},
    keys::{MessageKey, NodeKey, StoreKey},
    redact::Secret,
    wire::{ClientFrame, Have, PeerFrame, Sealed, ServerFrame, Window, encode_live},
};
use proptest::prelude::*;

/// Any well-formed envelope, validly signed or not.
fn envelope() -> impl Strategy<Value = Envelope> {
    let ids = (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<[u8; 16]>(), any::<[u8; 32]>());
    let texts = ("[a-z.é]{1,30}", "[a-z0-9-]{1,32}", any::<bool>());
    let sealed = (any::<[u8; 12]>(), prop::collection::vec(any::<u8>(), 17..400), any::<[u8; 32]>());
    (ids, any::<u64>(), texts, sealed).prop_map(|(ids, created_ts, texts, (iv, enc, half))| {
        let header = Header {
            msg_id: MsgId(ids.0),
            circle_id: CircleId(ids.1),
            channel_id: ChannelId(ids.2),
            author_node_id: NodeId(ids.3),
            created_ts,
            kind: texts.0,
            key_id: texts.1,
            compression: if texts.2 { Compression::Deflate } else { Compression::None },
        };
        let mut sig = [0; 64];
        sig[..32].copy_from_slice(&half);
        sig[32..].copy_from_slice(&half);
        Envelope::new(header, iv, enc, sig).unwrap()
    })
}

fn sealed(seed: [u8; 32], key: [u8; 32], body: &[u8]) -> Verified {
    let draft = Draft {
        circle_id: CircleId([3; 16]),
        channel_id: ChannelId([4; 16]),
        created_ts: 1_771_930_320_000,
        kind: "chat.text",
        key_id: "epoch-0",
        body,
    };
    let author = NodeKey::from_seed(Secret::new(seed));
    seal_with(draft, &MessageKey::from_bytes(key), &author, MsgId([5; 16]), [6; 12]).unwrap()
}

/// The same array with one head written longer than it needs to be (RFC 8949 §4.2.1 forbids it).
fn lengthened(cbor: &[u8]) -> Vec<u8> {
    let mut out = vec![0x98, cbor[0] & 0x1f];
    out.extend_from_slice(&cbor[1..]);
    out
}

proptest! {
    #[test]
    fn any_envelope_round_trips_as_cbor_and_json(envelope in envelope()) {
        prop_assert_eq!(&Envelope::from_cbor(&envelope.to_cbor()).unwrap(), &envelope);
        let json = serde_json::to_string(&envelope).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Envelope>(&json).unwrap(), &envelope);
    }

    #[test]
    fn an_envelope_has_one_byte_form(envelope in envelope(), tail in prop::collection::vec(any::<u8>(), 1..9)) {
        let good = envelope.to_cbor();
        prop_assert_eq!(Envelope::from_cbor(&lengthened(&good)), Err(EnvelopeError::NotDeterministic));
        let longer = [&good[..], &tail].concat();
        prop_assert_eq!(Envelope::from_cbor(&longer), Err(EnvelopeError::NotDeterministic));
        // An indefinite-length array of the same elements.
        let endless = [&[0x9f][..], &good[1..], &[0xff]].concat();
        prop_assert!(Envelope::from_cbor(&endless).is_err());
        // A small version number in two bytes instead of one.
        let wide = [&good[..1], &[0x18, 2], &good[2..]].concat();
        prop_assert_eq!(Envelope::from_cbor(&wide), Err(EnvelopeError::NotDeterministic));
    }

    #[test]
    fn a_forged_signature_is_never_verified(envelope in envelope()) {
        prop_assert_eq!(envelope.verify(), Err(EnvelopeError::BadSignature));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = (receive(&bytes), ClientFrame::from_bytes(&bytes), ServerFrame::from_bytes(&bytes));
        let _ = (unpad(&bytes), serde_json::from_slice::<Envelope>(&bytes));
        for kind in ["chat.text", "member.hello", "channel.create", "channel.approve", "channel.rename", "?"] {
            let _ = Body::from_cbor(kind, &bytes);
        }
        let key = NodeKey::from_seed(Secret::new([1; 32]));
        prop_assert!(key.unwrap_key(b"context", &bytes).is_none());
        prop_assert!(key.store_key().open("label", &bytes).is_none());
    }

    #[test]
    fn no_damage_to_a_real_envelope_makes_a_reader_panic(
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let good = sealed([1; 32], [2; 32], b"hello").envelope().to_cbor();
        let mut bad = good.clone();
        bad[at.index(good.len())] = to;
        prop_assert!(bad == good || receive(&bad).is_err());
        prop_assert!(receive(&bad[..cut.index(good.len())]).is_err());
    }

    #[test]
    fn what_is_sealed_opens_for_those_who_have_the_key(
        seed in any::<[u8; 32]>(),
        key in any::<[u8; 32]>(),
        other in any::<[u8; 32]>(),
        body in prop::collection::vec(prop::sample::select(vec![0_u8, b'a', 0x80, 0xff]), 0..600),
    ) {
        let verified = receive(&sealed(seed, key, &body).envelope().to_cbor()).unwrap();
        prop_assert_eq!(open(&verified, &MessageKey::from_bytes(key)).unwrap(), body);
        prop_assert!(other == key || open(&verified, &MessageKey::from_bytes(other)).is_err());
    }

    #[test]
    fn frames_round_trip(
        hint in any::<[u8; 32]>(),
        numbers in any::<(u64, u64)>(),
        envelopes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5),
        said in ".{0,40}",
    ) {
        let (hint, cursor) = (CircleHint(hint), Cursor(numbers.0));
        let envelope = Sealed(envelopes.first().cloned().unwrap_or_default());
        let live = ServerFrame::Live { hint, cursor, envelope: envelope.clone() };
        prop_assert_eq!(encode_live(&hint, cursor, &envelope.0), live.to_bytes());
        let refused = ServerFrame::Refused {
            hint: (numbers.0 % 2 == 0).then_some(hint),
            seq: (numbers.1 % 2 == 0).then_some(numbers.1),
            code: "BAD_REQUEST".into(),
            message: said.clone(),
            retryable: true,
            retry_after_ms: numbers.1,
        };
        for frame in [live, refused, ServerFrame::CaughtUp { hint, cursor }] {
            prop_assert_eq!(ServerFrame::from_bytes(&frame.to_bytes()), Ok(frame));
        }
        let envelopes = envelopes.into_iter().map(Sealed).collect();
        for frame in [
            ClientFrame::Post { hint, seq: numbers.1, envelopes },
            ClientFrame::Attach { token: said, after: cursor },
        ] {
            prop_assert_eq!(ClientFrame::from_bytes(&frame.to_bytes()), Ok(frame));
        }
    }

    #[test]
    fn ids_and_cursors_round_trip_as_text(id in any::<[u8; 32]>(), n in any::<u64>()) {
        prop_assert_eq!(NodeId(id).to_string().parse(), Ok(NodeId(id)));
        prop_assert_eq!(Cursor(n).to_string().parse(), Ok(Cursor(n)));
    }

    #[test]
    fn cursors_sort_as_text_like_they_do_as_numbers(a in any::<u64>(), b in any::<u64>()) {
        prop_assert_eq!(a.cmp(&b), Cursor(a).to_string().cmp(&Cursor(b).to_string()));
    }
}

#[test]
fn lengths_are_refused_before_memory_is_taken() {
    // Heads that promise far more than follows: a byte string, a text and an array of 2^60 elements.
    for head in [0x5b, 0x7b, 0x9b] {
        let promise = [&[head][..], &(1_u64 << 60).to_be_bytes()].concat();
        for before in [&[][..], &[0x8c, 0x02], &[0x82, 0x01], &[0x82, 0x01, 0x83]] {
            let bytes = [before, &promise].concat();
            assert!(receive(&bytes).is_err());
            assert!(ClientFrame::from_bytes(&bytes).is_err());
            assert!(ServerFrame::from_bytes(&bytes).is_err());
        }
    }
}

#[test]
fn a_window_of_more_channels_than_a_circle_has_is_refused() {
    let floors = |count: u8| (0..=count).map(|n| (ChannelId([n; 16]), 1)).collect::<Vec<_>>();
    let window = |floors| Window { horizon: 0, floors };
    let summary = |window| Have::Summary { count: 1, fingerprint: [0; 16], window };
    let symbols = |window| Have::Symbols { count: 1, start: 0, symbols: vec![], window };
    let all = floors(255);
    let more = [&all[..], &[(ChannelId([9; 16]), 2)]].concat();
    let both = [&all[..], &all].concat();
    for (have, is_read) in [
        (summary(window(all)), true),
        (summary(window(more.clone())), false),
        (symbols(window(both.clone())), true),
        (symbols(window([both, more].concat())), false),
    ] {
        let frame = PeerFrame::MsgsHave { circle: 0, have };
        assert_eq!(PeerFrame::from_bytes(&frame.to_bytes()).is_ok(), is_read);
    }
}

#[test]
fn a_deeply_nested_frame_is_refused_without_recursion() {
    let nested = vec![0x81; 900_000];
    assert!(ClientFrame::from_bytes(&nested).is_err());
    let trailing = [&[0x82, 0x05, 0x82, 0x00][..], &nested].concat();
    assert!(ClientFrame::from_bytes(&trailing).is_err());
    assert!(Body::from_cbor("member.hello", &nested).is_err());
}

#[test]
fn stretching_a_passphrase_takes_its_salt() {
    let (a, b) = (StoreKey::from_passphrase("x", &[1; 16]), StoreKey::from_passphrase("x", &[2; 16]));
    let mut rng = <rand_chacha::ChaCha8Rng as rand_chacha::rand_core::SeedableRng>::seed_from_u64(7);
    let sealed = a.unwrap().seal("label", b"value", &mut rng);
    assert!(b.unwrap().open("label", &sealed).is_none());
}
