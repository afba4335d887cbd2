//! The log of a circle: a set of envelopes in one total order, what is new, and what is too old to keep.
//!
//! Only places are held in memory; the envelopes stay sealed in storage. Merging is commutative, associative and
//! idempotent up to retention, which depends on the kept set alone.

mod clock;
mod retention;

use std::collections::BTreeMap;

pub use clock::Clock;
pub use retention::{horizon, overflow};

use crate::{
    config::{MAX_FUTURE_MS, RETENTION_CONTROL},
    envelope::Verified,
    ids::{ChannelId, NodeId},
    store::IndexRow,
    view::{Key, Retention},
};

/// One envelope's place and what counting needs to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    key: Key,
    chat: bool,
    mine: bool,
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
}

/// The places of all envelopes a circle keeps.
#[derive(Debug)]
pub struct Log {
    me: NodeId,
    control: ChannelId,
    retention: Retention,
    channels: BTreeMap<ChannelId, Vec<Entry>>,
}

impl Log {
    /// An empty log.
    #[must_use]
    pub const fn new(me: NodeId, control: ChannelId, retention: Retention) -> Self {
        Self { me, control, retention, channels: BTreeMap::new() }
    }

    /// Takes in what storage says is there, in ascending order.
    pub fn restore(&mut self, rows: &[IndexRow]) {
        for row in rows {
            let entry = Entry { key: row.key, chat: row.chat, mine: row.author == self.me };
            self.channels.entry(row.channel).or_default().push(entry);
        }
    }

    /// Offers a verified envelope. `wall` is unix milliseconds.
    pub fn merge(&mut self, verified: &Verified, wall: u64) -> Merge {
        let header = verified.header();
        let key = Key { ts: header.created_ts, id: header.msg_id };
        if key.ts > wall.saturating_add(MAX_FUTURE_MS) {
            return Merge::FromTheFuture;
        }
        let control = header.channel_id == self.control;
        let entries = self.channels.entry(header.channel_id).or_default();
        match entries.binary_search_by_key(&key, |entry| entry.key) {
            Ok(_) => Merge::Known,
            Err(_) if !control && key.ts < horizon(self.retention, wall) => Merge::Expired,
            Err(0) if !control && entries.len() >= self.retention.messages as usize => Merge::Expired,
            Err(at) => {
                let mine = header.author_node_id == self.me;
                entries.insert(at, Entry { key, chat: header.kind == "chat.text", mine });
                Merge::New
            }
        }
    }

    /// Takes out what the circle no longer keeps: per channel the keys to delete, in ascending order.
    pub fn prune(&mut self, wall: u64) -> Vec<(ChannelId, Vec<Key>)> {
        let (retention, control) = (self.retention, self.control);
        let mut pruned = Vec::new();
        for (channel, entries) in &mut self.channels {
            let cut = if *channel == control {
                entries.len().saturating_sub(RETENTION_CONTROL)
            } else {
                overflow(entries.iter().map(|entry| entry.key.ts), entries.len(), retention, wall)
            };
            if cut > 0 {
                pruned.push((*channel, entries.drain(..cut).map(|entry| entry.key).collect()));
            }
        }
        pruned
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

    /// Chat messages of others after `read`.
    #[must_use]
    pub fn unread(&self, channel: &ChannelId, read: Option<Key>) -> u32 {
        let Some(entries) = self.channels.get(channel) else { return 0 };
        let from = read.map_or(0, |read| entries.partition_point(|entry| entry.key <= read));
        let count = entries[from..].iter().filter(|entry| entry.chat && !entry.mine).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The channel that holds an envelope.
    #[must_use]
    pub fn channel_of(&self, key: &Key) -> Option<ChannelId> {
        let holds = |entries: &Vec<Entry>| entries.binary_search_by_key(key, |entry| entry.key).is_ok();
        self.channels.iter().find(|(_, entries)| holds(entries)).map(|(id, _)| *id)
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
