//! The log of a circle: a set of envelopes in one total order, what is new, and what is too old to keep.
//!
//! Only places are held in memory; the envelopes stay sealed in storage. Merging is commutative, associative and
//! idempotent up to retention, which depends on the kept set alone.

mod clock;
mod retention;

pub use clock::Clock;
pub use retention::{horizon, overflow};

use crate::{
    config::{MAX_CHANNELS, MAX_ENC_LEN, MAX_ENVELOPE_LEN, MAX_FUTURE_MS, RETENTION_CONTROL},
    envelope::Verified,
    ids::{ChannelId, MsgId, NodeId},
    sorted::{SortedMap, SortedSet},
    store::IndexRow,
    sync,
    view::{Key, Retention},
    wire::Window,
};

/// One envelope's place and what counting needs to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    key: Key,
    author: NodeId,
    chat: bool,
    size: u32,
}

/// What became of an envelope that was offered to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// It is new and belongs into storage.
    New,
    /// It is here already.
    Known,
    /// Its clock is more than five minutes ahead of ours.
    FromTheFuture,
    /// It is older than what the circle keeps.
    Expired,
    /// It claims the place of an envelope that is here and is another author's, or in another channel. A place is one
    /// envelope's.
    Copied,
}

/// The places of all envelopes a circle keeps.
#[derive(Debug)]
pub struct Log {
    me: NodeId,
    control: ChannelId,
    retention: Retention,
    channels: SortedMap<ChannelId, Vec<Entry>>,
    /// Chat before this was given up for want of room, and is not taken again.
    floor: u64,
    version: u64,
}

impl Log {
    /// An empty log.
    #[must_use]
    pub const fn new(me: NodeId, control: ChannelId, retention: Retention) -> Self {
        Self { me, control, retention, channels: SortedMap::new(), floor: 0, version: 0 }
    }

    /// Takes in what storage says is there, in ascending order.
    pub fn restore(&mut self, rows: &[IndexRow]) {
        for row in rows {
            let entry = Entry { key: row.key, author: row.author, chat: row.chat, size: row.size };
            self.channels.entry(row.channel).or_default().push(entry);
        }
    }

    /// Offers a verified envelope, and whether people see it as a message. Unix milliseconds: `wall` bounds the future,
    /// `ages_by` the past.
    pub fn merge(&mut self, verified: &Verified, chat: bool, wall: u64, ages_by: u64) -> Merge {
        let header = verified.header();
        let key = Key { ts: header.created_ts, id: header.msg_id };
        if key.ts > wall.saturating_add(MAX_FUTURE_MS) {
            return Merge::FromTheFuture;
        }
        let entries = self.channels.get(&header.channel_id).map_or(&[][..], Vec::as_slice);
        let author = header.author_node_id;
        let at = match entries.binary_search_by_key(&key, |entry| entry.key) {
            Ok(at) if entries[at].author == author => return Merge::Known,
            Err(at) if self.channel_of(&key).is_none() => at,
            Ok(_) | Err(_) => return Merge::Copied,
        };
        let full = at == 0 && entries.len() >= self.retention.messages as usize;
        if header.channel_id != self.control && (full || key.ts < self.horizon(ages_by)) {
            return Merge::Expired;
        }
        self.version += 1;
        // Headers and signature by their upper bound.
        let size = verified.envelope().enc().len() + (MAX_ENVELOPE_LEN - MAX_ENC_LEN);
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let entry = Entry { key, author, chat, size };
        self.channels.entry(header.channel_id).or_default().insert(at, entry);
        Merge::New
    }

    /// Takes out the chat that the circle no longer keeps: per channel the keys to delete, in ascending order.
    pub fn prune(&mut self, wall: u64) -> Vec<(ChannelId, Vec<Key>)> {
        let (messages, control, horizon) = (self.retention.messages, self.control, self.horizon(wall));
        let mut pruned = Vec::new();
        for (channel, entries) in self.channels.iter_mut().filter(|(channel, _)| **channel != control) {
            let cut = overflow(entries.iter().map(|entry| entry.key.ts), entries.len(), messages, horizon);
            if cut > 0 {
                self.version += 1;
                pruned.push((*channel, entries.drain(..cut).map(|entry| entry.key).collect()));
            }
        }
        pruned
    }

