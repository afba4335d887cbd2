//! The byte-level vectors of `docs/vectors`, which an independent implementation wrote: what the protocol document
//! says is what this code does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use felund_core::{
    anchor::{Announce, short},
    circle::{Access, Body, channel_id},
    envelope::{Compression, Draft, Envelope, Verified, open, pad, receive, seal_with, unpad},
    ids::{ChannelId, CircleHint, CircleId, Cursor, MsgId, NodeId},
    invite::{Invite, InviteError},
    keys::{CircleSecret, MessageKey, NodeKey, StoreKey, channel_wrap_context, safety_number},
    redact::Secret,
    relay_api::{
        Capabilities, Peer, Signal, SignalKind, SignalRequest, Stored,
        signing::{ApiKey, Canonical, Ticket},
    },
    wire::{ClientFrame, Sealed, ServerFrame},
};
use serde_json::Value;

macro_rules! vectors {
    ($name:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!("../../docs/vectors/", $name, ".json"))).unwrap()
    };
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn node(seed: &Value) -> NodeKey {
    NodeKey::from_seed(Secret::new(array(seed)))
}

fn message_key(value: &Value) -> MessageKey {
    MessageKey::from_bytes(array(value))
}

#[test]
fn keys_are_derived_as_documented() {
    let v = vectors!("keys");
    let secret = CircleSecret::from_secret(Secret::new(array(&v["circle_secret"])));
    assert_eq!(secret.circle_id(), CircleId(array(&v["circle_id"])));
    assert_eq!(secret.api_key().as_bytes(), &array(&v["api_signing_key"]));
    assert_eq!(secret.api_key().hint(), CircleHint(array(&v["circle_hint"])));
    assert_eq!(secret.general(), ChannelId(array(&v["general_channel_id"])));
    assert_eq!(secret.control(), ChannelId(array(&v["control_channel_id"])));
    // Message keys show only their check value, a one-way image.
    let epoch = secret.epoch_0();
    assert_eq!(epoch.check_value(), message_key(&v["epoch_0_key"]).check_value());

    let me = node(&v["node_seed"]);
    assert_eq!(me.id(), NodeId(array(&v["node_id"])));
    assert_eq!(me.wrap_public(), array(&v["wrap_public"]));
    let other = node(&v["other_seed"]).id();
    assert_eq!(other, NodeId(array(&v["other_node_id"])));
    assert_eq!(safety_number(&me.id(), &other), text(&v["safety_number"]));
    assert_eq!(safety_number(&other, &me.id()), text(&v["safety_number"]));

    let c = &v["channel"];
    let channel = channel_id(&me.id(), &array(&c["nonce"]));
    assert_eq!(channel, ChannelId(array(&c["channel_id"])));
    let key = epoch.for_passphrase(text(&c["passphrase"]), &channel).unwrap();
    assert_eq!(key.check_value(), array(&c["check"]));
    assert_eq!(key.check_value(), message_key(&c["key"]).check_value());
}

#[test]
fn padding_ends_at_the_documented_buckets() {
    for v in list(&vectors!("padding")) {
        let len = |name: &str| usize::try_from(v[name].as_u64().unwrap()).unwrap();
        let mut body = vec![7; len("body_len")];
        pad(&mut body);
        assert_eq!(body.len(), len("padded_len"), "{v}");
        assert_eq!(unpad(&body).unwrap().len(), len("body_len"));
    }
}

fn received(v: &Value) -> Verified {
    receive(&bytes(&v["cbor"])).unwrap()
}

#[test]
fn envelopes_of_another_implementation_open() {
    for v in list(&vectors!("envelopes")) {
        let verified = received(v);
        assert_eq!(verified.header().aad(), bytes(&v["aad"]), "{}", v["name"]);
        assert_eq!(verified.header().author_node_id, node(&v["author_seed"]).id());
        assert_eq!(open(&verified, &message_key(&v["message_key"])).unwrap(), bytes(&v["body"]));
        let from_json: Envelope = serde_json::from_value(v["json"].clone()).unwrap();
        assert_eq!(&from_json, verified.envelope());
        assert_eq!(serde_json::to_value(verified.envelope()).unwrap(), v["json"]);
    }
}

