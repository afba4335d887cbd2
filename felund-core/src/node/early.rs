//! What comes too early: envelopes from the future, and those of authors that nobody has told of in channels whose keys are not
//! here. They are refused for now and had again when their time has come. And people are told when it is this device's clock
//! that is wrong.
//!
//! Nothing of them is kept meanwhile: the relay is read again from before them, and members send what is lacking. So it
//! takes no memory that somebody else could fill, and a restart costs nothing.

use super::{
    Node,
    gossip::{Stream, Summaries},
};
use crate::{
    config::{EARLY_RETRY_MS, MAX_EARLY_MS, MAX_FUTURE_MS, MAX_UNHEARD, SUMMARY_INTERVAL_MS},
    ids::{CircleId, Cursor, NodeId},
    sorted::SortedSet,
};

/// Envelopes of one circle that were refused for being from the future.
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

    /// Milliseconds until the first would be taken, as the wall clock goes now.
    fn wait(&self, wall: u64) -> Option<u64> {
        Some(self.first?.saturating_sub(wall.saturating_add(MAX_FUTURE_MS)))
    }
}

/// Envelopes of one circle that were refused because nobody has said who their authors are, in channels whose keys are not
/// here: a key tells of all in its channel which are members'.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    /// Where reading the relay's log had come to before the first of them.
    pub(super) before: Option<Cursor>,
    /// Who wrote them, but for too many: one that says hello was a member.
    authors: SortedSet<NodeId>,
    /// A key, or that more is kept, is on its way to storage: they are asked for once it is there.
    awaits_stored: bool,
    /// When they are asked for again, monotonic milliseconds.
    due: Option<u64>,
    /// Not before this, monotonic milliseconds.
    retry_at: u64,
    /// How often they were asked for since the start.
    times: u32,
}

impl Unheard {
    /// One more was refused; of the relay's log it came after this place.
    pub(super) fn refused(&mut self, author: NodeId, after: Option<Cursor>) {
        self.before = self.before.into_iter().chain(after).min();
        if self.authors.len() < MAX_UNHEARD {
            self.authors.insert(author);
        }
    }

    /// Whether somebody who says hello wrote one of them.
    pub(super) fn was_of(&mut self, author: &NodeId) -> bool {
        self.authors.remove(author)
    }

