//! From an empty node to a ready one: identity, records, circles, in that order.

use super::{Me, Node, Phase, circle::Circle, records};
use crate::{
    circle::Body,
    config::MAX_COUNTED,
    ice::parse_servers,
    ids::{ChannelId, CircleId, Cursor},
    io::{ConnId, Event, QueryId},
    keys::NodeKey,
    sorted::{SortedMap, SortedSet},
    store::{Loaded, Op, Query},
    view::{Key, MessageView, Reply},
};

/// What a read was for.
#[derive(Debug)]
pub(super) enum Asked {
    Records,
    Index(CircleId),
    Control(CircleId),
    Outbox(CircleId),
    History { request: u64, circle: CircleId, channel: ChannelId, start_reached: bool, from: Option<Key> },
    Gossip { conn: ConnId, circle: CircleId, more: bool },
    Anchored(CircleId, Vec<Key>),
    Welcome(CircleId),
}

impl Node {
    #[inline(never)]
    pub(super) fn loaded(&mut self, id: QueryId, result: Result<Loaded, String>) {
        let Some(asked) = self.queries.remove(&id) else { return };
        match (asked, result) {
            (Asked::History { request, .. }, Err(cause)) => {
                self.reply(
                    request,
                    Err(format!("The history could not be read: {cause}. Nothing was changed.")),
                );
            }
            // Another exchange will offer them again.
            (Asked::Gossip { .. } | Asked::Welcome(_), Err(_)) => {}
            (Asked::Welcome(circle), Ok(Loaded::Envelopes(rows))) => self.enqueue_welcome(circle, rows),
            (Asked::Gossip { conn, circle, more }, Ok(Loaded::Envelopes(rows))) => {
                self.send_rows(conn, circle, rows, more);
            }
            // Tried again when the next anchor comes or goes.
            (Asked::Anchored(id, keys), Err(_)) => {
                if let Some(circle) = self.circles.get_mut(&id) {
                    circle.anchored.extend(keys);
                }
            }
            (Asked::Anchored(id, _), Ok(Loaded::Envelopes(rows))) => self.enqueue_anchored(id, rows),
            (_, Err(cause)) => {
                self.broken(format!("The storage could not be read: {cause}. Nothing was changed."));
            }
            (Asked::Records, Ok(Loaded::Records(records))) => self.start(records),
            (Asked::Index(circle), Ok(Loaded::Index(rows))) => {
                if let Some(circle) = self.circles.get_mut(&circle) {
                    circle.log.restore(&rows);
                    // Also what nobody had confirmed yet when the last process ended.
                    for key in circle.log.newest_own(MAX_COUNTED) {
                        circle.count(key);
                    }
                    let latest = circle.log.latest_ts();
                    self.clock.observe(latest);
                }
                self.circle_part_loaded(circle);
            }
            (Asked::Control(circle), Ok(Loaded::Envelopes(rows))) => {
                self.fold_stored(circle, rows);
                self.circle_part_loaded(circle);
            }
            (Asked::Outbox(circle), Ok(Loaded::Envelopes(rows))) => {
                if let Some(circle) = self.circles.get_mut(&circle) {
                    let rows = rows.into_iter().map(|(key, sealed)| (key.id, sealed));
                    let later = std::mem::take(&mut circle.unqueued);
                    circle.unqueued = rows.chain(later).collect();
                }
                self.circle_part_loaded(circle);
            }
            (
                Asked::History { request, circle, channel, start_reached, from },
                Ok(Loaded::Envelopes(rows)),
            ) => {
                let keys = rows.iter().map(|(key, _)| *key).collect();
                let messages = self.open_page(circle, channel, rows);
                self.count_shown(circle, channel, keys, &messages);
                self.reply(request, Ok(Reply::History { messages, start_reached, from }));
            }
            (_, Ok(_)) => self.broken("The storage gave a wrong answer. Nothing was changed.".into()),
        }
    }

