//! What a relay, a wiretap and a stolen file hold of a conversation: nothing that can be read.

use std::fs;

use felund_core::{invite::Invite, io::Command, relay_api::signing::ApiKey, view::Access, view::Membership};
use felund_tests::{
    capture::Capture,
    felund::Felund,
    leak::{self, Secrets},
    member::Member,
    proxy::Proxy,
    relay::Relay,
    terminal::{Terminal, key},
    wait,
};

const CIRCLE: &str = "Gartenverein Abendrot";
const NAMES: [&str; 2] = ["Wilhelmine Tell", "Bartholomäus"];
const PUBLIC: &str = "saatguttausch";
const CLOSED: &str = "vorstandssitzung";
const KEYED: &str = "werkzeugschuppen";
const PASSPHRASE: &str = "rechen-und-spaten-17";
const TEXTS: [&str; 5] = [
    "the password of the shed is periwinkle",
    "Treffpunkt um sieben an der alten Mühle",
    "only the board may read this sentence",
    "only who knows the passphrase reads this",
    "written while polling over plain requests",
];
const DRAFT: &str = "an unfinished confession about tulips";

fn secrets(invite: &str) -> Secrets {
    let secret = Invite::parse(invite).expect("an invite").secret;
    let mut secrets = Secrets::default().key("the circle's secret", secret.expose());
    for text in [CIRCLE, PUBLIC, CLOSED, KEYED, PASSPHRASE, DRAFT].iter().chain(&NAMES).chain(&TEXTS) {
        secrets = secrets.text(text);
    }
    let code = invite.rsplit_once("felund1.").expect("an invite").1;
    secrets.text(&code[..40]).text(&code[code.len() - 40..])
}

#[test]
fn a_whole_conversation_leaves_nothing_readable_behind() {
    let relay = Relay::start();
    let proxy = Proxy::start(relay.address());
    let capture = Capture::start(relay.address());
    let device = |name| Felund::relayed(name, &proxy.url());
    let (alice, bob) = (device(NAMES[0]), device(NAMES[1]));
    let circle = alice.create(CIRCLE);
    bob.join(&circle.invite);
    let secrets = secrets(&circle.invite);

    let terminal = Terminal::open(&alice, 110, 30);
    terminal.wait_for(CIRCLE);
    let bob_runs = bob.tail(None);
    let (mut at_alice, mut at_bob) = (alice.control(), bob.control());
    at_alice.until_live(&circle.id);
    terminal.line(TEXTS[0]);
    bob_runs.wait_for(TEXTS[0]);
    bob.send(CIRCLE, TEXTS[1]);
    terminal.wait_for(TEXTS[1]);

    let public = at_alice.create_channel(&circle.id, PUBLIC, Access::Public, None);
    let closed = at_alice.create_channel(&circle.id, CLOSED, Access::Invite, None);
    let keyed = at_alice.create_channel(&circle.id, KEYED, Access::Key, Some(PASSPHRASE));
    for (name, id, passphrase) in
        [(PUBLIC, public, None), (CLOSED, closed, None), (KEYED, keyed, Some(PASSPHRASE))]
    {
        at_bob.until_channel(&circle.id, name, "known", |_| true);
        at_bob.join_channel(&circle.id, id, passphrase).expect("joins or asks");
    }
    let asked = at_alice.until_channel(&circle.id, CLOSED, "asked for", |c| !c.requests.is_empty());
    at_alice.ask(Command::ApproveMember {
        circle: circle.id.parse().expect("an id"),
        channel: closed,
        member: asked.requests[0],
    });
    at_bob.until_channel(&circle.id, CLOSED, "joined", |c| c.membership == Membership::Joined);
    alice.send(&format!("{CIRCLE}/{CLOSED}"), TEXTS[2]);
    alice.send(&format!("{CIRCLE}/{KEYED}"), TEXTS[3]);
    bob_runs.wait_for(TEXTS[2]);
    bob_runs.wait_for(TEXTS[3]);
    // The same over plain HTTP, and something that is typed and not sent.
    proxy.refuse_upgrades(true);
    proxy.cut();
    bob.send(CIRCLE, TEXTS[4]);
    terminal.wait_for(TEXTS[4]);
    terminal.keys(DRAFT);
    terminal.wait_for(DRAFT);
    terminal.keys(key::TAB);
    wait::until_true("a kept draft", || {
        let view = at_alice.circle(&circle.id).expect("there");
        view.channels.iter().any(|channel| channel.draft == DRAFT)
    });

    // Files of programs that run, and then of programs that have ended in different ways.
    secrets.assert_absent_under("the relay's data", relay.data_dir());
    for device in [&alice, &bob] {
        secrets.assert_absent_under("a client's data", device.data_dir());
    }
    assert!(relay.log().len() > 1 || !relay.log().is_empty());
    secrets.assert_absent("the relay's log", relay.log().join("\n").as_bytes());
    drop((terminal, bob_runs, at_alice, at_bob));
    let mut relay = relay;
    relay.terminate();
    secrets.assert_absent_under("the relay's data at rest", relay.data_dir());
    for device in [&alice, &bob] {
        secrets.assert_absent_under("a client's data at rest", device.data_dir());
    }

    // The proof that there was something to find: the hint by which the relay knows the circle is in all of it.
    let hint = Member::hint_of(&circle.invite);
    let wire = proxy.recorded();
    assert!(
        wire.iter().any(|stream| leak::contains(stream, hint.to_string().as_bytes())),
        "hint on the wire"
    );
    assert!(wire.len() > 8 && wire.iter().map(Vec::len).sum::<usize>() > 10_000);
    for stream in &wire {
        secrets.assert_absent("what passed on the wire", stream);
    }
    match capture.map(Capture::finish) {
        Some(packets) => {
            assert!(leak::contains(&packets, hint.to_string().as_bytes()), "the capture holds the exchange");
            secrets.assert_absent("the packet capture", &packets);
            println!("looked through {} bytes of packets", packets.len());
        }
        None => println!("packets cannot be captured here; the proxy's record was looked through"),
    }
    let database = fs::read(relay.database()).expect("readable");
    assert!(leak::contains(&database, &hint.0), "the relay's database holds the circle's hint");
}

