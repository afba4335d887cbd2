//! Every request is signed, and a signature is good for one request of one circle at one time.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Circle, Headers, Http, Member, TestRelay, now, unique};
use serde_json::json;

#[test]
fn unsigned_and_half_signed_requests_are_401() {
    let dir = tempfile::tempdir().unwrap();
    let relay = TestRelay::start(dir.path(), &[]);
    let circle = Circle::new();
    let mut member = Member::registered(relay.address, &circle);
    for (method, target) in [
        ("POST", "/v1/register"),
        ("DELETE", "/v1/register"),
        ("GET", "/v1/peers"),
        ("POST", "/v1/messages"),
        ("GET", "/v1/messages"),
        ("POST", "/v1/signal"),
        ("GET", "/v1/signal"),
        ("POST", "/v1/relay/session"),
        ("GET", "/v1/ice"),
    ] {
        let answer = Http::connect(relay.address).call(method, target, &[], b"{}");
        assert_eq!((answer.status, answer.code().as_str()), (401, "INVALID_SIGNATURE"), "{method} {target}");
        let body = answer.json();
        assert_eq!(body["ok"], false);
        assert_eq!(body["retryable"], false);
        assert!(body["server_time"].as_u64().unwrap().abs_diff(now()) < 5);
    }
    let request = member.request("GET", "/v1/peers", b"");
    let whole = member.sign(&request);
    for index in 0..whole.len() {
        let mut headers = whole.clone();
        let (name, _) = headers.remove(index);
        assert_eq!(member.call_with(&request, &headers).status, 401, "without {name}");
        let mut headers = whole.clone();
        headers[index].1 = "zz".into();
        assert_eq!(member.call_with(&request, &headers).status, 401, "malformed {name}");
    }
    assert_eq!(member.call_with(&request, &whole).status, 200, "none of those used up the nonce");
}

fn flip(digits: &mut String) {
    let other = if digits.starts_with('0') { "1" } else { "0" };
    digits.replace_range(0..1, other);
}

#[test]
fn whatever_is_signed_cannot_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let relay = TestRelay::start(dir.path(), &[]);
    let circle = Circle::new();
    let mut member = Member::registered(relay.address, &circle);
    let other = Member::registered(relay.address, &circle);
    let request = member.request("GET", "/v1/messages?limit=5&after=0", b"");
    let good = member.sign(&request);
    let mut check = |what: &str, change: &dyn Fn(&mut Headers)| {
        let mut headers = good.clone();
        change(&mut headers);
        let answer = member.call_with(&request, &headers);
        assert_eq!((answer.status, answer.code().as_str()), (401, "INVALID_SIGNATURE"), "{what}");
    };
    check("another member's id", &|h| h[0].1 = other.node().to_string());
    check("another time", &|h| h[2].1 = (now() - 1).to_string());
    check("another nonce", &|h| h[3].1 = hex::encode(unique()));
    check("a flipped bit in the MAC", &|h| flip(&mut h[4].1));
    check("a flipped bit in the node signature", &|h| flip(&mut h[5].1));
    let mut elsewhere = member.request("GET", "/v1/messages?limit=6&after=0", b"");
    elsewhere.nonce.clone_from(&request.nonce);
    assert_eq!(member.call_with(&elsewhere, &good).status, 401, "another query");
    let reordered =
        common::Request { target: "/v1/messages?after=0&limit=5", ..member.request("GET", "", b"") };
    assert_eq!(member.call_with(&reordered, &good).status, 200, "the query is signed sorted");
}

#[test]
fn empty_parameters_are_not_signed_and_names_are_decoded_after_the_check() {
    let dir = tempfile::tempdir().unwrap();
    let relay = TestRelay::start(dir.path(), &[]);
    let mut member = Member::registered(relay.address, &Circle::new());
    let envelopes: Vec<_> = (0..6).map(|_| member.envelope(20)).collect();
    assert_eq!(member.post(&envelopes).status, 200);
    for (sent, signed, status) in [
        ("/v1/messages?&limit=5&", "/v1/messages?limit=5", 200),
        ("/v1/messages?limit=5&&after=0", "/v1/messages?after=0&limit=5", 200),
        ("/v1/messages?limit=5&other=1&other=2", "/v1/messages?limit=5&other=1&other=2", 200),
        ("/v1/messages?%6cimit=5&after=0", "/v1/messages?%6cimit=5&after=0", 200),
        ("/v1/messages?%6cimit=5", "/v1/messages?limit=5", 401),
        ("/v1/peers?", "/v1/peers", 200),
        ("/v1/peers?&", "/v1/peers", 200),
        ("/v1/messages?limit=5&limit=5", "/v1/messages?limit=5&limit=5", 400),
        ("/v1/messages?limit=5&%6cimit=5", "/v1/messages?%6cimit=5&limit=5", 400),
        ("/v1/messages?after=", "/v1/messages?after=", 400),
        ("/v1/messages?after=00000000000000000", "/v1/messages?after=00000000000000000", 400),
    ] {
        let request = member.request("GET", signed, b"");
        let headers = member.sign(&request);
        let answer = member.call_with(&common::Request { target: sent, ..request }, &headers);
        assert_eq!(answer.status, status, "{sent}");
        if sent.contains("imit=5") && status == 200 {
            assert_eq!(answer.json()["messages"].as_array().unwrap().len(), 5, "{sent}");
        }
    }
}

