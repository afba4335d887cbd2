//! The WebSocket: backlog and live messages without gap, repetition or disorder; presence; slow readers.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use common::{
    Circle, Http, Member, Message, Request, Socket, TestRelay, client_frame, envelope_of_type, now,
};
use felund_core::{
    ids::{Base64, Cursor, base64_decode, base64_encode},
    relay_api::{SignalKind, SignalRequest},
    wire::{ClientFrame, Sealed, ServerFrame},
};

fn relay(options: &[&str]) -> (tempfile::TempDir, TestRelay) {
    let dir = tempfile::tempdir().unwrap();
    let mut all = vec!["--rate-node", "0"];
    all.extend(options);
    let relay = TestRelay::start(dir.path(), &all);
    (dir, relay)
}

fn post_frame(member: &Member, seq: u64, count: usize) -> ClientFrame {
    let envelopes = (0..count).map(|_| Sealed(member.envelope(200).to_cbor())).collect();
    ClientFrame::Post { hint: member.circle.hint(), seq, envelopes }
}

#[test]
fn a_token_opens_one_socket_and_attaches_once() {
    let (_dir, relay) = relay(&[]);
    let mut member = Member::registered(relay.address, &Circle::new());
    let refused = Socket::open(relay.address, "nonsense").err().unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (401, "INVALID_TOKEN"));
    let token = member.token();
    let mut socket = Socket::open(relay.address, &token).unwrap();
    socket.send(&ClientFrame::Attach { token: token.clone(), after: Cursor(0) });
    let ServerFrame::Attached { hint, peers, .. } = socket.next() else { panic!() };
    assert_eq!((hint, peers.len()), (member.circle.hint(), 0));
    assert!(matches!(socket.next(), ServerFrame::CaughtUp { .. }));
    socket.send(&ClientFrame::Attach { token: token.clone(), after: Cursor(0) });
    let ServerFrame::Refused { code, .. } = socket.next() else { panic!() };
    assert_eq!(code, "INVALID_TOKEN");
    let again = Socket::open(relay.address, &token).err().unwrap();
    assert_eq!((again.status, again.code().as_str()), (401, "INVALID_TOKEN"), "the token is used up");
    socket.send(&ClientFrame::Ping { id: 5 });
    assert_eq!(socket.next(), ServerFrame::Pong { id: 5 }, "the socket lives on");
}

