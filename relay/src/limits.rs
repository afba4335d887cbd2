//! Rate limits per address and per authenticated node, and connections held by one address.
//!
//! An IPv6 caller is its /64: a household has that many addresses for free.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use felund_core::ids::NodeId;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::DefaultKeyedStateStore,
};

use crate::{config::Config, error::ApiError, metrics::METRICS};

/// A burst may be this many seconds' worth: a client that comes back sends its outbox at once.
const BURST_S: u32 = 10;
/// New circles per second and address, and at once: a circle stays for a day, though nobody writes in it.
const RATE_CIRCLES: u32 = 1;
const BURST_CIRCLES: u32 = 64;
/// Questions to the STUN server per second and address: a device asks a few for each connection.
const RATE_STUN: u32 = 20;
/// A node's burst is never smaller than one full batch, which could not be posted otherwise.
const MIN_BURST: u32 = 256;

struct Limiter<K: Hash + Eq + Clone> {
    limiter: Option<RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock>>,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    fn new(per_second: u32, min_burst: u32) -> Self {
        let limiter = NonZeroU32::new(per_second).map(|rate| {
            let burst = rate.saturating_mul(NonZeroU32::new(BURST_S).unwrap_or(rate));
            let burst = burst.max(NonZeroU32::new(min_burst).unwrap_or(burst));
            RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst))
        });
        Self { limiter }
    }

    fn check(&self, key: &K, n: usize) -> Result<(), ApiError> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let Some(n) = u32::try_from(n).ok().and_then(NonZeroU32::new) else { return Ok(()) };
        let wait = match limiter.check_key_n(key, n) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(not_until)) => not_until.wait_time_from(DefaultClock::default().now()),
            Err(_) => Duration::from_secs(u64::from(BURST_S)),
        };
        METRICS.rate_limited.add(1);
        Err(ApiError::rate_limited(wait))
    }

    fn forget_idle(&self, above: usize) {
        if let Some(limiter) = self.limiter.as_ref().filter(|limiter| limiter.len() > above) {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

pub(crate) struct Limits {
    address: Limiter<IpAddr>,
    node: Limiter<NodeId>,
    signal: Limiter<NodeId>,
    circle: Limiter<IpAddr>,
    stun: Limiter<IpAddr>,
}

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            address: Limiter::new(config.rate_address, 1),
            node: Limiter::new(config.rate_node, MIN_BURST),
            signal: Limiter::new(config.rate_signal, 1),
            circle: Limiter::new(config.rate_address.min(RATE_CIRCLES), BURST_CIRCLES),
            stun: Limiter::new(RATE_STUN, 1),
        }
    }

    /// One request from an address.
    pub(crate) fn address(&self, address: IpAddr) -> Result<(), ApiError> {
        self.address.check(&network(address), 1)
    }

    /// `n` requests or envelopes of a node.
    pub(crate) fn node(&self, node: &NodeId, n: usize) -> Result<(), ApiError> {
        self.node.check(node, n)
    }

    /// One signaling message of a node.
    pub(crate) fn signal(&self, node: &NodeId) -> Result<(), ApiError> {
        self.signal.check(node, 1)
    }

    /// One question to the STUN server.
    pub(crate) fn stun(&self, address: IpAddr) -> Result<(), ApiError> {
        self.stun.check(&network(address), 1)
    }

    /// One circle that nobody has registered before. This machine's own programs are not counted: a proxy is among them.
    pub(crate) fn circle(&self, address: IpAddr) -> Result<(), ApiError> {
        if address.to_canonical().is_loopback() { Ok(()) } else { self.circle.check(&network(address), 1) }
    }

    /// Frees what is held for callers that have been quiet, where it is for more than so many; call now and then.
    pub(crate) fn forget_idle(&self, above: usize) {
        self.address.forget_idle(above);
        self.node.forget_idle(above);
        self.signal.forget_idle(above);
        self.circle.forget_idle(above);
        self.stun.forget_idle(above);
    }
}

/// Who answers for what a request costs: its address or, of this machine's own programs, a proxy among them, its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Payer {
    Address(IpAddr),
    Node(NodeId),
}

/// How many connections each address holds, so that none can take them all.
#[derive(Debug)]
pub(crate) struct Connections {
    /// 0 is no limit.
    most: usize,
    held: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    connections: Arc<Connections>,
    /// None if it is not counted.
    network: Option<IpAddr>,
}

impl Connections {
    /// Behind a proxy all connections are the proxy's, and it is the one to limit them.
    pub(crate) fn new(config: &Config) -> Arc<Self> {
        let most = if config.trust_forwarded_for { 0 } else { config.connections_per_address };
        Arc::new(Self { most, held: Mutex::default() })
    }

    /// One more of an address; nothing if it holds its share. This machine's own programs are not counted: a proxy is
    /// among them.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Held> {
        let address = address.to_canonical();
        if self.most == 0 || address.is_loopback() {
            return Some(Held { connections: self.clone(), network: None });
        }
        let network = network(address);
        let mut held = self.held();
        let count = held.entry(network).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(held);
        Some(Held { connections: self.clone(), network: Some(network) })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(network) = self.network else { return };
        let mut held = self.connections.held();
        if let Some(count) = held.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                held.remove(&network);
            }
        }
    }
}

/// An address, or the household it stands for.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_household_is_one_caller() {
        let a: IpAddr = "2001:db8:1:2::1".parse().unwrap();
        let b: IpAddr = "2001:db8:1:2:ffff::9".parse().unwrap();
        let other: IpAddr = "2001:db8:1:3::1".parse().unwrap();
        assert_eq!(network(a), network(b));
        assert_ne!(network(a), network(other));
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), network("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn an_address_holds_its_share_of_connections_and_gets_it_back() {
        let connections = Arc::new(Connections { most: 2, held: Mutex::default() });
        let admit = |address: &str| connections.admit(address.parse().unwrap());
        let (first, _second) = (admit("2001:db8:1:2::1").unwrap(), admit("2001:db8:1:2::2").unwrap());
        assert!(admit("2001:db8:1:2::3").is_none(), "a household is one address");
        assert!(
            admit("2001:db8:1:3::1").is_some() && admit("192.0.2.1").is_some(),
            "others are not concerned"
        );
        drop(first);
        assert!(admit("2001:db8:1:2::3").is_some());
        let proxied: Vec<_> = (0..10).map(|_| admit("::ffff:127.0.0.1")).collect();
        assert!(proxied.iter().all(Option::is_some), "a proxy on this machine");
        drop(proxied);
        assert_eq!(connections.held().len(), 1, "nothing is kept of who has gone");
    }

    #[test]
    fn bursts_are_ten_seconds_worth_and_of_a_device_at_least_a_full_batch() {
        let burst = |per_second, min_burst| {
            let limiter = Limiter::new(per_second, min_burst);
            // What takes long may get one or two more.
            (0..).take_while(|_| limiter.check(&1, 1).is_ok()).count()
        };
        assert!((20..25).contains(&burst(2, 1)));
        assert!((256..261).contains(&burst(2, MIN_BURST)));
        assert!((400..440).contains(&burst(40, MIN_BURST)));
    }

    #[test]
    fn a_full_batch_passes_and_the_next_must_wait() {
        let limiter = Limiter::new(10, MIN_BURST);
        assert!(limiter.check(&1, 256).is_ok());
        let refused = limiter.check(&1, 256).unwrap_err();
        assert!(refused.retry_after.unwrap() > Duration::from_secs(20));
        assert!(limiter.check(&2, 1).is_ok(), "another caller is not concerned");
    }
}
