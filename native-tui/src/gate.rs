//! Who may come in: bounds on accepted connections by the address they come from, before anything is read from them.
//!
//! A connection is a stranger's until its handshake has proved who is there. Strangers have few places, an address fewer,
//! and new ones are let in at a bounded rate; who is over a bound is closed at once. Proven connections keep their
//! places, whatever knocks.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use felund_core::config::{MAX_DIRECT, MAX_DIRECT_ANCHOR, MAX_HANDSHAKES};

/// Strangers at once from one address: several members behind one router, each trying again.
const STRANGERS_PER_ADDRESS: usize = 8;
/// Connections that one address may open at once, and how many a second after that.
const ADDRESS_RATE: Rate = Rate { burst: 32, per_second: 8 };
/// The same for all addresses together: what a handshake costs, about a tenth of a millisecond, times this is little.
const TOTAL_RATE: Rate = Rate { burst: 256, per_second: 128 };
/// Addresses remembered at once; beyond that those that have long been quiet are forgotten, then no new ones come in.
const ADDRESSES: usize = 1_024;

#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: u32,
    per_second: u32,
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self { tokens: f64::from(rate.burst), at: now }
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * f64::from(rate.per_second)).min(f64::from(rate.burst));
        self.at = now;
    }

    fn take(&mut self, rate: Rate, now: Instant) -> bool {
        self.fill(rate, now);
        let some = self.tokens >= 1.0;
        if some {
            self.tokens -= 1.0;
        }
        some
    }
}

#[derive(Debug)]
struct Address {
    strangers: usize,
    proven: usize,
    bucket: Bucket,
}

#[derive(Debug)]
struct State {
    /// Connections at once from one address, proven ones included: half of all, so that none can take every place.
    per_address: usize,
    addresses: HashMap<IpAddr, Address>,
    strangers: usize,
    bucket: Bucket,
    turned_away: u64,
}

/// The gate before a listener. Clones are of one gate.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Mutex<State>>);

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    gate: Gate,
    address: IpAddr,
    proven: bool,
}