    /// What is kept of a channel, and whose it is, in ascending order.
    pub fn of(&self, channel: &ChannelId) -> impl Iterator<Item = sync::Entry> {
        let entries = self.channels.get(channel).into_iter().flatten();
        entries.map(|entry| sync::Entry { key: entry.key, author: entry.author })
    }

    /// What is kept of the channels, with sizes; the control channel, which all the rest stands on, is not among it.
    pub fn stored(&self) -> impl Iterator<Item = (Key, u32)> {
        let chat = self.channels.iter().filter(|(channel, _)| **channel != self.control);
        chat.flat_map(|(_, entries)| entries.iter().map(|entry| (entry.key, entry.size)))
    }

    /// Whether this device's user has written anything that is kept.
    #[must_use]
    pub fn has_own_chat(&self) -> bool {
        self.channels.values().flatten().any(|entry| entry.author == self.me && entry.chat)
    }

    /// Gives up chat before `ts`, as [`Log::prune`] then carries out; it is not taken in again.
    pub fn raise_floor(&mut self, ts: u64) {
        self.floor = self.floor.max(ts);
    }

    fn horizon(&self, wall: u64) -> u64 {
        horizon(self.retention, wall).max(self.floor)
    }

    /// Takes out control events beyond [`RETENTION_CONTROL`]: those that `live` does not name first, then those it
    /// calls orphans, then the oldest.
    pub fn prune_control(&mut self, live: impl Iterator<Item = (Key, bool)>) -> SortedSet<Key> {
        let Some(entries) = self.channels.get_mut(&self.control) else { return SortedSet::new() };
        // A whole slice at a time, so that a flood does not sort everything for every event.
        let Some(over) =
            entries.len().checked_sub(RETENTION_CONTROL).filter(|over| *over > RETENTION_CONTROL / 16)
        else {
            return SortedSet::new();
        };
        let live: SortedMap<Key, bool> = live.collect();
        let rank = |key: &Key| match live.get(key) {
            None => 0,
            Some(true) => 1,
            Some(false) => 2,
        };
        let mut order: Vec<(u8, Key)> = entries.iter().map(|entry| (rank(&entry.key), entry.key)).collect();
        order.sort_unstable();
        let dropped: SortedSet<Key> = order.into_iter().take(over).map(|(_, key)| key).collect();
        entries.retain(|entry| !dropped.contains(&entry.key));
        self.version += 1;
        dropped
    }

    /// Whether [`Log::prune_control`] would take something out.
    #[must_use]
    pub fn control_overflows(&self) -> bool {
        self.channels.get(&self.control).is_some_and(|entries| entries.len() > RETENTION_CONTROL * 17 / 16)
    }

    /// Takes out what is not held after all; how much of it was here.
    pub fn forget(&mut self, lost: &SortedSet<Key>) -> usize {
        let before = self.len();
        for entries in self.channels.values_mut() {
            entries.retain(|entry| !lost.contains(&entry.key));
        }
        let taken = before - self.len();
        self.version += taken as u64;
        taken
    }

    /// Changes how much is kept; [`Log::prune`] carries it out.
    pub const fn set_retention(&mut self, retention: Retention) {
        self.retention = retention;
    }

    /// How much is kept.
    #[must_use]
    pub const fn retention(&self) -> Retention {
        self.retention
    }

    /// Chat messages of others after `read`, and those of before that came `late` and are still kept.
    #[must_use]
    pub fn unread(&self, channel: &ChannelId, read: Option<Key>, late: &[(ChannelId, Key)]) -> u32 {
        let Some(entries) = self.channels.get(channel) else { return 0 };
        let from = read.map_or(0, |read| entries.partition_point(|entry| entry.key <= read));
        let count = entries[from..].iter().filter(|entry| entry.chat && entry.author != self.me).count();
        let kept = |key: &Key| entries.binary_search_by_key(key, |entry| entry.key).is_ok();
        let late = late.iter().filter(|(of, key)| of == channel && kept(key)).count();
        u32::try_from(count + late).unwrap_or(u32::MAX)
    }

