//! Who may speak to the relay, and for whom: every request that is not signed as it must be is refused by its number.

use felund_core::{
    invite::Invite,
    keys::{CircleSecret, NodeKey},
    relay_api::{path, signing::HEADER_SIGNATURE},
};
use felund_tests::{
    api::{self, Answer, Unsigned},
    felund::Felund,
    member::{Member, to_json},
    relay::Relay,
};
use serde_json::{Value, json};

/// A relay with a circle that honest people use, and a member that speaks to the API itself.
fn circle() -> (Relay, Felund, Member) {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    let member = Member::join(&circle.invite, &relay.url());
    (relay, alice, member)
}

/// Every endpoint that is to be signed, with a body it takes.
fn endpoints(member: &Member) -> Vec<Unsigned> {
    let (api, node) = (member.circle.api_key(), member.key.id());
    let register = json!({ "node_id": node, "circle_hint": api.hint(), "signing_key": api, "endpoints": [], "ttl_s": 120 });
    let signal =
        json!({ "session_id": "s1", "to_node_id": node, "type": "offer", "payload": "AAAA", "ttl_s": 60 });
    let text = felund_core::circle::Body::Text("hi".into());
    let messages = json!({ "messages": [to_json(&member.seal(member.circle.general(), &text))] });
    vec![
        Unsigned::new("POST", path::REGISTER, &register),
        Unsigned::new("GET", &format!("{}?limit=5", path::PEERS), &Value::Null),
        Unsigned::new("POST", path::MESSAGES, &messages),
        Unsigned::new("GET", &format!("{}?limit=5&after=0000000000000000", path::MESSAGES), &Value::Null),
        Unsigned::new("POST", path::SIGNAL, &signal),
        Unsigned::new("GET", &format!("{}?session_id=s1", path::SIGNAL), &Value::Null),
        Unsigned::new("POST", path::SESSION, &json!({})),
        Unsigned::new("GET", path::ICE, &Value::Null),
        Unsigned::new("DELETE", path::REGISTER, &Value::Null),
    ]
}

fn assert_refused(what: &str, answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{what}: {answer:?}");
    assert_eq!(answer.json["ok"], false, "{what}");
    assert!(answer.json["message"].as_str().is_some_and(|text| text.len() > 10), "{what}: {answer:?}");
    assert!(
        answer.json["retryable"].is_boolean() && answer.json["server_time"].is_u64(),
        "{what}: {answer:?}"
    );
}

#[test]
fn a_signed_request_is_answered_and_one_wrong_in_any_way_is_not() {
    let (relay, _alice, member) = circle();
    let (url, key) = (relay.url(), member.circle.api_key());
    let stranger = CircleSecret::generate(&mut api::rng());
    for endpoint in endpoints(&member) {
        let what = format!("{} {}", endpoint.method, endpoint.target);
        let fresh = || Unsigned { nonce: Unsigned::new("GET", "", &Value::Null).nonce, ..endpoint.clone() };

        let bare = api::request(endpoint.method, &format!("{url}{}", endpoint.target), &[], &endpoint.body);
        assert_refused(&format!("{what}, unsigned"), &bare, 401, "INVALID_SIGNATURE");
        for missing in 0..6 {
            let mut signed = fresh().sign(&key, &member.key);
            let (name, _) = signed.headers.remove(missing);
            assert_refused(&format!("{what} without {name}"), &signed.send(&url), 401, "INVALID_SIGNATURE");
        }

        let other_circle = fresh().sign_as(&stranger.api_key(), key.hint(), &member.key, member.key.id());
        assert_refused(&format!("{what}, wrong key"), &other_circle.send(&url), 401, "INVALID_SIGNATURE");
        let other_node = NodeKey::generate(&mut api::rng());
        let impostor = fresh().sign_as(&key, key.hint(), &other_node, member.key.id());
        assert_refused(&format!("{what}, wrong node"), &impostor.send(&url), 401, "INVALID_SIGNATURE");
        let mut altered = fresh().sign(&key, &member.key);
        altered.request.body.extend(b" ");
        assert_refused(&format!("{what}, altered body"), &altered.send(&url), 401, "INVALID_SIGNATURE");
        let mut altered = fresh().sign(&key, &member.key);
        altered.request.target.push_str(if endpoint.target.contains('?') { "&x=1" } else { "?x=1" });
        assert_refused(&format!("{what}, altered query"), &altered.send(&url), 401, "INVALID_SIGNATURE");
        let mut flipped = fresh().sign(&key, &member.key);
        let mac = flipped.headers.iter_mut().find(|(name, _)| *name == HEADER_SIGNATURE).expect("signed");
        mac.1.replace_range(..1, if mac.1.starts_with('0') { "1" } else { "0" });
        assert_refused(&format!("{what}, flipped signature"), &flipped.send(&url), 401, "INVALID_SIGNATURE");

        for ts in [api::now() - 302, api::now() + 302, 0] {
            let stale = Unsigned { ts, ..fresh() }.sign(&key, &member.key).send(&url);
            assert_refused(&format!("{what}, stale"), &stale, 400, "EXPIRED_TIMESTAMP");
        }

        // Nothing of all that has used the nonce up or changed the endpoint's mind.
        let signed = endpoint.sign(&key, &member.key);
        let answer = signed.send(&url);
        assert_eq!((answer.status, &answer.json["ok"]), (200, &json!(true)), "{what}: {answer:?}");
        assert_refused(&format!("{what}, replayed"), &signed.send(&url), 409, "NONCE_REPLAY");
    }
}

