//! Members who run another client, and relays that lie: crafted envelopes against honest nodes.

use felund_core::{
    anchor::Announce,
    circle::{Body, Hello, NewChannel, channel_id},
    envelope::{Draft, Envelope, Header, seal, seal_with},
    ids::{ChannelId, CircleId},
    invite::Invite,
    io::{Command, Event},
    keys::{CircleSecret, MessageKey, NodeKey, channel_wrap_context, wrap_key},
    model::Model,
    redact::Secret,
    relay_api::Capabilities,
    sim::{EPOCH_MS, World},
    view::{Access, Delivery, Key, Membership, Reply},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::{live, mesh, send};

/// A member with a client of its own making.
pub(crate) struct Mallory {
    pub(crate) key: NodeKey,
    pub(crate) secret: CircleSecret,
    rng: ChaCha20Rng,
}

impl Mallory {
    pub(crate) fn join(world: &mut World, circle: CircleId) -> Self {
        let Ok(Reply::Invite { invite, .. }) = world.ask(0, Command::Invite { circle }) else {
            panic!("no invite")
        };
        let secret = CircleSecret::from_secret(Invite::parse(&invite).unwrap().secret);
        Self { key: NodeKey::from_seed(Secret::new([66; 32])), secret, rng: ChaCha20Rng::seed_from_u64(66) }
    }

    /// Another device of hers.
    pub(crate) fn another(&self, seed: u8) -> Self {
        let secret = CircleSecret::from_secret(self.secret.secret().clone());
        let key = NodeKey::from_seed(Secret::new([seed; 32]));
        Self { key, secret, rng: ChaCha20Rng::seed_from_u64(seed.into()) }
    }

    /// Says something in a channel, under whatever key.
    pub(crate) fn say(&mut self, world: &mut World, channel: ChannelId, key: &MessageKey, text: &str) {
        let (circle, body) = (self.secret.circle_id(), Body::Text(text.into()).to_cbor());
        let bytes = self.seal(world, circle, channel, "chat.text", key, &body);
        world.post(self.secret.api_key().hint(), vec![bytes]).expect("well signed");
        world.run(1_000);
    }

    /// Somebody who knows what a relay sees, and no secret.
    fn outside() -> Self {
        let secret = CircleSecret::from_secret(Secret::new([67; 32]));
        Self { key: NodeKey::from_seed(Secret::new([67; 32])), secret, rng: ChaCha20Rng::seed_from_u64(67) }
    }

    fn forge(&mut self, world: &World, channel: ChannelId, body: &Body) -> Vec<u8> {
        let (circle, key) = (self.secret.circle_id(), self.secret.epoch_0());
        self.seal(world, circle, channel, body.kind(), &key, &body.to_cbor())
    }

    fn seal(
        &mut self,
        world: &World,
        circle_id: CircleId,
        channel_id: ChannelId,
        kind: &str,
        key: &MessageKey,
        body: &[u8],
    ) -> Vec<u8> {
        let created_ts = EPOCH_MS + world.now;
        let draft = Draft { circle_id, channel_id, created_ts, kind, key_id: "epoch-0", body };
        seal(draft, key, &self.key, &mut self.rng).unwrap().envelope().to_cbor()
    }

    pub(crate) fn say_hello(&mut self, world: &mut World) {
        let capabilities = Capabilities::default();
        let hello = Hello { name: "mallory".into(), wrap_key: self.key.wrap_public(), capabilities };
        self.post(world, self.secret.control(), &Body::Hello(hello));
    }

    pub(crate) fn post(&mut self, world: &mut World, channel: ChannelId, body: &Body) {
        let bytes = self.forge(world, channel, body);
        world.post(self.secret.api_key().hint(), vec![bytes]).expect("well signed");
        world.run(1_000);
    }
}

#[test]
fn nobody_speaks_as_another_whatever_the_relay_passes_on() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(1_000);
    let mut mallory = Mallory::join(&mut world, circle);
    let victim = world.devices[1].model.identity.as_ref().unwrap().node_id;
    let honest = mallory.forge(&world, mallory.secret.general(), &Body::Text("I quit".into()));
    let envelope = Envelope::from_cbor(&honest).unwrap();
    let header = Header { author_node_id: victim, ..envelope.header().clone() };
    let forged =
        Envelope::new(header, *envelope.iv(), envelope.enc().to_vec(), *envelope.sig()).unwrap().to_cbor();
    assert!(
        world.post(mallory.secret.api_key().hint(), vec![forged.clone()]).is_err(),
        "the relay refuses it"
    );
    world.push_to_all(mallory.secret.api_key().hint(), &forged);
    world.run(1_000);
    assert!(world.texts(0, circle, "general").is_empty(), "and so does every reader");
}