    /// Storage cannot be trusted: say so to everyone who asks, and write nothing.
    fn broken(&mut self, text: String) {
        for request in std::mem::take(&mut self.waiting) {
            self.reply(request.id, Err(text.clone()));
        }
        self.notice(true, text.clone());
        self.phase = Phase::Broken(text);
    }

    fn start(&mut self, records: Vec<(String, Vec<u8>)>) {
        let identity = records.iter().find(|(name, _)| name == records::IDENTITY);
        match identity.map(|(_, bytes)| records::read_identity(bytes)) {
            None => {
                let key = NodeKey::generate(&mut self.rng.0);
                // Without a passphrase nothing is stretched, and nothing can fail.
                let bytes = records::write_identity(&key, None, &mut self.rng.0).unwrap_or_default();
                self.store(vec![Op::PutRecord(records::IDENTITY.into(), bytes)], Vec::new());
                self.unlocked(key, false, &records);
            }
            Some(Some(records::Found::Open(key))) => self.unlocked(*key, false, &records),
            Some(Some(records::Found::Locked(locked))) => {
                self.phase = Phase::Locked(locked, records);
                self.event(Event::Locked);
                self.answer_waiting();
            }
            Some(None) => {
                self.broken("The identity in the storage is damaged. Restore it from a backup.".into());
            }
        }
    }

    pub(super) fn unlock(&mut self, request: u64, passphrase: &str) {
        let Phase::Locked(locked, _) = &self.phase else {
            return self.reply(request, Ok(Reply::Done));
        };
        let Some(key) = locked.unlock(passphrase) else {
            return self.reply(request, Err("That is not the passphrase. Try again.".into()));
        };
        if let Phase::Locked(_, records) = std::mem::replace(&mut self.phase, Phase::Circles) {
            self.unlocked(key, true, &records);
        }
        self.reply(request, Ok(Reply::Done));
    }

    fn unlocked(&mut self, key: NodeKey, passphrase: bool, records: &[(String, Vec<u8>)]) {
        let store = key.store_key();
        let open = |name: &str, bytes: &[u8]| store.open(name, bytes);
        let profile = records.iter().find(|(name, _)| name == records::PROFILE);
        let name =
            profile.and_then(|(name, bytes)| String::from_utf8(open(name, bytes)?).ok()).unwrap_or_default();
        let anchor = records.iter().find(|(name, _)| name == records::ANCHOR);
        self.anchoring.opted = anchor.and_then(|(name, bytes)| open(name, bytes)).is_some_and(|on| on == [1]);
        let hide = records.iter().find(|(name, _)| name == records::HIDE);
        // Damaged, it hides: what was shown once cannot be taken back.
        self.hides = hide.is_some_and(|(name, bytes)| open(name, bytes).is_none_or(|on| on != [0]));
        let ice = records.iter().find(|(name, _)| name == records::ICE);
        let ice = ice.and_then(|(name, bytes)| String::from_utf8(open(name, bytes)?).ok());
        self.rtc.servers.set_own(ice.and_then(|text| parse_servers(&text).ok()).unwrap_or_default());
        let mut damaged = Vec::new();
        for (record, bytes) in records {
            if let Some(records::Name::Circle(_)) = records::Name::parse(record) {
                match open(record, bytes).and_then(|bytes| minicbor::decode(&bytes).ok()) {
                    Some(circle) => {
                        let circle = Circle::new(circle, key.id());
                        self.circles.insert(circle.id, circle);
                    }
                    None => damaged.push(record.clone()),
                }
            }
        }
        for (record, bytes) in records {
            match records::Name::parse(record) {
                Some(records::Name::Outbox(circle, place)) => {
                    if let Some(circle) = self.circles.get_mut(&circle) {
                        circle.outbox.insert(place);
                        circle.count(place);
                    } else if !damaged.contains(&records::circle(&circle)) {
                        self.staged.extend(records::unsent(circle, place));
                    }
                }
                None | Some(records::Name::Circle(_)) => {}
                Some(name) => match open(record, bytes) {
                    Some(value) => {
                        restore(&mut self.circles, name, value);
                    }
                    None => damaged.push(record.clone()),
                },
            }
        }
        self.me = Some(Me { key, store, name, passphrase });
        self.hide_or_show();
        for record in damaged {
            let text = format!(
                "The record {record} in the storage is damaged and was left out. Nothing was deleted."
            );
            self.notice(true, text);
        }
        self.phase = Phase::Circles;
        let ids: Vec<CircleId> = self.circles.keys().copied().collect();
        for id in ids {
            self.load_circle(id);
        }
        self.ready_if_loaded();
    }

