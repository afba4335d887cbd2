//! Scenarios from seeds.

use super::{ChannelPlan, CirclePlan, DevicePlan, Part, Scenario, Step};
use crate::{
    sim::{Block, Dice, Path},
    view::Access,
};

/// Clocks of honest devices differ from true time by at most this, in milliseconds: any two then differ by less than
/// the five minutes that are tolerated.
pub(in crate::sim) const MAX_SKEW_MS: u64 = 60_000;
/// How long things happen, in milliseconds: long enough for a dead connection to be noticed and a backoff to be served.
const LENGTH_MS: (u64, u64) = (40_000, 90_000);

impl Scenario {
    /// A small story of three to six devices, in which most of what can go wrong goes wrong now and then.
    #[must_use]
    pub fn generate(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let count = usize::try_from(dice.between(3, 6)).unwrap_or(3);
        let mut devices: Vec<DevicePlan> = (0..count).map(|at| device(&mut dice, at > 0)).collect();
        let used = |at: &usize| devices[*at].part != Part::Anchor;
        let mut circles = vec![circle(&mut dice, (0..count).collect(), used)];
        if dice.chance(250) {
            let mut members: Vec<usize> = (0..count).filter(|_| dice.chance(600)).collect();
            // Somebody makes it.
            members.sort_by_key(|at| !used(at));
            if members.len() > 1 && used(&members[0]) {
                circles.push(circle(&mut dice, members, used));
            }
        }
        let mut no_dial = Vec::new();
        for from in 0..count {
            for to in (0..count).filter(|to| *to != from) {
                if dice.chance(200) {
                    no_dial.push((from, to));
                }
            }
        }
        // Without a relay there must be a way: everyone can dial the maker, whose address the invite names.
        for circle in circles.iter().filter(|circle| !circle.relay) {
            let maker = circle.members[0];
            devices[maker].listens = true;
            for member in &circle.members[1..] {
                devices[*member].dials = true;
            }
            no_dial.retain(|(_, to)| *to != maker);
        }
        let (between, to_relay) = (path(&mut dice), path(&mut dice));
        let mut pairs = Vec::new();
        for pair in (0..count).flat_map(|b| (0..b).map(move |a| (a, b))) {
            if dice.chance(200) {
                pairs.push((pair, path(&mut dice)));
            }
        }
        let relay_write_ms = dice.between(1, 50);
        let timeline = Vec::new();
        let mut scenario =
            Self { seed, devices, circles, between, pairs, to_relay, relay_write_ms, no_dial, timeline };
        scenario.timeline = timeline_of(&scenario, &mut dice);
        scenario
    }
}

fn device(dice: &mut Dice, may_anchor: bool) -> DevicePlan {
    let part = match dice.below(10) {
        0 | 1 if may_anchor => Part::Anchor,
        2 => Part::Helper,
        _ => Part::Person,
    };
    // Neither phones nor browsers anchor.
    let anchors = part != Part::Person;
    let skew = dice.between(0, 2 * MAX_SKEW_MS).cast_signed() - MAX_SKEW_MS.cast_signed();
    DevicePlan {
        part,
        listens: dice.chance(600) || part == Part::Anchor,
        dials: dice.chance(850) || anchors,
        mobile: dice.chance(250) && !anchors,
        skew_ms: if dice.chance(500) { skew } else { 0 },
        write_ms: dice.between(1, 60),
    }
}

fn circle(dice: &mut Dice, members: Vec<usize>, used: impl Fn(&usize) -> bool) -> CirclePlan {
    let people: Vec<usize> = members.iter().copied().filter(used).collect();
    let mut channels = Vec::new();
    for (access, permille) in [(Access::Public, 200), (Access::Key, 200), (Access::Invite, 350)] {
        if dice.chance(permille) {
            channels.push(ChannelPlan { access, owner: people[dice.index(people.len())] });
        }
    }
    CirclePlan { members, relay: dice.chance(700), channels }
}

fn path(dice: &mut Dice) -> Path {
    let rough = dice.chance(600);
    let sometimes = |dice: &mut Dice, most: u64| {
        if rough { u32::try_from(dice.between(0, most)).unwrap_or(0) } else { 0 }
    };
    Path {
        latency: dice.between(1, 150),
        jitter: dice.between(0, 200),
        stall: sometimes(dice, 60),
        cut: sometimes(dice, 8),
        lost_request: sometimes(dice, 60),
        lost_answer: sometimes(dice, 60),
        twice: sometimes(dice, 60),
    }
}

/// Who may be picked for what, and when.
struct Author<'a> {
    scenario: &'a Scenario,
    dice: &'a mut Dice,
    length: u64,
    odd: Option<usize>,
    timeline: Vec<(u64, Step)>,
}

fn timeline_of(scenario: &Scenario, dice: &mut Dice) -> Vec<(u64, Step)> {
    let length = dice.between(LENGTH_MS.0, LENGTH_MS.1);
    let mut author = Author { scenario, dice, length, odd: None, timeline: Vec::new() };
    author.clocks();
    author.channels();
    author.talk();
    author.crashes();
    author.trouble();
    author.loss();
    let mut timeline = author.timeline;
    timeline.sort_by_key(|(at, _)| *at);
    timeline
}

