//! The HTTP API: the log, limits and quotas, signaling, ICE, and errors that are always JSON.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashSet;

use common::{Circle, Http, Member, TestRelay};
use felund_core::{
    config::{ENVELOPE_VERSION, MAX_ENC_LEN, MAX_KEY_ID_LEN, MAX_SIGNAL_LEN, MAX_TYPE_LEN, MIN_ENC_LEN},
    envelope::Envelope,
    ids::{Cursor, base64_encode},
};
use serde_json::{Value, json};

fn relay(options: &[&str]) -> (tempfile::TempDir, TestRelay) {
    let dir = tempfile::tempdir().unwrap();
    let relay = TestRelay::start(dir.path(), options);
    (dir, relay)
}

fn cursors(stored: &Value) -> Vec<Cursor> {
    let stored = stored["stored"].as_array().unwrap();
    stored.iter().map(|s| s["cursor"].as_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn posting_twice_stores_once_and_answers_the_same_cursor() {
    let (_dir, relay) = relay(&[]);
    let circle = Circle::new();
    let mut member = Member::registered(relay.address, &circle);
    let (a, b, c) = (member.envelope(20), member.envelope(30), member.envelope(40));
    let first = cursors(&member.post(&[a.clone(), b.clone()]).json());
    assert!(first[0] < first[1]);
    let again = cursors(&member.post(&[b.clone(), c, a.clone(), a.clone()]).json());
    assert_eq!((again[0], again[2], again[3]), (first[1], first[0], first[0]));
    assert!(again[1] > first[1]);
    let page = member.get("/v1/messages").json();
    let ids: Vec<_> = page["messages"].as_array().unwrap().iter().map(|m| m["envelope"].clone()).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(
        serde_json::from_value::<Envelope>(ids[0].clone()).unwrap(),
        a,
        "byte for byte what was posted"
    );
    let mut stranger = Member::registered(relay.address, &Circle::new());
    assert_eq!(stranger.get("/v1/messages").json()["messages"], json!([]), "circles do not see each other");
    let other = cursors(&stranger.post(&[a]).json());
    assert!(other[0] > again[1], "the same id in another circle is another message");
}

#[test]
fn pages_join_without_gap_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let relay = TestRelay::start(dir.path(), &["--rate-node", "0"]);
    let circle = Circle::new();
    let mut member = Member::registered(relay.address, &circle);
    let mut posted = Vec::new();
    for _ in 0..5 {
        let envelopes: Vec<_> = (0..70).map(|_| member.envelope(20)).collect();
        posted.extend(cursors(&member.post(&envelopes).json()));
    }
    relay.stop();
    let relay = TestRelay::start(dir.path(), &["--rate-node", "0"]);
    let mut member = Member::new(relay.address, &circle);
    for (limit, size) in [("", 100), ("&limit=33", 33), ("&limit=100000", 256)] {
        let (mut after, mut seen) = (Cursor(0), Vec::new());
        loop {
            let page = member.get(&format!("/v1/messages?after={after}{limit}")).json();
            let messages = page["messages"].as_array().unwrap();
            assert!(messages.len() <= size);
            seen.extend(messages.iter().map(|m| m["cursor"].as_str().unwrap().parse::<Cursor>().unwrap()));
            after = page["next"].as_str().unwrap().parse().unwrap();
            if page["more"] == false {
                break;
            }
            assert_eq!(messages.len(), size);
        }
        assert_eq!(seen, posted);
        let end = member.get(&format!("/v1/messages?after={after}")).json();
        assert_eq!((end["messages"].clone(), end["next"].as_str()), (json!([]), Some(&*after.to_string())));
    }
    let envelope = member.envelope(20);
    let later = cursors(&member.post(&[envelope]).json());
    assert!(later[0] > posted[posted.len() - 1]);
}

#[test]
fn an_id_that_another_author_copies_keeps_nothing_out() {
    let (_dir, relay) = relay(&[]);
    let circle = Circle::new();
    let (mut alice, mut mallory) =
        (Member::registered(relay.address, &circle), Member::registered(relay.address, &circle));
    let original = alice.envelope(100);
    let copy = common::envelope_of(&mallory.key, original.header().msg_id, 100);
    let first = cursors(&mallory.post(&[copy]).json());
    let second = cursors(&alice.post(std::slice::from_ref(&original)).json());
    assert_ne!(first, second);
    let page: felund_core::relay_api::MessagesResponse =
        serde_json::from_value(alice.get("/v1/messages").json()).unwrap();
    assert_eq!(page.messages.len(), 2);
    assert_eq!(page.messages[1].envelope, original);
    assert_eq!(cursors(&alice.post(&[original]).json()), second, "posting twice stores once");
}

#[test]
fn callers_that_hang_up_take_no_reader_from_others() {
    let (_dir, relay) = relay(&[]);
    let circle = Circle::new();
    let mut member = Member::registered(relay.address, &circle);
    let envelopes: Vec<_> = (0..64).map(|_| member.envelope(4_000)).collect();
    assert_eq!(member.post(&envelopes).status, 200);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..5 {
            let hasty = Member::new(relay.address, &circle);
            let done = &done;
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let request = hasty.request("GET", "/v1/messages?limit=256", b"");
                    let head: String = hasty
                        .sign(&request)
                        .iter()
                        .map(|(name, value)| format!("{name}: {value}\r\n"))
                        .collect();
                    let mut tcp = std::net::TcpStream::connect(relay.address).unwrap();
                    let text =
                        format!("GET {} HTTP/1.1\r\nhost: relay\r\n{head}\r\n", "/v1/messages?limit=256");
                    std::io::Write::write_all(&mut tcp, text.as_bytes()).unwrap();
                }
            });
        }
        let codes: Vec<u16> = (0..20).map(|_| member.get("/v1/messages?limit=256").status).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(codes.iter().all(|code| *code == 200), "{codes:?}");
    });
}