#[test]
fn what_has_opened_a_socket_opens_no_other_and_is_good_for_its_first_attach_only() {
    let (_dir, relay) = relay(&[]);
    let mut member = Member::registered(relay.address, &Circle::new());
    let ticket = member.ticket(&member.socket_request());
    for (opener, code) in [(member.token(), "INVALID_TOKEN"), (ticket, "NONCE_REPLAY")] {
        let mut first = Socket::open(relay.address, &opener).unwrap();
        assert_eq!(Socket::open(relay.address, &opener).err().unwrap().code(), code);
        let mut other = member.live_socket();
        let attach = |socket: &mut Socket, token: &str| {
            socket.send(&ClientFrame::Attach { token: token.into(), after: Cursor(0) });
            match socket.next_content() {
                ServerFrame::Attached { .. } => {
                    assert!(matches!(socket.next_content(), ServerFrame::CaughtUp { .. }));
                    "attached".into()
                }
                ServerFrame::Refused { code, .. } => code,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(attach(&mut other, &opener), code, "nor does it attach to another");
        assert_eq!(attach(&mut first, &member.token()), "attached");
        assert_eq!(attach(&mut first, &opener), code, "the first attach was another's");
    }
    // A token that attaches opens nothing after that.
    let token = member.token();
    let mut socket = member.live_socket();
    socket.send(&ClientFrame::Attach { token: token.clone(), after: Cursor(0) });
    assert!(matches!(socket.next_content(), ServerFrame::Attached { .. }));
    assert_eq!(Socket::open(relay.address, &token).err().unwrap().code(), "INVALID_TOKEN");
}

#[test]
fn a_socket_that_keeps_asking_to_be_attached_is_slowed_down() {
    let (_dir, relay) = relay(&[]);
    let mut member = Member::registered(relay.address, &Circle::new());
    let mut socket = member.live_socket();
    let mut codes = Vec::new();
    for _ in 0..200 {
        socket.send(&ClientFrame::Attach { token: "nonsense".into(), after: Cursor(0) });
        let ServerFrame::Refused { code, .. } = socket.next_content() else { panic!() };
        codes.push(code);
    }
    assert_eq!(codes.first().map(String::as_str), Some("INVALID_TOKEN"));
    assert!(codes.iter().any(|code| code == "RATE_LIMITED"), "{codes:?}");
    socket.send(&ClientFrame::Ping { id: 5 });
    assert_eq!(socket.next_content(), ServerFrame::Pong { id: 5 }, "the socket lives on");
}

#[test]
fn a_ticket_does_for_a_socket_what_a_token_does() {
    let (_dir, relay) = relay(&[]);
    let (member, other) = (
        Member::registered(relay.address, &Circle::new()),
        Member::registered(relay.address, &Circle::new()),
    );
    let ticket = member.ticket(&member.socket_request());
    let mut socket = Socket::open(relay.address, &ticket).unwrap();
    // The one that opened it attaches its circle; another circle needs only one of its own.
    for (token, circle) in
        [(&ticket, &member.circle), (&other.ticket(&other.socket_request()), &other.circle)]
    {
        socket.send(&ClientFrame::Attach { token: token.clone(), after: Cursor(0) });
        let ServerFrame::Attached { hint, .. } = socket.next() else { panic!() };
        assert_eq!(hint, circle.hint());
        assert!(matches!(socket.next(), ServerFrame::CaughtUp { .. }));
        socket.send(&ClientFrame::Attach { token: token.clone(), after: Cursor(0) });
        let ServerFrame::Refused { code, .. } = socket.next() else { panic!() };
        assert_eq!(code, "NONCE_REPLAY", "it is used up");
    }
    let again = Socket::open(relay.address, &ticket).err().unwrap();
    assert_eq!((again.status, again.code().as_str()), (409, "NONCE_REPLAY"));
}

#[test]
fn a_ticket_is_checked_as_every_signed_request_is() {
    let (_dir, relay) = relay(&[]);
    let member = Member::registered(relay.address, &Circle::new());
    let refused = |ticket: &str| {
        let answer = Socket::open(relay.address, ticket).err().expect("a refusal");
        (answer.status, answer.code())
    };
    let good = member.ticket(&member.socket_request());
    let bytes = base64_decode(&good).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        // The last bit of each: a time that is off by a second is not stale, and not what was signed.
        changed[at] ^= 1;
        let (status, code) = refused(&base64_encode(&changed));
        let expected: &[&str] = match at {
            32..64 => &["UNKNOWN_CIRCLE"],
            64..72 => &["EXPIRED_TIMESTAMP", "INVALID_SIGNATURE"],
            _ => &["INVALID_SIGNATURE"],
        };
        assert!(expected.contains(&code.as_str()), "byte {at}: {status} {code}");
    }
    for ts in [now() - 310, now() + 310] {
        let ticket = member.ticket(&Request { ts, ..member.socket_request() });
        assert_eq!(refused(&ticket), (400, "EXPIRED_TIMESTAMP".into()));
    }
    let elsewhere = member.ticket(&member.request("POST", "/v1/relay/session", b""));
    assert_eq!(refused(&elsewhere), (401, "INVALID_SIGNATURE".into()), "signed for something else");
    let stranger = Member::new(relay.address, &Circle::new());
    assert_eq!(refused(&stranger.ticket(&stranger.socket_request())), (401, "UNKNOWN_CIRCLE".into()));
    assert!(Socket::open(relay.address, &good).is_ok(), "none of those used it up");
}

#[test]
fn made_up_devices_lock_nobody_out_of_a_circle() {
    let (_dir, relay) = relay(&[]);
    let circle = Circle::new();
    let mut alice = Member::registered(relay.address, &circle);
    let _there = alice.live_socket();
    let mut flood = Member::new(relay.address, &circle);
    for i in 0..600 {
        let mut body = flood.register_body();
        body["endpoints"] = (0..16).map(|at| format!("{at:0>120}:4000")).collect();
        assert_eq!(flood.post_json("/v1/register", &body).status, 200, "{i}");
        flood.become_another();
    }
    let mut bob = Member::registered(relay.address, &circle);
    let mut socket = bob.socket(Cursor(0));
    let attached = socket.next();
    let size = attached.to_bytes().len();
    assert!(size < 640 * 1024, "{size} bytes: clients take no more than 1 MiB");
    let ServerFrame::Attached { peers, .. } = attached else { panic!() };
    assert_eq!(peers[0].node_id, alice.node(), "who has a socket comes first");
    let listed = bob.get("/v1/peers").json();
    assert_eq!(listed["peers"][0]["node_id"], alice.node().to_string());
}

#[test]
fn a_post_reaches_everyone_including_its_sender() {
    let (_dir, relay) = relay(&[]);
    let circle = Circle::new();
    let mut alice = Member::registered(relay.address, &circle);
    let mut bob = Member::registered(relay.address, &circle);
    let mut a = alice.live_socket();
    let mut b = bob.live_socket();
    let envelope = alice.envelope(300);
    let sealed = Sealed(envelope.to_cbor());
    a.send(&ClientFrame::Post { hint: circle.hint(), seq: 9, envelopes: vec![sealed.clone()] });
    let mut stored = None;
    let mut live = None;
    while stored.is_none() || live.is_none() {
        match a.next_content() {
            ServerFrame::Stored { seq: 9, stored: s, .. } => stored = Some(s[0]),
            ServerFrame::Live { cursor, envelope, .. } => live = Some((cursor, envelope)),
            other => panic!("{other:?}"),
        }
    }
    let stored = stored.unwrap();
    assert_eq!(stored.msg_id, envelope.header().msg_id);
    assert_eq!(live, Some((stored.cursor, sealed.clone())));
    assert_eq!(
        b.next_content(),
        ServerFrame::Live { hint: circle.hint(), cursor: stored.cursor, envelope: sealed }
    );
    assert_eq!(bob.get("/v1/messages").json()["messages"][0]["cursor"], stored.cursor.to_string());
}

#[test]
fn backlog_and_live_join_without_gap_under_concurrent_posts() {
    let (_dir, relay) = relay(&[]);
    let circle = Circle::new();
    let address = relay.address;
    const POSTERS: usize = 4;
    const POSTS: usize = 150;
    Member::registered(address, &circle);
    let posters: Vec<_> = (0..POSTERS)
        .map(|_| {
            let circle = circle.clone();
            std::thread::spawn(move || {
                let mut member = Member::registered(address, &circle);
                let mut socket = member.live_socket();
                for seq in 0..POSTS as u64 {
                    socket.send(&post_frame(&member, seq, 2));
                    while !matches!(socket.next(), ServerFrame::Stored { .. }) {}
                }
            })
        })
        .collect();
    let readers: Vec<_> = (0..6)
        .map(|index| {
            let circle = circle.clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(index * 40));
                let mut member = Member::registered(address, &circle);
                let mut socket = member.socket(Cursor(0));
                let mut cursors = Vec::new();
                while cursors.len() < POSTERS * POSTS * 2 {
                    if let ServerFrame::Live { cursor, .. } = socket.next() {
                        cursors.push(cursor);
                    }
                }
                cursors
            })
        })
        .collect();
    for poster in posters {
        poster.join().unwrap();
    }
    let seen: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    assert!(seen[0].is_sorted_by(|a, b| a < b), "cursors only grow");
    for other in &seen[1..] {
        assert_eq!(other, &seen[0]);
    }
}