    /// They are asked for as soon as may be: some would be taken now, and in a moment perhaps more. What others bring about is
    /// put off for twice as long each time, or somebody could have everybody read all of the log again and again.
    pub(super) fn ask(&mut self, now: u64, for_user: bool) {
        self.awaits_stored = false;
        if self.before.is_none() && self.authors.is_empty() {
            return;
        }
        let longer = if for_user { 0 } else { (EARLY_RETRY_MS << self.times.min(11)) - EARLY_RETRY_MS };
        let at = (self.retry_at + longer).max(now + SUMMARY_INTERVAL_MS);
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    fn is_due(&self, now: u64) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// They are asked for now; from where the relay's log is read. What is refused again is noted again.
    fn asked(&mut self, now: u64) -> Option<Cursor> {
        let (times, awaits_stored) = (self.times + 1, self.awaits_stored);
        let next = Self { retry_at: now + EARLY_RETRY_MS, times, awaits_stored, ..Self::default() };
        std::mem::replace(self, next).before
    }

    /// What is kept of where reading has come to: the cursor, and the place before them. As soon as they are to be asked for
    /// that is where it goes on, whatever happens until then.
    pub(super) fn place(&self, cursor: Cursor) -> (Cursor, Option<Cursor>) {
        match self.before {
            Some(before) if self.due.is_some() || self.awaits_stored => (before.min(cursor), None),
            before => (cursor, before),
        }
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

    /// Asks again for what was refused for now: once the clock has got there or was put right, or it can be told whose it is.
    pub(super) fn retry_early(&mut self) {
        let (now, wall) = (self.now.mono, self.now.wall);
        let early = |early: &Early| early.wait(wall) == Some(0) && early.retry_at <= now;
        let due = |circle: &&super::Circle| early(&circle.early) || circle.unheard.is_due(now);
        let ids: Vec<CircleId> = self.circles.values().filter(due).map(|circle| circle.id).collect();
        for id in ids {
            let Some(circle) = self.circles.get_mut(&id) else { continue };
            circle.early = Early { first: None, retry_at: now + EARLY_RETRY_MS };
            if circle.unheard.is_due(now)
                && let Some(before) = circle.unheard.asked(now).filter(|before| *before < circle.cursor)
            {
                (circle.cursor, circle.skipped) = (before, true);
            }
            self.ask_again(id);
        }
    }

    /// A key, or that more is kept, goes to storage, and with it the place to read again from: between two batches the power may go.
    pub(super) fn await_stored(&mut self, id: CircleId) {
        let Some(circle) = self.circles.get_mut(&id) else { return };
        circle.unheard.awaits_stored = true;
        self.stage_place(id);
    }

    /// Of what was refused as nobody's some may be a member's: it will be asked for again, also after a restart.
    pub(super) fn ask_for_unheard(&mut self, id: CircleId, for_user: bool) {
        let Some(circle) = self.circles.get_mut(&id) else { return };
        circle.unheard.ask(self.now.mono, for_user);
        self.stage_place(id);
    }

    /// Reads the relay's log again from the last place before anything that was not taken in, and compares with members.
    pub(super) fn ask_again(&mut self, id: CircleId) {
        let Some(circle) = self.circles.get_mut(&id) else { return };
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
        self.circles.values().flat_map(|circle| [due(&circle.early), circle.unheard.due]).flatten().min()
    }

    /// The relay's clock minus this device's, in seconds, began or ceased to be more than what is tolerated.
    pub(super) fn clock_judged(&mut self, offset_s: i64, wrong: bool) {
        let apart = roughly(offset_s.unsigned_abs());
        let theirs_s = (self.now.wall / 1_000).saturating_add_signed(offset_s);
        let text = match (wrong, offset_s > 0) {
            (false, _) => "This device's clock agrees with the relay's again.".into(),
            _ if !POSSIBLE_S.contains(&theirs_s) => {
                "The relay's clock shows a time that cannot be. Nothing is lost; whoever runs the relay should set its clock.".into()
            }
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

/// What a clock may show that is only wrong, in unix seconds: the years 2020 to 2199.
const POSSIBLE_S: std::ops::Range<u64> = 1_577_836_800..7_258_118_400;

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
    fn what_others_bring_about_is_put_off_for_longer_each_time_and_what_the_user_does_is_not() {
        let (mut unheard, mut now, [mallory, bob]) =
            (Unheard::default(), 1_000_000, [1, 2].map(|n| NodeId([n; 32])));
        let mut waits = Vec::new();
        for _ in 0..4 {
            unheard.refused(mallory, Some(Cursor(7)));
            assert!(unheard.was_of(&mallory) && !unheard.was_of(&bob));
            unheard.ask(now, false);
            let due = unheard.due.expect("it will be asked for");
            waits.push(due - now);
            assert!(!unheard.is_due(due - 1) && unheard.is_due(due));
            assert_eq!(unheard.asked(due), Some(Cursor(7)));
            now = due;
        }
        assert_eq!(waits, [SUMMARY_INTERVAL_MS, 60_000, 120_000, 240_000]);
        unheard.ask(now, true);
        assert_eq!(unheard.due, None, "there is nothing to ask for");
        unheard.refused(bob, None);
        unheard.ask(now, false);
        unheard.ask(now, true);
        assert_eq!(unheard.due, Some(now + EARLY_RETRY_MS));
    }

    #[test]
    fn the_place_that_is_kept_lies_before_what_is_to_be_asked_for() {
        let mut unheard = Unheard::default();
        assert_eq!(unheard.place(Cursor(9)), (Cursor(9), None));
        for after in [Some(Cursor(5)), None, Some(Cursor(7)), Some(Cursor(4))] {
            unheard.refused(NodeId([1; 32]), after);
        }
        assert_eq!(unheard.place(Cursor(9)), (Cursor(9), Some(Cursor(4))));
        unheard.ask(0, true);
        assert_eq!(unheard.place(Cursor(9)), (Cursor(4), None));
        assert_eq!(unheard.place(Cursor(2)), (Cursor(2), None));
    }

    #[test]
    fn times_are_told_in_the_unit_that_people_would_use() {
        assert_eq!(
            [roughly(301), roughly(7_199), roughly(7_200), roughly(172_800)],
            ["5 minutes", "119 minutes", "2 hours", "2 days"]
        );
    }
}