/// An envelope's members, in their order and without their names.
fn as_array(envelope: &Value) -> Value {
    let names = "v msg_id circle_id channel_id author_node_id created_ts type key_id compression iv enc sig";
    names.split(' ').map(|name| envelope[name].clone()).collect()
}

#[test]
fn one_forged_envelope_refuses_its_batch() {
    let (_dir, relay) = relay(&[]);
    let mut member = Member::registered(relay.address, &Circle::new());
    let good = serde_json::to_value(member.envelope(32)).unwrap();
    let with = |field: &str, value: Value| {
        let mut bad = good.clone();
        bad[field] = value;
        bad
    };
    let mut flipped = good["enc"].as_str().unwrap().to_string();
    let first = if flipped.starts_with('A') { "B" } else { "A" };
    flipped.replace_range(0..1, first);
    for bad in [
        with("enc", flipped.into()),
        with("created_ts", 1.into()),
        with("type", "chat.other".into()),
        with("author_node_id", "00".repeat(32).into()),
        with("v", 3.into()),
        with("iv", "AAAA".into()),
        with("enc", "".into()),
        with("extra", 1.into()),
        as_array(&good),
        Value::Null,
    ] {
        let answer = member.post_json("/v1/messages", &json!({"messages": [good, bad]}));
        assert_eq!((answer.status, answer.code().as_str()), (400, "BAD_REQUEST"), "{bad}");
    }
    assert_eq!(member.post_json("/v1/messages", &json!([[good]])).status, 400);
    assert_eq!(member.get("/v1/messages").json()["messages"], json!([]), "nothing of them was stored");
    assert_eq!(member.post_json("/v1/messages", &json!({"messages": [good]})).status, 200);
}

