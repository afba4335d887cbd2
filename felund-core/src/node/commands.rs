//! What users ask of the node, but for channels, which are next door.

use super::{
    Node, Phase,
    circle::Circle,
    publish::After,
    records::{self, CircleRecord},
};
use crate::{
    circle::{Body, clean_name},
    config::{MAX_CIRCLES, MAX_INVITE_PEERS, MAX_TEXT_LEN, RETENTION_DAYS, RETENTION_MESSAGES},
    ids::{ChannelId, CircleId, Cursor},
    invite::Invite,
    io::{Command, Event, LOCKED, Request},
    keys::{CircleSecret, safety_number},
    redact::Secret,
    relay_api::clean_relay_url,
    store::{Op, Query},
    view::{Key, Reply, Retention},
};

type Answer = Result<Option<Reply>, String>;

pub(super) const NO_CIRCLE: &str = "There is no such circle on this device.";
const BAD_NAME: &str = "A name has 1 to 64 characters, some that show and none that control or change the direction of text. Nothing was changed.";

pub(super) fn name_of(text: &str) -> Result<String, String> {
    clean_name(text).ok_or_else(|| BAD_NAME.into())
}

impl Node {
    pub(super) fn command(&mut self, request: Request) {
        match (&self.phase, &request.command) {
            (Phase::Broken(text), _) => {
                let text = text.clone();
                return self.reply(request.id, Err(text));
            }
            (Phase::Locked(..), Command::Unlock { passphrase }) => {
                let passphrase = passphrase.clone();
                return self.unlock(request.id, &passphrase);
            }
            (Phase::Locked(..), Command::Snapshot) => {
                self.event(Event::Locked);
                return self.reply(request.id, Ok(Reply::Done));
            }
            (Phase::Locked(..), _) => {
                return self.reply(request.id, Err(LOCKED.into()));
            }
            (Phase::Records | Phase::Circles, _) if self.waiting.len() < super::MAX_WAITING => {
                self.waiting.push(request);
                return;
            }
            (Phase::Records | Phase::Circles, _) => {
                return self.reply(request.id, Err("Still starting. Try again in a moment.".into()));
            }
            (Phase::Ready, _) => {}
        }
        let id = request.id;
        match self.carry_out(request) {
            Ok(Some(reply)) => self.reply(id, Ok(reply)),
            // The reply comes once something else has happened.
            Ok(None) => {}
            Err(text) => self.reply(id, Err(text)),
        }
    }

    fn carry_out(&mut self, request: Request) -> Answer {
        match request.command {
            Command::SetName { name } => self.set_name(request.id, &name),
            command => self.carry_out_later(request.id, command),
        }
    }