impl Author<'_> {
    fn some_device(&mut self) -> usize {
        self.dice.index(self.scenario.devices.len())
    }

    fn some_time(&mut self) -> u64 {
        self.dice.between(0, self.length)
    }

    fn at(&mut self, at: u64, step: Step) {
        self.timeline.push((at, step));
    }

    /// One device's clock goes wrong: never one that makes channels, whose making would be refused.
    fn clocks(&mut self) {
        if !self.dice.chance(150) {
            return;
        }
        let device = self.some_device();
        let owns = |channel: &ChannelPlan| channel.owner == device;
        if self.scenario.circles.iter().any(|circle| circle.channels.iter().any(owns)) {
            return;
        }
        self.odd = Some(device);
        let minutes = self.dice.between(10, 90).cast_signed();
        let by_ms = if self.dice.chance(500) { minutes * 60_000 } else { -minutes * 60_000 };
        let (at, ms) = (self.some_time(), self.dice.between(5_000, 40_000));
        self.at(at, Step::Clock { device, by_ms, ms });
    }

    /// Channels are made early, and then people come.
    fn channels(&mut self) {
        for (circle, plan) in self.scenario.circles.iter().enumerate() {
            for (channel, ChannelPlan { access, owner }) in plan.channels.iter().enumerate() {
                let made = self.dice.between(0, 5_000);
                self.at(made, Step::Create { circle, channel });
                let people = plan.members.iter().copied().filter(|member| self.scenario.is_used(*member));
                let others = people.filter(|member| member != owner).collect::<Vec<_>>().into_iter();
                let odd = self.odd;
                for device in others.filter(|device| Some(*device) != odd) {
                    let joined = self.dice.between(made + 3_000, self.length);
                    let mistaken = *access == Access::Key && self.dice.chance(150);
                    if self.dice.chance(500) {
                        self.at(joined, Step::Join { device, circle, channel, mistaken });
                    }
                    if *access == Access::Invite && self.dice.chance(500) {
                        let approved = self.dice.between(made + 3_000, self.length);
                        self.at(approved, Step::Approve { device, circle, channel });
                    }
                }
            }
            let strangers = (0..self.scenario.devices.len()).filter(|at| !plan.members.contains(at));
            for device in strangers {
                if plan.relay && self.dice.chance(400) {
                    let at = self.some_time();
                    self.at(at, Step::Enter { device, circle });
                }
            }
        }
    }

    fn talk(&mut self) {
        for _ in 0..self.dice.between(10, 30) {
            let circle = self.dice.index(self.scenario.circles.len());
            let plan = &self.scenario.circles[circle];
            let people: Vec<usize> =
                plan.members.iter().copied().filter(|member| self.scenario.is_used(*member)).collect();
            let device = people[self.dice.index(people.len())];
            let channels = plan.channels.len();
            let channel = (channels > 0 && self.dice.chance(500)).then(|| self.dice.index(channels));
            let length = match self.dice.below(20) {
                0 => self.dice.between(1_000, 16_000),
                1..5 => self.dice.between(100, 1_000),
                _ => self.dice.between(20, 100),
            };
            let length = usize::try_from(length).unwrap_or(20);
            let at = self.some_time();
            // People write several at a time now and then.
            for i in 0..if self.dice.chance(100) { 5 } else { 1 } {
                self.at(at + i * 40, Step::Say { device, circle, channel, length });
            }
        }
    }

    fn crashes(&mut self) {
        for _ in 0..self.dice.between(1, 3) {
            let (device, silent) = (self.some_device(), self.dice.chance(400));
            let ms = if self.dice.chance(500) { 0 } else { self.dice.between(100, 40_000) };
            // Half of them right after something was said: then there is something to tear.
            let said: Vec<u64> = self
                .timeline
                .iter()
                .filter(|(_, step)| matches!(step, Step::Say { .. }))
                .map(|(at, _)| *at)
                .collect();
            let at = if self.dice.chance(500) && !said.is_empty() {
                said[self.dice.index(said.len())] + self.dice.between(0, 400)
            } else {
                self.some_time()
            };
            self.at(at, Step::Crash { device, silent, ms });
        }
    }

    fn trouble(&mut self) {
        for _ in 0..self.dice.between(1, 5) {
            let (at, device) = (self.some_time(), self.some_device());
            let ms = self.dice.between(500, 45_000);
            let step = match self.dice.below(10) {
                0..3 => {
                    let everyone = 0..self.scenario.devices.len();
                    let side: Vec<usize> = everyone.filter(|_| self.dice.chance(500)).collect();
                    let how = if self.dice.chance(500) { Block::Silent } else { Block::Refused };
                    Step::Partition { side, how, ms }
                }
                3 => Step::Sleep { device, ms },
                4 => Step::Full { device, ms: ms / 4 },
                5 => Step::NoRelay { device, ms },
                6 | 7 => Step::Relay { power: self.dice.chance(500), ms: ms / 2 },
                8 => Step::DropSockets,
                _ => Step::NoSockets { ms },
            };
            self.at(at, step);
        }
    }

    /// A device is lost late: never one that a circle without a relay is reached by.
    fn loss(&mut self) {
        let device = self.some_device();
        let needed = self.scenario.circles.iter().any(|circle| !circle.relay && circle.members[0] == device);
        if !needed && Some(device) != self.odd && self.dice.chance(150) {
            let at = self.dice.between(self.length / 2, self.length);
            self.at(at, Step::Lose { device });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_tells_the_same_story() {
        for seed in 0..50 {
            let scenario = Scenario::generate(seed);
            assert_eq!(scenario, Scenario::generate(seed));
            assert!((3..=6).contains(&scenario.devices.len()) && !scenario.circles.is_empty());
            assert!(scenario.timeline.is_sorted_by_key(|(at, _)| *at));
        }
        assert_ne!(Scenario::generate(1), Scenario::generate(2));
    }
}