    /// Of some envelopes of a channel people see no message: they are not unread.
    pub fn show_nothing(&mut self, channel: &ChannelId, keys: &SortedSet<Key>) -> bool {
        let Some(entries) = self.channels.get_mut(channel) else { return false };
        let mut changed = false;
        for entry in entries.iter_mut().filter(|entry| entry.chat && keys.contains(&entry.key)) {
            (entry.chat, changed) = (false, true);
        }
        changed
    }

    /// The oldest that is kept, by channel.
    #[must_use]
    pub fn beginnings(&self) -> Vec<(ChannelId, Key)> {
        let first = self.channels.iter().map(|(channel, entries)| Some((*channel, entries.first()?.key)));
        first.flatten().collect()
    }

    /// Where the page of a channel begins that has at most `limit` envelopes and ends before `before`, and whether nothing
    /// is before that.
    #[must_use]
    pub fn page(&self, channel: &ChannelId, before: Option<Key>, limit: usize) -> Option<(Key, bool)> {
        let entries = self.channels.get(channel)?;
        let end = before.map_or(entries.len(), |before| entries.partition_point(|entry| entry.key < before));
        entries.get(end.saturating_sub(limit)).map(|entry| (entry.key, end <= limit))
    }

    /// Whether an envelope of a channel and an author is here.
    #[must_use]
    pub fn holds(&self, channel: &ChannelId, key: &Key, author: &NodeId) -> bool {
        let Some(entries) = self.channels.get(channel) else { return false };
        let at = entries.binary_search_by_key(key, |entry| entry.key);
        at.is_ok_and(|at| entries[at].author == *author)
    }

    /// Those of some ids that one envelope which is here has, and no other.
    #[must_use]
    pub fn only(&self, ids: &SortedSet<MsgId>) -> SortedSet<MsgId> {
        let (mut once, mut again) = (SortedSet::new(), SortedSet::new());
        // Most often there are none, and the log is long.
        if ids.is_empty() {
            return once;
        }
        for id in self.channels.values().flatten().map(|entry| entry.key.id).filter(|id| ids.contains(id)) {
            if !once.insert(id) {
                again.insert(id);
            }
        }
        once.retain(|id| !again.contains(id));
        once
    }

    /// The newest envelopes of this device's own, at most so many.
    #[must_use]
    pub fn newest_own(&self, most: usize) -> Vec<Key> {
        let own = self.channels.values().flatten().filter(|entry| entry.author == self.me);
        let mut keys: Vec<Key> = own.map(|entry| entry.key).collect();
        keys.sort_unstable();
        keys.split_off(keys.len().saturating_sub(most))
    }

    /// When each author sealed the newest of what is kept of theirs, by their own clocks.
    #[must_use]
    pub fn last_written(&self) -> SortedMap<NodeId, u64> {
        let mut last = SortedMap::new();
        for entry in self.channels.values().flatten() {
            let ts = last.entry(entry.author).or_insert(0);
            *ts = entry.key.ts.max(*ts);
        }
        last
    }

    /// The channel that holds an envelope.
    #[must_use]
    pub fn channel_of(&self, key: &Key) -> Option<ChannelId> {
        let holds = |entries: &Vec<Entry>| entries.binary_search_by_key(key, |entry| entry.key).is_ok();
        self.channels.iter().find(|(_, entries)| holds(entries)).map(|(id, _)| *id)
    }

    /// Grows with every change: tells whether the set is still the one it was.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// What this log keeps, for a peer that is to be offered no less.
    #[must_use]
    pub fn window(&self, wall: u64) -> Window {
        let full = |(channel, entries): (&ChannelId, &Vec<Entry>)| {
            let full = *channel != self.control && entries.len() >= self.retention.messages as usize;
            Some((*channel, entries.first().filter(|_| full)?.key.ts))
        };
        let floors = self.channels.iter().filter_map(full).take(MAX_CHANNELS).collect();
        Window { horizon: self.horizon(wall), floors }
    }