#[test]
fn a_socket_resumes_after_its_cursor_and_not_after_one_of_another_log() {
    let (_dir, relay) = relay(&[]);
    let mut member = Member::registered(relay.address, &Circle::new());
    let envelopes: Vec<_> = (0..5).map(|_| member.envelope(50)).collect();
    let stored = member.post(&envelopes).json();
    let cursor = |i: usize| stored["stored"][i]["cursor"].as_str().unwrap().parse::<Cursor>().unwrap();
    let live = |after| {
        let mut socket = Member::registered(relay.address, &member.circle).socket(after);
        let mut cursors = Vec::new();
        loop {
            match socket.next_content() {
                ServerFrame::Live { cursor, .. } => cursors.push(cursor),
                ServerFrame::CaughtUp { .. } => return cursors,
                _ => {}
            }
        }
    };
    assert_eq!(live(cursor(2)), vec![cursor(3), cursor(4)]);
    assert_eq!(live(cursor(4)), vec![]);
    assert_eq!(live(Cursor(u64::MAX)).len(), 5, "a cursor this log never gave out means all of it");
}

#[test]
fn presence_follows_sockets_and_registrations() {
    let (_dir, relay) = relay(&[]);
    let circle = Circle::new();
    let mut alice = Member::registered(relay.address, &circle);
    let mut watch = alice.live_socket();
    let mut bob = Member::new(relay.address, &circle);
    let mut expect = |online: bool, node| {
        let ServerFrame::Presence { peer, online: is, .. } = watch.next() else { panic!() };
        assert_eq!((peer.node_id, is), (node, online));
        peer
    };
    bob.register();
    let peer = expect(true, bob.node());
    assert_eq!(peer.endpoints, ["192.0.2.1:4000"]);
    assert!(peer.capabilities.can_anchor);
    assert_eq!(bob.call("DELETE", "/v1/register", b"").status, 200);
    expect(false, bob.node());
    let socket = bob.live_socket();
    expect(true, bob.node());
    let second = bob.live_socket();
    drop(second);
    drop(socket);
    expect(false, bob.node());
    let mut socket = bob.live_socket();
    expect(true, bob.node());
    socket.send(&ClientFrame::Detach { hint: circle.hint() });
    expect(false, bob.node());
    socket.send(&post_frame(&bob, 1, 1));
    assert!(matches!(socket.next(), ServerFrame::Refused { seq: Some(1), .. }), "detached means detached");
    let peers = alice.get("/v1/peers").json();
    assert_eq!(peers["peers"].as_array().unwrap().len(), 0);
}

