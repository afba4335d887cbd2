//! Own envelopes: sealed once, committed to storage, and only then applied, shown and sent.

use super::{
    Node,
    circle::{Circle, EPOCH_0},
    records,
    startup::Asked,
};
use crate::{
    circle::{Body, Hello},
    config::MAX_TEXT_LEN,
    envelope::{Draft, Verified, seal},
    ids::{ChannelId, CircleId},
    io::{BatchId, Event},
    keys::MessageKey,
    log::Merge,
    relay_api::IceServer,
    route::{
        ladder::{self, Step},
        relay::RelayLink,
    },
    sorted::{SortedMap, SortedSet},
    store::{Op, Query, Row},
    view::{Key, Reply},
};

/// What happens once a batch is durable.
pub(super) enum After {
    /// A circle is there.
    Circle(Box<Circle>),
    /// A circle is gone.
    Left(CircleId),
    /// A circle's settings are these.
    Settings(CircleId, Box<records::CircleRecord>),
    /// A channel's key is there, or is not any more.
    Key(CircleId, ChannelId, Option<MessageKey>),
    /// An own envelope is applied, shown and sent.
    Publish(CircleId, Box<Verified>, Body),
    /// The keys are under a passphrase, or under none.
    Locked(bool),
    /// This device anchors, or does not.
    Anchor(bool),
    /// It hides its address, or does not.
    Hide(bool),
    /// These are the user's STUN and TURN servers.
    Ice(Vec<IceServer>),
    /// A command is answered.
    Reply(u64, Reply),
}

/// An own envelope and the steps that store it.
pub(super) struct Sealed {
    pub(super) ops: Vec<Op>,
    pub(super) after: After,
    pub(super) key: Key,
}

impl Node {
    /// Seals an event into a circle that need not be inserted yet.
    pub(super) fn seal_into(
        &mut self,
        circle: &Circle,
        channel: ChannelId,
        body: Body,
    ) -> Result<Sealed, String> {
        let created_ts = self.stamp();
        let me = self.me.as_ref().ok_or("The keys are locked.")?;
        let key = circle.key_of(&channel).ok_or("This device has no key for that channel. Join it first.")?;
        let cbor = body.to_cbor();
        let draft = Draft {
            circle_id: circle.id,
            channel_id: channel,
            created_ts,
            kind: body.kind(),
            key_id: EPOCH_0,
            body: &cbor,
        };
        let sealed = seal(draft, key, &me.key, &mut self.rng.0)
            .map_err(|_| format!("That is too long; the limit is {MAX_TEXT_LEN} bytes. Nothing was sent."))?;
        let row = row_of(&sealed, matches!(body, Body::Text(_)));
        let key = row.key;
        let outbox = Op::PutRecord(records::outbox(&circle.id, &key), Vec::new());
        let ops = vec![Op::PutEnvelope(row), outbox];
        Ok(Sealed { ops, after: After::Publish(circle.id, Box::new(sealed), body), key })
    }

    /// Seals an event of a circle that is here.
    pub(super) fn seal_in(&mut self, id: CircleId, channel: ChannelId, body: Body) -> Result<Sealed, String> {
        self.right_clock();
        let circle = self.circles.remove(&id).ok_or("There is no such circle on this device.")?;
        let sealed = self.seal_into(&circle, channel, body);
        self.circles.insert(id, circle);
        sealed
    }

    /// Seals and stores an event of a circle that is here; the reply goes out once it is durable.
    pub(super) fn publish(
        &mut self,
        id: CircleId,
        channel: ChannelId,
        body: Body,
        request: u64,
        reply: impl FnOnce(Key) -> Reply,
    ) -> Result<(), String> {
        let sealed = self.seal_in(id, channel, body)?;
        self.store(sealed.ops, vec![sealed.after, After::Reply(request, reply(sealed.key))]);
        Ok(())
    }

    /// What this device says about itself in every circle.
    pub(super) fn hello(&self) -> Option<Body> {
        let me = self.me.as_ref()?;
        let name = if me.name.is_empty() { me.key.id().short() } else { me.name.clone() };
        Some(Body::Hello(Hello { name, wrap_key: me.key.wrap_public(), capabilities: self.capabilities() }))
    }