    fn load_circle(&mut self, id: CircleId) {
        let Some(circle) = self.circles.get_mut(&id) else { return };
        circle.loading = 3;
        let (channel, outbox) = (circle.control, circle.outbox.iter().copied().collect());
        self.load(Query::Index(id), Asked::Index(id));
        let control = Query::Channel { circle: id, channel, from: None, before: None };
        self.load(control, Asked::Control(id));
        self.load(Query::Envelopes(id, outbox), Asked::Outbox(id));
    }

    fn circle_part_loaded(&mut self, id: CircleId) {
        let wall = self.now.wall;
        if let Some(circle) = self.circles.get_mut(&id) {
            circle.loading = circle.loading.saturating_sub(1);
            // The reads may be answered in any order; nothing comes in before the log knows what is there.
            if circle.loading == 0 {
                // Who has written was seen then, and is a member once the control part is folded, too.
                for (author, ts) in circle.log.last_written() {
                    circle.saw(author, ts.min(wall));
                }
                self.forget_gone(id);
                self.forget_damaged(id);
                // A session shares all circles: none begins before all are read.
                if matches!(self.phase, Phase::Ready) {
                    self.link_up(id);
                }
            }
        }
        self.ready_if_loaded();
    }

    /// What is not here is not sent either: an earlier version deleted envelopes and went on waiting for them.
    fn forget_gone(&mut self, id: CircleId) {
        let Some(circle) = self.circles.get(&id) else { return };
        let is_gone = |key: &&Key| circle.log.channel_of(key).is_none() && !circle.damaged.contains(*key);
        let gone: Vec<Key> = circle.outbox.iter().filter(is_gone).copied().collect();
        if !gone.is_empty() {
            self.delete(id, gone);
        }
    }

    /// Moves a circle to the relay it now names, with everything that waits to be sent.
    pub(super) fn relink(&mut self, id: CircleId) {
        let Some(circle) = self.circles.get_mut(&id) else { return };
        circle.loading += 1;
        let outbox = circle.outbox.iter().copied().collect();
        self.load(Query::Envelopes(id, outbox), Asked::Outbox(id));
    }

    fn ready_if_loaded(&mut self) {
        if !matches!(self.phase, Phase::Circles) || self.circles.values().any(|circle| circle.loading > 0) {
            return;
        }
        self.phase = Phase::Ready;
        let ids: Vec<CircleId> = self.circles.keys().copied().collect();
        ids.iter().for_each(|id| self.link_up(*id));
        self.became_anchor();
        self.snapshot();
        for id in ids {
            self.accept_approvals(id);
        }
        self.age();
        self.answer_waiting();
    }

    /// Commands that came before they could be carried out.
    fn answer_waiting(&mut self) {
        for request in std::mem::take(&mut self.waiting) {
            self.command(request);
        }
    }

    /// Says everything known.
    pub(super) fn snapshot(&mut self) {
        self.tell_identity();
        let ids: Vec<CircleId> = self.circles.keys().copied().collect();
        for id in ids {
            self.tell_circle(id, true);
        }
        self.dirty.clear();
        // As after every telling: nothing is left that would lead to it.
        self.want_channels();
        self.event(Event::Ready);
    }