#[test]
fn what_is_too_large_is_413() {
    let (_dir, relay) = relay(&["--rate-node", "0"]);
    let mut member = Member::registered(relay.address, &Circle::new());
    let many: Vec<_> = (0..257).map(|_| member.envelope(17)).collect();
    let answer = member.post(&many);
    assert_eq!((answer.status, answer.code().as_str()), (413, "TOO_LARGE"));
    assert_eq!(member.post(&many[..256]).status, 200);
    let nothing = member.post(&[]);
    assert_eq!((nothing.status, &nothing.json()["stored"]), (200, &json!([])));
    let body = vec![b' '; 3 * 1024 * 1024];
    let answer = member.call("POST", "/v1/messages", &body);
    assert_eq!((answer.status, answer.code().as_str()), (413, "TOO_LARGE"));
    assert_eq!(member.get("/v1/peers").status, 200, "the connection lives on");
}

#[test]
fn every_error_is_json() {
    let (_dir, relay) = relay(&[]);
    let mut member = Member::registered(relay.address, &Circle::new());
    let mut http = Http::connect(relay.address);
    for (method, target, status) in [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/", 404),
        ("GET", "/v1", 404),
        ("PUT", "/v1/messages", 405),
        ("POST", "/v1/health", 405),
        ("GET", "/v1/relay/ws", 400),
    ] {
        let answer = http.call(method, target, &[], b"");
        assert_eq!(answer.status, status, "{method} {target}");
        assert_eq!(answer.json()["ok"], false, "{method} {target}");
    }
    for body in [&b""[..], b"{", b"[]", b"\xff\xfe", b"{\"messages\":[{}]}"] {
        let answer = member.call("POST", "/v1/messages", body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "BAD_REQUEST"), "{body:?}");
    }
    for target in ["/v1/messages?after=xyz", "/v1/messages?limit=-1", "/v1/signal?session_id=a%20b"] {
        let answer = member.get(target);
        assert_eq!((answer.status, answer.code().as_str()), (400, "BAD_REQUEST"), "{target}");
    }
    let told = member.get("/v1/peers?limit=x").json()["message"].as_str().unwrap().to_owned();
    assert!(told.starts_with("the query is not what this endpoint takes: limit: invalid digit"), "{told}");
}

#[test]
fn a_circle_at_its_quota_is_429_and_keeps_what_it_has() {
    let (_dir, relay) = relay(&["--circle-messages", "10", "--circle-bytes", "100000"]);
    let mut member = Member::registered(relay.address, &Circle::new());
    let envelopes: Vec<_> = (0..8).map(|_| member.envelope(20)).collect();
    assert_eq!(member.post(&envelopes).status, 200);
    let three: Vec<_> = (0..3).map(|_| member.envelope(20)).collect();
    let answer = member.post(&three);
    assert_eq!((answer.status, answer.code().as_str()), (429, "QUOTA_EXCEEDED"));
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(member.post(&three[..2]).status, 200, "none of the three had been stored");
    assert_eq!(member.post(&envelopes).status, 200, "what is stored may be posted again");
    assert_eq!(member.get("/v1/messages").json()["messages"].as_array().unwrap().len(), 10);
    let mut big = Member::registered(relay.address, &Circle::new());
    let envelopes = [big.envelope(60_000), big.envelope(60_000)];
    assert_eq!(big.post(&envelopes).status, 429);
    assert_eq!(big.post(&envelopes[..1]).status, 200);
}

#[test]
fn callers_that_hurry_are_429_with_retry_after() {
    let dir = tempfile::tempdir().unwrap();
    let relay = TestRelay::start(dir.path(), &["--rate-node", "30"]);
    let circle = Circle::new();
    let mut member = Member::registered(relay.address, &circle);
    let envelopes: Vec<_> = (0..256).map(|_| member.envelope(17)).collect();
    assert_eq!(member.post(&envelopes).status, 200);
    let answer = member.post(&envelopes);
    assert_eq!((answer.status, answer.code().as_str()), (429, "RATE_LIMITED"));
    assert_eq!(answer.json()["retryable"], true);
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(
        Member::registered(relay.address, &circle).get("/v1/peers").status,
        200,
        "others are not concerned"
    );
}