#[test]
fn ephemeral_envelopes_are_passed_on_and_not_kept() {
    let (_dir, relay) = relay(&[]);
    let circle = Circle::new();
    let mut alice = Member::registered(relay.address, &circle);
    let mut bob = Member::registered(relay.address, &circle);
    let (mut a, mut b) = (alice.live_socket(), bob.live_socket());
    let mut bytes = alice.envelope(40).to_cbor();
    a.send(&ClientFrame::Ephemeral { hint: circle.hint(), envelope: Sealed(bytes.clone()) });
    let ServerFrame::Ephemeral { envelope, .. } = b.next_content() else { panic!() };
    assert_eq!(envelope.0, bytes);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    a.send(&ClientFrame::Ephemeral { hint: circle.hint(), envelope: Sealed(bytes) });
    assert!(matches!(a.next_content(), ServerFrame::Refused { .. }), "not echoed, and a forgery is refused");
    assert_eq!(alice.get("/v1/messages").json()["messages"].as_array().unwrap().len(), 0);
}

#[test]
fn what_is_only_passed_on_is_not_taken_into_the_log() {
    let (_dir, relay) = relay(&[]);
    let circle = Circle::new();
    let mut alice = Member::registered(relay.address, &circle);
    let (mut a, mut b) = (alice.live_socket(), Member::registered(relay.address, &circle).live_socket());
    for kind in ["ANCHOR_ANNOUNCE", "receipt"] {
        let envelope = envelope_of_type(&alice.key, kind);
        let sealed = Sealed(envelope.to_cbor());
        let answer = alice.post(&[alice.envelope(40), envelope]);
        assert_eq!((answer.status, answer.code().as_str()), (400, "BAD_REQUEST"));
        let told = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(told.contains(kind) && told.contains("nothing of this batch was stored"), "{told}");
        let chat = Sealed(alice.envelope(40).to_cbor());
        a.send(&ClientFrame::Post { hint: circle.hint(), seq: 7, envelopes: vec![chat, sealed.clone()] });
        let ServerFrame::Refused { seq, code, message, retryable, .. } = a.next_content() else { panic!() };
        assert_eq!((seq, code.as_str(), retryable), (Some(7), "BAD_REQUEST", false));
        assert_eq!(message, told);
        a.send(&ClientFrame::Ephemeral { hint: circle.hint(), envelope: sealed.clone() });
        assert_eq!(
            b.next_content(),
            ServerFrame::Ephemeral { hint: circle.hint(), envelope: sealed },
            "nothing came before it"
        );
    }
    assert_eq!(alice.get("/v1/messages").json()["messages"], serde_json::json!([]));
}