#[test]
fn a_passphrase_keeps_a_thief_out_of_the_keys() {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    alice.send("garden club", "before the lock");
    let seed = open_key(&alice);
    {
        let _runs = alice.tail(None);
        alice.control().ask(Command::SetPassphrase { passphrase: Some(PASSPHRASE.to_owned()) });
        let secrets = Secrets::default().key("the device's key", &seed);
        secrets.assert_absent_under("a client's data from the moment it is locked", alice.data_dir());
    }
    let refused = alice.refused(&["history", "garden club"]);
    assert!(refused.contains("FELUND_PASSPHRASE"), "{refused}");
    let wrong = alice.run_with("FELUND_PASSPHRASE", "not the one", &["history", "garden club"]);
    assert!(wrong.code != 0 && wrong.stdout.is_empty(), "{wrong:?}");
    let right = alice.run_with("FELUND_PASSPHRASE", PASSPHRASE, &["history", "garden club"]);
    assert!(right.code == 0 && right.stdout.contains("before the lock"), "{right:?}");
    let secret = Invite::parse(&circle.invite).expect("an invite").secret;
    let secrets = Secrets::default().text(PASSPHRASE).key("the circle's secret", secret.expose());
    let secrets = secrets.key("the device's key", &seed);
    secrets.assert_absent_under("a locked client's data", alice.data_dir());
}

/// The seed of a device without a passphrase, which is the end of its record (`docs/protocol.md` §11).
fn open_key(device: &Felund) -> Vec<u8> {
    let db = rusqlite::Connection::open(device.database()).expect("the database opens");
    let query = "SELECT value FROM records WHERE key = 'identity'";
    let record: Vec<u8> = db.query_row(query, [], |row| row.get(0)).expect("a record");
    record[record.len() - 32..].to_vec()
}

#[test]
fn the_key_that_a_relay_holds_opens_no_message() {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    alice.send("garden club", "sealed");
    // All that the relay was given: the API signing key. Every key of the protocol that could be made from it is tried.
    let member = Member::join(&circle.invite, &relay.url());
    let api: ApiKey = member.circle.api_key();
    let as_secret =
        felund_core::keys::CircleSecret::from_secret(felund_core::redact::Secret::new(*api.as_bytes()));
    let tried = [felund_core::keys::MessageKey::from_bytes(*api.as_bytes()), as_secret.epoch_0()];
    let page = member.call("GET", "/v1/messages?limit=256", &serde_json::Value::Null);
    let stored = page.json["messages"].as_array().expect("a page");
    assert!(!stored.is_empty());
    for message in stored {
        let envelope = message["envelope"].clone();
        let envelope: felund_core::envelope::Envelope =
            serde_json::from_value(envelope).expect("an envelope");
        let verified = envelope.verify().expect("signed");
        assert!(tried.iter().all(|key| felund_core::envelope::open(&verified, key).is_err()));
    }
}
