//! The storage contract: what drivers keep for the node, and the suite every implementation passes.
//!
//! Two tables. *Records* are small values by text key, already sealed by the node where they hold anything
//! private. *Envelopes* are rows in the total order of their circle. A [`Batch`] is all or nothing and durable
//! once committed. Implementations interpret nothing but the fields named here.

#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod memory;

use std::fmt;

pub use memory::MemoryStore;

use crate::{
    ids::{ChannelId, CircleId, NodeId},
    view::Key,
};

/// The record of the device's key, open or under a passphrase. As far as a platform can, nothing that was in it before is left
/// once it holds something else.
pub const IDENTITY: &str = "identity";

/// Whether what [`IDENTITY`] holds is the key as it is, under no passphrase.
#[must_use]
pub fn is_open(identity: &[u8]) -> bool {
    identity.starts_with(&[0x82, 0])
}

/// One envelope at rest: cleartext headers for the index, sealed bytes for the rest.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// Which circle.
    pub circle: CircleId,
    /// Place in the circle's order; (circle, key) is unique.
    pub key: Key,
    /// Which channel.
    pub channel: ChannelId,
    /// Who sealed it.
    pub author: NodeId,
    /// Whether it is a chat message, as opposed to a control event.
    pub chat: bool,
    /// The envelope's CBOR.
    pub sealed: Vec<u8>,
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row({:?} {:?}, {} bytes)", self.circle, self.key, self.sealed.len())
    }
}

/// One row of the index: everything of a [`Row`] but the sealed bytes and the circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexRow {
    /// Place in the circle's order.
    pub key: Key,
    /// Which channel.
    pub channel: ChannelId,
    /// Who sealed it.
    pub author: NodeId,
    /// Whether it is a chat message.
    pub chat: bool,
    /// Bytes of the sealed envelope; 0 where the platform cannot tell without reading it, and so does not anchor.
    pub size: u32,
}

/// One step of a batch.
#[derive(Clone, PartialEq, Eq)]
pub enum Op {
    /// Sets a record.
    PutRecord(String, Vec<u8>),
    /// Removes a record; absent is fine.
    DeleteRecord(String),
    /// Adds an envelope; one that is there already stays as it is.
    PutEnvelope(Row),
    /// Removes envelopes; absent ones are fine.
    DeleteEnvelopes(CircleId, Vec<Key>),
    /// Removes every envelope of a circle.
    DeleteCircle(CircleId),
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PutRecord(key, value) => write!(f, "PutRecord({key}, {} bytes)", value.len()),
            Self::DeleteRecord(key) => write!(f, "DeleteRecord({key})"),
            Self::PutEnvelope(row) => write!(f, "PutEnvelope({row:?})"),
            Self::DeleteEnvelopes(circle, keys) => write!(f, "DeleteEnvelopes({circle:?}, {})", keys.len()),
            Self::DeleteCircle(circle) => write!(f, "DeleteCircle({circle:?})"),
        }
    }
}

/// Writes that belong together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// In order.
    pub ops: Vec<Op>,
    /// Whether the user was or will be told something that depends on it (own messages, keys): it must then
    /// survive power loss. Others may be lost with the last second before it; peers have them.
    pub strict: bool,
}

/// A read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Every record, by key.
    Records,
    /// The index of a circle, in ascending order.
    Index(CircleId),
    /// Envelopes of a channel, in descending order. The node knows the index, and so where a page begins.
    Channel {
        /// Which circle.
        circle: CircleId,
        /// Which channel.
        channel: ChannelId,
        /// Only rows from this one on.
        from: Option<Key>,
        /// Only rows before this one.
        before: Option<Key>,
    },
    /// Certain envelopes, in the order asked for, absent ones left out.
    Envelopes(CircleId, Vec<Key>),
}

/// The answer to a [`Query`] of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// To [`Query::Records`].
    Records(Vec<(String, Vec<u8>)>),
    /// To [`Query::Index`].
    Index(Vec<IndexRow>),
    /// To [`Query::Channel`] and [`Query::Envelopes`]: key and sealed bytes.
    Envelopes(Vec<(Key, Vec<u8>)>),
}

/// What an implementation can do. Errors are texts for people: what failed, and whether anything was lost.
#[allow(async_fn_in_trait, reason = "drivers are single-threaded or know their futures")]
pub trait Store {
    /// Writes everything or nothing; durable when it returns.
    async fn commit(&mut self, batch: Batch) -> Result<(), String>;
    /// Reads, seeing everything committed before.
    async fn load(&mut self, query: Query) -> Result<Loaded, String>;
}
