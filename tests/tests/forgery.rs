//! A member with a modified client, a corrupted relay, a damaged disk: honest clients show the truth or nothing.

use felund_core::{
    circle::{Body, Hello, NewChannel, channel_id},
    envelope::Envelope,
    ids::{ChannelId, NodeId},
    io::Command,
    keys::MessageKey,
    relay_api::Capabilities,
    view::{Access, CircleView, LinkView, Membership},
};
use felund_tests::{
    control::Control,
    felund::{Circle, Felund, Tail},
    member::{Member, now_ms, to_json},
    relay::Relay,
};
use rusqlite::Connection;

/// Alice and Bob are honest and running; Mallory holds the same secret and speaks to the relay directly.
struct Scene {
    mallory: Member,
    circle: Circle,
    at_alice: Control,
    at_bob: Control,
    bob_hears: Tail,
    _alice_hears: Tail,
    alice: Felund,
    bob: Felund,
    _relay: Relay,
}

fn scene() -> Scene {
    let relay = Relay::start();
    let device = |name| Felund::new(name, Some(&relay.url()));
    let (alice, bob) = (device("alice"), device("bob"));
    let circle = alice.create("garden club");
    bob.join(&circle.invite);
    let (alice_hears, bob_hears) = (alice.tail(None), bob.tail(None));
    let (at_alice, at_bob) = (alice.control(), bob.control());
    at_alice.until_live(&circle.id);
    at_bob.until_live(&circle.id);
    let mallory = Member::join(&circle.invite, &relay.url());
    mallory.hello("mallory");
    let named = |view: &CircleView| view.members.iter().any(|m| m.name == "mallory");
    at_alice.until_circle(&circle.id, "with mallory", named);
    at_bob.until_circle(&circle.id, "with mallory", named);
    Scene {
        mallory,
        circle,
        at_alice,
        at_bob,
        bob_hears,
        _alice_hears: alice_hears,
        alice,
        bob,
        _relay: relay,
    }
}

impl Scene {
    fn id_of(&self, name: &str) -> NodeId {
        let view = self
            .at_bob
            .until_circle(&self.circle.id, name, |view| view.members.iter().any(|m| m.name == name));
        view.members.iter().find(|m| m.name == name).expect("was just seen").id
    }

    /// Whatever Mallory did before has been seen by both once this has.
    fn settle(&self, mark: &str) {
        self.mallory.say(self.mallory.circle.general(), &[Body::Text(mark.to_owned())]);
        for device in [&self.alice, &self.bob] {
            let seen = || device.texts("garden club").iter().any(|text| text == mark).then_some(());
            felund_tests::wait::until("everything of mallory's", seen);
        }
    }
}

#[test]
fn a_member_cannot_post_as_another() {
    let scene = scene();
    let (mallory, alice_id) = (&scene.mallory, scene.id_of("alice"));
    let general = mallory.circle.general();
    let sealed = mallory.seal(general, &Body::Text("I, alice, owe mallory ten euros".into()));
    let forged = Member::forge_author(&sealed, alice_id);
    let answer = mallory.post(&[to_json(&forged)]);
    assert_eq!((answer.status, answer.code()), (400, "BAD_REQUEST"), "{answer:?}");
    // In a batch with a good one nothing of the batch is taken.
    let good = mallory.seal(general, &Body::Text("a companion".into()));
    assert_eq!(mallory.post(&[to_json(&good), to_json(&forged)]).status, 400);
    scene.settle("that was it");
    for device in [&scene.alice, &scene.bob] {
        assert_eq!(device.texts("garden club"), ["that was it"]);
    }
    assert!(scene.bob_hears.messages().iter().all(|m| m["name"] == "mallory"));
}

