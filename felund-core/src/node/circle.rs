//! One circle as this device holds it: secret, keys, state, log, and the view people get of it.

use super::{
    early::{Early, Unheard},
    ephemeral::Passing,
    records::{CircleRecord, Confirmed, DeliveredRecord, ReadRecord},
    welcome::Welcome,
};
use crate::{
    anchor::{Book, Served, short},
    circle::{Access, Body, Channel, Received, Standing, State, UNSAID, look},
    config::{MAX_COUNTED, MAX_LATE, MAX_PRESENT},
    envelope::{Envelope, OpenError, Verified, open, receive},
    ids::{ChannelId, CircleHint, CircleId, Cursor, MsgId, NodeId},
    keys::{CircleSecret, MessageKey, NodeKey},
    log::Log,
    redact::Secret,
    sorted::{SortedMap, SortedSet},
    store::Op,
    view::{
        ChannelView, CircleView, Delivery, Key, LinkView, MemberView, Membership, MessageView, Reach,
        Retention,
    },
};

/// The name general goes by.
const GENERAL: &str = "general";
/// The only epoch there is until a member is removed.
pub(super) const EPOCH_0: &str = "epoch-0";

#[derive(Debug)]
pub(super) struct Circle {
    pub(super) id: CircleId,
    /// When it was joined or made, in milliseconds of the monotonic clock, if this node did so since its start.
    pub(super) joined_at: Option<u64>,
    pub(super) me: NodeId,
    pub(super) secret: CircleSecret,
    pub(super) hint: CircleHint,
    pub(super) epoch_key: MessageKey,
    pub(super) general: ChannelId,
    pub(super) control: ChannelId,
    pub(super) relay: Option<String>,
    pub(super) peers: Vec<String>,
    /// From the invite or the creation, until an event tells it.
    pub(super) name_hint: Option<String>,
    pub(super) state: State,
    pub(super) log: Log,
    /// Stored, and not as it was: it counts as not held, and what comes in its place takes it.
    pub(super) damaged: SortedSet<Key>,
    /// How much the user wants kept; an anchor may keep less.
    pub(super) retention: Retention,
    /// Nobody reads here: chat is stored and passed on, and never opened.
    pub(super) sealed_only: bool,
    pub(super) anchors: Book,
    /// When an anchor may have fallen silent, monotonic milliseconds.
    pub(super) elect_at: Option<u64>,
    pub(super) served: Served,
    pub(super) passing: Passing,
    pub(super) keys: SortedMap<ChannelId, MessageKey>,
    /// Approvals of this device that do not open, by channel: they are not tried for every event that comes.
    unusable: SortedMap<ChannelId, Vec<u8>>,
    pub(super) read: SortedMap<ChannelId, Key>,
    /// What others wrote and came when the user had read beyond it: unread until they read the channel again.
    pub(super) late: Vec<(ChannelId, Key)>,
    /// Where channels began when more was to be kept, where they were or will be read: what is before that is filled in, and no news.
    pub(super) began: SortedMap<ChannelId, Key>,
    pub(super) drafts: SortedMap<ChannelId, String>,
    /// What screens were told of it last.
    pub(super) told: Option<CircleView>,
    /// Own envelopes that nobody has confirmed.
    pub(super) outbox: SortedSet<Key>,
    /// Own envelopes that anchors keep for members who have not confirmed them: off the outbox as long as those are heard of.
    pub(super) anchored: SortedSet<Key>,
    /// A reconciliation brought what sessions have not been told.
    pub(super) brought: bool,
    /// When they may be told again, monotonic milliseconds.
    pub(super) tell_at: u64,
    pub(super) cursor: Cursor,
    /// Something of the relay's log after the cursor was not taken in.
    pub(super) skipped: bool,
    pub(super) early: Early,
    pub(super) unheard: Unheard,
    pub(super) welcome: Welcome,
    /// Seen at the relay.
    pub(super) online: SortedSet<NodeId>,
    /// Reached by a session of our own.
    pub(super) direct: SortedSet<NodeId>,
    /// The newest own envelopes and who has confirmed them.
    pub(super) confirms: SortedMap<Key, SortedSet<NodeId>>,
    /// Unix milliseconds.
    pub(super) last_seen: SortedMap<NodeId, u64>,
    /// Reads of storage that startup still waits for.
    pub(super) loading: u8,
    /// Own envelopes, oldest first, on their way from storage to the link.
    pub(super) unqueued: Vec<(MsgId, Vec<u8>)>,
}