#[test]
fn envelopes_are_sealed_to_the_same_bytes() {
    let all = vectors!("envelopes");
    // Compressors may differ in their output; every other byte is fixed.
    for v in list(&all).iter().filter(|v| v["json"]["compression"] == "none") {
        let verified = received(v);
        let (header, body) = (verified.header(), bytes(&v["body"]));
        let draft = Draft {
            circle_id: header.circle_id,
            channel_id: header.channel_id,
            created_ts: header.created_ts,
            kind: &header.kind,
            key_id: &header.key_id,
            body: &body,
        };
        let key = message_key(&v["message_key"]);
        let iv = *verified.envelope().iv();
        let sealed = seal_with(draft, &key, &node(&v["author_seed"]), header.msg_id, iv).unwrap();
        assert_eq!(hex::encode(sealed.envelope().to_cbor()), text(&v["cbor"]), "{}", v["name"]);
    }
    assert!(list(&all).iter().any(|v| received(v).header().compression == Compression::Deflate));
}

#[test]
fn a_changed_byte_anywhere_in_an_envelope_is_refused() {
    for v in list(&vectors!("envelopes")) {
        let good = bytes(&v["cbor"]);
        for at in 0..good.len() {
            for flip in [0x01, 0x80] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                assert!(receive(&bad).is_err(), "{} byte {at}", v["name"]);
            }
            assert!(receive(&good[..at]).is_err(), "{} cut at {at}", v["name"]);
        }
    }
}

#[test]
fn a_wrong_key_or_a_swapped_header_opens_nothing() {
    let all = vectors!("envelopes");
    let (first, other) = (received(&all[0]), message_key(&all[2]["message_key"]));
    assert!(open(&first, &other).is_err());
    // The same ciphertext under its author's valid signature, but moved to another channel.
    let key = node(&all[0]["author_seed"]);
    let mut header = first.header().clone();
    header.channel_id = ChannelId([9; 16]);
    let (iv, enc) = (*first.envelope().iv(), first.envelope().enc().to_vec());
    let mut signed = bytes(&all[0]["signed_bytes"]);
    let aad_hash: [u8; 32] = sha2::Digest::finalize(sha2::Digest::chain_update(
        <sha2::Sha256 as sha2::Digest>::new(),
        header.aad(),
    ))
    .into();
    signed[18..50].copy_from_slice(&aad_hash);
    let moved = Envelope::new(header, iv, enc, key.sign(&signed)).unwrap().verify().unwrap();
    assert!(open(&moved, &message_key(&all[0]["message_key"])).is_err());
}