#[test]
fn a_member_cannot_rename_another_or_anothers_channel() {
    let mut scene = scene();
    let (alice_id, control) = (scene.id_of("alice"), scene.mallory.circle.control());
    let seeds = scene.at_alice.create_channel(&scene.circle.id, "seeds", Access::Public, None);
    scene.at_bob.until_channel(&scene.circle.id, "seeds", "known", |_| true);

    let mallory = &scene.mallory;
    mallory.say(control, &[Body::Rename(seeds, "mallorys".into())]);
    // A hello under Alice's author id does not verify; under one's own it names oneself only.
    let hello = Body::Hello(Hello {
        name: "not alice".into(),
        wrap_key: mallory.key.wrap_public(),
        capabilities: Capabilities::default(),
    });
    let forged = Member::forge_author(&mallory.seal(control, &hello), alice_id);
    assert_eq!(mallory.post(&[to_json(&forged)]).status, 400);
    // Control events count in the control channel only.
    mallory.say(mallory.circle.general(), &[hello]);
    scene.settle("that was it");

    for control in [&scene.at_alice, &scene.at_bob] {
        let view = control.circle(&scene.circle.id).expect("there");
        let channels: Vec<_> = view.channels.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(channels, ["general", "seeds"]);
        let mut members: Vec<_> = view.members.iter().map(|m| m.name.as_str()).collect();
        members.sort_unstable();
        assert_eq!(members, ["alice", "bob", "mallory"]);
        assert!(view.members.iter().any(|m| m.id == alice_id && m.name == "alice"));
    }
}

#[test]
fn a_member_cannot_approve_itself_or_speak_in_a_channel_it_was_not_let_into() {
    let mut scene = scene();
    let id = scene.circle.id.clone();
    let board = scene.at_alice.create_channel(&id, "board", Access::Invite, None);
    scene.at_bob.until_channel(&id, "board", "known", |_| true);
    scene.at_bob.join_channel(&id, board, None).expect("asking is possible");
    let asked = scene.at_alice.until_channel(&id, "board", "asked for", |c| !c.requests.is_empty());
    scene.at_alice.ask(Command::ApproveMember {
        circle: id.parse().expect("an id"),
        channel: board,
        member: asked.requests[0],
    });
    scene.at_bob.until_channel(&id, "board", "joined", |c| c.membership == Membership::Joined);
    scene.alice.send("garden club/board", "among us");

    let (mallory, me) = (&scene.mallory, scene.mallory.key.id());
    let control = mallory.circle.control();
    mallory.say(control, &[Body::Request(board), Body::Approve(board, me, vec![7; 80]), Body::Join(board)]);
    // Words sealed under the keys that Mallory has, and one of its own making.
    let words = Body::Text("let me in".into());
    let own_key = MessageKey::generate(&mut felund_tests::api::rng());
    let sealed = [mallory.seal(board, &words), mallory.seal_with(board, &words, &own_key, now_ms())]
        .map(|e| to_json(&e));
    assert_eq!(mallory.post(&sealed).status, 200, "the relay cannot know");
    scene.settle("that was it");

    for device in [&scene.alice, &scene.bob] {
        assert_eq!(device.texts("garden club/board"), ["among us"]);
    }
    for control in [&scene.at_alice, &scene.at_bob] {
        let view = control.until_channel(&id, "board", "known", |_| true);
        assert!(!view.members.contains(&me), "{view:?}");
    }
    // What Alice writes while Bob is away, so that the relay has it, opens under no key that Mallory holds.
    drop(scene.at_bob);
    drop(scene.bob_hears);
    scene.alice.send("garden club/board", "for later");
    let page = mallory.call("GET", "/v1/messages?limit=256", &serde_json::Value::Null);
    let mut seen = 0;
    for stored in page.json["messages"].as_array().expect("a page") {
        let envelope: Envelope = serde_json::from_value(stored["envelope"].clone()).expect("an envelope");
        if envelope.header().channel_id == board && envelope.header().author_node_id != me {
            seen += 1;
            let verified = envelope.verify().expect("signed");
            for key in [&mallory.circle.epoch_0(), &own_key] {
                assert!(felund_core::envelope::open(&verified, key).is_err());
            }
        }
    }
    assert!(seen > 0, "Alice's message is there, sealed");
}