    pub(super) fn committed(&mut self, id: BatchId) {
        if self.store_fault.take().is_some() {
            self.notice(false, "Storage works again.".into());
        }
        self.storage_answered(id);
        self.staged_committed(id);
        for after in self.batches.remove(&id).unwrap_or_default() {
            match after {
                After::Circle(mut circle) => {
                    let id = circle.id;
                    circle.joined_at = Some(self.now.mono);
                    self.circles.insert(id, *circle);
                    self.link_up(id);
                    self.dirty.insert(id);
                }
                After::Left(id) => self.left(id),
                After::Settings(id, record) => self.settle(id, *record),
                After::Anchor(on) => self.anchor_or_not(on),
                After::Hide(on) => self.hide(on),
                After::Ice(servers) => self.use_servers(servers),
                After::Key(id, channel, None) => {
                    if let Some(circle) = self.circles.get_mut(&id) {
                        circle.keys.remove(&channel);
                        self.dirty.insert(id);
                    }
                }
                After::Key(id, channel, Some(key)) => {
                    if let Some(circle) = self.circles.get_mut(&id) {
                        circle.keys.insert(channel, key);
                        let joined = circle.state.channel(&channel).is_some();
                        self.dirty.insert(id);
                        // Nobody can have written in one that is only being made.
                        if joined {
                            self.ask_for_unheard(id, true);
                        }
                    }
                }
                After::Publish(id, verified, body) => self.published(id, &verified, body),
                After::Locked(passphrase) => {
                    if let Some(me) = &mut self.me {
                        me.passphrase = passphrase;
                    }
                    self.tell_identity();
                }
                After::Reply(request, reply) => self.reply(request, Ok(reply)),
            }
        }
    }

    fn published(&mut self, id: CircleId, verified: &Verified, body: Body) {
        let (wall, ages_by, me) = (self.now.wall, self.ages_by(id), self.my_id());
        let header = verified.header();
        let key = Key { ts: header.created_ts, id: header.msg_id };
        let (Some(circle), Some(me)) = (self.circles.get_mut(&id), me) else {
            // It was left meanwhile, and what was deleted did not include this.
            return self.staged.extend(records::unsent(id, key));
        };
        // Where the wall clock has been put back, the node's own clock is ahead of it, and what it says no less its own.
        let chat = matches!(body, Body::Text(_));
        if circle.log.merge(verified, chat, wall.max(key.ts), ages_by) != Merge::New {
            // While it was being written others were taken in, and there is no room for it any more.
            self.staged.extend(records::unsent(id, key));
            return self.given_up(id, 1);
        }
        circle.outbox.insert(key);
        circle.count(key);
        let shown = match body {
            Body::Text(text) => Some(circle.message(verified, text, &me)),
            body => {
                circle.state.apply(key, me, body);
                None
            }
        };
        self.dirty.insert(id);
        if let Some(message) = shown {
            self.event(Event::Message(message));
        }
        let sealed = verified.envelope().to_cbor();
        self.push_new(id, &sealed, None);
        self.ladder.begin(id, key, sealed, self.now.mono);
        self.climb(id, &key);
        self.prune(id);
    }

    /// What nobody confirmed within the budget of rungs 1 to 3 goes to the relay.
    pub(super) fn escalate(&mut self) {
        for (id, key) in self.ladder.due(self.now.mono) {
            self.climb(id, &key);
        }
    }

    /// Looks at an own envelope anew: it is settled, or goes to the relay, or waits on.
    pub(super) fn climb(&mut self, id: CircleId, key: &Key) {
        let waited = self.ladder.waited(id, key, self.now.mono);
        let Some(circle) = self.circles.get(&id) else { return };
        let channel = circle.log.channel_of(key).unwrap_or(circle.general);
        let (recipients, nobody) = (circle.recipients(&channel), SortedSet::new());
        let confirmed = circle.confirms.get(key).unwrap_or(&nobody);
        let step = ladder::step(&recipients, confirmed, &self.paths(circle), waited.unwrap_or(u64::MAX));
        match step {
            Step::Wait => {}
            Step::AskRelay => {
                let Some(sealed) = self.ladder.take(id, key) else { return };
                let Some(circle) = self.circles.get_mut(&id) else { return };
                enqueue(circle, &mut self.links, key, sealed);
            }
            Step::Settled => {
                let everyone = recipients.is_subset(confirmed);
                self.ladder.take(id, key);
                let Some(circle) = self.circles.get_mut(&id) else { return };
                if everyone {
                    circle.anchored.remove(key);
                } else if circle.outbox.contains(key) && circle.confirms.contains_key(key) {
                    circle.anchored.insert(*key);
                }
                if circle.outbox.remove(key) {
                    self.staged.push(Op::DeleteRecord(records::outbox(&id, key)));
                }
                if let Some(link) = circle.relay.as_ref().and_then(|relay| self.links.get_mut(relay)) {
                    link.cancel(&circle.hint, key.id);
                }
            }
        }
    }