#[test]
fn what_its_author_sealed_so_that_it_never_opens_is_not_taken_for_damage() {
    let mut world = World::new(1);
    let circle = world.circle("garden club");
    send(&mut world, 0, circle, "hello");
    world.run(1_000);
    let mut mallory = Mallory::join(&mut world, circle);
    for channel_id in [mallory.secret.control(), mallory.secret.general()] {
        for (key, body) in
            [(mallory.secret.epoch_0(), &b"no body"[..]), (MessageKey::from_bytes([7; 32]), b"")]
        {
            let created_ts = EPOCH_MS + world.now;
            let draft = Draft {
                circle_id: circle,
                channel_id,
                created_ts,
                kind: "chat.text",
                key_id: "epoch-0",
                body,
            };
            let sealed = seal(draft, &key, &mallory.key, &mut mallory.rng).unwrap().envelope().to_cbor();
            world.post(mallory.secret.api_key().hint(), vec![sealed]).expect("well signed");
        }
    }
    world.run(1_000);
    world.restart(0);
    world.run(1_000);
    assert_eq!(world.texts(0, circle, "general"), ["hello"]);
    assert_eq!(world.devices[0].disk.envelopes(circle).len(), 5, "they are stored");
    assert!(!world.events(0).any(|event| matches!(event, Event::Notice { error: true, .. })));
}

#[test]
fn who_is_no_member_pushes_out_no_message_and_leaves_none_behind() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(1_000);
    for at in 0..2 {
        send(&mut world, at, circle, &format!("from {at}"));
        world.run(1_000);
    }
    let member = Mallory::join(&mut world, circle);
    let (hint, general, control) =
        (member.secret.api_key().hint(), member.secret.general(), member.secret.control());
    for at in 0..2 {
        let last = world.history(at, circle, "general").pop().unwrap();
        let up_to = Key { ts: last.created_ts, id: last.msg_id };
        world.ask(at, Command::MarkRead { circle, channel: general, up_to }).unwrap();
    }
    let kept: Vec<usize> = (0..2).map(|at| world.devices[at].disk.envelopes(circle).len()).collect();
    let (mut outside, key) = (Mallory::outside(), MessageKey::from_bytes([1; 32]));
    for channel in [general, control, ChannelId([7; 16])] {
        for _ in 0..4 {
            let batch =
                (0..250).map(|_| outside.seal(&world, circle, channel, "chat.text", &key, b"x")).collect();
            world.post(hint, batch).expect("well signed, as far as the relay can tell");
            world.run(1_000);
        }
    }
    world.run(60_000);
    for (at, kept) in kept.into_iter().enumerate() {
        assert_eq!(world.texts(at, circle, "general"), ["from 0", "from 1"]);
        assert_eq!(world.devices[at].model.circle(circle).unwrap().channels[0].unread, 0);
        assert_eq!(world.devices[at].disk.envelopes(circle).len(), kept);
    }
}

#[test]
fn a_copy_of_a_place_by_who_is_no_member_keeps_no_message_out() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(5_000);
    let hint = Mallory::join(&mut world, circle).secret.api_key().hint();
    // The copy is at the relay while the original is on its way there.
    send(&mut world, 0, circle, "the original");
    let original = said(&world, 0, circle);
    let copy = copy_of(&Mallory::outside(), &original, original.header().channel_id);
    world.post(hint, vec![copy]).expect("well signed, as far as the relay can tell");
    world.run(10_000);
    assert_eq!(world.texts(1, circle, "general"), ["the original"]);
    assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Delivered { to: 1, of: 1 });
}

pub(crate) fn holds(world: &World, at: usize, circle: CircleId, kind: &str, channel: ChannelId) -> bool {
    let all = world.devices[at].disk.envelopes(circle);
    let mut all = all.iter().map(|bytes| Envelope::from_cbor(bytes).unwrap());
    all.any(|envelope| envelope.header().kind == kind && envelope.header().channel_id == channel)
}

