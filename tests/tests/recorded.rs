//! A recorded session stays closed, even for somebody who learns the circle's secret later.

use felund_core::{keys::CircleSecret, redact::Secret};
use felund_tests::{
    felund::Felund,
    handshake::{Keys, Offer, Role, Side, Wire, auth, hkdf, hmac, open, seal, tag, transcript},
    leak::Secrets,
    proxy::Proxy,
    wait,
};
use x25519_dalek::{PublicKey, StaticSecret};

const CIRCLE: &str = "rhododendron society";
const NAMES: [&str; 2] = ["alice of the orchard", "bob of the meadow"];
const TEXTS: [&str; 2] = ["meet behind the greenhouse", "bring the hydrangeas"];

/// What passed in both directions of one connection, the dialing side's first, message by message.
struct Recording {
    streams: [Vec<u8>; 2],
    messages: [Vec<Vec<u8>>; 2],
}

impl Recording {
    fn new(up: &[u8], down: &[u8]) -> Self {
        let split = |mut stream: &[u8]| {
            let mut messages = Vec::new();
            while let Some((len, rest)) = stream.split_first_chunk::<4>() {
                let Some(message) = rest.get(..u32::from_be_bytes(*len) as usize) else { break };
                messages.push(message.to_vec());
                stream = &rest[message.len()..];
            }
            messages
        };
        Self { streams: [up.to_vec(), down.to_vec()], messages: [split(up), split(down)] }
    }

    /// HELLO and CHALLENGE.
    fn offers(&self) -> [Offer; 2] {
        [0, 1].map(|at| Offer::from_bytes(&self.messages[at][0]))
    }

    fn records(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.messages.iter().flat_map(|messages| &messages[1..])
    }

    /// How many records some key opens, under any counter that either side can have reached.
    fn opened_by(&self, keys: &[[u8; 32]]) -> usize {
        let counters = 0..=self.messages.iter().map(Vec::len).max().unwrap_or(0) as u64;
        let opens = |record: &&Vec<u8>| {
            keys.iter().any(|key| counters.clone().any(|counter| open(key, counter, record).is_some()))
        };
        self.records().filter(opens).count()
    }
}

fn recordings(proxy: &Proxy) -> Vec<Recording> {
    let streams = proxy.recorded();
    let whole = |pair: &&[Vec<u8>]| pair.iter().all(|stream| stream.len() > 100);
    streams.chunks_exact(2).filter(whole).map(|pair| Recording::new(&pair[0], &pair[1])).collect()
}

/// Every key that somebody can come to who has the circle's secret and the recording, but no ephemeral private key.
fn keys_without_ephemerals(circle: &CircleSecret, recording: &Recording) -> Vec<[u8; 32]> {
    let secret = *circle.secret().expose();
    let [hello, challenge] = recording.offers();
    let nonces = [&hello.nonce, &challenge.nonce];
    let salt = [hello.nonce, challenge.nonce].concat();
    let with_public = |private: [u8; 32], public: [u8; 32]| {
        StaticSecret::from(private).diffie_hellman(&PublicKey::from(public)).to_bytes().to_vec()
    };
    let [ours, theirs] = [hello.ephemeral, challenge.ephemeral];
    let agreed = [
        Vec::new(),
        vec![0; 32],
        ours.to_vec(),
        theirs.to_vec(),
        secret.to_vec(),
        with_public(ours, theirs),
        with_public(theirs, ours),
        with_public(secret, ours),
        with_public(secret, theirs),
        with_public(hello.nonce, theirs),
        with_public(challenge.nonce, ours),
    ];
    let mut keys = vec![secret, *circle.api_key().as_bytes(), circle.api_key().hint().0];
    for z in agreed {
        let both = Keys::derive(&secret, &z, nonces);
        keys.extend([both.to_responder, both.to_initiator]);
        keys.push(hkdf(&[secret.as_slice(), &z].concat(), Some(&salt), b"felund-session-v1"));
    }
    for info in ["felund-msg-v1", "felund-session-v1", "felund-session-tag-v1", "felund-store-v2"] {
        keys.extend([hkdf(&secret, None, info.as_bytes()), hkdf(&secret, Some(&salt), info.as_bytes())]);
        keys.push(hmac(&secret, info.as_bytes()));
    }
    keys
}

