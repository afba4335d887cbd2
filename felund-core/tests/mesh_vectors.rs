//! The byte-level vectors of sessions and anti-entropy, which an independent implementation wrote.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::convert::Infallible;

use felund_core::{
    ids::{ChannelId, CircleId, MsgId, NodeId},
    io::Announcement,
    keys::{CircleSecret, NodeKey},
    lan,
    redact::Secret,
    session::{Initiator, Local, Responder, Session},
    sync::{Decoder, Entry, Symbol, encode, first_symbols, read_symbols, short_id, summarise, write_symbols},
    view::Key,
    wire::{Have, PeerAddress, PeerFrame, Sealed, Window},
};
use rand_core::{TryCryptoRng, TryRng};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn sessions() -> Value {
    vectors(include_str!("../../docs/vectors/sessions.json"))
}

fn local_networks() -> Value {
    vectors(include_str!("../../docs/vectors/lan.json"))
}

fn sync() -> Value {
    vectors(include_str!("../../docs/vectors/sync.json"))
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

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn size(value: &Value) -> usize {
    number(value).try_into().unwrap()
}

fn word(value: &Value) -> u64 {
    u64::from_str_radix(text(value), 16).unwrap()
}

/// Hands out the bytes that a vector says were drawn, in their order.
struct Drawn(Vec<u8>);

impl TryRng for Drawn {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        let rest = self.0.split_off(out.len());
        out.copy_from_slice(&self.0);
        self.0 = rest;
        Ok(())
    }
}

impl TryCryptoRng for Drawn {}

struct Side {
    key: NodeKey,
    circles: Vec<CircleSecret>,
    random: Drawn,
}

impl Side {
    fn new(v: &Value) -> Self {
        let circle = |v: &Value| CircleSecret::from_secret(Secret::new(array(v)));
        Self {
            key: NodeKey::from_seed(Secret::new(array(&v["seed"]))),
            circles: list(&v["circles"]).iter().map(circle).collect(),
            random: Drawn(bytes(&v["random"])),
        }
    }

    fn local(&self) -> Local<'_> {
        Local { key: &self.key, circles: &self.circles }
    }
}

/// The documented handshake, message by message.
fn shake(all: &Value, v: &Value) -> (Session, Session) {
    let (mut a, mut b) = (Side::new(&all["initiator"]), Side::new(&all["responder"]));
    let binding = bytes(&v["binding"]);
    let mut random = std::mem::replace(&mut a.random, Drawn(Vec::new()));
    let (initiator, hello) = Initiator::new(a.local(), binding.clone(), &mut random);
    assert_eq!(hex::encode(&hello), text(&v["hello"]));
    let mut random = std::mem::replace(&mut b.random, Drawn(Vec::new()));
    let (waiting, challenge) = Responder::new(binding).greeted(b.local(), &hello, &mut random).unwrap();
    assert_eq!(hex::encode(&challenge), text(&v["challenge"]));
    let (welcoming, auth) = initiator.challenged(a.local(), &challenge).unwrap();
    assert_eq!(hex::encode(&auth), text(&v["hello_auth"]));
    let (responder, welcome) = waiting.authenticated(b.local(), &auth).unwrap();
    assert_eq!(hex::encode(&welcome), text(&v["welcome"]));
    let initiator = welcoming.welcomed(a.local(), &welcome).unwrap();
    assert_eq!((initiator.peer(), responder.peer()), (b.key.id(), a.key.id()));
    (initiator, responder)
}

#[test]
fn a_handshake_has_the_documented_bytes() {
    let all = sessions();
    let shared: Vec<CircleId> = list(&all["shared"]).iter().map(|id| CircleId(array(id))).collect();
    for v in list(&all["handshakes"]) {
        let (initiator, responder) = shake(&all, v);
        for session in [&initiator, &responder] {
            assert_eq!(session.circles(), shared);
            assert_eq!(session.salt(), &array(&v["salt"]));
        }
        assert_eq!((initiator.initiated(), responder.initiated()), (true, false));
    }
}

