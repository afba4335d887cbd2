//! Rate limits per address and per authenticated node.
//!
//! An IPv6 caller is its /64: a household has that many addresses for free.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
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
/// Questions to the STUN server per second and address: a device asks a few for each connection.
const RATE_STUN: u32 = 20;
/// The burst is never smaller than one full batch.
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

    fn forget_idle(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
        }
    }
}

pub(crate) struct Limits {
    address: Limiter<IpAddr>,
    node: Limiter<NodeId>,
    signal: Limiter<NodeId>,
    stun: Limiter<IpAddr>,
}

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            address: Limiter::new(config.rate_address, 1),
            node: Limiter::new(config.rate_node, MIN_BURST),
            signal: Limiter::new(config.rate_signal, 1),
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

    /// Frees what is held for callers that have been quiet; call now and then.
    pub(crate) fn forget_idle(&self) {
        self.address.forget_idle();
        self.node.forget_idle();
        self.signal.forget_idle();
        self.stun.forget_idle();
    }
}

fn network(address: IpAddr) -> IpAddr {
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
    fn a_full_batch_passes_and_the_next_must_wait() {
        let limiter = Limiter::new(10, MIN_BURST);
        assert!(limiter.check(&1, 256).is_ok());
        let refused = limiter.check(&1, 256).unwrap_err();
        assert!(refused.retry_after.unwrap() > Duration::from_secs(20));
        assert!(limiter.check(&2, 1).is_ok(), "another caller is not concerned");
    }
}
