//! Peers that break the rules of sessions, against the real client: each is refused by a name that doctor shows, nobody is
//! told why, and the chat goes on.

use std::{
    collections::BTreeMap,
    net::{TcpListener, TcpStream},
};

use felund_core::{
    invite::Invite,
    keys::{CircleSecret, NodeKey},
    redact::Secret,
};
use felund_tests::{
    felund::Felund,
    handshake::{Keys, Offer, Role, Side, Wire, auth, random, seal, transcript},
    process,
    proxy::Proxy,
    wait,
};

const CIRCLE: &str = "garden club";

const VERSION: &str = "another version of sessions";
const NO_CIRCLE: &str = "no circle in common";
const HANDSHAKE: &str = "a handshake altered on its way";
const NODE: &str = "a node key that was not proved";
const PROOF: &str = "a circle that was not proved";
const MYSELF: &str = "an address that leads back to this node";
const ALTERED: &str = "an altered record";
const REPLAYED: &str = "a replayed record";
const REORDERED: &str = "a record out of order";
const TRUNCATED: &str = "a truncated record";
const CUT_OFF: &str = "a connection cut off within a record";
const TOO_LARGE: &str = "more than a record or frame may hold";
const MALFORMED: &str = "malformed bytes";

fn circle_of(invite: &Invite) -> CircleSecret {
    CircleSecret::from_secret(Secret::new(*invite.secret.expose()))
}

/// A connection to a client that has answered HELLO.
struct Challenged {
    wire: Wire,
    side: Side,
    keys: Keys,
    hello: Vec<u8>,
    challenge: Vec<u8>,
}

impl Challenged {
    /// Says what a member of the circle would.
    fn dial(door: &str, circle: &CircleSecret) -> Self {
        let side = Side::new();
        let hello = side.offer(circle, None).to_bytes();
        Self::say(door, circle, side, hello)
    }

    fn say(door: &str, circle: &CircleSecret, side: Side, hello: Vec<u8>) -> Self {
        let mut wire = Wire::dial(door);
        wire.send(&hello);
        let challenge = wire.receive().expect("a member is answered");
        let offer = Offer::from_bytes(&challenge);
        let agreed = side.agree(&offer.ephemeral);
        let keys = Keys::derive(circle.secret().expose(), &agreed, [&side.nonce, &offer.nonce]);
        Self { wire, side, keys, hello, challenge }
    }

    fn auth(&self, circle: &CircleSecret) -> Vec<u8> {
        let said = transcript(&self.hello, &self.challenge);
        auth(Role::Initiator, &said, self.side.key.id(), &self.side.key, &[circle])
    }

    /// Goes on to an open session; the next record has number 1.
    fn open(mut self, circle: &CircleSecret) -> Self {
        let auth = self.auth(circle);
        self.wire.send(&seal(&self.keys.to_responder, 0, &auth));
        self.wire.receive().expect("WELCOME");
        self
    }

    fn record(&self, counter: u64, frame: &[u8]) -> Vec<u8> {
        seal(&self.keys.to_responder, counter, &[&[0], frame].concat())
    }
}

/// `Ping`.
const PING: [u8; 3] = [0x82, 6, 0x80];

/// Alice, who listens and chats with Bob, and what has been refused so far.
struct Scene {
    alice: Felund,
    tail: felund_tests::felund::Tail,
    door: String,
    circle: CircleSecret,
    refused: BTreeMap<String, u64>,
}

impl Scene {
    /// What `attack` did was refused, for this reason and no other.
    fn refuses(&mut self, reason: &str, attack: impl FnOnce(&str, &CircleSecret)) {
        attack(&self.door, &self.circle);
        *self.refused.entry(reason.to_owned()).or_default() += 1;
        let mut seen = BTreeMap::new();
        let counted = wait::within(wait::PATIENCE, || {
            seen = self.alice.refusals();
            (seen == self.refused).then_some(())
        });
        assert!(counted.is_some(), "{reason}: there was {seen:?} and not {:?}", self.refused);
    }
}

