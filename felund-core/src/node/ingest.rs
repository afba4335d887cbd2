//! What the links learned: envelopes, confirmations, presence.

use super::{Node, Phase, ephemeral::Way, publish::row_of, records};
use crate::{
    anchor::short,
    circle::{Body, Received, Standing, is_ephemeral},
    config::{AGE_INTERVAL_MS, AGE_RETRY_MS, MAX_ENDPOINTS, MAX_PRESENT},
    envelope::{Envelope, OpenError},
    ids::{CircleHint, CircleId, Cursor, MsgId},
    io::{ConnId, Event, HttpId, HttpResponse},
    log::Merge,
    relay_api::Peer,
    route::relay::{Cx, LinkEvent, RelayLink},
    store::Op,
    view::{Key, LET_IN},
};

/// The direct connection an envelope came over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) conn: ConnId,
    /// One of many of a reconciliation, rather than pushed because it was new.
    pub(super) bulk: bool,
}

/// What became of an envelope that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is held now, and was not before.
    New(Received),
    /// It was held already.
    Known(Received),
    /// Its `created_ts` is further in the future than is tolerated; it is asked for again.
    Early(u64),
    /// It is not held.
    Refused,
}

impl Taken {
    /// What is held.
    pub(super) const fn held(self) -> Option<Received> {
        match self {
            Self::New(name) | Self::Known(name) => Some(name),
            Self::Early(_) | Self::Refused => None,
        }
    }
}

impl Node {
    fn circle_at(&self, url: &str, hint: &CircleHint) -> Option<CircleId> {
        let at = |circle: &&super::Circle| circle.hint == *hint && circle.relay.as_deref() == Some(url);
        self.circles.values().find(at).map(|circle| circle.id)
    }

    pub(super) fn link_event(&mut self, url: &str, event: LinkEvent) {
        let hint = match &event {
            LinkEvent::Changed => {
                let on_it = self.circles.values().filter(|circle| circle.relay.as_deref() == Some(url));
                self.dirty.extend(on_it.map(|circle| circle.id));
                return;
            }
            LinkEvent::Observed { address } => return self.observed(url, address),
            LinkEvent::Clock { offset_s, wrong } => return self.clock_judged(*offset_s, *wrong),
            LinkEvent::Envelope { hint, .. }
            | LinkEvent::Ephemeral { hint, .. }
            | LinkEvent::CaughtUp { hint }
            | LinkEvent::Stored { hint, .. }
            | LinkEvent::Held { hint, .. }
            | LinkEvent::Back { hint, .. }
            | LinkEvent::Rejected { hint, .. }
            | LinkEvent::Peers { hint, .. }
            | LinkEvent::Signal { hint, .. }
            | LinkEvent::Presence { hint, .. } => *hint,
            LinkEvent::Ice { .. } => {
                if let LinkEvent::Ice { servers, ttl_s } = event {
                    self.rtc.servers.named(url, servers, ttl_s, self.now.wall);
                    self.want_channels();
                }
                return;
            }
        };
        let Some(id) = self.circle_at(url, &hint) else { return };
        match event {
            LinkEvent::Envelope { cursor, bytes, .. } => self.arrived(id, url, cursor, &bytes),
            LinkEvent::Ephemeral { bytes, .. } => self.ephemeral(id, &bytes, Way::Relay),
            LinkEvent::Back { cursor, .. } => {
                if let Some(circle) = self.circles.get_mut(&id) {
                    circle.unheard.before = None;
                    circle.welcome.relay_forgot();
                }
                self.note_place(id, cursor);
            }
            LinkEvent::CaughtUp { .. } => self.accept_approvals(id),
            LinkEvent::Stored { ids, .. } => ids.iter().for_each(|msg| self.stored_at_relay(id, msg)),
            LinkEvent::Rejected { id: msg, reason, .. } => self.refused_for_good(id, msg, &reason),
            LinkEvent::Held { reason, .. } => {
                let Some(name) = self.circles.get(&id).map(super::Circle::name) else { return };
                let text = [
                    "The relay takes no messages of ",
                    &*name,
                    " now: ",
                    &*reason,
                    ". Yours are kept here and tried again within a minute; those of others still arrive.",
                ];
                self.notice(true, text.concat());
            }
            LinkEvent::Peers { peers, .. } => {
                let wall = self.now.wall;
                let Some(circle) = self.circles.get_mut(&id) else { return };
                let before = std::mem::take(&mut circle.online);
                for gone in &before {
                    circle.saw(*gone, wall);
                }
                circle.online.extend(peers.iter().take(MAX_PRESENT).map(|peer| peer.node_id));
                self.dirty.insert(id);
                for peer in peers {
                    if !before.contains(&peer.node_id) {
                        self.rtc.came(peer.node_id, self.now.mono);
                    }
                    self.learn_present(id, peer);
                }
            }
            LinkEvent::Presence { peer, online, .. } => {
                let wall = self.now.wall;
                let Some(circle) = self.circles.get_mut(&id) else { return };
                if online {
                    let room = circle.online.len() < MAX_PRESENT;
                    if room && circle.online.insert(peer.node_id) {
                        self.rtc.came(peer.node_id, self.now.mono);
                    }
                    self.learn_present(id, peer);
                } else if circle.online.remove(&peer.node_id) {
                    circle.saw(peer.node_id, wall);
                }
                self.dirty.insert(id);
            }
            LinkEvent::Signal { payload, .. } => self.signaled(id, &payload),
            LinkEvent::Ice { .. }
            | LinkEvent::Clock { .. }
            | LinkEvent::Changed
            | LinkEvent::Observed { .. } => {}
        }
    }