/// Two members that are connected, of whom the first is at the relay as well.
pub(crate) fn mesh_and_relay() -> (World, CircleId) {
    let (mut world, circle) = mesh(2);
    world.run(5_000);
    world.ask(0, Command::SetRelay { circle, relay: Some(felund_core::sim::RELAY.into()) }).unwrap();
    world.run_until("live", |world| live(world, 0, circle));
    (world, circle)
}

/// A device that the second member invites, a minute after it has joined.
fn joins_late(world: &mut World, circle: CircleId) -> usize {
    let late = world.add(felund_core::store::MemoryStore::default());
    world.listen(late);
    let Ok(Reply::Invite { invite, .. }) = world.ask(1, Command::Invite { circle }) else {
        panic!("no invite")
    };
    world.ask(late, Command::JoinCircle { invite, relay: None }).unwrap();
    world.run(60_000);
    late
}

#[test]
fn what_a_later_version_says_is_kept_and_passed_on() {
    let (mut world, circle) = mesh_and_relay();
    let mut mallory = Mallory::join(&mut world, circle);
    let (general, key) = (mallory.secret.general(), mallory.secret.epoch_0());
    let later = mallory.seal(&world, circle, general, "poll.create", &key, &[0xff]);
    world.post(mallory.secret.api_key().hint(), vec![later]).expect("well signed");
    world.run(5_000);
    for at in 0..2 {
        assert!(holds(&world, at, circle, "poll.create", general), "{at}");
    }
}

#[test]
fn what_comes_before_its_authors_hello_is_there_after_it() {
    let (mut world, circle) = mesh_and_relay();
    let mut mallory = Mallory::join(&mut world, circle);
    let (hint, locked) = (mallory.secret.api_key().hint(), ChannelId([7; 16]));
    let text = Body::Text("psst".into()).to_cbor();
    let early = mallory.seal(&world, circle, locked, "chat.text", &MessageKey::from_bytes([1; 32]), &text);
    world.post(hint, vec![early]).expect("well signed");
    world.run(60_000);
    assert!(!holds(&world, 0, circle, "chat.text", locked), "nobody has heard of its author");
    send(&mut world, 0, circle, "meanwhile");
    world.run(5_000);
    mallory.say_hello(&mut world);
    world.run(60_000);
    for at in 0..2 {
        assert!(holds(&world, at, circle, "chat.text", locked), "{at}");
    }
    // Who joins later is offered it before the hello, which is younger.
    let late = joins_late(&mut world, circle);
    assert!(holds(&world, late, circle, "chat.text", locked));
    // And nothing is asked for again and again.
    let before: u64 = world.devices.iter().map(|device| device.traffic.frames).sum();
    let direct = world.direct_bytes();
    world.run(300_000);
    let after: u64 = world.devices.iter().map(|device| device.traffic.frames).sum();
    assert!(after - before < 60, "{} frames", after - before);
    assert!(world.direct_bytes() - direct < 20_000, "{} bytes", world.direct_bytes() - direct);
}

#[test]
fn a_member_cannot_rename_another_or_let_itself_in() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    let made = world.ask(
        0,
        Command::CreateChannel { circle, name: "board".into(), access: Access::Invite, passphrase: None },
    );
    let Ok(Reply::Channel { channel_id: board }) = made else { panic!("{made:?}") };
    world.run(1_000);
    let mut mallory = Mallory::join(&mut world, circle);
    let control = mallory.secret.control();
    let (me, victim) = (mallory.key.id(), world.devices[1].model.identity.as_ref().unwrap().node_id);
    let hello = |name: &str| {
        Body::Hello(Hello { name: name.into(), wrap_key: [5; 32], capabilities: Capabilities::default() })
    };
    mallory.post(&mut world, control, &hello("member 1"));
    mallory.post(&mut world, control, &Body::Rename(board, "mine now".into()));
    mallory.post(&mut world, control, &Body::Request(board));
    let key = MessageKey::from_bytes([1; 32]);
    for whom in [me, victim] {
        let context = channel_wrap_context(&circle, &board, &whom);
        let wrapped = wrap_key(&mallory.key.wrap_public(), &context, &key, &mut mallory.rng).unwrap();
        mallory.post(&mut world, control, &Body::Approve(board, whom, wrapped));
    }
    let view = world.devices[0].model.circle(circle).unwrap();
    let shown = view.channel(board).unwrap();
    assert_eq!((shown.name.as_str(), &shown.requests[..]), ("board", &[me][..]));
    assert!(!shown.members.contains(&me) && !shown.members.contains(&victim));
    assert_eq!(view.members.iter().find(|member| member.id == victim).unwrap().name, "member 1");
    let theirs = world.devices[1].model.circle(circle).unwrap();
    let theirs = theirs.channel(board).unwrap();
    assert_eq!(theirs.membership, Membership::Outside);
}