impl Circle {
    pub(super) fn new(record: CircleRecord, me: NodeId) -> Self {
        let secret = CircleSecret::from_secret(Secret::new(record.secret));
        let retention = record.retention();
        let control = secret.control();
        Self {
            me,
            joined_at: None,
            id: secret.circle_id(),
            hint: secret.api_key().hint(),
            epoch_key: secret.epoch_0(),
            general: secret.general(),
            control,
            relay: record.relay,
            peers: record.peers,
            name_hint: record.name,
            state: State::default(),
            log: Log::new(me, control, retention),
            damaged: SortedSet::new(),
            retention,
            sealed_only: false,
            anchors: Book::default(),
            elect_at: None,
            served: Served::default(),
            passing: Passing::default(),
            keys: SortedMap::new(),
            unusable: SortedMap::new(),
            read: SortedMap::new(),
            late: Vec::new(),
            began: SortedMap::new(),
            drafts: SortedMap::new(),
            told: None,
            outbox: SortedSet::new(),
            anchored: SortedSet::new(),
            brought: false,
            tell_at: 0,
            cursor: Cursor::default(),
            skipped: false,
            early: Early::default(),
            unheard: Unheard::default(),
            welcome: Welcome::default(),
            online: SortedSet::new(),
            direct: SortedSet::new(),
            confirms: SortedMap::new(),
            last_seen: SortedMap::new(),
            loading: 0,
            unqueued: Vec::new(),
            secret,
        }
    }

    pub(super) fn record(&self) -> CircleRecord {
        let retention = self.retention;
        CircleRecord {
            secret: *self.secret.secret().expose(),
            relay: self.relay.clone(),
            peers: self.peers.clone(),
            name: Some(self.name()),
            messages: retention.messages,
            days: retention.days,
        }
    }

    pub(super) fn name(&self) -> String {
        self.state
            .name()
            .map(str::to_owned)
            .or_else(|| self.name_hint.clone())
            .unwrap_or_else(|| self.id.short())
    }

    /// The key that seals and opens a channel's messages, if this device has it.
    pub(super) fn key_of(&self, channel: &ChannelId) -> Option<&MessageKey> {
        if *channel == self.general || *channel == self.control {
            return Some(&self.epoch_key);
        }
        match self.state.channel(channel)?.access()? {
            Access::Public => Some(&self.epoch_key),
            Access::Key | Access::Invite => self.keys.get(channel),
        }
    }

    /// What is in an envelope, if the key for it is here.
    pub(super) fn try_open(&self, verified: &Verified) -> Option<Result<Vec<u8>, OpenError>> {
        let header = verified.header();
        // There is no key of any other epoch.
        let key = self.key_of(&header.channel_id).filter(|_| header.key_id == EPOCH_0)?;
        Some(open(verified, key))
    }

    pub(super) fn open(&self, verified: &Verified) -> Option<Vec<u8>> {
        self.try_open(verified)?.ok()
    }

    /// Whether an envelope whose channel's key is not here is a member's, as far as can be told: its author has said hello, or a
    /// key of the circle opens it, as of a channel that nobody has told of yet.
    pub(super) fn knows(&self, verified: &Verified) -> bool {
        let header = verified.header();
        let author = &header.author_node_id;
        let key = self.keys.get(&header.channel_id).unwrap_or(&self.epoch_key);
        *author == self.me
            || self.state.member(author).is_some()
            || !matches!(open(verified, key), Err(OpenError::WrongKeyOrDamaged))
    }

    /// Opens what storage gave back, and takes note of it if that is not what was stored.
    pub(super) fn open_stored(&mut self, key: Key, sealed: &[u8]) -> Option<(Verified, Body)> {
        let verified = Envelope::from_cbor(sealed).ok().map(Verified::from_own_store);
        let opened = verified.and_then(|verified| Some((self.open(&verified)?, verified)));
        let Some((cbor, verified)) = opened else {
            // What its author sealed so that it does not open is as it came.
            if receive(sealed).is_err() {
                self.damaged.insert(key);
            }
            return None;
        };
        let body = Body::from_cbor(&verified.header().kind, &cbor).ok()?;
        Some((verified, body))
    }

    pub(super) fn membership(&self, id: &ChannelId, channel: &Channel, me: &NodeId) -> Membership {
        let standing = channel.standing(me);
        let readable = channel.access() == Some(Access::Public) || self.keys.contains_key(id);
        match standing {
            Some(Standing::Left) => Membership::Outside,
            _ if readable => Membership::Joined,
            Some(Standing::Requested) => Membership::Requested,
            _ => Membership::Outside,
        }
    }