    /// What nobody asks for in a first visit, which need not load it.
    #[inline(never)]
    fn carry_out_later(&mut self, id: u64, command: Command) -> Answer {
        match command {
            Command::Snapshot => {
                self.snapshot();
                Ok(Some(Reply::Done))
            }
            // Dealt with before.
            Command::Unlock { .. } | Command::SetName { .. } => Ok(Some(Reply::Done)),
            Command::SetPassphrase { passphrase } => self.set_passphrase(id, passphrase.as_deref()),
            Command::CreateCircle { name, relay } => self.create_circle(id, &name, relay.as_deref()),
            Command::JoinCircle { invite, relay } => self.join_circle(id, &invite, relay.as_deref()),
            Command::LeaveCircle { circle } => self.leave_circle(id, circle),
            Command::RenameCircle { circle, name } => {
                let name = name_of(&name)?;
                let control = self.circles.get(&circle).ok_or(NO_CIRCLE)?.control;
                self.publish(circle, control, Body::CircleName(name), id, |_| Reply::Done)?;
                Ok(None)
            }
            Command::Invite { circle } => {
                let circle = self.circles.get(&circle).ok_or(NO_CIRCLE)?;
                Ok(Some(Reply::Invite {
                    circle_id: circle.id,
                    name: circle.name(),
                    invite: self.invite_to(circle.id, &circle.record()),
                }))
            }
            Command::SetRelay { circle, relay } => self.set_relay(id, circle, relay.as_deref()),
            Command::SetRetention { circle, retention } => self.set_retention(id, circle, retention),
            Command::Send { circle, channel, text } => {
                self.hurry();
                self.send(id, circle, channel, text)
            }
            Command::History { circle, channel, before, limit } => {
                self.history(id, circle, channel, before, limit)
            }
            Command::MarkRead { circle, channel, up_to } => self.mark_read(circle, channel, up_to),
            Command::SaveDraft { circle, channel, text } => self.save_draft(circle, channel, &text),
            Command::CreateChannel { circle, name, access, passphrase } => {
                self.create_channel(id, circle, &name, access, passphrase.as_deref())
            }
            Command::JoinChannel { circle, channel, passphrase } => {
                self.join_channel(id, circle, channel, passphrase.as_deref())
            }
            Command::LeaveChannel { circle, channel } => self.leave_channel(id, circle, channel),
            Command::ApproveMember { circle, channel, member } => self.approve(id, circle, channel, member),
            Command::RenameChannel { circle, channel, name } => {
                self.rename_channel(id, circle, channel, &name)
            }
            Command::SetAnchor { on } => self.set_anchor(id, on),
            Command::SetHideAddress { on } => self.set_hide_address(id, on),
            Command::SetIceServers { servers } => self.set_ice_servers(id, &servers),
            Command::SafetyNumber { member } => {
                let me = self.me.as_ref().ok_or("The keys are locked.")?;
                Ok(Some(Reply::SafetyNumber { number: safety_number(&me.key.id(), &member) }))
            }
            Command::Doctor => {
                self.hurry();
                self.doctor(id)
            }
        }
    }

    fn set_passphrase(&mut self, id: u64, passphrase: Option<&str>) -> Answer {
        let me = self.me.as_ref().ok_or("The keys are locked.")?;
        if passphrase.is_some_and(str::is_empty) {
            return Err("An empty passphrase protects nothing. Nothing was changed.".into());
        }
        let record = records::write_identity(&me.key, passphrase, &mut self.rng.0)
            .ok_or("There is not enough memory to set a passphrase. Nothing was changed.")?;
        self.store(
            vec![Op::PutRecord(records::IDENTITY.into(), record)],
            vec![After::Locked(passphrase.is_some()), After::Reply(id, Reply::Done)],
        );
        Ok(None)
    }

    fn set_name(&mut self, id: u64, name: &str) -> Answer {
        let name = name_of(name)?;
        let mut ops: Vec<Op> = self.record(records::PROFILE.into(), name.as_bytes()).into_iter().collect();
        let me = self.me.as_mut().ok_or("The keys are locked.")?;
        me.name.clone_from(&name);
        let (me, mut published, mut after) = (me.key.id(), Vec::new(), Vec::new());
        if let Some(hello) = self.hello() {
            self.right_clock();
            // By what the circle knows, not by what was typed before: that may not have been stored.
            for (_, circle) in std::mem::take(&mut self.circles) {
                let known = circle.state.member(&me);
                if known.is_none_or(|known| known.name != name) {
                    let sealed = self.seal_into(&circle, circle.control, hello.clone());
                    published.push(sealed);
                }
                self.circles.insert(circle.id, circle);
            }
            for sealed in published {
                let sealed = sealed?;
                ops.extend(sealed.ops);
                after.push(sealed.after);
            }
        }
        after.push(After::Reply(id, Reply::Done));
        self.store(ops, after);
        self.tell_identity();
        Ok(None)
    }

    fn create_circle(&mut self, id: u64, name: &str, relay: Option<&str>) -> Answer {
        let name = name_of(name)?;
        let relay = relay.map(clean_relay_url).transpose().map_err(|e| e.to_string())?;
        let secret = *CircleSecret::generate(&mut self.rng.0).secret().expose();
        self.new_circle(id, secret, relay, Vec::new(), name.clone(), Some(Body::CircleName(name)))
    }

