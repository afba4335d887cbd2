//! A node in a circle with a relay that lies, a member that breaks the rules, and neighbours who announce anything.

use felund_core::{
    envelope::{Compression, Envelope},
    ids::CircleId,
    invite::Invite,
    io::{Announcement, Command, ConnId, Event, HttpResponse, Input, Origin},
    keys::{CircleSecret, NodeKey},
    redact::Secret,
    session::{Initiator, Local, Session},
    view::Reply,
    wire::{PeerFrame, Sealed, ServerFrame},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use serde_json::json;

use crate::{
    author::{KINDS, Sheet, node, padded},
    device::{Device, EPOCH_MS},
    script::Script,
};

/// Most things that happen in one run.
const STEPS: usize = 48;

struct Scene {
    device: Device,
    circle: CircleSecret,
    id: CircleId,
    /// The member that breaks the rules.
    mallory: NodeKey,
    rng: ChaCha20Rng,
    session: Option<(ConnId, Session)>,
    conns: u64,
    envelopes: u64,
}

impl Scene {
    fn new() -> Option<Self> {
        let mut device = Device::start(felund_core::store::MemoryStore::default());
        device.command(Command::SetName { name: "alice".into() })?.ok()?;
        let made = Command::CreateCircle { name: "club".into(), relay: Some("http://relay.example".into()) };
        let Ok(Reply::Circle { circle_id, invite, .. }) = device.command(made)? else { return None };
        let secret = Secret::new(*Invite::parse(&invite).ok()?.secret.expose());
        device.input(Input::Listening(vec!["192.0.2.1:4700".into()]));
        let circle = CircleSecret::from_secret(secret);
        let (mallory, rng) = (node(66), ChaCha20Rng::seed_from_u64(5));
        Some(Self { device, circle, id: circle_id, mallory, rng, session: None, conns: 0, envelopes: 0 })
    }

    fn accepted(&mut self) -> ConnId {
        self.conns += 1;
        let conn = ConnId(1 << 63 | self.conns);
        self.device.input(Input::Accepted(conn, Origin::Outside([203, 0, 113, 7].into())));
        conn
    }

    /// The next message the node sent on a connection.
    fn heard(&mut self, conn: ConnId) -> Option<Vec<u8>> {
        let sent = self.device.sent.get_mut(&conn)?;
        (!sent.is_empty()).then(|| sent.remove(0))
    }

    fn connect(&mut self) -> Option<()> {
        let conn = self.accepted();
        let circles = [self.circle.clone()];
        let local = Local { key: &self.mallory, circles: &circles };
        let (initiator, hello) = Initiator::new(local, Vec::new(), &mut self.rng);
        self.device.input(Input::Received(conn, hello));
        let challenge = self.heard(conn)?;
        let local = Local { key: &self.mallory, circles: &circles };
        let (waiting, auth) = initiator.challenged(local, &challenge).ok()?;
        self.device.input(Input::Received(conn, auth));
        let welcome = self.heard(conn)?;
        let local = Local { key: &self.mallory, circles: &circles };
        self.session = Some((conn, waiting.welcomed(local, &welcome).ok()?));
        Some(())
    }

    /// Says a frame in the session, which there is from then on.
    fn say(&mut self, frame: &[u8]) {
        if self.session.as_ref().is_none_or(|(conn, _)| !self.device.node.is_proven(*conn)) {
            self.connect();
        }
        let Some((conn, session)) = &mut self.session else { return };
        for record in session.seal(frame).unwrap_or_default() {
            self.device.input(Input::Received(*conn, record));
        }
    }

    fn envelope(&mut self, script: &mut Script<'_>) -> Option<Envelope> {
        let what = script.byte();
        let kind = KINDS[usize::from(what) % KINDS.len()];
        self.envelopes += 1;
        let plain = padded(script.short_piece());
        let channel = match kind {
            "chat.text" if what & 128 == 0 => self.circle.general(),
            _ => self.circle.control(),
        };
        let sheet = Sheet {
            author: &self.mallory,
            circle: &self.circle,
            channel,
            // Sometimes the same again.
            id: if what & 64 == 0 { self.envelopes } else { 1 },
            ts: EPOCH_MS + self.device.mono,
            kind,
            compression: Compression::None,
            plain: &plain,
        };
        sheet.seal()
    }

    /// What an honest relay answers to the oldest request.
    fn answer(&mut self, script: &mut Script<'_>) {
        let Some((id, request)) = self.device.http.pop_front() else { return };
        let seconds = (EPOCH_MS + self.device.mono) / 1_000;
        let envelope = if script.one_in(2) { self.envelope(script) } else { None };
        let messages: Vec<_> = envelope
            .iter()
            .map(|envelope| json!({"cursor": "000000000000000a", "envelope": envelope}))
            .collect();
        let body = json!({
            "ok": true, "version": "0.1.0", "time": seconds, "server_time": seconds,
            "expires_at": seconds + 120, "observed_endpoint": "192.0.2.9:1000", "peers": [], "stored": [],
            "messages": messages, "next": "000000000000000a", "more": script.one_in(4),
            "relay_url": "/v1/relay/ws", "session_id": "s", "token": format!("token{}", request.url.len()),
        });
        let body = serde_json::to_vec(&body).expect("a value is JSON");
        self.device.input(Input::Http(id, Ok(HttpResponse { status: 200, retry_after_s: None, body })));
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 14 {
            0 => self.say(script.piece()),
            1 => {
                let Some(envelope) = self.envelope(script) else { return };
                self.say(&PeerFrame::MsgNew { circle: 0, envelope: Sealed(envelope.to_cbor()) }.to_bytes());
            }
            2 => {
                let envelopes = (0..script.byte() % 4)
                    .filter_map(|_| Some(Sealed(self.envelope(script)?.to_cbor())))
                    .collect();
                let more = script.one_in(2);
                self.say(&PeerFrame::MsgsSend { circle: 0, envelopes, more }.to_bytes());
            }
            3 => self.answer(script),
            4 => {
                let Some((id, _)) = self.device.http.pop_front() else { return };
                let status = u16::from_le_bytes(script.array());
                let retry_after_s = (script.one_in(2)).then(|| script.number());
                let body = script.piece().to_vec();
                self.device.input(Input::Http(id, Ok(HttpResponse { status, retry_after_s, body })));
            }
            5 => {
                let Some(conn) = self.device.dialed.last().copied() else { return };
                self.device.input(Input::Connected(conn));
            }
            6 => {
                let Some(conn) = self.device.dialed.last().copied() else { return };
                self.device.input(Input::Received(conn, script.piece().to_vec()));
            }
            7 => {
                let Some(conn) = self.device.dialed.last().copied() else { return };
                let Some(envelope) = self.envelope(script) else { return };
                let hint = self.circle.api_key().hint();
                let envelope = Sealed(envelope.to_cbor());
                let frame = if script.one_in(2) {
                    ServerFrame::Live { hint, cursor: felund_core::ids::Cursor(script.number()), envelope }
                } else {
                    ServerFrame::Ephemeral { hint, envelope }
                };
                self.device.input(Input::Received(conn, frame.to_bytes()));
            }
            8 => {
                self.device.mono += u64::from(u16::from_le_bytes(script.array()));
                self.device.input(Input::Timeout);
            }
            9 => {
                let conn = self.accepted();
                self.device.input(Input::Received(conn, script.piece().to_vec()));
            }
            10 => {
                let conn = match &self.session {
                    Some((conn, _)) if script.one_in(2) => *conn,
                    _ => self.device.dialed.last().copied().unwrap_or(ConnId(0)),
                };
                self.device.input(Input::Disconnected(conn, "gone".into()));
            }
            11 => {
                let text =
                    |script: &mut Script<'_>| String::from_utf8_lossy(script.short_piece()).into_owned();
                let seen = Announcement {
                    instance: text(script),
                    addresses: vec![text(script)],
                    properties: vec![(text(script), script.short_piece().to_vec())],
                };
                self.device.input(Input::Nearby(vec![seen]));
            }
            12 => {
                let (circle, channel) = (self.id, self.circle.general());
                let _ = self.device.command(match script.byte() % 5 {
                    0 => Command::History { circle, channel, before: None, limit: 100 },
                    1 => Command::Doctor,
                    2 => Command::Snapshot,
                    3 => Command::Invite { circle },
                    _ => Command::Send { circle, channel, text: "hello".into() },
                });
            }
            _ => {
                if let Ok(event) = serde_json::from_slice::<Event>(script.piece()) {
                    self.device.model.apply(&event);
                }
            }
        }
    }
}

/// Takes bytes as what happens to the node.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut scene = Scene::new().expect("a circle is made");
    for _ in 0..STEPS {
        if script.is_over() {
            break;
        }
        scene.step(&mut script);
    }
    // Whatever was said, the node still does what its user wants.
    let (circle, channel) = (scene.id, scene.circle.general());
    let sent = scene.device.command(Command::Send { circle, channel, text: "still here".into() });
    assert!(matches!(sent, Some(Ok(Reply::Sent { .. }))), "{sent:?}");
    let page = scene.device.command(Command::History { circle, channel, before: None, limit: 1_000 });
    let Some(Ok(Reply::History { messages, .. })) = page else { panic!("no history") };
    let me = scene.device.model.identity.as_ref().map(|identity| identity.node_id);
    for message in messages {
        let author = if message.mine { me } else { Some(scene.mallory.id()) };
        assert_eq!(Some(message.author), author, "nobody speaks as another");
    }
}