#[test]
fn event_bodies_mean_what_they_say() {
    for v in list(&vectors!("bodies")) {
        let (kind, cbor, means) = (text(&v["type"]), bytes(&v["cbor"]), &v["means"]);
        let body = Body::from_cbor(kind, &cbor);
        if means.is_null() {
            assert!(body.is_err(), "{kind}");
            continue;
        }
        let body = body.unwrap();
        // What earlier versions wrote is read and not written.
        if means["earlier"] != true {
            assert_eq!(hex::encode(body.to_cbor()), text(&v["cbor"]), "{kind}");
        }
        let channel = |id: &ChannelId| assert_eq!(id.0, array(&means["channel_id"]));
        match &body {
            Body::Text(said) => assert_eq!(said, text(&means["text"])),
            Body::CircleName(name) => assert_eq!(name, text(&means["name"])),
            Body::Hello(hello) => {
                assert_eq!(hello.name, text(&means["name"]));
                assert_eq!(hello.wrap_key, array(&means["wrap_key"]));
                let Capabilities { can_anchor, public_reachable, is_mobile } = hello.capabilities;
                let said = ["can_anchor", "public_reachable", "is_mobile"].map(|name| &means[name]);
                assert_eq!(said, [can_anchor, public_reachable, is_mobile]);
            }
            Body::Create(new) => {
                assert_eq!((new.nonce, &*new.name), (array(&means["nonce"]), text(&means["name"])));
                assert_eq!(new.access.as_str(), text(&means["access"]));
                assert_eq!(new.check.is_some(), new.access == Access::Key);
            }
            Body::Join(id) | Body::Leave(id) | Body::Request(id) => channel(id),
            Body::Approve(id, member, wrapped) => {
                channel(id);
                assert_eq!((member.0, wrapped), (array(&means["member"]), &bytes(&means["wrapped"])));
            }
            Body::Rename(id, name) => {
                channel(id);
                assert_eq!(name, text(&means["name"]));
            }
            Body::Announce(announce) => {
                let nodes = |v: &Value| list(v).iter().map(|v| NodeId(array(v))).collect::<Vec<_>>();
                let Capabilities { can_anchor, public_reachable, is_mobile } = announce.capabilities;
                let flags = [can_anchor, public_reachable, is_mobile];
                let told = ["can_anchor", "public_reachable", "is_mobile"].map(|name| means[name] == true);
                assert_eq!((flags, u64::from(announce.uptime)), (told, means["uptime"].as_u64().unwrap()));
                assert_eq!(
                    announce.endpoints,
                    list(&means["endpoints"]).iter().map(text).collect::<Vec<_>>()
                );
                assert_eq!(announce.present, Announce::list(&nodes(&means["present"])));
                assert_eq!(announce.elected, Some(short(&NodeId(array(&means["elected"])))));
                assert_eq!(announce.serves, Announce::list(&nodes(&means["serves"])));
            }
            Body::Receipt(received) => {
                let ids = list(&means["ids"]).iter().map(|v| MsgId(array(v)));
                let authors = list(&means["authors"]).iter().map(|v| short(&NodeId(array(v))));
                let told: Vec<_> = ids.zip(authors).collect();
                assert_eq!(*received, told);
            }
            other => panic!("{other:?} has no vector form"),
        }
    }
}

#[test]
fn a_wrapped_channel_key_opens_for_its_recipient_only() {
    let v = vectors!("channel-wrap");
    let recipient = node(&v["recipient_seed"]);
    assert_eq!(recipient.id(), NodeId(array(&v["recipient_node_id"])));
    assert_eq!(recipient.wrap_public(), array(&v["recipient_wrap_public"]));
    let (circle, channel) = (CircleId(array(&v["circle_id"])), ChannelId(array(&v["channel_id"])));
    let context = channel_wrap_context(&circle, &channel, &recipient.id());
    assert_eq!(context, bytes(&v["context"]));
    let wrapped = bytes(&v["wrapped"]);
    let key = recipient.unwrap_key(&context, &wrapped).unwrap();
    assert_eq!(key.check_value(), message_key(&v["channel_key"]).check_value());
    let elsewhere = channel_wrap_context(&circle, &ChannelId([0; 16]), &recipient.id());
    assert!(recipient.unwrap_key(&elsewhere, &wrapped).is_none());
    assert!(node(&vectors!("keys")["node_seed"]).unwrap_key(&context, &wrapped).is_none());
    for at in 0..wrapped.len() {
        let mut bad = wrapped.clone();
        bad[at] ^= 1;
        assert!(recipient.unwrap_key(&context, &bad).is_none(), "byte {at}");
    }
}

#[test]
fn invites_are_read_and_written_as_documented() {
    let v = vectors!("invites");
    let secret: [u8; 32] = array(&v["circle_secret"]);
    let owned = |value: &Value| value.as_str().map(str::to_owned);
    for i in list(&v["current"]) {
        let parsed = Invite::parse(text(&i["code"])).unwrap();
        assert_eq!(parsed.secret.expose(), &secret);
        assert_eq!((&parsed.relay, &parsed.name), (&owned(&i["relay"]), &owned(&i["name"])));
        assert_eq!(Value::from(parsed.peers.clone()), i["peers"]);
        assert_eq!(parsed.encode(), text(&i["code"]));
    }
    for i in list(&v["earlier"]) {
        let parsed = Invite::parse(text(&i["code"])).unwrap();
        assert_eq!((parsed.secret.expose(), parsed.relay), (&secret, owned(&i["relay"])));
        assert_eq!(Value::from(parsed.peers), i["peers"]);
    }
    for i in list(&v["refused"]) {
        let why = match Invite::parse(text(&i["text"])).unwrap_err() {
            InviteError::NotAnInvite => "not an invite",
            InviteError::Damaged => "damaged",
            InviteError::UnsupportedVersion(3) => "unsupported version",
            InviteError::BadRelay(_) => "bad relay",
            other => panic!("{other:?}"),
        };
        assert_eq!(why, text(&i["why"]));
    }
}