    fn learn_present(&mut self, id: CircleId, peer: Peer) {
        let endpoints = peer.endpoints.into_iter().take(MAX_ENDPOINTS).collect();
        self.direct.learn(id, Some(peer.node_id), endpoints);
    }

    /// An envelope of the relay's log. Its place is noted, so that it is not asked for again, whatever it is; unless it
    /// can be taken in only later: then neither its place nor any after it is.
    fn arrived(&mut self, id: CircleId, url: &str, cursor: Cursor, bytes: &[u8]) {
        let full = self.staging_is_full();
        let later = match self.ingest(id, bytes, None) {
            Taken::Early(created_ts) => self.is_awaited(url, created_ts),
            _ => full,
        };
        let Some(circle) = self.circles.get_mut(&id) else { return };
        circle.skipped |= later;
        if !circle.skipped {
            self.note_place(id, cursor);
        }
    }

    fn note_place(&mut self, id: CircleId, cursor: Cursor) {
        let Some(circle) = self.circles.get_mut(&id) else { return };
        circle.cursor = cursor;
        self.stage_place(id);
    }

    pub(super) fn stage_place(&mut self, id: CircleId) {
        let Some(circle) = self.circles.get(&id) else { return };
        let Some(relay) = circle.relay.clone() else { return };
        let (cursor, unheard) = circle.unheard.place(circle.cursor);
        let record = records::cbor(&records::CursorRecord { relay, cursor, unheard });
        self.restage_record(records::cursor(&id), &record);
    }