#[test]
fn a_channel_made_by_another_keeps_its_owner() {
    let mut world = World::new(1);
    let circle = world.circle("garden club");
    let mut mallory = Mallory::join(&mut world, circle);
    let control = mallory.secret.control();
    let new = NewChannel { nonce: [1; 16], name: "seeds".into(), access: Access::Public, check: None };
    mallory.post(&mut world, control, &Body::Create(new));
    let view = world.devices[0].model.circle(circle).unwrap();
    let theirs = view.channel(channel_id(&mallory.key.id(), &[1; 16])).unwrap();
    assert!(!theirs.owned);
}

#[test]
fn a_flood_of_control_events_pushes_out_itself_and_no_channel() {
    let mut world = World::new(1);
    let circle = world.circle("garden club");
    let access = Access::Public;
    world.ask(0, Command::CreateChannel { circle, name: "seeds".into(), access, passphrase: None }).unwrap();
    world.run(1_000);
    let mut mallory = Mallory::join(&mut world, circle);
    let control = mallory.secret.control();
    let flood: Vec<Vec<u8>> = (0..6_000_u32)
        .map(|i| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&i.to_be_bytes());
            mallory.forge(&world, control, &Body::Join(ChannelId(id)))
        })
        .collect();
    for batch in flood.chunks(256) {
        world.post(mallory.secret.api_key().hint(), batch.to_vec()).expect("well signed");
    }
    world.run(5_000);
    world.restart(0);
    world.run_until("ready", |world| world.devices[0].model.ready);
    let names: Vec<_> =
        world.devices[0].model.circle(circle).unwrap().channels.iter().map(|c| &*c.name).collect();
    assert_eq!(names, ["general", "seeds"]);
    let name = "bulbs".into();
    world.ask(0, Command::CreateChannel { circle, name, access, passphrase: None }).expect("still possible");
}

#[test]
fn control_events_in_a_chat_channel_are_not_applied() {
    let mut world = World::new(1);
    let circle = world.circle("garden club");
    let mut mallory = Mallory::join(&mut world, circle);
    let general = mallory.secret.general();
    mallory.post(&mut world, general, &Body::CircleName("owned".into()));
    assert_eq!(world.devices[0].model.circle(circle).unwrap().name, "garden club");
}

#[test]
fn garbage_from_the_relay_is_skipped_and_the_chat_goes_on() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(1_000);
    let hint = Mallory::join(&mut world, circle).secret.api_key().hint();
    for garbage in [vec![], vec![0xff; 40], vec![0x8c; 300]] {
        world.push_to_all(hint, &garbage);
    }
    world.run(1_000);
    send(&mut world, 0, circle, "still here");
    world.run(1_000);
    assert_eq!(world.texts(1, circle, "general"), ["still here"]);
}

#[test]
fn the_relay_holds_no_plaintext() {
    let mut world = World::new(2);
    let circle = world.circle("garden club of the north");
    send(&mut world, 0, circle, "meet behind the greenhouse");
    let made = Command::CreateChannel {
        circle,
        name: "rhododendron".into(),
        access: Access::Key,
        passphrase: Some("hydrangea".into()),
    };
    world.ask(0, made).unwrap();
    world.run(1_000);
    let held = world.relay.bytes();
    assert!(!held.is_empty());
    for secret in ["greenhouse", "garden club", "rhododendron", "hydrangea", "member 0"] {
        assert!(!held.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }
}

/// Something of Mallory's that claims the place of another's message.
fn copy_of(mallory: &Mallory, original: &Envelope, channel: ChannelId) -> Vec<u8> {
    copy_as(mallory, original, channel, "chat.text")
}

fn copy_as(mallory: &Mallory, original: &Envelope, channel: ChannelId, kind: &str) -> Vec<u8> {
    let header = original.header();
    let draft = Draft {
        circle_id: header.circle_id,
        channel_id: channel,
        created_ts: header.created_ts,
        kind,
        key_id: "epoch-0",
        body: &Body::Text("in its place".into()).to_cbor(),
    };
    let key = mallory.secret.epoch_0();
    seal_with(draft, &key, &mallory.key, header.msg_id, [1; 12]).unwrap().envelope().to_cbor()
}

fn said(world: &World, at: usize, circle: CircleId) -> Envelope {
    let all = world.devices[at].disk.envelopes(circle);
    let mut all = all.iter().map(|bytes| Envelope::from_cbor(bytes).unwrap());
    all.find(|envelope| envelope.header().kind == "chat.text").unwrap()
}

#[test]
fn whoever_copies_a_messages_place_has_nobody_told_that_it_was_delivered() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(5_000);
    let mallory = Mallory::join(&mut world, circle);
    let (hint, general) = (mallory.secret.api_key().hint(), mallory.secret.general());
    // Bob gets the copy first: he is away while the original is said, and Mallory sees to the rest.
    world.set_relay_reachable(1, false);
    send(&mut world, 0, circle, "the original");
    world.run(5_000);
    let original = said(&world, 0, circle);
    let copy = copy_of(&mallory, &original, general);
    world.set_relay_reachable(1, true);
    world.push_to_all(hint, &copy);
    world.post(hint, vec![copy]).expect("the relay takes both");
    world.run(60_000);
    let shown = world.texts(1, circle, "general");
    let mine = world.history(0, circle, "general").pop().unwrap();
    assert_eq!(mine.text, "the original", "the author keeps its own");
    let delivered = matches!(mine.delivery, Delivery::Delivered { .. });
    assert_eq!(delivered, shown == ["the original"], "{shown:?} {:?}", mine.delivery);
}