#[test]
fn hurried_addresses_are_429_before_anything_else() {
    let dir = tempfile::tempdir().unwrap();
    let relay = TestRelay::start_limited(dir.path(), &["--trust-forwarded-for"], "2");
    let mut http = Http::connect(relay.address);
    let from = |address: &str| vec![("x-forwarded-for".to_string(), format!("6.6.6.6, {address}"))];
    let statuses: Vec<_> =
        (0..30).map(|_| http.call("GET", "/v1/health", &from("192.0.2.7"), b"").status).collect();
    assert_eq!(statuses[..20], [200; 20]);
    let refused = http.call("GET", "/v1/health", &from("192.0.2.7"), b"");
    assert_eq!((refused.status, refused.code().as_str()), (429, "RATE_LIMITED"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(http.call("GET", "/v1/health", &from("192.0.2.8"), b"").status, 200);
}

#[test]
fn signals_reach_their_recipient_only() {
    let (_dir, relay) = relay(&[]);
    let circle = Circle::new();
    let mut alice = Member::registered(relay.address, &circle);
    let mut bob = Member::registered(relay.address, &circle);
    let signal = |session: &str, kind: &str, payload: &str, ttl: u64| json!({"session_id": session, "to_node_id": bob.node(), "type": kind, "payload": payload, "ttl_s": ttl});
    let (one, two) = (signal("s-1", "offer", "AAAA", 1), signal("s_2", "candidate", "BBBB", 9999));
    let first = alice.post_json("/v1/signal", &one).json();
    let second = alice.post_json("/v1/signal", &two).json();
    let now = common::now();
    assert!(first["expires_at"].as_u64().unwrap().abs_diff(now + 60) < 3, "brought into the range");
    assert!(second["expires_at"].as_u64().unwrap().abs_diff(now + 120) < 3);
    for bad in [signal("s 1", "offer", "AA", 60), signal("", "offer", "AA", 60), signal("s", "bye", "AA", 60)]
    {
        assert_eq!(alice.post_json("/v1/signal", &bad).status, 400, "{bad}");
    }
    let long = "A".repeat(24_000);
    assert_eq!(alice.post_json("/v1/signal", &signal("s", "offer", &long, 60)).status, 413);
    let all = bob.get("/v1/signal").json();
    assert_eq!(all["signals"].as_array().unwrap().len(), 2);
    assert_eq!(all["signals"][0]["from_node_id"], alice.node().to_string());
    assert_eq!(all["signals"][0]["type"], "offer");
    let session = bob.get("/v1/signal?session_id=s_2").json();
    assert_eq!(session["signals"][0]["payload"], "BBBB");
    let next = all["signals"][0]["cursor"].as_str().unwrap().to_string();
    let rest = bob.get(&format!("/v1/signal?after={next}")).json();
    assert_eq!(rest["signals"].as_array().unwrap().len(), 1);
    assert_eq!(alice.get("/v1/signal").json()["signals"], json!([]));
}

#[test]
fn a_full_mailbox_is_429() {
    let (_dir, relay) = relay(&["--rate-signal", "0"]);
    let circle = Circle::new();
    let mut alice = Member::registered(relay.address, &circle);
    let bob = Member::new(relay.address, &circle);
    let body =
        json!({"session_id": "s", "to_node_id": bob.node(), "type": "offer", "payload": "AA", "ttl_s": 60});
    let statuses: Vec<_> = (0..129).map(|_| alice.post_json("/v1/signal", &body).status).collect();
    assert_eq!(statuses[..128], [200; 128]);
    assert_eq!(statuses[128], 429);
}

#[test]
fn ice_servers_come_with_credentials_that_end() {
    let turn =
        ["--stun", "stun:a.example", "--turn", "turn:b.example,turns:c.example", "--turn-secret", "Jefe"];
    let (_dir, relay) = relay(&turn);
    let mut member = Member::registered(relay.address, &Circle::new());
    let ice = member.get("/v1/ice").json();
    assert_eq!(ice["ice_servers"][0], json!({"urls": ["stun:a.example"]}));
    let turn = &ice["ice_servers"][1];
    assert_eq!(turn["urls"], json!(["turn:b.example", "turns:c.example"]));
    let until: u64 = turn["username"].as_str().unwrap().split(':').next().unwrap().parse().unwrap();
    assert!(until.abs_diff(common::now() + ice["ttl_s"].as_u64().unwrap()) < 3);
    assert_eq!(turn["credential"].as_str().unwrap().len(), 28);
}

/// What a document points to within itself.
fn references<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            into.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, into));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, into)),
        _ => {}
    }
}