#[test]
fn signals_are_pushed_to_their_recipient_also_when_it_comes_later() {
    let (_dir, relay) = relay(&[]);
    let circle = Circle::new();
    let mut alice = Member::registered(relay.address, &circle);
    let mut bob = Member::registered(relay.address, &circle);
    let (mut a, mut b) = (alice.live_socket(), bob.live_socket());
    let carol = Member::registered(relay.address, &circle).live_socket();
    let signal = |session: &str, kind| SignalRequest {
        session_id: session.into(),
        to_node_id: bob.node(),
        kind,
        payload: Base64(vec![7; 30]),
        ttl_s: 60,
    };
    a.send(&ClientFrame::Signal { hint: circle.hint(), signal: signal("one", SignalKind::Offer) });
    let ServerFrame::Signal { signal: got, .. } = b.next_content() else { panic!() };
    assert_eq!(
        (got.session_id.as_str(), got.kind, got.from_node_id),
        ("one", SignalKind::Offer, alice.node())
    );
    a.send(&ClientFrame::Signal { hint: circle.hint(), signal: signal("not one", SignalKind::Offer) });
    assert!(matches!(a.next_content(), ServerFrame::Refused { .. }));
    drop(b);
    while !matches!(a.next(), ServerFrame::Presence { online: false, .. }) {}
    a.send(&ClientFrame::Signal { hint: circle.hint(), signal: signal("two", SignalKind::Candidate) });
    a.send(&ClientFrame::Ping { id: 1 });
    assert_eq!(a.next_content(), ServerFrame::Pong { id: 1 });
    let mut b = bob.socket(Cursor(0));
    assert!(matches!(b.next(), ServerFrame::Attached { .. }));
    let ServerFrame::Signal { signal: got, .. } = b.next_content() else { panic!() };
    assert_eq!(got.session_id, "two", "and the first one is not pushed again");
    drop(carol);
}

#[test]
fn a_flipped_bit_anywhere_in_an_envelope_is_refused() {
    let (_dir, relay) = relay(&[]);
    let mut member = Member::registered(relay.address, &Circle::new());
    let mut socket = member.live_socket();
    let good = member.envelope(64).to_cbor();
    for index in 0..good.len() {
        let mut bad = good.clone();
        bad[index] ^= 1 << (index % 8);
        let envelopes = vec![Sealed(bad)];
        socket.send(&ClientFrame::Post { hint: member.circle.hint(), seq: index as u64, envelopes });
        let ServerFrame::Refused { seq, code, retryable, .. } = socket.next() else { panic!("byte {index}") };
        assert_eq!((seq, code.as_str(), retryable), (Some(index as u64), "BAD_REQUEST", false));
    }
    socket.send(&ClientFrame::Post { hint: member.circle.hint(), seq: 1, envelopes: vec![Sealed(good)] });
    while !matches!(socket.next(), ServerFrame::Stored { .. }) {}
    assert_eq!(member.get("/v1/messages").json()["messages"].as_array().unwrap().len(), 1);
}

/// `bytes` with the one place where it has `old` changed to `new`.
fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
    [&bytes[..at], new, &bytes[at + old.len()..]].concat()
}