    /// What is within a window, channel by channel.
    pub fn within<'a>(&'a self, window: &'a Window) -> impl Iterator<Item = sync::Entry> + 'a {
        self.channels.iter().flat_map(move |(channel, entries)| {
            let floors = window.floors.iter().filter(|(of, _)| of == channel).map(|(_, ts)| *ts);
            let horizon = if *channel == self.control { 0 } else { window.horizon };
            let from = floors.fold(horizon, u64::max);
            let start = entries.partition_point(|entry| entry.key.ts < from);
            entries[start..].iter().map(|entry| sync::Entry { key: entry.key, author: entry.author })
        })
    }

    /// A window with the newer half of the chat that is within another, and how much is within it; none if it is not less.
    pub fn newer_half(&self, window: &Window) -> Option<(Window, u64)> {
        let chat = |(channel, _): &(&ChannelId, _)| **channel != self.control;
        let mut times: Vec<u64> = Vec::new();
        for entries in self.channels.iter().filter(chat).map(|(_, entries)| entries) {
            times.extend(entries.iter().map(|entry| entry.key.ts).filter(|ts| *ts >= window.horizon));
        }
        times.sort_unstable();
        let horizon = *times.get(times.len() / 2)?;
        let newer = Window { horizon, floors: window.floors.clone() };
        let count = self.within(&newer).count();
        (count < self.within(window).count()).then_some((newer, count as u64))
    }

    /// Envelopes kept, in all channels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channels.values().map(Vec::len).sum()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The largest clock value among the envelopes kept.
    #[must_use]
    pub fn latest_ts(&self) -> u64 {
        self.channels
            .values()
            .filter_map(|entries| entries.last())
            .map(|entry| entry.key.ts)
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        envelope::{Draft, seal_with},
        ids::CircleId,
        keys::{MessageKey, NodeKey},
        redact::Secret,
    };

    const CONTROL: ChannelId = ChannelId([0; 16]);
    const WALL: u64 = 1_800_000_000_000;

    fn envelope(ts: u64, id: u8, channel: ChannelId, author: u8) -> Verified {
        let author = NodeKey::from_seed(Secret::new([author; 32]));
        let (circle_id, created_ts) = (CircleId([1; 16]), WALL - 1_000 + ts);
        let draft = Draft {
            circle_id,
            channel_id: channel,
            created_ts,
            kind: "chat.text",
            key_id: "epoch-0",
            body: b"x",
        };
        seal_with(draft, &MessageKey::from_bytes([2; 32]), &author, MsgId([id; 16]), [id; 12]).unwrap()
    }

    fn merged(envelopes: &[Verified], messages: u32) -> Log {
        let mut log = Log::new(NodeId([0; 32]), CONTROL, Retention { messages, days: 30 });
        for envelope in envelopes {
            log.merge(envelope, true, WALL, WALL);
            log.prune(WALL);
        }
        log
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn merging_is_commutative_associative_and_idempotent(
            drawn in prop::collection::vec((0..20_u64, any::<u8>()), 1..30),
            messages in 1..12_u32,
            at in any::<prop::sample::Index>(),
        ) {
            // A place is in one channel only.
            let channel = |id: u8| ChannelId([id % 2 + 1; 16]);
            let mut envelopes: Vec<Verified> =
                drawn.iter().map(|(ts, id)| envelope(*ts, *id, channel(*id), 9)).collect();
            let one_way = merged(&envelopes, messages);
            envelopes.extend_from_within(..);
            let at = at.index(envelopes.len());
            envelopes.rotate_left(at);
            envelopes.reverse();
            prop_assert_eq!(merged(&envelopes, messages).channels, one_way.channels);
        }
    }