#[test]
fn whoever_breaks_the_rules_of_a_session_is_refused_by_name_and_the_chat_goes_on() {
    let (alice, tail, invite) = Felund::listening("alice", CIRCLE);
    let bob = Felund::new("bob", None);
    bob.join(&invite.encode());
    let at_bob = bob.tail(None);
    let (door, circle) = (invite.peers[0].clone(), circle_of(&invite));
    let mut scene = Scene { alice, tail, door, circle, refused: BTreeMap::new() };
    let chat = |scene: &Scene, text: &str| {
        let said = scene.alice.run(&["send", CIRCLE, text]);
        assert!(said.stdout.contains("delivered"), "{said:?}");
        at_bob.wait_for(text);
        let said = bob.run(&["send", CIRCLE, &format!("{text}?")]);
        assert!(said.stdout.contains("delivered"), "{said:?}");
        scene.tail.wait_for(&format!("{text}?"));
    };
    chat(&scene, "before");

    // The handshake.
    for version in [0, 2] {
        scene.refuses(VERSION, |door, circle| {
            let mut wire = Wire::dial(door);
            wire.send(&Offer { version, ..Side::new().offer(circle, None) }.to_bytes());
            assert_eq!(wire.until_closed(), 0, "who speaks another version gets no answer");
        });
    }
    scene.refuses(NO_CIRCLE, |door, _| {
        let mut wire = Wire::dial(door);
        let other = CircleSecret::from_secret(Secret::new(random()));
        wire.send(&Side::new().offer(&other, None).to_bytes());
        assert_eq!(wire.until_closed(), 0, "a stranger gets no answer");
    });
    scene.refuses(MALFORMED, |door, _| {
        let mut wire = Wire::dial(door);
        // There is no plain mode: a frame without a handshake is nothing.
        wire.send(&PING);
        assert_eq!(wire.until_closed(), 0);
    });
    scene.refuses(HANDSHAKE, |door, circle| {
        // As if somebody on the way had turned the initiator's version 2 into 1.
        let mut peer = Challenged::dial(door, circle);
        peer.hello = Offer { version: 2, ..Offer::from_bytes(&peer.hello) }.to_bytes();
        let auth = peer.auth(circle);
        peer.wire.send(&seal(&peer.keys.to_responder, 0, &auth));
        assert_eq!(peer.wire.until_closed(), 0, "no WELCOME");
    });
    scene.refuses(NODE, |door, circle| {
        let mut peer = Challenged::dial(door, circle);
        let said = transcript(&peer.hello, &peer.challenge);
        let someone = NodeKey::from_seed(Secret::new(random()));
        let auth = auth(Role::Initiator, &said, someone.id(), &peer.side.key, &[circle]);
        peer.wire.send(&seal(&peer.keys.to_responder, 0, &auth));
        assert_eq!(peer.wire.until_closed(), 0);
    });
    scene.refuses(PROOF, |door, circle| {
        let mut peer = Challenged::dial(door, circle);
        let auth = peer.auth(&CircleSecret::from_secret(Secret::new(random())));
        peer.wire.send(&seal(&peer.keys.to_responder, 0, &auth));
        assert_eq!(peer.wire.until_closed(), 0);
    });
    scene.refuses(ALTERED, |door, circle| {
        let mut peer = Challenged::dial(door, circle);
        let mut record = seal(&peer.keys.to_responder, 0, &peer.auth(circle));
        record[40] ^= 1;
        peer.wire.send(&record);
        assert_eq!(peer.wire.until_closed(), 0);
    });
    scene.refuses(CUT_OFF, |door, circle| {
        let mut wire = Wire::dial(door);
        let hello = Side::new().offer(circle, None).to_bytes();
        wire.raw(&[&(hello.len() as u32).to_be_bytes()[..], &hello[..20]].concat());
        wire.finish();
        assert_eq!(wire.until_closed(), 0);
    });
    // Somebody without the secret who has recorded a whole handshake.
    scene.refuses(ALTERED, |door, circle| {
        let recorded = Challenged::dial(door, circle);
        let auth = seal(&recorded.keys.to_responder, 0, &recorded.auth(circle));
        let Challenged { hello, mut wire, .. } = recorded;
        wire.send(&auth);
        wire.receive().expect("WELCOME");
        let mut again = Wire::dial(door);
        again.send(&hello);
        again.receive().expect("a recorded HELLO is answered, and no more");
        again.send(&auth);
        assert_eq!(again.until_closed(), 0);
    });

    // Records.
    scene.refuses(ALTERED, |door, circle| {
        let mut peer = Challenged::dial(door, circle).open(circle);
        let mut record = peer.record(1, &PING);
        record[2] ^= 0x10;
        peer.wire.send(&record);
        peer.wire.until_closed();
    });
    scene.refuses(REPLAYED, |door, circle| {
        let mut peer = Challenged::dial(door, circle).open(circle);
        let record = peer.record(1, &PING);
        peer.wire.send(&record);
        peer.wire.send(&record);
        peer.wire.until_closed();
    });
    scene.refuses(REORDERED, |door, circle| {
        let mut peer = Challenged::dial(door, circle).open(circle);
        let (first, second) = (peer.record(1, &PING), peer.record(2, &PING));
        peer.wire.send(&second);
        peer.wire.send(&first);
        peer.wire.until_closed();
    });
    scene.refuses(TRUNCATED, |door, circle| {
        let mut peer = Challenged::dial(door, circle).open(circle);
        let record = peer.record(1, &PING);
        peer.wire.send(&record[..9]);
        peer.wire.until_closed();
    });
    scene.refuses(CUT_OFF, |door, circle| {
        let mut peer = Challenged::dial(door, circle).open(circle);
        let record = peer.record(1, &PING);
        peer.wire.raw(&[&(record.len() as u32).to_be_bytes()[..], &record[..9]].concat());
        peer.wire.finish();
        peer.wire.until_closed();
    });
    scene.refuses(TOO_LARGE, |door, circle| {
        let mut peer = Challenged::dial(door, circle).open(circle);
        peer.wire.raw(&16_385_u32.to_be_bytes());
        peer.wire.until_closed();
    });
    scene.refuses(MALFORMED, |door, circle| {
        let mut peer = Challenged::dial(door, circle).open(circle);
        let record = peer.record(1, b"no frame");
        peer.wire.send(&record);
        peer.wire.until_closed();
    });
    chat(&scene, "after");
}

