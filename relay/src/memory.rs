//! Memory that requests and answers take while they are read or written, bounded in all and for each address.
//!
//! A body counts as it arrives and until the disk has what is in it, an answer until the last of it is handed to the
//! connection, so that neither a slow disk nor senders or readers that stop halfway can take the machine's memory. What
//! does not fit is refused at once and may be tried again.

use std::{
    collections::HashMap,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use felund_core::ids::NodeId;

use crate::{
    error::ApiError,
    limits::{Payer, network},
};

/// Bytes for all callers together.
const TOTAL: usize = 256 * 1024 * 1024;
/// Bytes for one address (an IPv6 /64 counts as one). This machine's own programs share in the whole: a proxy is among them.
const SHARE: usize = 32 * 1024 * 1024;
/// An answer is handed to the connection in pieces of this size; what it has not asked for is still held.
const PIECE: usize = 32 * 1024;

#[derive(Debug, Default)]
struct Used {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// What is in use.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Used>);

/// What one request takes, until it is dropped.
#[derive(Debug)]
pub(crate) struct Buffered {
    memory: Arc<Memory>,
    address: IpAddr,
    /// Of this machine.
    own: bool,
    bytes: usize,
}

impl Memory {
    /// Nothing yet, of an address.
    pub(crate) fn hold(self: &Arc<Self>, address: IpAddr) -> Buffered {
        // `::1` is in a /64 of its own, whose first address is no loopback one.
        let own = address.to_canonical().is_loopback();
        Buffered { memory: self.clone(), address: network(address), own, bytes: 0 }
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffered {
    /// Who answers for a request of a device that came from this address.
    pub(crate) fn payer(&self, node: NodeId) -> Payer {
        if self.own { Payer::Node(node) } else { Payer::Address(self.address) }
    }

    /// So much beside it, of the same address.
    pub(crate) fn more(&self, bytes: usize) -> Result<Self, ApiError> {
        let &Self { ref memory, address, own, .. } = self;
        let mut more = Self { memory: memory.clone(), address, own, bytes: 0 };
        more.grow(bytes)?;
        Ok(more)
    }

    /// Takes more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        let mut used = self.memory.used();
        let share = used.by_address.get(&self.address).copied().unwrap_or(0) + bytes;
        let fair = share <= SHARE || self.own;
        if !fair || used.total + bytes > TOTAL {
            return Err(ApiError::unavailable(
                "the relay has no memory left for this; nothing was done, try again later",
            ));
        }
        used.total += bytes;
        used.by_address.insert(self.address, share);
        drop(used);
        self.bytes += bytes;
        Ok(())
    }

    /// Takes so much in all, be it less than before.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), ApiError> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.grow(more),
            None => {
                self.give_back(self.bytes - bytes);
                Ok(())
            }
        }
    }

    fn give_back(&mut self, bytes: usize) {
        self.bytes -= bytes;
        let mut used = self.memory.used();
        used.total -= bytes;
        if let Some(share) = used.by_address.get_mut(&self.address) {
            *share -= bytes;
            if *share == 0 {
                used.by_address.remove(&self.address);
            }
        }
    }

    /// An answer's body, which is held until the connection has taken it.
    pub(crate) fn body(mut self, bytes: Vec<u8>) -> Result<Body, ApiError> {
        self.grow(bytes.len())?;
        Ok(Body::new(Answer { left: bytes.into(), _held: self }))
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

struct Answer {
    left: Bytes,
    _held: Buffered,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let piece = self.left.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_takes_no_more_than_its_share_and_all_no_more_than_there_is() {
        let memory = Arc::new(Memory::default());
        let address = |n: u8| IpAddr::from([192, 0, 2, n]);
        let mut held: Vec<Buffered> = (1..=8).map(|n| memory.hold(address(n))).collect();
        for held in &mut held {
            held.grow(SHARE).unwrap();
            assert!(held.grow(1).is_err());
        }
        assert!(memory.hold(address(9)).grow(1).is_err(), "nothing is left");
        held[0].resize(1).unwrap();
        memory.hold(address(9)).grow(SHARE - 1).unwrap();
        held.remove(0);
        memory.hold(address(9)).grow(SHARE).unwrap();
        drop(held);
        let used = memory.used();
        assert_eq!((used.total, used.by_address.len()), (0, 0), "all of it was given back");
        drop(used);
        for proxy in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            memory.hold(proxy.parse().unwrap()).grow(SHARE + 1).unwrap();
        }
    }

    #[test]
    fn an_address_answers_for_its_devices_and_those_behind_a_proxy_for_themselves() {
        let memory = Arc::new(Memory::default());
        let payer = |address: &str, node| memory.hold(address.parse().unwrap()).payer(NodeId([node; 32]));
        assert_eq!(payer("192.0.2.1", 1), payer("192.0.2.1", 2));
        assert_eq!(payer("2001:db8::1", 1), payer("2001:db8::2", 2), "a household is one address");
        assert_ne!(payer("192.0.2.1", 1), payer("192.0.2.2", 1));
        assert_ne!(payer("127.0.0.1", 1), payer("127.0.0.1", 2));
    }
}