    fn join_circle(&mut self, id: u64, invite: &str, relay: Option<&str>) -> Answer {
        let mut invite = Invite::parse(invite).map_err(|e| e.to_string())?;
        invite.peers.retain(|peer| !self.direct.endpoints().contains(peer));
        let relay = relay.map(clean_relay_url).transpose().map_err(|e| e.to_string())?;
        let secret = CircleSecret::from_secret(invite.secret);
        let circle = secret.circle_id();
        let left = |after: &After| matches!(after, After::Left(id) if *id == circle);
        if self.batches.values().flatten().any(left) || self.is_deleting(circle) {
            return Err("The circle is just being left. Nothing was changed; try again in a moment.".into());
        }
        if self.circles.contains_key(&circle) {
            return self.join_again(id, circle, invite.relay, relay, invite.peers);
        }
        let name = invite.name.as_deref().and_then(clean_name);
        let name = name.unwrap_or_else(|| circle.short());
        self.new_circle(id, *secret.secret().expose(), invite.relay.or(relay), invite.peers, name, None)
    }

    /// An invite to a circle that this device is in may know newer ways to it. It moves nobody from one relay to another.
    fn join_again(
        &mut self,
        id: u64,
        circle_id: CircleId,
        named: Option<String>,
        given: Option<String>,
        peers: Vec<String>,
    ) -> Answer {
        let mut record = self.settings(circle_id)?;
        let news = peers.iter().any(|peer| !record.peers.contains(peer));
        if news {
            record.peers.retain(|peer| !peers.contains(peer));
            record.peers.splice(0..0, peers);
            record.peers.truncate(MAX_INVITE_PEERS);
        }
        let relay = match (record.relay.clone(), named) {
            (None, named) => named.or(given),
            (Some(stays), Some(named)) if named != stays => {
                let text = [
                    "You are in this circle already, and it stays at the relay ",
                    &*stays,
                    ". The invite names ",
                    &*named,
                    ": if the circle has moved there, change its relay in the settings.",
                ];
                self.notice(false, text.concat());
                None
            }
            _ => None,
        };
        let moved = relay.is_some();
        if moved {
            record.relay = relay;
        }
        let name = self.circles.get(&circle_id).ok_or(NO_CIRCLE)?.name();
        let reply = Reply::Circle { circle_id, name, invite: self.invite_to(circle_id, &record) };
        if !news && !moved {
            return Ok(Some(reply));
        }
        self.save_circle(id, circle_id, record, reply)
    }

    fn new_circle(
        &mut self,
        id: u64,
        secret: [u8; 32],
        relay: Option<String>,
        peers: Vec<String>,
        name: String,
        first: Option<Body>,
    ) -> Answer {
        if self.circles.len() >= MAX_CIRCLES {
            return Err(format!(
                "This device is in {MAX_CIRCLES} circles, which is the limit. Leave one first."
            ));
        }
        let me = self.me.as_ref().ok_or("The keys are locked.")?.key.id();
        let (messages, days) = (RETENTION_MESSAGES, RETENTION_DAYS);
        let record = CircleRecord { secret, relay, peers, name: Some(name.clone()), messages, days };
        let circle = Circle::new(record, me);
        let record = circle.record();
        let bytes = records::cbor(&record);
        let mut ops: Vec<Op> = self.record(records::circle(&circle.id), &bytes).into_iter().collect();
        let mut published = Vec::new();
        for body in first.into_iter().chain(self.hello()) {
            let sealed = self.seal_into(&circle, circle.control, body)?;
            ops.extend(sealed.ops);
            published.push(sealed.after);
        }
        let reply = Reply::Circle { circle_id: circle.id, name, invite: self.invite_to(circle.id, &record) };
        let mut after = vec![After::Circle(Box::new(circle))];
        after.extend(published);
        after.push(After::Reply(id, reply));
        self.store(ops, after);
        Ok(None)
    }

    /// Where storage refuses, nothing of it is left and it goes on.
    fn leave_circle(&mut self, id: u64, circle_id: CircleId) -> Answer {
        let ops = self.circles.get(&circle_id).ok_or(NO_CIRCLE)?.deletion();
        self.store(ops, vec![After::Left(circle_id), After::Reply(id, Reply::Done)]);
        Ok(None)
    }

