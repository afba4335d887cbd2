//! An anchor falls silent in a network that has converged, and another one takes over.

use std::collections::BTreeSet;

use super::Runner;
use crate::{ids::NodeId, sim::Part};

/// How long everyone may take the silent anchor for the circle's, in milliseconds. What a silent anchor is, is not looked
/// up in the election: this is what people were promised.
const TAKEN_OVER_MS: u64 = 20_000;
/// Screens are told of changes this much later at most, in milliseconds.
const TOLD_MS: u64 = 100;
/// How long the network runs without lost packets before, in milliseconds.
const STEADY_MS: u64 = 10_000;

impl Runner<'_> {
    /// Ends an anchor in office, where another one could take over and everyone could hear it: then everyone
    /// has another one, and the same, in time.
    pub(super) fn succeed(&mut self) {
        let circles = 0..self.scenario.circles.len();
        let Some((at, circle)) = circles.clone().find_map(|circle| Some((self.replaceable(circle)?, circle)))
        else {
            return;
        };
        // An announcement that is late by seconds keeps its author alive for as long; here silence is what counts.
        self.world.network.set_steady();
        self.run_to(self.world.now + STEADY_MS);
        if self.replaceable(circle) != Some(at) {
            return;
        }
        let held: Vec<usize> = circles.filter(|circle| self.replaceable(*circle) == Some(at)).collect();
        self.crash(at, self.scenario.seed.is_multiple_of(2));
        self.lost.push(at);
        self.successions += 1;
        self.run_to(self.world.now + TAKEN_OVER_MS + self.on_its_way_ms() + TOLD_MS);
        for circle in held {
            let office = self.office(circle);
            let distinct: BTreeSet<Option<NodeId>> = office.iter().map(|(_, anchor)| *anchor).collect();
            let alive = |anchor: &NodeId| {
                let device = self.ledger.nodes.iter().position(|node| node.as_ref() == Some(anchor));
                device.is_some_and(|device| !self.lost.contains(&device))
            };
            if distinct.len() != 1 || !distinct.iter().flatten().any(alive) {
                let what =
                    format!("anchor {at} of circle {circle} fell silent, and nobody took over: {office:?}");
                self.ledger.violation(&self.world, what);
            }
        }
        self.lost.retain(|lost| *lost != at);
    }

    /// Whom the members of a circle that are there take for its anchor.
    fn office(&self, circle: usize) -> Vec<(usize, Option<NodeId>)> {
        let id = self.ledger.circles[circle];
        let choice = |at: usize| Some((at, self.world.devices[at].model.circle(id)?.anchor));
        self.honest(circle).into_iter().filter_map(choice).collect()
    }

    /// The device whose anchor in a circle can be replaced: all have it, another one is there, and without it all who are
    /// left can still hear each other.
    fn replaceable(&self, circle: usize) -> Option<usize> {
        let office = self.office(circle);
        let (_, anchor) = *office.first()?;
        let at = self.ledger.nodes.iter().position(|node| *node == anchor && anchor.is_some())?;
        let agreed = office.iter().all(|(_, other)| *other == anchor) && !self.has_odd(circle);
        let left: Vec<usize> = self.honest(circle).into_iter().filter(|member| *member != at).collect();
        let another = left.iter().any(|member| self.scenario.devices[*member].part != Part::Person);
        let heard = self.scenario.circles[circle].relay || self.reach_each_other(&left);
        (agreed && another && heard && left.len() > 1).then_some(at)
    }

    /// How long the last thing that an anchor said may travel from member to member, in milliseconds.
    fn on_its_way_ms(&self) -> u64 {
        let scenario = self.scenario;
        let paths =
            scenario.pairs.iter().map(|(_, path)| path).chain([&scenario.between, &scenario.to_relay]);
        let slowest = paths.map(|path| path.latency + path.jitter).max().unwrap_or(0);
        slowest * (scenario.devices.len() as u64 + 1)
    }
}