    /// What does not open, although its channel's key is here, is no message: of before that key came, or from an earlier
    /// version's storage.
    #[inline(never)]
    fn count_shown(
        &mut self,
        id: CircleId,
        channel: ChannelId,
        mut keys: SortedSet<Key>,
        shown: &[MessageView],
    ) {
        let Some(circle) = self.circles.get_mut(&id) else { return };
        for message in shown {
            keys.remove(&Key { ts: message.created_ts, id: message.msg_id });
        }
        if circle.key_of(&channel).is_some() && circle.log.show_nothing(&channel, &keys) {
            self.dirty.insert(id);
        }
    }

    #[inline(never)]
    fn fold_stored(&mut self, id: CircleId, rows: Vec<(Key, Vec<u8>)>) {
        let Some(circle) = self.circles.get_mut(&id) else { return };
        for (key, sealed) in rows {
            if let Some((verified, body)) = circle.open_stored(key, &sealed) {
                circle.state.apply(key, verified.header().author_node_id, body);
            }
        }
    }

    /// Opens a page that storage gave newest first; the messages, oldest first.
    #[inline(never)]
    fn open_page(&mut self, id: CircleId, channel: ChannelId, rows: Vec<(Key, Vec<u8>)>) -> Vec<MessageView> {
        let (Some(circle), Some(me)) = (self.circles.get_mut(&id), &self.me) else { return Vec::new() };
        let me = me.key.id();
        let open = |(key, sealed): (Key, Vec<u8>)| match circle.open_stored(key, &sealed)? {
            (verified, Body::Text(text)) if verified.header().channel_id == channel => {
                Some(circle.message(&verified, text, &me))
            }
            _ => None,
        };
        let messages = rows.into_iter().rev().filter_map(open).collect();
        self.forget_damaged(id);
        messages
    }

    /// Says what was found damaged, and asks for it again: whatever counts as held nobody offers.
    #[inline(never)]
    fn forget_damaged(&mut self, id: CircleId) {
        let Some(circle) = self.circles.get_mut(&id) else { return };
        let count = circle.log.forget(&circle.damaged);
        if count == 0 {
            return;
        }
        (circle.cursor, circle.skipped) = (Cursor::default(), true);
        let [what, are] =
            if count == 1 { [" message or event of ", " is"] } else { [" messages or events of ", " are"] };
        let text = [
            &*count.to_string(),
            what,
            &*circle.name(),
            are,
            " damaged on this device and left out. All the rest is intact. The relay and other members' devices are \
             asked for them again, and give what they have.",
        ];
        let text = text.concat();
        self.dirty.insert(id);
        self.notice(true, text);
        self.ask_again(id);
    }
}

fn restore(circles: &mut SortedMap<CircleId, Circle>, name: records::Name, value: Vec<u8>) -> Option<()> {
    use records::Name;
    match name {
        Name::Cursor(id) => {
            let record: records::CursorRecord = minicbor::decode(&value).ok()?;
            let circle = circles.get_mut(&id)?;
            // A cursor means nothing at another relay.
            if circle.relay.as_ref() == Some(&record.relay) {
                (circle.cursor, circle.unheard.before) = (record.cursor, record.unheard);
            }
        }
        Name::Delivered(id) => {
            circles.get_mut(&id)?.restore_delivered(&minicbor::decode(&value).ok()?);
        }
        Name::Read(id, channel) => {
            let record: records::ReadRecord = minicbor::decode(&value).ok()?;
            let circle = circles.get_mut(&id)?;
            circle.read.insert(channel, Key { ts: record.ts, id: record.id });
            circle.late.extend(record.late.into_iter().flatten().map(|key| (channel, key)));
            circle.began.extend(record.began.map(|began| (channel, began)));
        }
        Name::Draft(id, channel) => {
            circles.get_mut(&id)?.drafts.insert(channel, String::from_utf8(value).ok()?);
        }
        Name::ChannelKey(id, channel) => {
            let key = crate::keys::MessageKey::from_bytes(value.try_into().ok()?);
            circles.get_mut(&id)?.keys.insert(channel, key);
        }
        Name::Circle(_) | Name::Outbox(..) => {}
    }
    Some(())
}