    /// A circle is deleted.
    #[inline(never)]
    pub(super) fn left(&mut self, circle_id: CircleId) {
        self.link_down(circle_id);
        self.unmesh(circle_id);
        let Some(circle) = self.circles.remove(&circle_id) else { return };
        self.dirty.remove(&circle_id);
        // What came in while it was being deleted.
        self.staged.extend(circle.deletion());
        self.event(Event::CircleGone { circle_id });
    }

    /// A circle's settings as they are, or will be once what is being written is durable.
    fn settings(&self, id: CircleId) -> Result<CircleRecord, String> {
        let circle = self.circles.get(&id).ok_or(NO_CIRCLE)?;
        let mut record = circle.record();
        for after in self.batches.values().flatten() {
            if let After::Settings(of, newer) = after
                && *of == id
            {
                record.clone_from(newer);
            }
        }
        Ok(record)
    }

    /// Writes a circle's settings; they take effect, and the answer comes, once they are durable.
    fn save_circle(&mut self, id: u64, circle: CircleId, record: CircleRecord, reply: Reply) -> Answer {
        let ops = self.record(records::circle(&circle), &records::cbor(&record)).into_iter().collect();
        self.store(ops, vec![After::Settings(circle, Box::new(record)), After::Reply(id, reply)]);
        Ok(None)
    }

    /// A circle's settings are durable.
    #[inline(never)]
    pub(super) fn settle(&mut self, id: CircleId, record: CircleRecord) {
        let Some(circle) = self.circles.get_mut(&id) else { return };
        let (more, moves) = (record.keeps_more(circle.retention), circle.relay != record.relay);
        circle.retention = record.retention();
        circle.peers.clone_from(&record.peers);
        self.dirty.insert(id);
        self.direct.learn(id, None, record.peers);
        if moves {
            self.move_circle(id, record.relay);
        }
        if more {
            self.ask_for_unheard(id, true);
        }
        self.limit_anchor(id);
        self.prune(id);
    }

    fn set_relay(&mut self, id: u64, circle_id: CircleId, relay: Option<&str>) -> Answer {
        let relay = relay.map(clean_relay_url).transpose().map_err(|e| e.to_string())?;
        let record = CircleRecord { relay, ..self.settings(circle_id)? };
        self.save_circle(id, circle_id, record, Reply::Done)
    }

    fn move_circle(&mut self, circle_id: CircleId, relay: Option<String>) {
        self.link_down(circle_id);
        if let Some(circle) = self.circles.get_mut(&circle_id) {
            circle.relay = relay;
            // Another relay's log is another order.
            (circle.cursor, circle.skipped) = (Cursor(0), false);
            circle.unheard.before = None;
            circle.welcome.relay_forgot();
        }
        self.relink(circle_id);
    }

    fn set_retention(&mut self, id: u64, circle_id: CircleId, retention: Retention) -> Answer {
        if !(1..=1_000_000).contains(&retention.messages) || !(1..=3_650).contains(&retention.days) {
            return Err("A circle keeps 1 to 1,000,000 messages per channel and 1 to 3,650 days.".into());
        }
        let Retention { messages, days } = retention;
        let record = CircleRecord { messages, days, ..self.settings(circle_id)? };
        let circle = self.circles.get_mut(&circle_id).ok_or(NO_CIRCLE)?;
        if record.keeps_more(circle.retention) {
            let read = circle.fills_in();
            // What there was no room for lies anywhere in the relay's log.
            circle.unheard.before = Some(Cursor(0));
            read.iter().for_each(|channel| self.stage_read(circle_id, channel));
            self.await_stored(circle_id);
        }
        self.save_circle(id, circle_id, record, Reply::Done)
    }

    /// Somebody waits for what goes through relays: those that are not reached are tried at once.
    fn hurry(&mut self) {
        let now = self.now.mono;
        self.with_link(|_| true, |link, _| link.hurry(now));
    }