#[test]
fn a_recorded_session_shows_nothing_and_cannot_be_opened_with_the_circles_secret() {
    let (alice, at_alice, mut invite) = Felund::listening(NAMES[0], CIRCLE);
    let circle = CircleSecret::from_secret(Secret::new(*invite.secret.expose()));
    let door = invite.peers[0].parse().expect("an address");
    let proxy = Proxy::between_members(door);
    invite.peers = vec![proxy.address().to_string()];
    let bob = Felund::new(NAMES[1], None);
    let view = bob.join(&invite.encode());
    let at_bob = bob.tail(None);
    let (control, before) = (bob.control(), proxy.recorded().iter().map(Vec::len).sum::<usize>());
    let said = bob.run(&["send", CIRCLE, TEXTS[0]]);
    assert!(said.stdout.contains("delivered to 1 of 1"), "{said:?}");
    at_alice.wait_for(TEXTS[0]);
    let said = alice.run(&["send", CIRCLE, TEXTS[1]]);
    assert!(said.stdout.contains("delivered to 1 of 1"), "{said:?}");
    at_bob.wait_for(TEXTS[1]);
    wait::until_true("the chat in the recording", || {
        proxy.recorded().iter().map(Vec::len).sum::<usize>() > before + 500
    });
    let members = control.until_circle(&view.id, "two members", |view| view.members.len() == 2).members;

    // A third party that keeps its ephemeral key: what a recording looks like from inside.
    let side = Side::new();
    let mut wire = Wire::dial(proxy.address());
    let hello = side.offer(&circle, None).to_bytes();
    wire.send(&hello);
    let challenge = wire.receive().expect("CHALLENGE");
    let offer = Offer::from_bytes(&challenge);
    let agreed = side.agree(&offer.ephemeral);
    let inside = Keys::derive(circle.secret().expose(), &agreed, [&side.nonce, &offer.nonce]);
    let said = transcript(&hello, &challenge);
    let auth = auth(Role::Initiator, &said, side.key.id(), &side.key, &[&circle]);
    wire.send(&seal(&inside.to_responder, 0, &auth));
    wire.receive().expect("WELCOME");
    wire.finish();
    wire.until_closed();

    let recordings = recordings(&proxy);
    assert!(recordings.len() >= 2, "the chat and the third party were recorded");
    let (mut records, mut of_the_third) = (0, 0);
    for recording in &recordings {
        let [hello, challenge] = recording.offers();
        // The secret is the right one: with it the circle can be recognised in what was recorded, and no more.
        let tags = [
            tag(&circle, Role::Initiator, &hello.nonce),
            tag(&circle, Role::Responder, &[hello.nonce, challenge.nonce].concat()),
        ];
        for (offer, tag) in [&hello, &challenge].into_iter().zip(tags) {
            assert!(offer.tags.chunks(8).any(|other| other == tag), "the circle's tag");
        }
        let guesses = keys_without_ephemerals(&circle, recording);
        assert_eq!(
            recording.opened_by(&guesses),
            0,
            "a key without an ephemeral private key opened a record"
        );
        records += recording.records().count();
        if hello.nonce == side.nonce {
            // The attempt itself is sound: with the ephemeral private key the same records open.
            of_the_third = recording.opened_by(&[inside.to_responder, inside.to_initiator]);
            assert_eq!(of_the_third, recording.records().count());
        }
    }
    assert!(of_the_third >= 2 && records > of_the_third + 6, "{of_the_third} of {records} records");

    let mut secrets = Secrets::default()
        .key("the circle's secret", circle.secret().expose())
        .key("the circle's id", &circle.circle_id().0)
        .key("the circle's hint", &circle.api_key().hint().0)
        .key("the API signing key", circle.api_key().as_bytes())
        .key("the general channel's id", &circle.general().0)
        .key("the control channel's id", &circle.control().0)
        .key("the third party's id", &side.key.id().0);
    for member in &members {
        secrets = secrets.key(&format!("the id of {}", member.name), &member.id.0);
    }
    for text in NAMES.iter().chain(&TEXTS).chain(&[CIRCLE, "chat.text", "member.hello"]) {
        secrets = secrets.text(text);
    }
    for stream in recordings.iter().flat_map(|recording| &recording.streams) {
        secrets.assert_absent("what passed between members", stream);
    }
}