/// A peer that is dialed and breaks the rules, once for each connection; `answer` gets CHALLENGE's offer and may send more.
type Answer = fn(&mut Answering<'_>);

struct Answering<'a> {
    wire: Wire,
    hello: Vec<u8>,
    circle: &'a CircleSecret,
    side: Side,
}

impl Answering<'_> {
    fn challenge(&mut self) -> (Keys, [u8; 32]) {
        let theirs = Offer::from_bytes(&self.hello);
        let challenge = self.side.offer(self.circle, Some(&theirs.nonce)).to_bytes();
        self.wire.send(&challenge);
        let agreed = self.side.agree(&theirs.ephemeral);
        let secret = self.circle.secret().expose();
        let keys = Keys::derive(secret, &agreed, [&theirs.nonce, &self.side.nonce]);
        self.wire.receive().expect("HELLO_AUTH");
        (keys, transcript(&self.hello, &challenge))
    }
}

const ANSWERS: [(&str, Answer); 6] = [
    (VERSION, |peer| {
        let theirs = Offer::from_bytes(&peer.hello);
        let offer = peer.side.offer(peer.circle, Some(&theirs.nonce));
        peer.wire.send(&Offer { version: 0, ..offer }.to_bytes());
    }),
    (NO_CIRCLE, |peer| {
        let offer = peer.side.offer(&CircleSecret::from_secret(Secret::new(random())), Some(&[0; 32]));
        peer.wire.send(&offer.to_bytes());
    }),
    (NODE, |peer| {
        let (keys, said) = peer.challenge();
        let someone = NodeKey::from_seed(Secret::new(random()));
        let welcome = auth(Role::Responder, &said, someone.id(), &peer.side.key, &[peer.circle]);
        peer.wire.send(&seal(&keys.to_initiator, 0, &welcome));
    }),
    (HANDSHAKE, |peer| {
        // What it signs is what an initiator would say: a reflection.
        let (keys, said) = peer.challenge();
        let welcome = auth(Role::Initiator, &said, peer.side.key.id(), &peer.side.key, &[peer.circle]);
        peer.wire.send(&seal(&keys.to_initiator, 0, &welcome));
    }),
    (ALTERED, |peer| {
        // HELLO_AUTH sent back under the key it came with.
        let (keys, said) = peer.challenge();
        let welcome = auth(Role::Responder, &said, peer.side.key.id(), &peer.side.key, &[peer.circle]);
        peer.wire.send(&seal(&keys.to_responder, 0, &welcome));
    }),
    (MALFORMED, |peer| peer.wire.send(b"HTTP/1.1 200 OK\r\n\r\n")),
];

#[test]
fn whoever_is_dialed_and_is_not_a_member_is_refused_by_name() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let (alice, _tail, mut invite) = Felund::listening("alice", CIRCLE);
    // The invite leads to the real alice, and to somebody else.
    invite.peers.push(listener.local_addr().expect("an address").to_string());
    let circle = circle_of(&invite);
    let bob = Felund::new("bob", None);
    bob.join(&invite.encode());
    // What the command that joined has dialed is over with it.
    listener.set_nonblocking(true).expect("a socket");
    while listener.accept().is_ok() {}
    listener.set_nonblocking(false).expect("a socket");
    let at_bob = bob.tail(None);
    let mut expected = BTreeMap::new();
    for (reason, answer) in ANSWERS {
        let (stream, _): (TcpStream, _) = listener.accept().expect("bob tries again");
        let mut wire = Wire::over(stream);
        let hello = wire.receive().expect("HELLO");
        let mut peer = Answering { wire, hello, circle: &circle, side: Side::new() };
        answer(&mut peer);
        peer.wire.until_closed();
        *expected.entry(reason.to_owned()).or_insert(0_u64) += 1;
    }
    drop(listener);
    let mut seen = BTreeMap::new();
    let counted = wait::within(wait::PATIENCE, || {
        seen = bob.refusals();
        (seen == expected).then_some(())
    });
    assert!(counted.is_some(), "there was {seen:?} and not {expected:?}");
    let _ = alice.run(&["send", CIRCLE, "are you all right?"]);
    at_bob.wait_for("are you all right?");
}

#[test]
fn a_client_that_is_led_back_to_itself_hangs_up() {
    let made = Felund::new("bob", None).create(CIRCLE);
    let port = process::free_port();
    let way_round = Proxy::between_members(([127, 0, 0, 1], port).into());
    let mut invite = Invite::parse(&made.invite).expect("an invite");
    invite.peers = vec![way_round.address().to_string()];
    let alice = Felund::new("alice", None);
    alice.join(&invite.encode());
    let _tail = alice.tail_at([127, 0, 0, 1], port);
    wait::until_true("the refusal", || alice.refusals().keys().eq([MYSELF]));
}