#[test]
fn records_have_the_documented_bytes() {
    let all = sessions();
    for v in list(&all["handshakes"]) {
        let (mut initiator, mut responder) = shake(&all, v);
        for step in list(&v["records"]) {
            let (tx, rx) = match text(&step["from"]) {
                "initiator" => (&mut initiator, &mut responder),
                _ => (&mut responder, &mut initiator),
            };
            let (frame, expected) = (bytes(&step["frame"]), list(&step["records"]));
            let records = tx.seal(&frame).unwrap();
            assert_eq!(records.iter().map(hex::encode).collect::<Vec<_>>(), expected);
            assert_eq!(rx.open(&records[0]).unwrap(), Some(frame));
        }
        let zeros = &v["zeros"];
        let frame = vec![0; size(&zeros["length"])];
        let records = responder.seal(&frame).unwrap();
        let hashes: Vec<String> = records.iter().map(|r| hex::encode(Sha256::digest(r))).collect();
        assert_eq!(hashes, list(&zeros["records_sha256"]));
        assert_eq!(initiator.open(&records[0]).unwrap(), None);
        assert_eq!(initiator.open(&records[1]).unwrap(), Some(frame));
    }
}

#[test]
fn frames_have_the_documented_bytes() {
    let all = sessions();
    let named = |name: &str| {
        let found = list(&all["frames"]).iter().find(|v| v["name"] == name);
        bytes(&found.unwrap()["cbor"])
    };
    let other = Side::new(&all["responder"]).key.id();
    let PeerFrame::MsgNew { envelope, .. } = PeerFrame::from_bytes(&named("msg_new")).unwrap() else {
        panic!("another frame");
    };
    let PeerFrame::Confirm { ids, .. } = PeerFrame::from_bytes(&named("confirm")).unwrap() else {
        panic!("another frame");
    };
    let authors = [Side::new(&all["initiator"]).key.id(), other].map(|id| id.0[..8].to_vec()).concat();
    let unsaid = PeerFrame::Confirm { circle: 0, ids: ids[..1].to_vec(), authors: None };
    let PeerFrame::MsgsHave { have: Have::Summary { window, .. }, .. } =
        PeerFrame::from_bytes(&named("summary")).unwrap()
    else {
        panic!("another frame");
    };
    let channel: ChannelId = window.floors[0].0;
    assert_eq!(window, Window { horizon: 1_771_930_300_000, floors: vec![(channel, 1_771_930_310_000)] });
    let endpoints = ["192.0.2.1:4700", "[2001:db8::1]:4700"].map(str::to_owned).to_vec();
    let (peer, observed) = (PeerAddress { node_id: other, endpoints }, Some("203.0.113.7".to_owned()));
    let of = |n: u8| (0..n).collect::<Vec<u8>>();
    let have = |circle, have| PeerFrame::MsgsHave { circle, have };
    let summary = Have::Summary { count: 3, fingerprint: of(16).try_into().unwrap(), window };
    let symbols = Have::Symbols { count: 3, start: 24, symbols: of(13), window: Window::default() };
    let (envelopes, again) = (vec![Sealed(envelope.0.clone())], Sealed(envelope.0.clone()));
    let frames = [
        ("peers", PeerFrame::Peers { circle: 0, peers: vec![peer], observed: None }),
        ("peers_observed", PeerFrame::Peers { circle: 1, peers: Vec::new(), observed }),
        ("summary", have(1, summary)),
        ("same", have(0, Have::Same)),
        ("symbols", have(0, symbols)),
        ("more", have(0, Have::More { end: 48 })),
        ("msgs_req", PeerFrame::MsgsReq { circle: 0, ids: of(16) }),
        ("msgs_send", PeerFrame::MsgsSend { circle: 0, envelopes, more: true }),
        ("msg_new", PeerFrame::MsgNew { circle: 0, envelope }),
        ("confirm", PeerFrame::Confirm { circle: 0, ids, authors: Some(authors) }),
        ("confirm_unsaid", unsaid),
        ("ping", PeerFrame::Ping),
        ("pong", PeerFrame::Pong),
        ("ephemeral", PeerFrame::Ephemeral { circle: 0, envelope: again }),
        ("signal", PeerFrame::Signal { circle: 0, to: other, payload: (0..48).collect() }),
    ];
    assert_eq!(frames.len(), list(&all["frames"]).len());
    for (name, frame) in frames {
        assert_eq!(hex::encode(frame.to_bytes()), hex::encode(named(name)), "{name}");
        assert_eq!(PeerFrame::from_bytes(&named(name)), Ok(frame), "{name}");
    }
}