    pub(super) fn is_joined(&self, id: &ChannelId, me: &NodeId) -> bool {
        *id == self.general
            || self.state.channel(id).is_some_and(|c| self.membership(id, c, me) == Membership::Joined)
    }

    pub(super) fn channel_name(&self, id: &ChannelId) -> String {
        if *id == self.general {
            return GENERAL.into();
        }
        self.state.channel(id).and_then(Channel::name).map_or_else(|| id.short(), str::to_owned)
    }

    pub(super) fn member_name(&self, id: &NodeId) -> String {
        self.state.member(id).map_or_else(|| id.short(), |hello| hello.name.clone())
    }

    /// Whether another channel has a name, or one that could be taken for it.
    pub(super) fn has_channel(&self, name: &str, but: Option<&ChannelId>) -> bool {
        let taken = |other: &str| look(other) == look(name);
        let mut others = self.state.channels().filter(|(id, _)| Some(*id) != but);
        taken(GENERAL) || others.any(|(_, channel)| channel.name().is_some_and(taken))
    }

    pub(super) fn message(&self, verified: &Verified, text: String, me: &NodeId) -> MessageView {
        let header = verified.header();
        let mine = header.author_node_id == *me;
        let key = Key { ts: header.created_ts, id: header.msg_id };
        MessageView {
            circle_id: self.id,
            channel_id: header.channel_id,
            channel: self.channel_name(&header.channel_id),
            msg_id: header.msg_id,
            author: header.author_node_id,
            name: self.member_name(&header.author_node_id),
            label: self.state.label(&header.author_node_id),
            created_ts: header.created_ts,
            text,
            mine,
            delivery: if mine { self.delivery(&key) } else { Delivery::Received },
        }
    }

    /// A device was seen, `wall` in unix milliseconds. A relay can name any number; members count.
    pub(super) fn saw(&mut self, node: NodeId, wall: u64) {
        if self.state.member(&node).is_some() {
            let last = self.last_seen.entry(node).or_insert(wall);
            *last = wall.max(*last);
        }
    }

    /// How far an own message got, claiming no more than was confirmed.
    pub(super) fn delivery(&self, key: &Key) -> Delivery {
        let channel = self.log.channel_of(key).unwrap_or(self.general);
        let recipients = self.recipients(&channel);
        let confirmed = self.confirms.get(key);
        let by = confirmed.map_or(0, |by| by.iter().filter(|id| recipients.contains(*id)).count());
        // Who confirms and is no recipient keeps it for those who are.
        let kept = confirmed.is_some_and(|by| !by.is_empty());
        match by {
            0 if self.outbox.contains(key) && !kept => Delivery::Pending,
            0 => Delivery::Stored,
            by => Delivery::Delivered {
                to: u32::try_from(by).unwrap_or(u32::MAX),
                of: u32::try_from(recipients.len()).unwrap_or(u32::MAX),
            },
        }
    }

    /// The other members that a channel's messages are for.
    pub(super) fn recipients(&self, channel: &ChannelId) -> SortedSet<NodeId> {
        let mut others: SortedSet<NodeId> = match self.state.channel(channel) {
            Some(found) if found.access() != Some(Access::Public) => self.channel_members(found),
            _ => self.state.members().map(|(id, _)| *id).collect(),
        };
        others.remove(&self.me);
        others
    }

    /// Members of a channel that is not everyone's, as far as its events tell.
    fn channel_members(&self, channel: &Channel) -> SortedSet<NodeId> {
        let owner = channel.owner();
        let mut members: SortedSet<NodeId> = channel.members(Standing::Joined).collect();
        members.extend(owner);
        if channel.access() == Some(Access::Invite) {
            // Who is let in reads from then on, without another word. An owner can let in whom it makes up, too.
            members.extend(channel.approved().filter(|member| self.state.member(member).is_some()));
            members.retain(|member| Some(*member) == owner || channel.approval(member).is_some());
        }
        members.retain(|member| channel.standing(member) != Some(Standing::Left));
        members
    }

    /// Takes note of a member's confirmation of an own message; whether it is news.
    pub(super) fn confirm(&mut self, key: Key, by: NodeId) -> bool {
        // Whoever has the secret can make up keys without end.
        self.confirms.get_mut(&key).is_some_and(|by_now| by_now.len() < MAX_PRESENT && by_now.insert(by))
    }