#[test]
fn an_envelope_with_a_part_that_is_too_long_is_refused_as_over_http() {
    let (_dir, relay) = relay(&[]);
    let mut member = Member::registered(relay.address, &Circle::new());
    let mut socket = member.live_socket();
    let largest = member.envelope(65_536);
    let (cbor, json) = (largest.to_cbor(), serde_json::to_value(&largest).unwrap());
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    let encoded = |len: usize| [&[0x78, len as u8][..], &vec![b'x'; len]].concat();
    for (part, bad_cbor, bad_text) in [
        ("enc", replaced(&cbor, &[0x5a, 0, 1, 0, 0], &[0x5a, 0, 1, 0, 1, 9]), text("enc") + "A"),
        ("type", replaced(&cbor, b"\x69chat.text", &encoded(65)), "x".repeat(65)),
        ("key_id", replaced(&cbor, b"\x67epoch-0", &encoded(33)), "x".repeat(33)),
    ] {
        let envelopes = vec![Sealed(bad_cbor)];
        socket.send(&ClientFrame::Post { hint: member.circle.hint(), seq: 1, envelopes });
        let ServerFrame::Refused { code, message, .. } = socket.next_content() else { panic!("{part}") };
        assert_eq!(code, "BAD_REQUEST");
        assert!(message.contains(&format!("envelope {part} is larger than")), "{message}");
        let mut bad = json.clone();
        bad[part] = bad_text.into();
        let answer = member.post_json("/v1/messages", &serde_json::json!({ "messages": [bad] }));
        assert_eq!((answer.status, answer.code().as_str()), (400, "BAD_REQUEST"), "{part}");
    }
}

#[test]
fn malformed_frames_are_refused_and_foreign_ones_close_the_socket() {
    let (_dir, relay) = relay(&[]);
    let mut member = Member::registered(relay.address, &Circle::new());
    let mut socket = member.live_socket();
    for bad in [&b""[..], &[0xff], &[0x82, 0x18, 99, 0x80], &[0x9f; 100]] {
        socket.send_raw(&client_frame(2, bad));
        let ServerFrame::Refused { code, .. } = socket.next() else { panic!() };
        assert_eq!(code, "BAD_REQUEST");
    }
    socket.send(&ClientFrame::Post { hint: member.circle.hint(), seq: 3, envelopes: Vec::new() });
    let ServerFrame::Refused { seq, code, .. } = socket.next() else { panic!() };
    assert_eq!((seq, code.as_str()), (Some(3), "BAD_REQUEST"), "a post of nothing");
    socket.send_raw(&client_frame(9, b"hello"));
    assert_eq!(socket.message(), Message::Pong(b"hello".to_vec()));
    socket.send_raw(&client_frame(1, b"text"));
    assert_eq!(socket.message(), Message::Close(1003));
    let mut socket = member.live_socket();
    let mut huge = vec![0x82, 0xff];
    huge.extend_from_slice(&(2u64 << 20).to_be_bytes());
    socket.send_raw(&huge);
    assert_eq!(socket.message(), Message::Close(1009));
}

#[test]
fn a_close_is_answered_with_its_code_and_a_malformed_one_as_what_it_is() {
    let (_dir, relay) = relay(&[]);
    let mut member = Member::registered(relay.address, &Circle::new());
    let coded = |code: u16, reason: &[u8]| [&code.to_be_bytes()[..], reason].concat();
    for (payload, answer) in [
        (vec![], 1000),
        (coded(1000, b""), 1000),
        (coded(1001, "für heute".as_bytes()), 1001),
        (coded(4999, b"mine"), 4999),
        (vec![3], 1002),
        (coded(1005, b""), 1002),
        (coded(1000, b"\xff"), 1002),
    ] {
        let mut socket = member.live_socket();
        socket.send_raw(&client_frame(8, &payload));
        assert_eq!(socket.message(), Message::Close(answer), "{payload:?}");
    }
}

#[test]
fn a_handshake_of_another_version_or_without_a_good_key_is_refused() {
    let (_dir, relay) = relay(&[]);
    let open = |version: &str, key: &str| {
        let headers = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", version),
            ("sec-websocket-key", key),
            ("sec-websocket-protocol", "felund.v2, token"),
        ]
        .map(|(name, value)| (name.to_string(), value.to_string()));
        Http::connect(relay.address).call("GET", "/v1/relay/ws", &headers, b"")
    };
    let good = "dGhlIHNhbXBsZSBub25jZQ==";
    for key in ["", "short", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZSE=", "dGhlIHNhbXBsZSBub25j!Q=="]
    {
        let answer = open("13", key);
        assert_eq!((answer.status, answer.code().as_str()), (400, "BAD_REQUEST"), "{key}");
    }
    let answer = open("8", good);
    assert_eq!((answer.status, answer.header("sec-websocket-version")), (426, Some("13")));
    assert_eq!((answer.code().as_str(), answer.header("upgrade")), ("BAD_REQUEST", Some("websocket")));
    assert_eq!(open("13", good).code(), "INVALID_TOKEN");
}