#[test]
fn requests_are_signed_as_documented() {
    let v = vectors!("signing");
    let (api, me) = (ApiKey::from_bytes(array(&v["api_signing_key"])), node(&v["node_seed"]));
    for r in list(&v["requests"]) {
        let node_id = me.id();
        let canonical = Canonical {
            method: text(&r["method"]),
            path: text(&r["path"]),
            query: r["query"].as_str(),
            body: text(&r["body"]).as_bytes(),
            ts: r["ts"].as_u64().unwrap(),
            nonce: text(&r["nonce"]),
            node_id: &node_id,
        }
        .text();
        assert_eq!(canonical, text(&r["canonical"]));
        let headers = &r["headers"];
        assert_eq!(node_id.to_string(), text(&headers["x-felund-node"]));
        assert_eq!(api.hint().to_string(), text(&headers["x-felund-circle"]));
        assert!(api.check(&canonical, &array(&headers["x-felund-signature"])));
        let signature = array(&headers["x-felund-node-signature"]);
        assert!(node_id.verify(canonical.as_bytes(), &signature));
        assert_eq!(me.sign(canonical.as_bytes()), signature);
    }
    let t = &v["ticket"];
    let (node, nonce, ts) = (me.id(), array(&t["nonce"]), t["ts"].as_u64().unwrap());
    let canonical = Ticket::canonical(&node, ts, &nonce);
    assert_eq!(canonical, text(&t["canonical"]));
    let (mac, node_signature) = (api.mac(&canonical), me.sign(canonical.as_bytes()));
    let ticket = Ticket { node, hint: api.hint(), ts, nonce, mac, node_signature };
    assert_eq!(ticket.encode(), text(&t["ticket"]));
    assert_eq!(Ticket::parse(text(&t["ticket"])), Some(ticket));
}

