//! Addresses that members announce in the local network: they come and go with the announcements.

use super::{Address, Direct, is_address};
use crate::{
    config::{MAX_ADDRESSES, MAX_ENDPOINTS},
    ids::{CircleId, NodeId},
    sorted::SortedMap,
};

/// A service of the local network that somebody runs who seems to be a member.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) instance: String,
    pub(crate) addresses: Vec<String>,
    /// Never empty.
    pub(crate) circles: Vec<CircleId>,
}

impl Address {
    /// Whether it is no news that a member of a circle is said to be there.
    pub(super) fn is_told(&self, circle: CircleId, node: Option<NodeId>) -> bool {
        let named = self.node.is_some() || node.is_none();
        named && self.nearby.is_none() && self.circles.contains(&circle)
    }

    /// Whether there is the same member behind both addresses.
    pub(super) fn leads_where(&self, other: &Self) -> bool {
        (self.node.is_some() && self.node == other.node)
            || (self.nearby.is_some() && self.nearby == other.nearby)
    }
}

impl Direct {
    /// Replaces what is known from the local network. What members have told of as well stays.
    pub(crate) fn set_nearby(&mut self, services: Vec<Service>) {
        let mut wanted: SortedMap<String, (String, Vec<CircleId>)> = SortedMap::new();
        for service in services {
            let usable = |address: &String| is_address(address) && !self.endpoints.contains(address);
            for address in service.addresses.into_iter().filter(usable).take(MAX_ENDPOINTS) {
                wanted.insert(address, (service.instance.clone(), service.circles.clone()));
            }
        }
        for (address, entry) in self.book.iter_mut() {
            if entry.nearby.is_some() && !wanted.contains_key(address) {
                entry.circles.clear();
            }
        }
        self.book.retain(|_, address| !address.circles.is_empty() || address.conn.is_some());
        for (address, (instance, circles)) in wanted {
            if !self.book.contains_key(&address) && !self.make_room() {
                return;
            }
            let entry = self
                .book
                .entry(address)
                .or_insert_with(|| Address { nearby: Some(instance.clone()), ..Address::default() });
            if entry.nearby.as_ref().is_some_and(|of| *of != instance) {
                // The same place under another name: its program was started again, or the network is another one.
                (entry.retry_at, entry.failures, entry.node) = (0, 0, None);
                entry.nearby = Some(instance);
            }
            entry.circles.extend(circles);
        }
    }

    /// Makes room for one more address, which is better than one that has failed most.
    pub(super) fn make_room(&mut self) -> bool {
        if self.book.len() < MAX_ADDRESSES {
            return true;
        }
        let idle = self.book.iter().filter(|(_, entry)| entry.conn.is_none() && entry.failures > 0);
        let Some(worst) = idle.max_by_key(|(_, entry)| entry.failures).map(|(address, _)| address.clone())
        else {
            return false;
        };
        self.book.remove(&worst).is_some()
    }
}