    /// Verifies, merges, stores, applies and shows one envelope from outside. What does not verify, is no member's, or belongs
    /// to another circle, is dropped without a word: only its sender could be told, and it is the one at fault.
    pub(super) fn ingest(&mut self, id: CircleId, bytes: &[u8], from: Option<Source>) -> Taken {
        if self.staging_is_full() {
            return Taken::Refused;
        }
        let Ok(envelope) = Envelope::from_cbor(bytes) else { return Taken::Refused };
        let (wall, ages_by, me) = (self.now.wall, self.ages_by(id), self.my_id());
        let (Some(circle), Some(me)) = (self.circles.get_mut(&id), me) else { return Taken::Refused };
        let header = envelope.header();
        // What ages fast is never stored, whoever says that it should be.
        if header.circle_id != id || is_ephemeral(&header.kind) {
            return Taken::Refused;
        }
        let key = Key { ts: header.created_ts, id: header.msg_id };
        let name = (key.id, short(&header.author_node_id));
        // In a mesh most of what comes in is here already. What is here has been verified; these bytes, whatever they
        // hold, are dropped.
        if circle.log.holds(&header.channel_id, &key, &header.author_node_id) {
            return Taken::Known(name);
        }
        let Ok(verified) = envelope.verify() else { return Taken::Refused };
        let header = verified.header();
        // Anybody can sign, with a key made up for it.
        let opened = circle.try_open(&verified);
        match opened {
            Some(Err(OpenError::WrongKeyOrDamaged)) => return Taken::Refused,
            None if !circle.knows(&verified) => {
                circle.unheard.refused(header.author_node_id, from.is_none().then_some(circle.cursor));
                return Taken::Refused;
            }
            Some(_) | None => {}
        }
        let in_control = header.channel_id == circle.control;
        let reads = opened.is_some() && (in_control || !circle.sealed_only);
        let cbor = opened.and_then(Result::ok).filter(|_| reads);
        let body = cbor.and_then(|cbor| Body::from_cbor(&header.kind, &cbor).ok());
        // What cannot be read yet is taken at its word.
        let text = if reads { matches!(body, Some(Body::Text(_))) } else { header.kind == "chat.text" };
        let chat = text && !in_control;
        match circle.log.merge(&verified, chat, wall, ages_by) {
            Merge::New => {}
            Merge::Known => return Taken::Known(name),
            Merge::FromTheFuture => {
                circle.early.refused(key.ts);
                return Taken::Early(key.ts);
            }
            Merge::Expired | Merge::Copied => return Taken::Refused,
        }
        self.clock.observe(key.ts);
        let mended = circle.damaged.remove(&key);
        if mended {
            self.staged.push(Op::DeleteEnvelopes(id, vec![key]));
        }
        self.staged.push(Op::PutEnvelope(row_of(&verified, chat)));
        self.dirty.insert(id);
        circle.saw(header.author_node_id, key.ts.min(wall));
        let shown = match body {
            Some(Body::Text(text)) if chat => {
                circle.is_joined(&header.channel_id, &me).then(|| circle.message(&verified, text, &me))
            }
            // Control events count in the control channel only: elsewhere not every member could check them.
            Some(body) if in_control => {
                let author = header.author_node_id;
                let is_hello = matches!(body, Body::Hello(_));
                let was_unheard = is_hello && circle.unheard.was_of(&author);
                if circle.state.apply(key, author, body) {
                    if was_unheard {
                        self.ask_for_unheard(id, false);
                    }
                    if is_hello {
                        self.has_joined(id, key);
                    }
                    self.accept_approvals(id);
                }
                None
            }
            _ => None,
        };
        if let Some(message) = shown {
            let channel = message.channel_id;
            let news = !message.mine
                && !mended
                && self.circles.get_mut(&id).is_some_and(|it| it.came_late(channel, key));
            self.event(Event::Message(message));
            if news {
                self.stage_read(id, &channel);
            }
        }
        self.prune(id);
        let way = from.map_or(Way::Relay, |source| Way::Session(source.conn));
        self.owe_receipt(id, key.id, header.author_node_id, way);
        // Every node repeats for every other; what comes in bulk is told by a summary instead.
        match from {
            None => self.push_new(id, bytes, None),
            Some(Source { conn, bulk: false }) => self.push_new(id, bytes, Some(conn)),
            Some(Source { bulk: true, .. }) => {}
        }
        Taken::New(name)
    }

    /// Whoever waits to hear what became of an own message hears it, although it got no further.
    fn refused_for_good(&mut self, id: CircleId, msg_id: MsgId, reason: &str) {
        let Some(circle) = self.circles.get(&id) else { return };
        // What is handed over again for newcomers nobody waits for.
        let Some(key) = circle.outbox.iter().find(|key| key.id == msg_id) else { return };
        let (channel_id, delivery) = (circle.log.channel_of(key), circle.delivery(key));
        let text = [
            "The relay refused one of your messages for good: ",
            reason,
            ". It is kept here and reaches only members who are connected to this device directly; the relay is asked once more when Felund starts again.",
        ];
        self.notice(true, text.concat());
        if let Some(channel_id) = channel_id {
            self.event(Event::Delivery { circle_id: id, channel_id, msg_id, delivery });
        }
    }

    /// An own envelope is durable at the relay.
    fn stored_at_relay(&mut self, id: CircleId, msg: &MsgId) {
        let Some(circle) = self.circles.get_mut(&id) else { return };
        let Some(key) = circle.confirmed(msg) else { return };
        let (channel_id, delivery) = (circle.log.channel_of(&key), circle.delivery(&key));
        self.staged.push(Op::DeleteRecord(records::outbox(&id, &key)));
        self.dirty.insert(id);
        if let Some(channel_id) = channel_id {
            self.event(Event::Delivery { circle_id: id, channel_id, msg_id: *msg, delivery });
        }
    }