    /// Anchors came or went: what rested on one that is not heard of any more is the relay's after all.
    pub(super) fn reconsider_anchored(&mut self, id: CircleId) {
        let Some(circle) = self.circles.get(&id) else { return };
        let (paths, nobody) = (self.paths(circle), SortedSet::new());
        let is_left = |key: &&Key| {
            let recipients = circle.recipients(&circle.log.channel_of(key).unwrap_or(circle.general));
            let confirmed = circle.confirms.get(*key).unwrap_or(&nobody);
            ladder::step(&recipients, confirmed, &paths, u64::MAX) == Step::AskRelay
        };
        let keys: Vec<Key> = circle.anchored.iter().filter(is_left).copied().collect();
        if circle.relay.is_none() || keys.is_empty() {
            return;
        }
        if let Some(circle) = self.circles.get_mut(&id) {
            circle.anchored.retain(|key| !keys.contains(key));
        }
        self.load(Query::Envelopes(id, keys.clone()), Asked::Anchored(id, keys));
    }

    /// Puts own envelopes that nobody keeps for the others any more back into the outbox.
    pub(super) fn enqueue_anchored(&mut self, id: CircleId, rows: Vec<(Key, Vec<u8>)>) {
        let Some(circle) = self.circles.get_mut(&id) else { return };
        for (key, sealed) in rows {
            circle.outbox.insert(key);
            self.staged.push(Op::PutRecord(records::outbox(&id, &key), Vec::new()));
            enqueue(circle, &mut self.links, &key, sealed);
        }
    }

    pub(super) fn store_failed(&mut self, id: BatchId, cause: &str) {
        self.storage_answered(id);
        self.staged_refused(id);
        // Said once, not for every message that comes in meanwhile; and before what becomes of a request.
        if self.store_fault.is_none() {
            let text = format!(
                "Storage does not take anything: {cause}. What comes in is shown, and kept as soon as storage works again."
            );
            self.notice(true, text);
            self.store_fault = Some(cause.into());
        }
        let afters = self.batches.remove(&id).unwrap_or_default();
        let stays = afters.iter().any(|after| matches!(after, After::Left(_)));
        for after in afters {
            if let After::Reply(request, _) = after {
                let [what, and] = if stays {
                    [
                        "The circle was not left, as nothing could be deleted: ",
                        ". All of it is still on this device and goes on; leave it again once storage works.",
                    ]
                } else {
                    ["It could not be stored: ", ". Nothing was sent or changed; try again."]
                };
                self.reply(request, Err([what, cause, and].concat()));
            }
        }
    }
}

/// Hands an own envelope to the circle's relay, if it has one.
fn enqueue(circle: &mut Circle, links: &mut SortedMap<String, RelayLink>, key: &Key, sealed: Vec<u8>) {
    match circle.relay.as_ref().and_then(|relay| links.get_mut(relay)) {
        Some(link) if link.carries(&circle.hint) => link.enqueue(&circle.hint, key.id, sealed),
        // It is just being moved to another relay.
        Some(_) | None if circle.relay.is_some() => circle.unqueued.push((key.id, sealed)),
        Some(_) | None => {}
    }
}

/// How an envelope is stored.
pub(super) fn row_of(verified: &Verified, chat: bool) -> Row {
    let header = verified.header();
    Row {
        circle: header.circle_id,
        key: Key { ts: header.created_ts, id: header.msg_id },
        channel: header.channel_id,
        author: header.author_node_id,
        chat,
        sealed: verified.envelope().to_cbor(),
    }
}