#[test]
fn events_that_make_no_sense_change_nothing() {
    let mut scene = scene();
    let id = scene.circle.id.clone();
    let seeds = scene.at_alice.create_channel(&id, "seeds", Access::Public, None);
    scene.at_bob.until_channel(&id, "seeds", "known", |_| true);
    let mallory = &scene.mallory;
    let (general, control) = (mallory.circle.general(), mallory.circle.control());
    // A clock far ahead, a text among control events, a channel nobody made, names that would steer a terminal.
    let ahead = Body::Text("from the future".into());
    let ahead = mallory.seal_with(general, &ahead, &mallory.circle.epoch_0(), now_ms() + 10 * 60 * 1_000);
    assert_eq!(mallory.post(&[to_json(&ahead)]).status, 200, "the relay keeps no clock for others");
    mallory.say(control, &[Body::Text("hidden".into()), Body::CircleName("x\u{1b}[2Jx".into())]);
    mallory.say(ChannelId([9; 16]), &[Body::Text("nowhere".into())]);
    let copy = NewChannel { nonce: [0; 16], name: "seeds".into(), access: Access::Public, check: None };
    assert_ne!(channel_id(&mallory.key.id(), &copy.nonce), seeds, "a channel's id names its maker");
    let mut same_id = mallory.seal(general, &Body::Text("first".into()));
    mallory.say(general, &[]);
    assert_eq!(mallory.post(&[to_json(&same_id)]).status, 200);
    // The same envelope with a changed text: same id, so it is the same message, and the first one stays.
    let mut header = same_id.header().clone();
    header.created_ts += 1;
    same_id =
        Envelope::new(header, *same_id.iv(), same_id.enc().to_vec(), *same_id.sig()).expect("well-formed");
    assert_eq!(mallory.post(&[to_json(&same_id)]).status, 400);
    scene.settle("that was it");
    for device in [&scene.alice, &scene.bob] {
        assert_eq!(device.texts("garden club"), ["first", "that was it"]);
        assert!(device.texts("garden club/seeds").is_empty());
    }
    let view = scene.at_bob.circle(&id).expect("there");
    assert_eq!((view.name.as_str(), view.link), ("garden club", LinkView::Live));
}

#[test]
fn a_flipped_bit_anywhere_in_a_posted_envelope_is_refused() {
    let relay = Relay::start_with(&["--rate-address", "0", "--rate-node", "0"]);
    let (alice, bob) = (Felund::new("alice", Some(&relay.url())), Felund::new("bob", Some(&relay.url())));
    let circle = alice.create("garden club");
    bob.join(&circle.invite);
    let bob_hears = bob.tail(None);
    bob.control().until_live(&circle.id);
    let mallory = Member::join(&circle.invite, &relay.url());
    let sealed = mallory.seal(mallory.circle.general(), &Body::Text("seed swap on saturday?".into()));
    let bytes = sealed.to_cbor();
    let (mut tried, mut unposted) = (0, 0);
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // What is no envelope any more cannot even be written down as JSON; the frames of sockets carry it as it is.
        let Ok(altered) = Envelope::from_cbor(&bad) else {
            unposted += 1;
            continue;
        };
        let answer = mallory.post(&[to_json(&altered)]);
        assert_eq!((answer.status, answer.code()), (400, "BAD_REQUEST"), "bit {bit}: {answer:?}");
        tried += 1;
    }
    println!("{tried} flipped bits refused by the relay, {unposted} did not leave an envelope");
    assert!(tried > 1_500, "most bits of an envelope are ids, ciphertext and signature: {tried}");
    assert_eq!(mallory.post(&[to_json(&sealed)]).status, 200, "untouched it is taken");
    bob_hears.wait_for("seed swap on saturday?");
    assert_eq!(bob_hears.messages().len(), 1, "nothing else ever reached a reader");
}