#[test]
fn a_replay_is_refused_after_a_restart_too() {
    let (mut relay, _alice, member) = circle();
    let mut sent = Vec::new();
    for endpoint in endpoints(&member) {
        let signed = endpoint.sign(&member.circle.api_key(), &member.key);
        assert_eq!(signed.send(&relay.url()).status, 200);
        sent.push(signed);
    }
    relay.kill();
    relay.resume();
    for signed in &sent {
        assert_refused("after a crash", &signed.send(&relay.url()), 409, "NONCE_REPLAY");
    }
    relay.terminate();
    relay.resume();
    for signed in &sent {
        assert_refused("after an orderly end", &signed.send(&relay.url()), 409, "NONCE_REPLAY");
    }
    let fresh = member.call("GET", path::MESSAGES, &Value::Null);
    assert_eq!(fresh.status, 200, "{fresh:?}");
}

#[test]
fn nobody_without_the_secret_gets_a_circle_registered_or_read() {
    let (relay, _alice, member) = circle();
    let url = relay.url();
    let (stranger, node) = (CircleSecret::generate(&mut api::rng()), NodeKey::generate(&mut api::rng()));
    let get = || Unsigned::new("GET", path::MESSAGES, &Value::Null);

    let unknown = get().sign(&stranger.api_key(), &node).send(&url);
    assert_refused("an unknown circle", &unknown, 401, "UNKNOWN_CIRCLE");
    assert_eq!(unknown.json["retryable"], true);

    // A registration that claims the circle's hint with a key of one's own.
    let (own, hint) = (stranger.api_key(), member.circle.api_key().hint());
    let body = json!({
        "node_id": node.id(), "circle_hint": hint, "signing_key": own, "endpoints": [], "ttl_s": 120,
    });
    let claim = Unsigned::new("POST", path::REGISTER, &body).sign_as(&own, hint, &node, node.id());
    let answer = claim.send(&url);
    assert_refused("a claimed hint", &answer, 401, "INVALID_SIGNATURE");

    // The same for a hint that nobody has registered yet.
    let third = CircleSecret::generate(&mut api::rng()).api_key().hint();
    let body = json!({
        "node_id": node.id(), "circle_hint": third, "signing_key": own, "endpoints": [], "ttl_s": 120,
    });
    let claim = Unsigned::new("POST", path::REGISTER, &body).sign_as(&own, third, &node, node.id());
    assert_refused("a guessed hint", &claim.send(&url), 401, "INVALID_SIGNATURE");

    // Two circles on one relay: the key of one reads nothing of the other.
    let other = Member::join(&invite_of(&stranger, &url), &url);
    let theirs = other.call("GET", path::MESSAGES, &Value::Null);
    assert_eq!((theirs.status, &theirs.json["messages"]), (200, &json!([])), "{theirs:?}");
    let ours = member.call("GET", path::MESSAGES, &Value::Null);
    assert!(ours.json["messages"].as_array().is_some_and(|m| !m.is_empty()), "{ours:?}");
}

fn invite_of(circle: &CircleSecret, relay: &str) -> String {
    let secret = circle.secret().clone();
    Invite { secret, relay: Some(relay.to_owned()), peers: Vec::new(), name: None }.encode()
}

#[test]
fn what_is_malformed_or_too_large_is_refused_and_the_relay_lives() {
    let (relay, alice, member) = circle();
    let text = felund_core::circle::Body::Text("hi".into());
    let one = to_json(&member.seal(member.circle.general(), &text));
    let call = |body: &[u8]| {
        let mut request = Unsigned::new("POST", path::MESSAGES, &Value::Null);
        request.body = body.to_vec();
        request.sign(&member.circle.api_key(), &member.key).send(&relay.url())
    };
    for (what, body) in [
        ("no JSON", &b"{\"messages\":["[..]),
        ("bytes", &[0xff; 64][..]),
        ("another shape", b"[1,2,3]"),
        ("no messages", b"{}"),
        ("nested deeply", "[".repeat(100_000).as_bytes()),
    ] {
        assert_refused(what, &call(body), 400, "BAD_REQUEST");
    }
    let too_many = json!({ "messages": vec![one.clone(); 257] }).to_string();
    assert_refused("257 envelopes", &call(too_many.as_bytes()), 413, "TOO_LARGE");
    assert_refused("a body of 3 MiB", &call(&vec![b' '; 3 << 20]), 413, "TOO_LARGE");
    let missing = api::request("GET", &format!("{}/v1/nothing", relay.url()), &[], &[]);
    assert_refused("no such endpoint", &missing, 404, "NOT_FOUND");
    // Posting the same envelope again changes nothing.
    let one = [one];
    let (first, again) = (member.post(&one), member.post(&one));
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(first.json["stored"], again.json["stored"]);
    alice.send("garden club", "the relay lives");
    assert_eq!(alice.texts("garden club").last().map(String::as_str), Some("the relay lives"));
}
