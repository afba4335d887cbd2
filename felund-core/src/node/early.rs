//! Clocks that differ: envelopes from the future are refused for now and had again when their time has come, and people
//! are told when it is this device's clock that is wrong.
//!
//! Nothing of them is kept meanwhile: the relay is read again from before them, and members send what is lacking. So it
//! takes no memory that somebody else could fill, and a restart costs nothing.

use super::{
    Node,
    gossip::{Stream, Summaries},
};
use crate::{
    config::{EARLY_RETRY_MS, MAX_EARLY_MS, MAX_FUTURE_MS, SUMMARY_INTERVAL_MS},
    ids::CircleId,
};

/// Envelopes of one circle that were refused for now: for being from the future, or their authors unknown.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// The least `created_ts` among them, unix milliseconds.
    first: Option<u64>,
    /// They are not asked for before this, monotonic milliseconds: somebody may have written many, each a little later.
    retry_at: u64,
}

impl Early {
    /// One more was refused.
    pub(super) fn refused(&mut self, created_ts: u64) {
        self.first = Some(self.first.map_or(created_ts, |first| first.min(created_ts)));
    }

    /// They are asked for as soon as may be: some would be taken now, and in a moment perhaps more.
    pub(super) fn is_due(&mut self, now: u64) {
        self.refused(0);
        self.retry_at = self.retry_at.max(now + SUMMARY_INTERVAL_MS);
    }

    /// Milliseconds until the first would be taken, as the wall clock goes now.
    fn wait(&self, wall: u64) -> Option<u64> {
        Some(self.first?.saturating_sub(wall.saturating_add(MAX_FUTURE_MS)))
    }
}

impl Node {
    /// Whether the place of an envelope from the future in the relay's log must not be passed: its time comes, or had
    /// come already if the relay is right about it. Otherwise one envelope could hold the place up for ever. After a long
    /// sleep what is known of the relay's clock is behind as well.
    pub(super) fn is_awaited(&self, relay: &str, created_ts: u64) -> bool {
        let later = self.relay_wall(relay).unwrap_or(0).max(self.now.wall);
        created_ts <= later.saturating_add(MAX_EARLY_MS)
    }

    /// What a relay's clock shows, unix milliseconds, once it has told it.
    fn relay_wall(&self, relay: &str) -> Option<u64> {
        self.links.get(relay)?.wall(self.now.mono)
    }

    /// The wall time by which what a circle keeps ages: its relay's where that is the earlier one, and the beginning of
    /// time until the relay has told it. A clock that is ahead is no reason to delete anything.
    pub(super) fn ages_by(&self, id: CircleId) -> u64 {
        let relay = self.circles.get(&id).and_then(|circle| circle.relay.as_ref());
        relay.map_or(self.now.wall, |relay| self.relay_wall(relay).unwrap_or(0).min(self.now.wall))
    }

    /// The time for something that this node writes, by its hybrid logical clock.
    pub(super) fn stamp(&mut self) -> u64 {
        self.right_clock();
        self.clock.tick(self.now.wall)
    }

    /// Where the hybrid logical clock ran ahead because the wall clock once did, so far that nobody takes it, it begins again: a
    /// relay has told that this clock is right now. Concerns all circles: none may be taken out while it happens.
    pub(super) fn right_clock(&mut self) {
        let heard = self.links.values().filter_map(|link| link.wall(self.now.mono)).max();
        if heard.is_some_and(|heard| self.clock.restart(heard.max(self.now.wall))) {
            let me = self.my_id();
            for circle in self.circles.values_mut() {
                me.iter().for_each(|me| circle.anchors.forget(me));
            }
            // What is written from now on is not newer than what these covered.
            self.summaries.values_mut().for_each(Summaries::cover_nothing);
            self.streams.values_mut().for_each(Stream::cover_nothing);
        }
    }

    /// Asks again for what was refused for now: once the clock has got there or was put right, or somebody has said hello.
    pub(super) fn retry_early(&mut self) {
        let (now, wall) = (self.now.mono, self.now.wall);
        let due = |early: &Early| early.wait(wall) == Some(0) && early.retry_at <= now;
        let ids: Vec<CircleId> =
            self.circles.values().filter(|circle| due(&circle.early)).map(|circle| circle.id).collect();
        for id in ids {
            let Some(circle) = self.circles.get_mut(&id) else { continue };
            circle.early = Early { first: None, retry_at: now + EARLY_RETRY_MS };
            self.ask_again(id);
        }
    }

    /// Reads the relay's log again from the last place before anything that was not taken in, and compares with members.
    pub(super) fn ask_again(&mut self, id: CircleId) {
        let Some(circle) = self.circles.get_mut(&id) else { return };
        if let Some(before) = circle.unheard.take().filter(|before| *before < circle.cursor) {
            (circle.cursor, circle.skipped) = (before, true);
        }
        let (hint, cursor, relay) = (circle.hint, circle.cursor, circle.relay.clone());
        if std::mem::take(&mut circle.skipped)
            && let Some(relay) = relay
        {
            self.with_link(|link| link.is_at(&relay), |link, cx| link.rewind(&hint, cursor, cx));
        }
        for (conn, _, place) in self.direct.sharing(id) {
            self.summarise(conn, id, place);
        }
    }

    /// When [`Node::retry_early`] has something to do if nobody touches the clock; should somebody, the next input finds
    /// out.
    pub(super) fn early_deadline(&self) -> Option<u64> {
        let due = |early: &Early| {
            let wait = early.wait(self.now.wall).filter(|wait| *wait <= MAX_EARLY_MS)?;
            Some((self.now.mono + wait).max(early.retry_at))
        };
        self.circles.values().filter_map(|circle| due(&circle.early)).min()
    }

    /// The relay's clock minus this device's, in seconds, began or ceased to be more than what is tolerated.
    pub(super) fn clock_judged(&mut self, offset_s: i64, wrong: bool) {
        let apart = roughly(offset_s.unsigned_abs());
        let text = match (wrong, offset_s > 0) {
            (false, _) => "This device's clock agrees with the relay's again.".into(),
            (true, true) => format!(
                "This device's clock is {apart} behind the relay's. What others write is not shown until it is right; nothing of it is lost. Set this device's clock."
            ),
            (true, false) => format!(
                "This device's clock is {apart} ahead of the relay's. What you write reaches others late or never; it is kept here. Set this device's clock."
            ),
        };
        self.notice(wrong, text);
    }
}

/// A time that people need not know to the second.
fn roughly(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        0..7_200 => format!("{} minutes", seconds / MINUTE),
        7_200..172_800 => format!("{} hours", seconds / HOUR),
        _ => format!("{} days", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_decides_when_they_are_asked_for() {
        let mut early = Early::default();
        assert_eq!(early.wait(0), None);
        early.refused(MAX_FUTURE_MS + 9_000);
        early.refused(MAX_FUTURE_MS + 5_000);
        early.refused(u64::MAX);
        assert_eq!(
            (early.wait(1_000), early.wait(5_000), early.wait(u64::MAX)),
            (Some(4_000), Some(0), Some(0))
        );
    }

    #[test]
    fn times_are_told_in_the_unit_that_people_would_use() {
        assert_eq!(
            [roughly(301), roughly(7_199), roughly(7_200), roughly(172_800)],
            ["5 minutes", "119 minutes", "2 hours", "2 days"]
        );
    }
}