    /// Own envelopes among those that a member says it has and has not said before. Where it does not say whose these are, an id
    /// counts that is not another's here as well.
    pub(super) fn own_among(&self, held: &SortedSet<Received>, by: &NodeId) -> Vec<Key> {
        let me = short(&self.me);
        let news = || self.confirms.iter().filter(|(_, by_now)| !by_now.contains(by)).map(|(key, _)| *key);
        let unsaid = news().map(|key| key.id).filter(|id| held.contains(&(*id, UNSAID))).collect();
        let only = self.log.only(&unsaid);
        news().filter(|key| held.contains(&(key.id, me)) || only.contains(&key.id)).collect()
    }

    /// Starts counting confirmations of an own message, and stops for the oldest one counted.
    pub(super) fn count(&mut self, key: Key) {
        self.confirms.entry(key).or_default();
        // What nobody has yet is counted however much it is: it would wait for ever.
        if self.confirms.len() <= MAX_COUNTED {
            return;
        }
        let settled = self.confirms.keys().find(|key| !self.outbox.contains(*key)).copied();
        if let Some(oldest) = settled {
            self.confirms.remove(&oldest);
            self.anchored.remove(&oldest);
        }
    }

    /// Who has confirmed what, to be kept.
    pub(super) fn delivered(&self) -> DeliveredRecord {
        let members: SortedSet<NodeId> = self.confirms.values().flatten().copied().collect();
        let members: Vec<NodeId> = members.into_iter().collect();
        let place = |node| members.binary_search(node).ok().and_then(|at| u32::try_from(at).ok());
        let confirmed = self.confirms.iter().filter(|(_, by)| !by.is_empty()).map(|(key, by)| Confirmed {
            ts: key.ts,
            id: key.id,
            by: by.iter().filter_map(place).collect(),
        });
        DeliveredRecord { confirmed: confirmed.collect(), members }
    }

    /// Takes back what was kept.
    pub(super) fn restore_delivered(&mut self, record: &DeliveredRecord) {
        for Confirmed { ts, id, by } in &record.confirmed {
            let member = |at: &u32| record.members.get(usize::try_from(*at).ok()?).copied();
            let key = Key { ts: *ts, id: *id };
            self.count(key);
            if let Some(confirmed) = self.confirms.get_mut(&key) {
                confirmed.extend(by.iter().filter_map(member));
            }
        }
    }

    /// Takes note of another's message that the user has read beyond; whether it is one.
    pub(super) fn came_late(&mut self, channel: ChannelId, key: Key) -> bool {
        let passed = self.read.get(&channel).is_some_and(|read| key <= *read);
        let filled_in = self.began.get(&channel).is_some_and(|began| key <= *began);
        let late = passed && !filled_in && self.late.len() < MAX_LATE;
        if late {
            self.late.push((channel, key));
        }
        late
    }

    /// More is to be kept from now on: what comes before where channels begin is no news. Of one that is empty that is all
    /// that was read. The channels of which something was.
    pub(super) fn fills_in(&mut self) -> Vec<ChannelId> {
        let read: Vec<(ChannelId, Key)> = self.read.iter().map(|(channel, key)| (*channel, *key)).collect();
        let channels = read.iter().map(|(channel, _)| *channel).collect();
        let empty = read.into_iter().filter(|(channel, _)| self.log.page(channel, None, 1).is_none());
        for (channel, begins) in self.log.beginnings().into_iter().chain(empty) {
            let began = self.began.entry(channel).or_insert(begins);
            *began = begins.max(*began);
        }
        channels
    }

    /// How far a channel was read, to be kept.
    pub(super) fn read_record(&self, channel: &ChannelId) -> Option<ReadRecord> {
        let Key { ts, id } = *self.read.get(channel)?;
        let late: Vec<Key> = self.late.iter().filter(|(of, _)| of == channel).map(|(_, key)| *key).collect();
        let began = self.began.get(channel).copied();
        Some(ReadRecord { ts, id, late: (!late.is_empty()).then_some(late), began })
    }

    /// Takes an own envelope off the outbox; its place, if it was there.
    pub(super) fn confirmed(&mut self, id: &MsgId) -> Option<Key> {
        let key = *self.outbox.iter().find(|key| key.id == *id)?;
        self.outbox.remove(&key);
        Some(key)
    }