    fn send(&mut self, id: u64, circle: CircleId, channel: ChannelId, text: String) -> Answer {
        if text.trim().is_empty() {
            return Err("There is nothing to send.".into());
        }
        if text.len() > MAX_TEXT_LEN {
            return Err(format!(
                "The message has {} bytes; the limit is {MAX_TEXT_LEN}. It was not sent.",
                text.len()
            ));
        }
        let me = self.me.as_ref().ok_or("The keys are locked.")?.key.id();
        let found = self.circle_and_channel(circle, channel)?;
        if !found.is_joined(&channel, &me) {
            let views = found.channel_views(&me);
            let view = views.iter().find(|view| view.id == channel);
            return Err(view.and_then(|view| view.not_in("nothing was sent")).unwrap_or_default());
        }
        self.publish(circle, channel, Body::Text(text), id, |key| Reply::Sent {
            msg_id: key.id,
            created_ts: key.ts,
        })?;
        Ok(None)
    }

    fn history(
        &mut self,
        request: u64,
        circle: CircleId,
        channel: ChannelId,
        before: Option<Key>,
        limit: u32,
    ) -> Answer {
        self.circle_and_channel(circle, channel)?;
        let limit = limit.clamp(1, 10_000);
        // Reads see what was handed out for writing before them, not what is still being gathered.
        self.flush_staged_now();
        let log = self.circles.get(&circle).map(|circle| &circle.log);
        let page = log.and_then(|log| log.page(&channel, before, limit as usize));
        let (from, start_reached) = page.map_or((None, true), |(from, first)| (Some(from), first));
        let query = Query::Channel { circle, channel, from, before };
        self.load(query, super::startup::Asked::History { request, circle, channel, start_reached, from });
        Ok(None)
    }

    fn mark_read(&mut self, circle_id: CircleId, channel: ChannelId, up_to: Key) -> Answer {
        self.circle_and_channel(circle_id, channel)?;
        let Some(circle) = self.circles.get_mut(&circle_id) else { return Err(NO_CIRCLE.into()) };
        let known = circle.late.len();
        circle.late.retain(|(of, _)| *of != channel);
        let further = circle.read.get(&channel).is_none_or(|read| *read < up_to);
        if further {
            circle.read.insert(channel, up_to);
        }
        if further || circle.late.len() < known {
            self.dirty.insert(circle_id);
            self.stage_read(circle_id, &channel);
        }
        Ok(Some(Reply::Done))
    }

    fn save_draft(&mut self, circle_id: CircleId, channel: ChannelId, text: &str) -> Answer {
        self.circle_and_channel(circle_id, channel)?;
        if text.len() > MAX_TEXT_LEN {
            return Err(format!("The draft is longer than {MAX_TEXT_LEN} bytes and was not kept."));
        }
        let Some(circle) = self.circles.get_mut(&circle_id) else { return Err(NO_CIRCLE.into()) };
        let name = records::draft(&circle_id, &channel);
        if text.is_empty() {
            if circle.drafts.remove(&channel).is_some() {
                self.staged.push(Op::DeleteRecord(name));
            }
        } else {
            circle.drafts.insert(channel, text.to_owned());
            self.stage_record(name, text.as_bytes());
        }
        self.dirty.insert(circle_id);
        Ok(Some(Reply::Done))
    }
}

impl Node {
    /// An invite names the relay, where this node listens, and where other members are known to.
    fn invite_to(&self, id: CircleId, circle: &CircleRecord) -> String {
        // Who hides may be among those that other invites named.
        let named = if self.is_hidden() { &[][..] } else { &circle.peers };
        let known = self.direct.known(id).map(|(_, address)| address);
        let mut peers: Vec<String> = Vec::new();
        for address in self.direct.endpoints().iter().chain(known).chain(named) {
            if peers.len() < MAX_INVITE_PEERS && !peers.contains(address) {
                peers.push(address.clone());
            }
        }
        Invite {
            secret: Secret::new(circle.secret),
            relay: circle.relay.clone(),
            peers,
            name: circle.name.clone(),
        }
        .encode()
    }
}