#[test]
fn another_circles_key_is_401() {
    let dir = tempfile::tempdir().unwrap();
    let relay = TestRelay::start(dir.path(), &[]);
    let (circle, other) = (Circle::new(), Circle::new());
    let mut member = Member::registered(relay.address, &circle);
    Member::registered(relay.address, &other);
    let request = member.request("GET", "/v1/messages", b"");
    let mut headers = member.sign(&request);
    headers[1].1 = other.hint().to_string();
    let answer = member.call_with(&request, &headers);
    assert_eq!((answer.status, answer.code().as_str()), (401, "INVALID_SIGNATURE"));
}

#[test]
fn a_key_is_taken_only_for_the_hint_it_hashes_to() {
    let dir = tempfile::tempdir().unwrap();
    let relay = TestRelay::start(dir.path(), &[]);
    let (circle, other) = (Circle::new(), Circle::new());
    let mut member = Member::new(relay.address, &circle);
    let mut body = member.register_body();
    body["signing_key"] = hex::encode(other.key.as_bytes()).into();
    let answer = member.post_json("/v1/register", &body);
    assert_eq!((answer.status, answer.code().as_str()), (401, "INVALID_SIGNATURE"));
    let answer = member.get("/v1/messages");
    assert_eq!((answer.status, answer.code().as_str()), (401, "UNKNOWN_CIRCLE"));
    assert_eq!(answer.json()["retryable"], true);
    assert_eq!(member.register().status, 200);
    assert_eq!(member.get("/v1/messages").status, 200);
    let mut body = member.register_body();
    body["node_id"] = Member::new(relay.address, &circle).node().to_string().into();
    assert_eq!(member.post_json("/v1/register", &body).status, 401, "nobody registers another");
}

#[test]
fn stale_and_future_requests_are_400_with_the_relays_time() {
    let dir = tempfile::tempdir().unwrap();
    let relay = TestRelay::start(dir.path(), &[]);
    let mut member = Member::registered(relay.address, &Circle::new());
    for ts in [now() - 310, now() + 310] {
        let request = common::Request { ts, ..member.request("GET", "/v1/peers", b"") };
        let headers = member.sign(&request);
        let answer = member.call_with(&request, &headers);
        assert_eq!((answer.status, answer.code().as_str()), (400, "EXPIRED_TIMESTAMP"));
        assert_eq!(answer.json()["retryable"], true);
        assert!(answer.json()["server_time"].as_u64().unwrap().abs_diff(now()) < 5);
    }
    for ts in [now() - 290, now() + 290] {
        let request = common::Request { ts, ..member.request("GET", "/v1/peers", b"") };
        let headers = member.sign(&request);
        assert_eq!(member.call_with(&request, &headers).status, 200);
    }
}

#[test]
fn a_replayed_request_is_409_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let relay = TestRelay::start(dir.path(), &[]);
    let mut member = Member::registered(relay.address, &Circle::new());
    let body = json!({ "messages": [member.envelope(100)] }).to_string();
    let request = member.request("POST", "/v1/messages", body.as_bytes());
    let headers = member.sign(&request);
    assert_eq!(member.call_with(&request, &headers).status, 200);
    let replay = |address| {
        let answer = Http::connect(address).call("POST", "/v1/messages", &headers, body.as_bytes());
        (answer.status, answer.code())
    };
    assert_eq!(replay(relay.address), (409, "NONCE_REPLAY".into()));
    relay.stop();
    let relay = TestRelay::start(dir.path(), &[]);
    assert_eq!(replay(relay.address), (409, "NONCE_REPLAY".into()));
    member = Member::registered(relay.address, &member.circle);
    assert_eq!(member.get("/v1/messages").status, 200, "fresh requests are taken at once after a restart");
}