    /// How it looks where its relay is at `link`, and takes nothing for a reason or has sent so much of what it stores.
    pub(super) fn view(
        &self,
        link: LinkView,
        (held, arriving): (Option<String>, Option<u32>),
        me: &NodeId,
        now: u64,
    ) -> CircleView {
        let unsent =
            self.outbox.iter().filter(|key| self.confirms.get(key).is_none_or(SortedSet::is_empty)).count();
        let unsent = u32::try_from(unsent).unwrap_or(u32::MAX);
        // Who was there before the relay was lost is not reached through it now.
        let linked = matches!(link, LinkView::Live | LinkView::Polling);
        CircleView {
            id: self.id,
            name: self.name(),
            relay: self.relay.clone(),
            link,
            channels: self.channel_views(me),
            members: self.member_views(me, linked, now),
            anchor: self.anchors.office(now)[0],
            unsent,
            retention: self.retention,
            held,
            arriving: arriving.filter(|_| linked),
        }
    }

    pub(super) fn channel_views(&self, me: &NodeId) -> Vec<ChannelView> {
        let base = |id: ChannelId, name: String| ChannelView {
            id,
            name,
            access: Access::Public,
            membership: Membership::Joined,
            owned: false,
            unread: self.log.unread(&id, self.read.get(&id).copied(), &self.late),
            read_up_to: self.read.get(&id).copied(),
            requests: Vec::new(),
            members: Vec::new(),
            draft: self.drafts.get(&id).cloned().unwrap_or_default(),
        };
        let mut others: Vec<ChannelView> = self
            .state
            .channels()
            .zip(self.state.channel_labels(GENERAL))
            .map(|((id, channel), label)| {
                let mut view = base(*id, label);
                let (access, owner) = (channel.access().unwrap_or(Access::Public), channel.owner());
                view.access = access;
                view.membership = self.membership(id, channel, me);
                view.owned = owner == Some(*me);
                if view.membership != Membership::Joined {
                    view.unread = 0;
                }
                if view.owned {
                    let asks = channel.members(Standing::Requested);
                    view.requests = asks.filter(|member| channel.approval(member).is_none()).collect();
                }
                if access != Access::Public {
                    view.members = self.channel_members(channel).into_iter().collect();
                }
                view
            })
            .collect();
        others.sort_by_cached_key(|channel| (channel.name.to_lowercase(), channel.id));
        others.insert(0, base(self.general, GENERAL.into()));
        others
    }

    fn member_views(&self, me: &NodeId, linked: bool, now: u64) -> Vec<MemberView> {
        let through = self.reached_through(now);
        let anchors = self.anchors.reachable(now);
        let new = self.state.member(me).is_none().then_some(*me);
        let mut members: Vec<MemberView> = self
            .state
            .members()
            .map(|(id, _)| *id)
            .chain(new)
            .map(|id| {
                let reach = if id == *me {
                    Reach::You
                } else if self.direct.contains(&id) {
                    Reach::Direct
                } else if through(&id) {
                    Reach::Anchor
                } else if linked && self.online.contains(&id) {
                    Reach::Relay
                } else {
                    Reach::Offline { last_seen: self.last_seen.get(&id).copied() }
                };
                let (name, label) = (self.member_name(&id), self.state.label(&id));
                MemberView { id, name, reach, anchors: anchors.contains(&id), label }
            })
            .collect();
        members
            .sort_by_cached_key(|member| (member.reach != Reach::You, member.name.to_lowercase(), member.id));
        members
    }

    /// What deletes all of it.
    pub(super) fn deletion(&self) -> Vec<Op> {
        use super::records;
        let id = &self.id;
        let mut names = vec![records::circle(id), records::cursor(id), records::delivered(id)];
        names.extend(self.read.keys().map(|channel| records::read(id, channel)));
        names.extend(self.drafts.keys().map(|channel| records::draft(id, channel)));
        names.extend(self.keys.keys().map(|channel| records::channel_key(id, channel)));
        names.extend(self.outbox.iter().map(|key| records::outbox(id, key)));
        let records = names.into_iter().map(Op::DeleteRecord);
        records.chain([Op::DeleteCircle(*id)]).collect()
    }

    /// Opens what its owner wrapped for this device; the new keys.
    pub(super) fn unwrap_approvals(&mut self, key: &NodeKey) -> Vec<(ChannelId, MessageKey)> {
        let me = key.id();
        let mut opened = Vec::new();
        for (id, channel) in self.state.channels() {
            if channel.access() != Some(Access::Invite) || self.keys.contains_key(id) {
                continue;
            }
            let Some(approval) = channel.approval(&me) else { continue };
            if self.unusable.get(id).is_some_and(|known| known == approval) {
                continue;
            }
            let context = crate::keys::channel_wrap_context(&self.id, id, &me);
            match key.unwrap_key(&context, approval) {
                Some(key) => opened.push((*id, key)),
                None => drop(self.unusable.insert(*id, approval.to_vec())),
            }
        }
        opened
    }
}