#[test]
fn a_receipt_for_a_copy_is_none_for_the_original() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(5_000);
    let mallory = Mallory::join(&mut world, circle);
    let (hint, general) = (mallory.secret.api_key().hint(), mallory.secret.general());
    // The copy is at the relay while the original is on its way there: Bob has it first, and says so at once.
    send(&mut world, 0, circle, "the original");
    let copy = copy_of(&mallory, &said(&world, 0, circle), general);
    world.post(hint, vec![copy]).expect("the relay takes both");
    world.run(10_000);
    assert_eq!(world.texts(1, circle, "general"), ["in its place"]);
    assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Stored);
}

#[test]
fn whoever_takes_a_copied_id_in_another_place_has_not_the_message() {
    let mut world = World::new(2);
    (0..2).for_each(|at| world.listen(at));
    let circle = world.circle("garden club");
    world.run(5_000);
    let mallory = Mallory::join(&mut world, circle);
    let (hint, general) = (mallory.secret.api_key().hint(), mallory.secret.general());
    world.set_reachable(0, 1, false);
    world.run(1_000);
    // Bob gets the copy first, and so never the original.
    send(&mut world, 0, circle, "the original");
    let original = said(&world, 0, circle);
    world.post(hint, vec![copy_of(&mallory, &original, general)]).expect("the relay takes both");
    world.run(10_000);
    world.set_reachable(0, 1, true);
    world.run(60_000);
    assert_eq!(world.texts(1, circle, "general"), ["in its place"]);
    assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Stored);
    // Alice repeats another one of the same id to him, which he takes and confirms.
    world.set_relay_reachable(1, false);
    let header = Header { created_ts: original.header().created_ts + 1, ..original.header().clone() };
    let elsewhere = Envelope::new(header, *original.iv(), original.enc().to_vec(), *original.sig()).unwrap();
    world.push_to_all(hint, &copy_of(&mallory, &elsewhere, general));
    world.run(60_000);
    assert_eq!(world.texts(1, circle, "general"), ["in its place", "in its place"]);
    assert_eq!(world.history(0, circle, "general")[0].delivery, Delivery::Stored);
}

#[test]
fn an_announcement_copied_by_who_is_no_member_keeps_no_anchor_out() {
    let mut world = World::new(1);
    let circle = world.circle("garden club");
    world.run_until("live", |world| live(world, 0, circle));
    let mut mallory = Mallory::join(&mut world, circle);
    mallory.say_hello(&mut world);
    let (hint, control) = (mallory.secret.api_key().hint(), mallory.secret.control());
    let capabilities = Capabilities { can_anchor: true, ..Capabilities::default() };
    for uptime in 1..=6 {
        let (endpoints, present, serves) = (Vec::new(), Vec::new(), Vec::new());
        let announce = Announce { capabilities, uptime, endpoints, present, serves, elected: None };
        let original = mallory.forge(&world, control, &Body::Announce(Box::new(announce)));
        let of = Envelope::from_cbor(&original).unwrap();
        world.fan_out(hint, &copy_as(&Mallory::outside(), &of, control, "ANCHOR_ANNOUNCE"));
        world.fan_out(hint, &original);
        world.run(5_000);
    }
    assert_eq!(world.devices[0].model.circle(circle).unwrap().anchor, Some(mallory.key.id()));
}

