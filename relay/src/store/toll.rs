//! What reading a circle's names costs whoever makes the writer do it.
//!
//! The writer is one, and everybody's posts wait while it reads. Which names stay in memory depends on how much is posted to
//! which circles, so that who posts to many large ones in turn could keep it reading. A caller may have so many names read
//! at once, and waits for so many seconds as it has had read more.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::limits::Payer;

/// Names per second: reading them takes some fiftieth of the writer's time. In tests so few that nobody has to read as many.
const RATE: f64 = if cfg!(test) { 1_000.0 } else { 100_000.0 };
/// Names at once: five circles as large as they get by default.
const BURST: f64 = 10.0 * RATE;

#[derive(Debug)]
struct Debt {
    names: f64,
    at: Instant,
}

impl Debt {
    fn left(&self, now: Instant) -> f64 {
        (self.names - RATE * now.saturating_duration_since(self.at).as_secs_f64()).max(0.0)
    }
}

/// Who has had names read of late.
#[derive(Debug, Default)]
pub(super) struct Toll(HashMap<Payer, Debt>);

impl Toll {
    /// How long a caller has to wait before names are read for it; nothing if they are at once.
    pub(super) fn wait(&self, payer: &Payer, now: Instant) -> Option<Duration> {
        let left = self.0.get(payer)?.left(now);
        (left > BURST).then(|| Duration::from_secs_f64((left - BURST) / RATE))
    }

    /// So many names were read for a caller.
    pub(super) fn charge(&mut self, payer: Payer, names: usize, now: Instant) {
        // Those with debts are few: each is time that the writer took.
        self.0.retain(|_, debt| debt.left(now) > 0.0);
        let debt = self.0.entry(payer).or_insert(Debt { names: 0.0, at: now });
        *debt = Debt { names: debt.left(now) + names as f64, at: now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_had_many_names_read_waits_and_others_do_not() {
        let payer = |address: &str| Payer::Address(address.parse().unwrap());
        let (one, other) = (payer("192.0.2.1"), payer("192.0.2.2"));
        let mut toll = Toll::default();
        let start = Instant::now();
        for _ in 0..6 {
            assert_eq!(toll.wait(&one, start), None);
            toll.charge(one, 2 * RATE as usize, start);
        }
        assert_eq!(toll.wait(&one, start), Some(Duration::from_secs(2)));
        assert_eq!(toll.wait(&other, start), None);
        let later = start + Duration::from_secs(3);
        assert_eq!(toll.wait(&one, later), None);
        toll.charge(one, 2 * RATE as usize, later);
        assert_eq!(toll.wait(&one, later), Some(Duration::from_secs(1)));
        toll.charge(other, 1, start + Duration::from_secs(60));
        assert_eq!(toll.0.len(), 1, "debts that are paid are forgotten");
    }
}