fn symbols_of(v: &Value) -> Vec<Symbol> {
    let symbol = |v: &Value| Symbol {
        sum: word(&v["sum"]),
        check: word(&v["check"]).try_into().unwrap(),
        count: v["count"].as_i64().unwrap(),
    };
    list(&v["symbols"]).iter().map(symbol).collect()
}

#[test]
fn short_ids_summaries_and_indices_are_as_documented() {
    let v = sync();
    let salt = array(&v["salt"]);
    let mut keys = Vec::new();
    for v in list(&v["keys"]) {
        let key = Key { ts: number(&v["created_ts"]), id: MsgId(array(&v["msg_id"])) };
        let entry = Entry { key, author: NodeId(array(&v["author_node_id"])) };
        assert_eq!(short_id(&salt, entry), word(&v["short_id"]));
        keys.push(entry);
    }
    for name in ["first", "second"] {
        let set = &v["sets"][name];
        let members = &keys[size(&set["members"][0])..size(&set["members"][1])];
        let summary = summarise(&salt, members.iter().copied());
        assert_eq!((summary.count, summary.fingerprint), (number(&set["count"]), array(&set["fingerprint"])));
    }
    let one = &v["indices"];
    let mixed = encode(std::iter::once(word(&one["id"])), 0..size(&one["below"]));
    let at: Vec<u64> = (0..).zip(&mixed).filter(|(_, symbol)| symbol.count == 1).map(|(i, _)| i).collect();
    assert_eq!(at, list(&one["are"]).iter().map(number).collect::<Vec<_>>());
    for v in list(&v["first_symbols"]) {
        assert_eq!(first_symbols(number(&v[0]), number(&v[1])), size(&v[2]));
    }
}

#[test]
fn symbols_and_their_bytes_are_as_documented_and_decode() {
    let v = sync();
    let ids: Vec<u64> = list(&v["keys"]).iter().map(|v| word(&v["short_id"])).collect();
    let at_first = size(&v["at_first"]);
    let mut streams = Vec::new();
    for name in ["first", "second"] {
        let set = &v["sets"][name];
        let members = &ids[size(&set["members"][0])..size(&set["members"][1])];
        let (expected, count) = (symbols_of(set), number(&set["count"]));
        assert_eq!(encode(members.iter().copied(), 0..expected.len()), expected);
        for (field, start, part) in
            [("bytes", 0, &expected[..at_first]), ("more_bytes", at_first, &expected[at_first..])]
        {
            let start = start as u64;
            assert_eq!(hex::encode(write_symbols(part, count, start)), text(&set[field]));
            assert_eq!(read_symbols(&bytes(&set[field]), count, start).as_deref(), Some(part));
        }
        streams.push(expected);
    }
    let found = Decoder::default().extend(&streams[1][..at_first], &streams[0][..at_first]).unwrap();
    let expected = &v["first_decodes_second"];
    assert_eq!(found.ours, list(&expected["ours"]).iter().map(word).collect::<Vec<_>>());
    assert_eq!(found.theirs, list(&expected["theirs"]).iter().map(word).collect::<Vec<_>>());
}

#[test]
fn announcements_in_local_networks_are_as_documented() {
    let v = local_networks();
    let hour = lan::hour(number(&v["unix_ms"]));
    assert_eq!(hour, number(&v["hour"]));
    let secret = |v: &Value| CircleSecret::from_secret(Secret::new(array(v)));
    for v in list(&v["announcements"]) {
        let circles: Vec<CircleSecret> = list(&v["circles"]).iter().map(secret).collect();
        let said = lan::announce(&circles, hour, &mut Drawn(bytes(&v["random"])));
        assert_eq!(said.instance, text(&v["instance"]));
        let expected = v["properties"].as_object().unwrap();
        assert_eq!(said.properties.len(), expected.len());
        for (key, value) in &said.properties {
            assert_eq!(hex::encode(value), text(&expected[key]), "{key}");
        }
        assert_eq!(lan::recognise(&circles, hour, &said), (0..circles.len()).collect::<Vec<_>>());
    }
    for v in list(&v["tags"]) {
        let properties = [("v", b"1".to_vec()), ("s", bytes(&v["salt"])), ("t0", bytes(&v["tag"]))];
        let properties = properties.map(|(key, value)| (key.to_owned(), value)).to_vec();
        let seen = Announcement { instance: String::new(), addresses: Vec::new(), properties };
        assert_eq!(lan::recognise(&[secret(&v["circle"])], number(&v["hour"]), &seen), [0]);
    }
}