    #[test]
    fn clocks_and_ages_out_of_bounds_are_refused() {
        let mut log = merged(&[], 10);
        let channel = ChannelId([1; 16]);
        assert_eq!(
            log.merge(&envelope(1_000 + MAX_FUTURE_MS + 1, 1, channel, 9), true, WALL, WALL),
            Merge::FromTheFuture
        );
        assert_eq!(log.merge(&envelope(1_000 + MAX_FUTURE_MS, 1, channel, 9), true, WALL, WALL), Merge::New);
        let much_later = WALL + 31 * 24 * 60 * 60 * 1000;
        assert_eq!(log.merge(&envelope(0, 2, channel, 9), true, much_later, much_later), Merge::Expired);
        assert_eq!(
            log.merge(&envelope(0, 2, CONTROL, 9), true, much_later, much_later),
            Merge::New,
            "control events do not age"
        );
    }

    #[test]
    fn a_place_is_one_envelopes_whatever_channel_another_claims_it_in() {
        let mut log = merged(&[envelope(1, 1, ChannelId([1; 16]), 9)], 10);
        assert_eq!(log.merge(&envelope(1, 1, ChannelId([2; 16]), 8), true, WALL, WALL), Merge::Copied);
        assert_eq!(log.merge(&envelope(1, 1, CONTROL, 8), true, WALL, WALL), Merge::Copied);
        assert_eq!(log.merge(&envelope(1, 1, ChannelId([1; 16]), 8), true, WALL, WALL), Merge::Copied);
        assert_eq!(log.merge(&envelope(1, 1, ChannelId([1; 16]), 9), true, WALL, WALL), Merge::Known);
        assert_eq!(log.len(), 1);
        let asked = SortedSet::from([1, 2, 3].map(|id| MsgId([id; 16])));
        log.merge(&envelope(3, 3, ChannelId([2; 16]), 8), true, WALL, WALL);
        assert_eq!(log.only(&asked), SortedSet::from([1, 3].map(|id| MsgId([id; 16]))));
        log.merge(&envelope(2, 1, ChannelId([1; 16]), 8), true, WALL, WALL);
        assert_eq!(log.only(&asked), SortedSet::from([MsgId([3; 16])]), "in another place");
        log = merged(&[envelope(1, 1, ChannelId([1; 16]), 9)], 10);
        assert_eq!(log.channels.len(), 1, "nor is anything kept of a channel that nothing is kept in");
    }

    #[test]
    fn pages_begin_where_as_many_envelopes_are_left() {
        let channel = ChannelId([1; 16]);
        let envelopes: Vec<_> = (1..=5_u8).map(|n| envelope(n.into(), n, channel, 9)).collect();
        let log = merged(&envelopes, 10);
        let key = |n: u8| Key { ts: WALL - 1_000 + u64::from(n), id: MsgId([n; 16]) };
        for (before, limit, page) in [
            (None, 2, Some((key(4), false))),
            (Some(key(4)), 2, Some((key(2), false))),
            (Some(key(2)), 2, Some((key(1), true))),
            (None, 5, Some((key(1), true))),
            (None, 9, Some((key(1), true))),
        ] {
            assert_eq!(log.page(&channel, before, limit), page, "{limit} before {before:?}");
        }
        assert_eq!(log.page(&ChannelId([7; 16]), None, 2), None);
    }

    #[test]
    fn unread_counts_others_chat_after_the_marker() {
        let me = NodeKey::from_seed(Secret::new([9; 32])).id();
        let channel = ChannelId([1; 16]);
        let mut log = Log::new(me, CONTROL, Retention { messages: 10, days: 30 });
        for (ts, author) in [(1, 8), (2, 9), (3, 8), (4, 8)] {
            log.merge(&envelope(ts, ts as u8, channel, author), true, WALL, WALL);
        }
        let key = |n: u8| Key { ts: WALL - 1_000 + u64::from(n), id: MsgId([n; 16]) };
        assert_eq!(log.unread(&channel, None, &[]), 3);
        assert_eq!(log.unread(&channel, Some(key(3)), &[]), 1);
        let late = [(channel, key(1)), (channel, key(0)), (CONTROL, key(1))];
        assert_eq!(log.unread(&channel, Some(key(3)), &late), 2, "what is not kept is not unread");
    }
}