/// What counts as one address: of IPv6 a /64, which is what one household or host gets.
fn group(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Gate {
    /// An anchor has more places.
    pub(crate) fn new(anchor: bool, now: Instant) -> Self {
        let bucket = Bucket::full(TOTAL_RATE, now);
        let per_address = if anchor { MAX_DIRECT_ANCHOR } else { MAX_DIRECT } / 2;
        let state = State { per_address, addresses: HashMap::new(), strangers: 0, bucket, turned_away: 0 };
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for somebody from this address, if there is one.
    pub(crate) fn admit(&self, from: IpAddr, now: Instant) -> Option<Place> {
        let address = group(from);
        let admitted = self.state().admit(address, now);
        admitted.then(|| Place { gate: self.clone(), address, proven: false })
    }

    /// How many were turned away since this was last asked.
    pub(crate) fn turned_away(&self) -> u64 {
        std::mem::take(&mut self.state().turned_away)
    }
}

impl State {
    fn admit(&mut self, from: IpAddr, now: Instant) -> bool {
        let admitted = self.has_place(from, now);
        if admitted {
            self.strangers += 1;
        } else {
            self.turned_away = self.turned_away.saturating_add(1);
        }
        admitted
    }

    fn has_place(&mut self, from: IpAddr, now: Instant) -> bool {
        if self.strangers >= MAX_HANDSHAKES {
            return false;
        }
        if self.addresses.len() >= ADDRESSES && !self.addresses.contains_key(&from) {
            let full = Duration::from_secs(u64::from(ADDRESS_RATE.burst / ADDRESS_RATE.per_second));
            self.addresses.retain(|_, address| {
                address.strangers + address.proven > 0
                    || now.saturating_duration_since(address.bucket.at) < full
            });
            if self.addresses.len() >= ADDRESSES {
                return false;
            }
        }
        let fresh = || Address { strangers: 0, proven: 0, bucket: Bucket::full(ADDRESS_RATE, now) };
        let address = self.addresses.entry(from).or_insert_with(fresh);
        let room = address.strangers < STRANGERS_PER_ADDRESS
            && address.strangers + address.proven < self.per_address;
        // An address that is over its own bounds uses up nothing of everybody's.
        let admitted = room && address.bucket.take(ADDRESS_RATE, now) && self.bucket.take(TOTAL_RATE, now);
        if admitted {
            address.strangers += 1;
        }
        admitted
    }

    fn release(&mut self, from: IpAddr, proven: bool) {
        if !proven {
            self.strangers = self.strangers.saturating_sub(1);
        }
        if let Some(address) = self.addresses.get_mut(&from) {
            let count = if proven { &mut address.proven } else { &mut address.strangers };
            *count = count.saturating_sub(1);
        }
    }
}

impl Place {
    /// The handshake is over: this is no stranger any more.
    pub(crate) fn prove(&mut self) {
        if !std::mem::replace(&mut self.proven, true) {
            let mut state = self.gate.state();
            state.release(self.address, false);
            if let Some(address) = state.addresses.get_mut(&self.address) {
                address.proven += 1;
            }
        }
    }

    pub(crate) const fn is_proven(&self) -> bool {
        self.proven
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.state().release(self.address, self.proven);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from(0x0a00_0000 + last))
    }

    #[test]
    fn an_address_has_few_places_until_it_proves_who_it_is() {
        let now = Instant::now();
        let gate = Gate::new(false, now);
        let mut places: Vec<Place> =
            (0..STRANGERS_PER_ADDRESS).filter_map(|_| gate.admit(ip(1), now)).collect();
        assert_eq!(places.len(), STRANGERS_PER_ADDRESS);
        assert!(gate.admit(ip(1), now).is_none());
        let other = gate.admit(ip(2), now);
        assert!(other.is_some(), "another address is not affected");
        places[0].prove();
        let next = gate.admit(ip(1), now);
        assert!(next.is_some() && gate.admit(ip(1), now).is_none());
        assert_eq!(gate.turned_away(), 2);
        drop((places, other, next));
        let state = gate.state();
        assert_eq!(state.strangers, 0);
        assert!(state.addresses.values().all(|address| address.strangers + address.proven == 0));
    }

    #[test]
    fn no_address_takes_all_places_even_with_proofs() {
        let mut now = Instant::now();
        let gate = Gate::new(false, now);
        let mut kept = Vec::new();
        for _ in 0..MAX_DIRECT * 2 {
            now += Duration::from_secs(1);
            if let Some(mut place) = gate.admit(ip(1), now) {
                place.prove();
                kept.push(place);
            }
        }
        assert_eq!(kept.len(), MAX_DIRECT / 2);
    }

    #[test]
    fn who_comes_again_and_again_is_slowed_down() {
        let now = Instant::now();
        let gate = Gate::new(false, now);
        let come = |times: usize, now| (0..times).filter(|_| gate.admit(ip(1), now).is_some()).count();
        assert_eq!(come(1_000, now), ADDRESS_RATE.burst as usize);
        assert_eq!(come(1_000, now + Duration::from_secs(2)), 2 * ADDRESS_RATE.per_second as usize);
        assert!(gate.admit(ip(2), now).is_some());
    }

    #[test]
    fn strangers_from_everywhere_are_bounded_and_so_is_what_is_remembered_of_them() {
        let now = Instant::now();
        let gate = Gate::new(false, now);
        let kept: Vec<Place> = (0..1_000).filter_map(|n| gate.admit(ip(n), now)).collect();
        assert_eq!(kept.len(), MAX_HANDSHAKES);
        drop(kept);
        let mut now = now;
        for n in 0..20_000 {
            now += Duration::from_millis(10);
            drop(gate.admit(ip(n), now));
        }
        assert!(gate.state().addresses.len() <= ADDRESSES);
        assert!(
            gate.admit(ip(1_000_000), now + Duration::from_secs(60)).is_some(),
            "and somebody new comes in"
        );
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let parse = |text: &str| group(text.parse().expect("an address"));
        assert_eq!(parse("2001:db8::1"), parse("2001:db8::ffff:2"));
        assert_ne!(parse("2001:db8::1"), parse("2001:db8:0:1::1"));
        assert_eq!(parse("::ffff:192.0.2.1"), parse("192.0.2.1"));
    }
}