    /// Takes the keys of invite channels this device was let into.
    pub(super) fn accept_approvals(&mut self, id: CircleId) {
        let (Some(circle), Some(me)) = (self.circles.get_mut(&id), &self.me) else { return };
        let new = circle.unwrap_approvals(&me.key);
        if new.is_empty() {
            return;
        }
        let mut asked = false;
        for (channel, key) in new {
            let standing = circle.state.channel(&channel).and_then(|channel| channel.standing(&me.key.id()));
            asked |= matches!(standing, Some(Standing::Requested | Standing::Joined));
            let name = circle.channel_name(&channel);
            let record = records::channel_key(&id, &channel);
            let sealed = me.store.seal(&record, key.secret().expose(), &mut self.rng.0);
            self.staged.push(Op::PutRecord(record, sealed));
            circle.keys.insert(channel, key);
            self.dirty.insert(id);
            let text = [LET_IN, &name, "."].concat();
            self.outputs.push_back(crate::io::Output::Event(Event::Notice { error: false, text }));
        }
        self.ask_for_unheard(id, asked);
    }

    /// Where nothing is said, what is there ages all the same.
    #[inline(never)]
    pub(super) fn age(&mut self) {
        if self.now.mono < self.age_at || !matches!(self.phase, Phase::Ready) {
            return;
        }
        let ids: Vec<CircleId> = self.circles.keys().copied().collect();
        let told = ids.iter().all(|id| self.ages_by(*id) > 0);
        self.age_at = self.now.mono + if told { AGE_INTERVAL_MS } else { AGE_RETRY_MS };
        for id in ids {
            self.prune(id);
        }
    }

    pub(super) fn age_deadline(&self) -> Option<u64> {
        (matches!(self.phase, Phase::Ready) && !self.circles.is_empty()).then_some(self.age_at)
    }

    /// Deletes what the circle no longer keeps.
    pub(super) fn prune(&mut self, id: CircleId) {
        let ages_by = self.ages_by(id);
        let Some(circle) = self.circles.get_mut(&id) else { return };
        if circle.log.control_overflows() {
            let dropped = circle.log.prune_control(circle.state.live());
            circle.state.forget(&dropped);
            self.delete(id, dropped.into_iter().collect());
        }
        let Some(circle) = self.circles.get_mut(&id) else { return };
        let mut unsent = 0;
        for (channel_id, keys) in circle.log.prune(ages_by) {
            let Some(up_to) = keys.last().copied() else { continue };
            unsent += self.delete(id, keys);
            self.event(Event::Pruned { circle_id: id, channel_id, up_to });
        }
        if unsent > 0 {
            self.given_up(id, unsent);
        }
    }

    /// Own messages are gone that nobody has.
    pub(super) fn given_up(&mut self, id: CircleId, unsent: u32) {
        let Some(name) = self.circles.get(&id).map(super::Circle::name) else { return };
        let text = format!(
            "{unsent} of your messages in {name} were deleted before anybody got them: the circle keeps no more, or none that old."
        );
        self.notice(true, text);
    }

    /// Deletes envelopes of a circle; nobody is to get own ones after that. How many were still to be sent.
    pub(super) fn delete(&mut self, id: CircleId, keys: Vec<Key>) -> u32 {
        let Some(circle) = self.circles.get_mut(&id) else { return 0 };
        let mut unsent = 0;
        for key in keys.iter().filter(|key| circle.outbox.remove(*key)) {
            self.staged.push(Op::DeleteRecord(records::outbox(&id, key)));
            self.ladder.take(id, key);
            if let Some(link) = circle.relay.as_ref().and_then(|relay| self.links.get_mut(relay)) {
                link.cancel(&circle.hint, key.id);
            }
            unsent += 1;
        }
        self.staged.push(Op::DeleteEnvelopes(id, keys));
        self.dirty.insert(id);
        unsent
    }

    #[inline(never)]
    pub(super) fn http_answered(&mut self, id: HttpId, result: Result<HttpResponse, String>) {
        if self.relay_checked(id, &result) {
            return;
        }
        let mut result = Some(result);
        let answer = |link: &mut RelayLink, cx: &mut Cx<'_>| {
            if let Some(result) = result.take() {
                link.answered(id, result, cx);
            }
        };
        self.with_link(|link| link.asked_for(id), answer);
    }
}