#[test]
fn what_a_relay_alters_on_its_disk_is_refused_by_every_reader() {
    let mut relay = Relay::start();
    let device = |name| Felund::new(name, Some(&relay.url()));
    let (alice, bob) = (device("alice"), device("bob"));
    let circle = alice.create("garden club");
    let texts: Vec<String> = (0..12).map(|i| format!("message number {i}")).collect();
    {
        let _runs = alice.tail(None);
        texts.iter().for_each(|text| alice.send("garden club", text));
    }
    // In good order, so that its database has everything.
    assert!(relay.terminate().is_some_and(|status| status.success()));
    let general = Member::general_of(&circle.invite);
    // A block is number, length and envelope of one message after another.
    let parts = |mut block: &[u8]| {
        let mut envelopes = Vec::new();
        while let Some((len, rest)) = block.get(8..).and_then(<[u8]>::split_first_chunk) {
            let (envelope, rest) = rest.split_at(u32::from_be_bytes(*len) as usize);
            envelopes.push(envelope.to_vec());
            block = rest;
        }
        envelopes
    };
    let altered = alter_every_other(&relay.database(), ["blocks", "last", "data"], parts, general);
    assert_eq!(altered, 6);
    relay.resume();
    bob.join(&circle.invite);
    let whole: Vec<&str> = texts.iter().skip(1).step_by(2).map(String::as_str).collect();
    bob.until_texts("garden club", &whole);
    assert_eq!(alice.texts("garden club"), texts, "the author's own copies are whole");
    // The reader lives and hears what comes next.
    alice.send("garden club", "and on");
    bob.until_texts("garden club", &[&whole[..], &["and on"]].concat());
}

#[test]
fn damage_in_a_clients_own_file_costs_no_more_than_what_is_damaged() {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    {
        let _runs = alice.tail(None);
        (0..12).for_each(|i| alice.send("garden club", &format!("message number {i}")));
    }
    let general = Member::general_of(&circle.invite);
    let whole = |row: &[u8]| vec![row.to_vec()];
    let altered = alter_every_other(&alice.database(), ["envelopes", "ts", "sealed"], whole, general);
    assert_eq!(altered, 6);
    let left = alice.texts("garden club");
    let whole: Vec<String> = (0..12).skip(1).step_by(2).map(|i| format!("message number {i}")).collect();
    assert_eq!(left, whole);
    alice.send("garden club", "and on");
    assert_eq!(alice.texts("garden club").last().map(String::as_str), Some("and on"));
}

/// Flips one bit in every other envelope of a channel in an SQLite file, each time somewhere else in the ciphertext. Of the table
/// a key and a column are named, and `parts` says which envelopes lie in a value of that.
fn alter_every_other(
    file: &std::path::Path,
    [table, key, column]: [&str; 3],
    parts: impl Fn(&[u8]) -> Vec<Vec<u8>>,
    channel: ChannelId,
) -> usize {
    let db = Connection::open(file).expect("the database opens");
    let mut query =
        db.prepare(&format!("SELECT {key}, {column} FROM {table} ORDER BY {key}")).expect("a query");
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    let rows: Vec<(i64, Vec<u8>)> = rows.map(|row| row.expect("a row")).collect();
    let (mut seen, mut altered) = (0, 0);
    for (row, mut value) in rows {
        for part in parts(&value) {
            let envelope = Envelope::from_cbor(&part).expect("an envelope");
            if envelope.header().channel_id != channel {
                continue;
            }
            if seen % 2 == 0 {
                let enc = envelope.enc();
                let start = value.windows(enc.len()).position(|bytes| bytes == enc).expect("it is in there");
                value[start + seen * 7 % enc.len()] ^= 1 << (seen % 8);
                altered += 1;
            }
            seen += 1;
        }
        let update = format!("UPDATE {table} SET {column} = ?1 WHERE {key} = ?2");
        db.execute(&update, rusqlite::params![value, row]).expect("an update");
    }
    altered
}
