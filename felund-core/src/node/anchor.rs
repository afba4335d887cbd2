//! Anchoring: announcing oneself, choosing among those that do, and keeping no more than an anchor may.

use super::{Node, circle::Circle, ephemeral::Way, publish::After, records};
use crate::{
    anchor::{Announce, MAX_TOTAL_BYTES, Stored, Uptime, beyond_total, bounded, short},
    circle::Body,
    config::{ANNOUNCE_MAX_MS, MAX_ENDPOINTS},
    ids::{CircleId, NodeId},
    relay_api::Capabilities,
    route::ladder::Paths,
    view::Reply,
};

/// A member that comes or goes is told of this soon, in milliseconds: who waits for it is served sooner.
const ANNOUNCE_SOON_MS: u64 = 500;

/// This device's own part as an anchor.
#[derive(Debug, Default)]
pub(super) struct Anchoring {
    /// The user opted in.
    pub(super) opted: bool,
    /// When the next announcement is due, monotonic milliseconds.
    announce_at: u64,
    announced_at: u64,
    uptime: Uptime,
}

impl Node {
    /// Whether this device anchors: it was asked to, and neither a phone nor a browser.
    pub(super) const fn is_anchor(&self) -> bool {
        self.can_anchor() && (self.platform.anchor || self.anchoring.opted)
    }

    const fn can_anchor(&self) -> bool {
        self.platform.dials && !self.platform.mobile
    }

    /// What this device can do for its circles, as far as is known by now.
    pub(super) fn capabilities(&self) -> Capabilities {
        Capabilities {
            can_anchor: self.is_anchor(),
            public_reachable: self.direct.is_public(self.now.mono),
            is_mobile: self.platform.mobile,
        }
    }

    /// The user opts in or out.
    pub(super) fn set_anchor(&mut self, id: u64, on: bool) -> Result<Option<Reply>, String> {
        if on && !self.can_anchor() {
            return Err(
                "Browsers and phones do not anchor: they sleep, and nobody can connect to them. Nothing was \
                        changed."
                    .into(),
            );
        }
        self.keep(id, records::ANCHOR, &[u8::from(on)], After::Anchor(on))
    }

    #[inline(never)]
    pub(super) fn anchor_or_not(&mut self, on: bool) {
        self.anchoring.opted = on;
        self.became_anchor();
        if !on {
            // Said at once, so that nobody waits for messages here.
            self.announce();
        }
        self.tell_identity();
    }

    /// Takes on what anchoring means, or lays it down.
    pub(super) fn became_anchor(&mut self) {
        self.direct.anchors = self.is_anchor();
        self.anchoring.announce_at = 0;
        for id in self.circles.keys().copied().collect::<Vec<_>>() {
            self.limit_anchor(id);
            self.dirty.insert(id);
        }
    }

    /// A device that does nothing but anchor keeps what Policy 3 allows; one that somebody reads or writes on keeps that
    /// person's history by the circle's own settings.
    pub(super) fn limit_anchor(&mut self, id: CircleId) {
        let only_anchors = self.platform.anchor && self.can_anchor();
        if let Some(circle) = self.circles.get_mut(&id) {
            let personal = || !circle.read.is_empty() || circle.log.has_own_chat();
            circle.sealed_only = only_anchors && !personal();
            let kept = circle.retention;
            circle.log.set_retention(if circle.sealed_only { bounded(kept) } else { kept });
        }
    }

    /// Does what is due: announcing, choosing, giving up what is too much.
    pub(super) fn tend_anchors(&mut self) {
        let now = self.now.mono;
        if self.is_anchor() && !self.circles.is_empty() && now >= self.anchoring.announce_at {
            self.anchoring.uptime.record(self.direct.sessions().next().is_some());
            self.announce();
            self.bound_total();
        }
        let capabilities = self.capabilities();
        for link in self.links.values_mut() {
            link.set_capabilities(capabilities);
        }
        for id in self.circles.keys().copied().collect::<Vec<_>>() {
            let Some(circle) = self.circles.get_mut(&id) else { continue };
            let gone = circle.passing.expire(now);
            if circle.elect_at.is_some_and(|at| at <= now) {
                self.elect(id);
            } else if gone {
                self.dirty.insert(id);
            }
        }
    }

    pub(super) fn anchors_deadline(&self) -> Option<u64> {
        let announce = (self.is_anchor() && !self.circles.is_empty()).then_some(self.anchoring.announce_at);
        let circles = self
            .circles
            .values()
            .flat_map(|circle| [circle.elect_at, circle.passing.deadline()].into_iter().flatten());
        announce.into_iter().chain(circles).min()
    }

    fn elect(&mut self, id: CircleId) {
        let now = self.now.mono;
        let Some(me) = self.my_id() else { return };
        let Some(circle) = self.circles.get_mut(&id) else { return };
        let changed = circle.anchors.elect(me, now);
        circle.elect_at = circle.anchors.deadline(now);
        if changed {
            let office = circle.anchors.office(now);
            let wanted: Vec<NodeId> = office.into_iter().flatten().filter(|node| *node != me).collect();
            self.direct.want(id, &wanted);
            self.dirty.insert(id);
            self.reconsider_anchored(id);
        }
    }