#[test]
fn a_slow_reader_hurts_nobody_and_loses_nothing() {
    let (_dir, relay) = relay(&["--stall-timeout", "60"]);
    let circle = Circle::new();
    let mut alice = Member::registered(relay.address, &circle);
    let mut slow = Member::registered(relay.address, &circle).live_socket();
    let mut quick = Member::registered(relay.address, &circle).live_socket();
    let mut a = alice.live_socket();
    const POSTS: u64 = 400;
    for seq in 0..POSTS {
        let envelopes = vec![Sealed(alice.envelope(60_000).to_cbor())];
        a.send(&ClientFrame::Post { hint: circle.hint(), seq, envelopes });
        while !matches!(quick.next_content(), ServerFrame::Live { .. }) {}
        let mut answered = 0;
        while answered < 2 {
            answered += usize::from(!matches!(a.next(), ServerFrame::Presence { .. }));
        }
    }
    let mut last = Cursor(0);
    for _ in 0..POSTS {
        let ServerFrame::Live { cursor, .. } = slow.next_content() else { panic!() };
        assert!(cursor > last);
        last = cursor;
    }
    a.send(&post_frame(&alice, 1, 1));
    assert!(matches!(slow.next_content(), ServerFrame::Live { .. }), "it is live again");
}

#[test]
fn a_slow_reader_survives_what_is_in_no_log_and_is_told_what_matters_of_it() {
    let (_dir, relay) = relay(&["--stall-timeout", "60", "--rate-signal", "0"]);
    let circle = Circle::new();
    let mut alice = Member::registered(relay.address, &circle);
    let mut slow = Member::registered(relay.address, &circle);
    let mut slow_socket = slow.live_socket();
    let mut a = alice.live_socket();
    const POSTS: u64 = 300;
    let mut last = Cursor(0);
    for seq in 0..POSTS {
        let envelopes = vec![Sealed(alice.envelope(60_000).to_cbor())];
        a.send(&ClientFrame::Post { hint: circle.hint(), seq, envelopes });
        for _ in 0..2 {
            if let ServerFrame::Live { cursor, .. } = a.next_content() {
                last = cursor;
            }
        }
    }
    // As many as have room where a post has none.
    for _ in 0..300 {
        let envelope = Sealed(envelope_of_type(&alice.key, "ANCHOR_ANNOUNCE").to_cbor());
        a.send(&ClientFrame::Ephemeral { hint: circle.hint(), envelope });
    }
    let mut bob = Member::registered(relay.address, &circle);
    let mut there = bob.socket(last);
    while !matches!(there.next(), ServerFrame::CaughtUp { .. }) {}
    for _ in 0..10 {
        assert_eq!(
            Member::registered(relay.address, &circle).call("DELETE", "/v1/register", b"").status,
            200
        );
    }
    let signal = |session: String| SignalRequest {
        session_id: session,
        to_node_id: slow.node(),
        kind: SignalKind::Offer,
        payload: Base64(vec![7; 16_000]),
        ttl_s: 60,
    };
    for n in 0..100 {
        a.send(&ClientFrame::Signal { hint: circle.hint(), signal: signal(n.to_string()) });
    }
    a.send(&ClientFrame::Ping { id: 1 });
    while !matches!(a.next(), ServerFrame::Pong { .. }) {}
    slow_socket.send(&ClientFrame::Ping { id: 2 });
    let (mut read, mut count) = (Cursor(0), 0);
    let (mut signals, mut pong, mut peers) = (Vec::new(), false, None);
    loop {
        match slow_socket.next_content() {
            ServerFrame::Live { cursor, .. } => {
                assert!(cursor > read);
                (read, count) = (cursor, count + 1);
            }
            ServerFrame::Attached { peers: there, .. } => {
                assert_eq!(count, POSTS, "it is told after what it has missed");
                peers = Some(there);
            }
            ServerFrame::Signal { signal, .. } => signals.push(signal.session_id),
            ServerFrame::Pong { .. } => pong = true,
            ServerFrame::CaughtUp { cursor, .. } => {
                assert_eq!(cursor, read);
                break;
            }
            _ => {}
        }
    }
    assert!(pong, "an answer has room in a full queue");
    assert_eq!(signals.len(), 100);
    assert_eq!(signals.into_iter().collect::<HashSet<_>>().len(), 100, "each once");
    let there: HashSet<_> = peers.unwrap().into_iter().map(|peer| peer.node_id).collect();
    assert!(there.contains(&alice.node()) && there.contains(&bob.node()));
    a.send(&post_frame(&alice, 1, 1));
    assert!(matches!(slow_socket.next_content(), ServerFrame::Live { .. }), "it is live again");
}