#[test]
fn socket_frames_have_the_documented_bytes() {
    let (v, keys) = (vectors!("frames"), vectors!("keys"));
    let hint = CircleHint(array(&keys["circle_hint"]));
    let other = NodeId(array(&keys["other_node_id"]));
    let chat = &vectors!("envelopes")[0];
    let (envelope, msg_id) = (Sealed(bytes(&chat["cbor"])), MsgId(array(&chat["json"]["msg_id"])));
    let capabilities = Capabilities { public_reachable: true, ..Capabilities::default() };
    let endpoints = vec!["192.0.2.1:4700".to_owned()];
    let peer = Peer { node_id: other, endpoints, capabilities, observed_at: 1_771_930_300 };
    let payload = felund_core::ids::Base64(b"sealed".to_vec());
    let session_id = "session-1".to_owned();
    let client = [
        ClientFrame::Attach { token: "token-abc".into(), after: Cursor(255) },
        ClientFrame::Post { hint, seq: 7, envelopes: vec![envelope.clone()] },
        ClientFrame::Ephemeral { hint, envelope: envelope.clone() },
        ClientFrame::Signal {
            hint,
            signal: SignalRequest {
                session_id: session_id.clone(),
                to_node_id: other,
                kind: SignalKind::Offer,
                payload: payload.clone(),
                ttl_s: 60,
            },
        },
        ClientFrame::Detach { hint },
        ClientFrame::Ping { id: 42 },
    ];
    assert_eq!(client.len(), list(&v["client"]).len());
    for (frame, v) in client.iter().zip(list(&v["client"])) {
        assert_eq!(hex::encode(frame.to_bytes()), text(&v["cbor"]), "{}", v["name"]);
        assert_eq!(ClientFrame::from_bytes(&bytes(&v["cbor"])).as_ref(), Ok(frame));
    }
    let refused = |hint, seq, code: &str, message: &str, retryable, retry_after_ms| ServerFrame::Refused {
        hint,
        seq,
        code: code.into(),
        message: message.into(),
        retryable,
        retry_after_ms,
    };
    let cursor = Cursor(256);
    let signal = Signal {
        cursor: Cursor(1),
        session_id,
        from_node_id: other,
        kind: SignalKind::Candidate,
        payload,
        expires_at: 1_771_930_380,
    };
    let server = [
        ServerFrame::Attached { hint, peers: vec![peer.clone()], server_time: 1_771_930_320 },
        ServerFrame::Live { hint, cursor, envelope: envelope.clone() },
        ServerFrame::CaughtUp { hint, cursor },
        ServerFrame::Stored { hint, seq: 7, stored: vec![Stored { msg_id, cursor }] },
        ServerFrame::Presence { hint, peer, online: true },
        ServerFrame::Ephemeral { hint, envelope },
        ServerFrame::Signal { hint, signal },
        refused(Some(hint), Some(7), "RATE_LIMITED", "slow down", true, 1_500),
        refused(None, None, "BAD_REQUEST", "malformed frame", false, 0),
        ServerFrame::Pong { id: 42 },
    ];
    assert_eq!(server.len(), list(&v["server"]).len());
    for (frame, v) in server.iter().zip(list(&v["server"])) {
        assert_eq!(hex::encode(frame.to_bytes()), text(&v["cbor"]), "{}", v["name"]);
        assert_eq!(ServerFrame::from_bytes(&bytes(&v["cbor"])).as_ref(), Ok(frame));
    }
}

#[test]
fn records_at_rest_open_as_documented() {
    let v = vectors!("storage");
    let (key, record, sealed) = (node(&v["node_seed"]).store_key(), text(&v["record"]), bytes(&v["sealed"]));
    assert_eq!(key.open(record, &sealed).unwrap(), bytes(&v["value"]));
    assert!(key.open("circle/other", &sealed).is_none());
    let locked = StoreKey::from_passphrase(text(&v["passphrase"]), &array(&v["salt"])).unwrap();
    assert_eq!(locked.open("identity", &bytes(&v["sealed_seed"])).unwrap(), bytes(&v["node_seed"]));
    let wrong = StoreKey::from_passphrase("correct horse ", &array(&v["salt"])).unwrap();
    assert!(wrong.open("identity", &bytes(&v["sealed_seed"])).is_none());
}

#[test]
fn a_node_starts_from_the_documented_identity_record() {
    use felund_core::{
        io::{Command, Event, Input, Output, Request},
        node::{Node, Platform},
        store::Loaded,
        time::Now,
    };
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};
    let v = vectors!("storage");
    let expected = node(&v["node_seed"]).id();
    let now = Now { mono: 0, wall: 1_771_930_320_000 };
    for (record, passphrase) in [("identity_plain", None), ("identity_locked", Some(text(&v["passphrase"])))]
    {
        let mut node = Node::new(Box::new(ChaCha8Rng::seed_from_u64(1)), Platform::default());
        let Output::Load(query, _) = node.poll_output() else { panic!("a node first reads its records") };
        let records = vec![("identity".to_owned(), bytes(&v[record]))];
        node.handle(now, Input::Loaded(query, Ok(Loaded::Records(records))));
        if let Some(passphrase) = passphrase {
            let command = Command::Unlock { passphrase: passphrase.into() };
            node.handle(now, Input::Command(Request { id: 1, command }));
        }
        let mut seen = None;
        loop {
            match node.poll_output() {
                Output::Timeout(_) => break,
                Output::Event(Event::Identity(identity)) => seen = Some(identity.node_id),
                _ => {}
            }
        }
        assert_eq!(seen, Some(expected), "{record}");
    }
}