#[test]
fn what_shows_nothing_is_not_unread() {
    let mut world = World::new(2);
    let circle = world.circle("garden club");
    world.run(1_000);
    let access = Access::Key;
    let made =
        Command::CreateChannel { circle, name: "shed".into(), access, passphrase: Some("rake".into()) };
    let Ok(Reply::Channel { channel_id: shed }) = world.ask(0, made) else { panic!("no channel") };
    let mut mallory = Mallory::join(&mut world, circle);
    mallory.say_hello(&mut world);
    let (general, epoch) = (mallory.secret.general(), mallory.secret.epoch_0());
    for channel in [general, shed] {
        world.ask(0, Command::Send { circle, channel, text: "the last word".into() }).unwrap();
        world.run(1_000);
        for (kind, body) in [("chat.text", &b"no body at all"[..]), ("poll.create", b"")] {
            let sealed = mallory.seal(&world, circle, channel, kind, &epoch, body);
            world.post(mallory.secret.api_key().hint(), vec![sealed]).expect("well signed");
            world.run(1_000);
        }
    }
    // What there is of the channel came before its key did.
    assert!(holds(&world, 1, circle, "poll.create", shed));
    let passphrase = Some("rake".into());
    world.ask(1, Command::JoinChannel { circle, channel: shed, passphrase }).unwrap();
    for restarted in [false, true] {
        if restarted {
            world.restart(1);
            world.run_until("ready", |world| world.devices[1].model.ready);
            assert_eq!(world.devices[1].model.circle(circle).unwrap().channels[0].unread, 0);
        }
        for (channel, name) in [(general, "general"), (shed, "shed")] {
            let last = world.history(1, circle, name).pop().unwrap();
            assert_eq!(last.text, "the last word");
            let up_to = Key { ts: last.created_ts, id: last.msg_id };
            world.ask(1, Command::MarkRead { circle, channel, up_to }).unwrap();
            world.run(1_000);
            let view = world.devices[1].model.circle(circle).unwrap();
            assert_eq!(view.channel(channel).unwrap().unread, 0, "{name}");
        }
    }
}

#[test]
fn a_copied_place_in_another_channel_keeps_nobody_from_settling() {
    let (mut world, circle) = mesh(2);
    world.run(5_000);
    send(&mut world, 0, circle, "the original");
    world.run(5_000);
    let mut mallory = Mallory::join(&mut world, circle);
    let copy = copy_of(&mallory, &said(&world, 0, circle), ChannelId([7; 16]));
    world.ask(0, Command::SetRelay { circle, relay: Some(felund_core::sim::RELAY.into()) }).unwrap();
    world.run(10_000);
    mallory.say_hello(&mut world);
    world.post(mallory.secret.api_key().hint(), vec![copy]).expect("well signed");
    world.run(10_000);
    let late = joins_late(&mut world, circle);
    assert_eq!(world.texts(late, circle, "general"), ["the original"]);
}

#[test]
fn what_does_not_open_hides_no_history() {
    let mut world = World::new(1);
    let circle = world.circle("garden club");
    world.run(1_000);
    for i in 0..30 {
        send(&mut world, 0, circle, &i.to_string());
    }
    let mut mallory = Mallory::join(&mut world, circle);
    let channel = mallory.secret.general();
    for _ in 0..120 {
        let draft = Draft {
            circle_id: circle,
            channel_id: channel,
            created_ts: EPOCH_MS + world.now,
            kind: "chat.text",
            key_id: "epoch-0",
            body: b"no body at all",
        };
        let sealed = seal(draft, &mallory.secret.epoch_0(), &mallory.key, &mut mallory.rng).unwrap();
        world.post(mallory.secret.api_key().hint(), vec![sealed.envelope().to_cbor()]).expect("well signed");
        world.run(100);
    }
    let mut model = Model::default();
    for _ in 0..10 {
        let before = model.oldest(circle, channel);
        let page = world.ask(0, Command::History { circle, channel, before, limit: 20 }).unwrap();
        model.apply_history(circle, channel, &page);
    }
    let timeline = model.timeline(circle, channel).unwrap();
    assert!(timeline.start_reached);
    assert_eq!(timeline.messages().len(), 30);
}