#[test]
fn a_reader_that_takes_nothing_is_dropped() {
    let (_dir, relay) = relay(&["--stall-timeout", "1"]);
    let circle = Circle::new();
    let mut alice = Member::registered(relay.address, &circle);
    let mut stuck = Member::registered(relay.address, &circle);
    let mut stuck_socket = stuck.live_socket();
    let mut a = alice.live_socket();
    let started = Instant::now();
    let mut gone = false;
    for seq in 0.. {
        let envelopes = vec![Sealed(alice.envelope(60_000).to_cbor())];
        a.send(&ClientFrame::Post { hint: circle.hint(), seq, envelopes });
        loop {
            match a.next() {
                ServerFrame::Live { .. } => break,
                ServerFrame::Presence { peer, online, .. } => {
                    assert_eq!((peer.node_id, online), (stuck.node(), false));
                    gone = true;
                }
                _ => {}
            }
        }
        if gone {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(20));
    }
    while stuck_socket.try_message().is_ok() {}
}

#[test]
fn one_socket_carries_many_circles() {
    let (_dir, relay) = relay(&[]);
    let circles: Vec<_> = (0..5).map(|_| Circle::new()).collect();
    let mut members: Vec<_> = circles.iter().map(|c| Member::registered(relay.address, c)).collect();
    let mut socket = members[0].socket(Cursor(0));
    for member in &mut members[1..] {
        let token = member.token();
        socket.send(&ClientFrame::Attach { token, after: Cursor(0) });
    }
    let mut caught_up = 0;
    while caught_up < circles.len() {
        caught_up += usize::from(matches!(socket.next(), ServerFrame::CaughtUp { .. }));
    }
    for (member, circle) in members.iter_mut().zip(&circles) {
        let envelope = member.envelope(10 + 17);
        assert_eq!(member.post(&[envelope]).status, 200);
        let ServerFrame::Live { hint, .. } = socket.next_content() else { panic!() };
        assert_eq!(hint, circle.hint());
    }
}

#[test]
fn a_socket_with_as_many_circles_as_it_carries_attaches_one_of_them_anew() {
    let (_dir, relay) = relay(&[]);
    let mut members: Vec<_> = (0..65).map(|_| Member::registered(relay.address, &Circle::new())).collect();
    let mut socket = members[0].live_socket();
    let mut attach = |member: &mut Member| {
        let token = member.token();
        socket.send(&ClientFrame::Attach { token, after: Cursor(0) });
        loop {
            match socket.next_content() {
                ServerFrame::CaughtUp { hint, .. } => return Ok(hint),
                ServerFrame::Refused { message, .. } => return Err(message),
                _ => {}
            }
        }
    };
    for member in &mut members[1..64] {
        assert_eq!(attach(member), Ok(member.circle.hint()));
    }
    assert_eq!(attach(&mut members[64]), Err("a socket carries at most 64 circles".into()));
    assert_eq!(attach(&mut members[9]), Ok(members[9].circle.hint()));
}

#[test]
fn sockets_are_told_when_the_relay_ends() {
    let (_dir, relay) = relay(&[]);
    let mut socket = Member::registered(relay.address, &Circle::new()).live_socket();
    relay.stop();
    assert_eq!(socket.message(), Message::Close(1001));
}