    /// `ANCHOR_ANNOUNCE` in every circle.
    fn announce(&mut self) {
        let (now, wall) = (self.now.mono, self.now.wall);
        self.anchoring.announced_at = now;
        self.anchoring.announce_at = now + self.rng.jitter(ANNOUNCE_MAX_MS);
        let (capabilities, uptime) = (self.capabilities(), self.anchoring.uptime.score());
        let endpoints: Vec<String> = self.direct.endpoints().iter().take(MAX_ENDPOINTS).cloned().collect();
        let Some(me) = self.my_id() else { return };
        for id in self.circles.keys().copied().collect::<Vec<_>>() {
            let Some(circle) = self.circles.get_mut(&id) else { continue };
            for member in &circle.direct {
                circle.served.saw(*member, wall);
            }
            let announce = Announce {
                capabilities,
                uptime,
                endpoints: endpoints.clone(),
                present: Announce::list(&circle.direct),
                serves: circle.served.list(wall),
                elected: circle.anchors.office(now)[0].as_ref().map(short),
            };
            let Some((ts, sealed)) = self.seal_ephemeral(id, &Body::Announce(Box::new(announce.clone())))
            else {
                continue;
            };
            self.heard_announcement(id, me, ts, &announce);
            self.pass_on(id, &sealed, Way::Here);
            self.fan_out(id, sealed);
        }
    }

    /// Somebody came or went: whoever relies on this anchor hears of it soon.
    pub(super) fn announce_soon(&mut self) {
        let soonest = self.anchoring.announced_at + 2 * ANNOUNCE_SOON_MS;
        let soon = soonest.max(self.now.mono + ANNOUNCE_SOON_MS);
        self.anchoring.announce_at = self.anchoring.announce_at.min(soon);
    }

    /// Takes in an announcement; whether it is news.
    pub(super) fn heard_announcement(
        &mut self,
        id: CircleId,
        node: NodeId,
        ts: u64,
        announce: &Announce,
    ) -> bool {
        let now = self.now.mono;
        let Some(circle) = self.circles.get_mut(&id) else { return false };
        let before = circle.anchors.announced(&node, now);
        let moved = before.is_none_or(|before| before.present != announce.present);
        let dropped = before.is_some_and(|before| before.served().any(|member| !announce.lists(member)));
        if !circle.anchors.heard(node, ts, announce.clone(), now) {
            return false;
        }
        if moved {
            self.dirty.insert(id);
        }
        if self.me.as_ref().is_some_and(|me| me.key.id() != node) {
            self.direct.learn(id, Some(node), announce.endpoints.clone());
        }
        self.elect(id);
        if dropped {
            self.reconsider_anchored(id);
        }
        true
    }

    /// Policy 3 over all circles: the oldest goes first.
    fn bound_total(&mut self) {
        let anchored = self.circles.values().filter(|circle| circle.sealed_only);
        let stored = anchored.flat_map(|circle| {
            circle.log.stored().map(|(key, size)| Stored { key, circle: circle.id, size })
        });
        let gone = beyond_total(stored.collect(), MAX_TOTAL_BYTES);
        for Stored { key, circle: id, .. } in gone {
            if let Some(circle) = self.circles.get_mut(&id) {
                circle.log.raise_floor(key.ts + 1);
            }
        }
        for id in self.circles.keys().copied().collect::<Vec<_>>() {
            self.prune(id);
        }
    }

    /// By what the members of a circle can be reached without the relay.
    pub(super) fn paths<'a>(&self, circle: &'a Circle) -> Paths<'a> {
        let now = self.now.mono;
        let announced = |node: NodeId| Some((node, circle.anchors.announced(&node, now)?));
        let me = self.my_id();
        let office = circle.anchors.office(now).into_iter().flatten();
        Paths {
            direct: circle.direct.clone(),
            repeated: circle.passing.repeated(),
            office: office
                .filter(|node| circle.direct.contains(node) || Some(*node) == me)
                .filter_map(announced)
                .collect(),
            anchors: circle.anchors.reachable(now).into_iter().filter_map(announced).collect(),
        }
    }
}

impl Circle {
    /// Members that an anchor with a session of ours, or the mesh, leads to.
    pub(super) fn reached_through(&self, now: u64) -> impl Fn(&NodeId) -> bool + '_ {
        let reachable = self.anchors.reachable(now);
        let anchors: Vec<&Announce> = reachable
            .iter()
            .filter(|anchor| self.direct.contains(anchor))
            .filter_map(|anchor| self.anchors.announced(anchor, now))
            .collect();
        let repeated = self.passing.repeated();
        move |member| repeated.contains(member) || anchors.iter().any(|anchor| anchor.is_present(member))
    }
}