#[test]
fn the_api_describes_itself() {
    let (_dir, relay) = relay(&[]);
    let mut http = Http::connect(relay.address);
    let health = http.call("GET", "/v1/health", &[], b"").json();
    assert_eq!(health["ok"], true);
    assert!(health["time"].as_u64().unwrap().abs_diff(common::now()) < 5);
    let api = http.call("GET", "/v1/openapi.json", &[], b"").json();
    for path in [
        "health",
        "openapi.json",
        "register",
        "peers",
        "messages",
        "signal",
        "relay/session",
        "relay/ws",
        "ice",
        "metrics",
    ] {
        assert!(api["paths"][format!("/v1/{path}")].is_object(), "{path}");
    }
    let mut named = Vec::new();
    references(&api, &mut named);
    assert!(named.contains(&"#/components/schemas/Envelope"), "{named:?}");
    for name in named {
        assert!(api.pointer(name.trim_start_matches('#')).is_some(), "{name} leads nowhere");
    }
    let operations: Vec<_> = api["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
        .collect();
    let ids: HashSet<_> = operations.iter().map(|operation| operation["operationId"].as_str()).collect();
    assert_eq!(ids.len(), operations.len(), "{ids:?}");
    // OpenAPI 3.1, 4.8.17: a response is described, or is none.
    for response in
        operations.iter().flat_map(|operation| operation["responses"].as_object().unwrap().values())
    {
        assert!(response["description"].is_string(), "{response}");
    }
    for operation in &operations {
        let responses = &operation["responses"];
        for status in ["4XX", "429", "503"] {
            let body = &responses[status]["content"]["application/json"]["schema"]["$ref"];
            assert_eq!(*body, json!("#/components/schemas/ErrorBody"), "{status} of {operation}");
        }
        for status in ["429", "503"] {
            let seconds = &responses[status]["headers"]["Retry-After"]["schema"]["type"];
            assert_eq!(*seconds, json!("integer"), "{status} of {operation}");
        }
    }
    let mut member = Member::registered(relay.address, &Circle::new());
    for (path, default) in [("/v1/messages", 100), ("/v1/peers", 1_024)] {
        let parameters = api["paths"][path]["get"]["parameters"].as_array().unwrap();
        let limit = parameters.iter().find(|parameter| parameter["name"] == "limit").unwrap();
        let schema = &limit["schema"];
        assert_eq!((&schema["minimum"], &schema["default"]), (&json!(0), &json!(default)), "{schema}");
        let maximum = schema["maximum"].as_u64().unwrap();
        assert_eq!(member.get(&format!("{path}?limit={maximum}")).status, 200);
        assert_eq!(member.get(&format!("{path}?limit={}", maximum + 1)).status, 400);
    }
    let of = |schema: &str, field: &str| &api["components"]["schemas"][schema]["properties"][field];
    assert_eq!(of("PostMessages", "messages")["maxItems"], 256);
    let endpoints = of("RegisterRequest", "endpoints");
    assert_eq!((&endpoints["maxItems"], &endpoints["items"]["maxLength"]), (&json!(16), &json!(128)));
    let session = json!("^[A-Za-z0-9_-]{1,64}$");
    assert_eq!(of("SignalRequest", "session_id")["pattern"], session);
    let parameters = api["paths"]["/v1/signal"]["get"]["parameters"].as_array().unwrap();
    let parameter = parameters.iter().find(|parameter| parameter["name"] == "session_id").unwrap();
    assert_eq!(parameter["schema"]["pattern"], session);
    assert_eq!(of("SignalRequest", "payload")["maxLength"], base64_encode(&[0; MAX_SIGNAL_LEN]).len());
    let largest = serde_json::to_value(member.envelope(MAX_ENC_LEN)).unwrap();
    let smallest = serde_json::to_value(member.envelope(MIN_ENC_LEN)).unwrap();
    let length = |envelope: &Value, field: &str| envelope[field].as_str().unwrap().len();
    assert_eq!(of("Envelope", "enc")["maxLength"], length(&largest, "enc"));
    assert_eq!(of("Envelope", "enc")["minLength"], length(&smallest, "enc"));
    for (field, len) in [("iv", length(&largest, "iv")), ("sig", length(&largest, "sig"))] {
        assert_eq!(of("Envelope", field)["pattern"], format!("^[A-Za-z0-9_-]{{{len}}}$"));
    }
    for (field, most) in [("type", MAX_TYPE_LEN), ("key_id", MAX_KEY_ID_LEN)] {
        let schema = of("Envelope", field);
        assert_eq!((&schema["minLength"], &schema["maxLength"]), (&json!(1), &json!(most)), "{field}");
    }
    assert_eq!(of("Envelope", "v")["maximum"], ENVELOPE_VERSION);
    let after = &api["paths"]["/v1/messages"]["get"]["parameters"][0];
    assert_eq!((&after["name"], &after["in"]), (&json!("after"), &json!("query")));
    assert_eq!(api["security"][0].as_object().unwrap().len(), 6, "all headers together");
    for (path, unsigned) in
        [("health", true), ("openapi.json", true), ("relay/ws", true), ("messages", false)]
    {
        let security = &api["paths"][format!("/v1/{path}")]["get"]["security"];
        assert_eq!(*security == json!([{}]), unsigned, "{path}: {security}");
    }
    let metrics = http.call("GET", "/v1/metrics", &[], b"");
    let metrics = String::from_utf8(metrics.body).unwrap();
    assert!(metrics.contains("# TYPE felund_relay_messages_stored_total counter"), "{metrics}");
    let dir = tempfile::tempdir().unwrap();
    let silent = TestRelay::start(dir.path(), &["--metrics", "false"]);
    assert_eq!(Http::connect(silent.address).call("GET", "/v1/metrics", &[], b"").status, 404);
}

#[test]
fn other_origins_may_call_and_pages_are_confined() {
    let (_dir, relay) = relay(&[]);
    let mut http = Http::connect(relay.address);
    let preflight =
        http.call("OPTIONS", "/v1/messages", &[("origin".into(), "https://a.example".into())], b"");
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("x-felund-node-signature"));
    let answer = http.call("GET", "/v1/peers", &[], b"");
    assert_eq!(answer.header("access-control-expose-headers"), Some("retry-after"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let csp = answer.header("content-security-policy").unwrap();
    assert!(csp.starts_with("default-src 'none'; script-src 'self' 'wasm-unsafe-eval';"), "{csp}");
    let page = http.call("GET", "/", &[], b"");
    assert_eq!(page.status, 200);
    let csp = page.header("content-security-policy").unwrap();
    let scripts = csp.strip_prefix("default-src 'none'; script-src 'self' 'wasm-unsafe-eval'").expect(csp);
    let (hashes, _) = scripts.split_once(';').expect(csp);
    assert!(hashes.split_whitespace().all(|source| source.starts_with("'sha256-")), "{csp}");
    assert!(!csp.contains("unsafe-inline"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
}

#[test]
fn a_folders_files_are_served_with_their_types_and_cached_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let web = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("index.html", "<!doctype html>page"),
        ("app-0123456789abcdef.wasm", "wasm"),
        ("app-0123456789abcdef.wasm.br", "brotli"),
        ("manifest.webmanifest", "{}"),
        ("style.css", &"p { color: green }\n".repeat(1_000)),
    ] {
        std::fs::write(web.path().join(name), content).unwrap();
    }
    let relay = TestRelay::start(dir.path(), &["--web-dir", web.path().to_str().unwrap()]);
    let mut http = Http::connect(relay.address);
    let headers = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()
    };
    let page = http.call("GET", "/", &[], b"");
    assert_eq!(
        (page.body.as_slice(), page.header("cache-control")),
        (&b"<!doctype html>page"[..], Some("no-cache"))
    );
    let tag = page.header("etag").unwrap().to_string();
    assert_eq!(http.call("GET", "/index.html", &headers(&[("if-none-match", &tag)]), b"").status, 304);
    let wasm =
        http.call("GET", "/app-0123456789abcdef.wasm", &headers(&[("accept-encoding", "gzip, br")]), b"");
    assert_eq!(wasm.header("content-type"), Some("application/wasm"));
    assert_eq!((wasm.body.as_slice(), wasm.header("content-encoding")), (&b"brotli"[..], Some("br")));
    assert!(wasm.header("cache-control").unwrap().contains("immutable"));
    let wasm = http.call("GET", "/app-0123456789abcdef.wasm", &[], b"");
    assert_eq!(wasm.body, b"wasm");
    for encoding in ["br", "gzip"] {
        let style = http.call("GET", "/style.css", &headers(&[("accept-encoding", encoding)]), b"");
        assert_eq!(style.header("content-encoding"), Some(encoding));
        assert!(style.body.len() < 200, "{encoding}: {}", style.body.len());
    }
    let manifest = http.call("GET", "/manifest.webmanifest", &[], b"");
    assert_eq!(manifest.header("content-type"), Some("application/manifest+json"));
    assert_eq!(http.call("GET", "/c/general", &headers(&[("accept", "text/html")]), b"").status, 200);
    assert_eq!(http.call("GET", "/nothing.js", &headers(&[("accept", "text/html")]), b"").status, 404);
    assert_eq!(http.call("GET", "/../Cargo.toml", &[], b"").status, 404);
    assert_eq!(http.call("POST", "/", &[], b"").status, 405);
}

#[test]
fn a_folders_files_are_found_by_any_name_and_behind_links_and_hidden_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let web = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    for name in [".git", ".well-known", "b c"] {
        std::fs::create_dir(web.path().join(name)).unwrap();
    }
    for name in [".env", ".git/config", ".well-known/security.txt", "b c/über%20.txt"] {
        std::fs::write(web.path().join(name), name).unwrap();
    }
    std::fs::write(other.path().join("a.txt"), "linked").unwrap();
    #[cfg(unix)]
    for (name, folder) in [("link", other.path()), ("again", web.path()), ("once-more", web.path())] {
        std::os::unix::fs::symlink(folder, web.path().join(name)).unwrap();
    }
    let options = ["--web-dir", web.path().to_str().unwrap()];
    let relay = TestRelay::start(dir.path(), &options);
    let mut http = Http::connect(relay.address);
    let mut get = |path: &str| http.call("GET", path, &[], b"");
    assert_eq!(get("/b%20c/%C3%BCber%2520.txt").body, "b c/über%20.txt".as_bytes());
    assert_eq!(get("/%2Ewell-known/security.txt").status, 200);
    assert_eq!((get("/.env").status, get("/.git/config").status), (404, 404));
    #[cfg(unix)]
    {
        assert_eq!(get("/link/a.txt").body, b"linked");
        relay.stop();
        std::os::unix::fs::symlink("nowhere", web.path().join("dangling")).unwrap();
        let error = TestRelay::try_start(dir.path(), &options).err().unwrap();
        assert!(error.contains("dangling: No such file") && error.contains("--web-dir"), "{error}");
    }
}
