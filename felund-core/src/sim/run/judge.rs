//! What must be so in the end.

use std::collections::{BTreeMap, BTreeSet};

use super::{Runner, ledger::Sent};
use crate::{
    anchor::{MAX_MESSAGES, MAX_TOTAL_BYTES},
    ids::{ChannelId, NodeId},
    io::{Command, Input},
    sim::{Part, SECRET, Traffic, channel_name},
    store::{Loaded, Query},
    view::{Delivery, Key, Membership, MessageView, Reply},
};

/// Time for dying connections and backoffs to end before silence is expected, in milliseconds.
const CALM_MS: u64 = 60_000;
/// How long silence is listened to, in milliseconds.
const SILENCE_MS: u64 = 120_000;
/// Bytes that a quiet node may send per minute and direct connection: a probe and its answer three times.
const DIRECT_BYTES: u64 = 400;
/// Bytes that a quiet node may send per minute on its socket to the relay: a probe three times.
const FRAME_BYTES: u64 = 200;
/// Bytes of an anchor's announcements a minute: at most one in four seconds.
const ANNOUNCED_BYTES: u64 = 15 * 700;
/// Requests that a quiet node may make per minute and circle: presence is renewed once.
const REQUESTS: u64 = 2;
/// What a quiet node may tell its screen per minute: how it is connected, now and then.
const EVENTS: u64 = 6;

impl Runner<'_> {
    /// Devices that are there in the end and were right about the time.
    pub(super) fn honest(&self, circle: usize) -> Vec<usize> {
        let members = self.ledger.members.iter().filter(|(_, of)| *of == circle).map(|(device, _)| *device);
        let there = members.filter(|device| !self.lost.contains(device));
        there.filter(|device| !self.scenario.has_odd_clock(*device)).collect()
    }

    fn index(&self, device: usize, circle: usize) -> BTreeSet<Key> {
        match self.world.devices[device].disk.read(Query::Index(self.ledger.circles[circle])) {
            Loaded::Index(rows) => rows.into_iter().map(|row| row.key).collect(),
            _ => BTreeSet::new(),
        }
    }

    /// What a device must have: own messages, and those that were for it and said to be sent, that honest clocks take,
    /// and whose author is there to send them on or was told that the relay has them.
    fn due(&self, device: usize, circle: usize) -> impl Iterator<Item = Key> {
        let safe = |sent: &&Sent| {
            sent.timely && (!self.lost.contains(&sent.device) || self.ledger.stored.contains(&sent.key.id))
        };
        let of_circle = self.ledger.sent.iter().filter(move |sent| sent.circle == circle);
        let for_it = of_circle.filter(move |sent| sent.device == device || sent.recipients.contains(&device));
        for_it.filter(safe).map(|sent| sent.key)
    }

    /// Whether somebody's clock was wrong: what honest clocks refuse then is never confirmed by them.
    pub(super) fn has_odd(&self, circle: usize) -> bool {
        let mut members = self.ledger.members.iter().filter(|(_, of)| *of == circle);
        members.any(|(device, _)| self.scenario.has_odd_clock(*device))
    }

    /// Whether everyone who is there in the end must hold the very same: whoever cannot reach the others directly may
    /// lack what its members had all confirmed before it was one of them.
    fn is_exact(&self, circle: usize) -> bool {
        !self.has_odd(circle) && self.reach_each_other(&self.honest(circle))
    }

    /// Whether these devices can connect to each other without the relay, if need be across each other.
    pub(super) fn reach_each_other(&self, there: &[usize]) -> bool {
        let dials = |a: usize, b: usize| {
            let (from, to) = (&self.scenario.devices[a], &self.scenario.devices[b]);
            from.dials && to.listens && !self.scenario.no_dial.contains(&(a, b))
        };
        let mut reached: BTreeSet<usize> = there.first().copied().into_iter().collect();
        let mut queue: Vec<usize> = reached.iter().copied().collect();
        while let Some(a) = queue.pop() {
            for b in there.iter().copied().filter(|b| dials(a, *b) || dials(*b, a)) {
                if reached.insert(b) {
                    queue.push(b);
                }
            }
        }
        reached.len() == there.len()
    }

    /// Why the network has not converged yet, if it has not.
    pub(super) fn apart(&self) -> Option<String> {
        for circle in 0..self.scenario.circles.len() {
            let members = self.honest(circle);
            // Whoever is left alone keeps what it says for whoever joins.
            let confirms = members.len() > 1 && !self.has_odd(circle);
            let held: BTreeMap<usize, BTreeSet<Key>> =
                members.iter().map(|device| (*device, self.index(*device, circle))).collect();
            for (device, keys) in &held {
                let due: BTreeSet<Key> = self.due(*device, circle).collect();
                if let Some(key) = due.difference(keys).next() {
                    let lacks = due.difference(keys).count();
                    return Some(format!(
                        "device {device} lacks {lacks} of circle {circle}, such as {:?}",
                        key.id
                    ));
                }
                let view = self.world.devices[*device].model.circle(self.ledger.circles[circle]);
                match view {
                    None => return Some(format!("device {device} is not in circle {circle}")),
                    Some(view) if view.unsent > 0 && confirms => {
                        return Some(format!(
                            "device {device} has {} unsent in circle {circle}",
                            view.unsent
                        ));
                    }
                    Some(_) => {}
                }
            }
            let mut sets = held.iter();
            if let Some((first, keys)) = sets.next().filter(|_| self.is_exact(circle))
                && let Some((other, _)) = sets.find(|(_, other)| *other != keys)
            {
                return Some(format!("devices {first} and {other} differ in circle {circle}"));
            }
        }
        None
    }

    /// A converged network falls silent, but for signs of life.
    pub(super) fn listen(&mut self) {
        self.run_to(self.world.now + CALM_MS);
        let before: Vec<Traffic> = self.world.devices.iter().map(|device| device.traffic).collect();
        let mut told = vec![0_u64; before.len()];
        let end = self.world.now + SILENCE_MS;
        while self.world.step(end) {
            for event in &self.world.told {
                told[event.device] += 1;
            }
            self.look();
        }
        self.world.now = end;
        let minutes = SILENCE_MS / 60_000;
        for (at, before) in before.into_iter().enumerate() {
            let device = &self.world.devices[at];
            let circles = self.ledger.members.iter().filter(|(of, _)| *of == at).count() as u64;
            let used = |now: u64, then: u64| (now - then) / minutes;
            // Everybody hands on what anchors announce, to each but where it came from; its author to the relay, too.
            let direct = device.connections() as u64;
            let heard = ANNOUNCED_BYTES * self.announcing(at);
            let own =
                if self.scenario.devices[at].part == Part::Person { 0 } else { ANNOUNCED_BYTES * circles };
            let checks = [
                (
                    "direct bytes",
                    used(device.traffic.direct_bytes, before.direct_bytes),
                    (DIRECT_BYTES + heard) * direct,
                ),
                (
                    "bytes to the relay",
                    used(device.traffic.frame_bytes, before.frame_bytes),
                    FRAME_BYTES + own,
                ),
                ("requests", used(device.traffic.requests, before.requests), REQUESTS * circles),
                ("events", told[at] / minutes, EVENTS),
            ];
            for (what, used, most) in checks {
                if used > most {
                    let what = format!("device {at} is not quiet: {used} {what} a minute, at most {most}");
                    self.ledger.violation(&self.world, what);
                }
            }
        }
    }

    /// Anchors that a device hears of, in each circle anew.
    fn announcing(&self, device: usize) -> u64 {
        let circles = self.ledger.members.iter().filter(|(of, _)| *of == device).map(|(_, circle)| *circle);
        let anchor = |(at, _): &&(usize, usize)| self.scenario.devices[*at].part != Part::Person;
        let in_circle = |circle| self.ledger.members.iter().filter(move |(_, of)| *of == circle);
        circles.map(|circle| in_circle(circle).filter(anchor).count() as u64).sum()
    }

    /// Anchors hold no more than they may; nobody's disk holds anything that is not sealed; everyone who can hear the
    /// same agrees on the anchor in office.
    fn check_anchors(&mut self) {
        for at in 0..self.scenario.devices.len() {
            if self.world.devices[at].disk.contains(&self.ledger.circles, SECRET.as_bytes()) {
                self.ledger.violation(&self.world, format!("the disk of device {at} holds a plaintext"));
            }
            let mut bytes = 0;
            for circle in self.ledger.circles.clone() {
                bytes += self.world.devices[at].disk.envelopes(circle).iter().map(Vec::len).sum::<usize>();
                let Loaded::Index(rows) = self.world.devices[at].disk.read(Query::Index(circle)) else {
                    continue;
                };
                let mut channels: BTreeMap<ChannelId, usize> = BTreeMap::new();
                for row in rows.iter().filter(|row| row.chat) {
                    *channels.entry(row.channel).or_default() += 1;
                }
                let most = channels.values().max().copied().unwrap_or(0);
                if !self.scenario.is_used(at) && most > MAX_MESSAGES as usize {
                    self.ledger
                        .violation(&self.world, format!("anchor {at} holds {most} messages of a channel"));
                }
            }
            if !self.scenario.is_used(at) && bytes as u64 > MAX_TOTAL_BYTES {
                self.ledger.violation(&self.world, format!("anchor {at} holds {bytes} bytes"));
            }
        }
        for circle in
            (0..self.ledger.circles.len()).filter(|circle| self.is_exact(*circle)).collect::<Vec<_>>()
        {
            let id = self.ledger.circles[circle];
            let choice = |at: usize| Some((at, self.world.devices[at].model.circle(id)?.anchor));
            let chosen: Vec<(usize, Option<NodeId>)> =
                self.honest(circle).into_iter().filter_map(choice).collect();
            if chosen.windows(2).any(|pair| pair[0].1 != pair[1].1) {
                let what = format!("members of circle {circle} have different anchors: {chosen:?}");
                self.ledger.violation(&self.world, what);
            }
        }
    }

    /// What people see in the end.
    pub(super) fn judge(&mut self) {
        self.check_anchors();
        if !self.ledger.asked.is_empty() {
            let what = format!("never answered: {:?}", self.ledger.asked);
            self.ledger.violation(&self.world, what);
        }
        let places = self.scenario.circles.iter().enumerate().flat_map(|(circle, plan)| {
            (0..=plan.channels.len()).map(move |place| (circle, place.checked_sub(1)))
        });
        for (circle, channel) in places.collect::<Vec<_>>() {
            let mut reference: Option<(usize, Vec<Key>)> = None;
            for device in 0..self.scenario.devices.len() {
                if self.lost.contains(&device) || !self.scenario.is_used(device) {
                    continue;
                }
                let Some(messages) = self.read(device, circle, channel) else { continue };
                let keys: Vec<Key> = messages.iter().map(MessageView::key).collect();
                self.check_history(device, circle, &messages, &keys);
                if !self.honest(circle).contains(&device) || !self.is_exact(circle) {
                    continue;
                }
                match &reference {
                    None => reference = Some((device, keys)),
                    Some((other, theirs)) if *theirs != keys => {
                        let what = format!(
                            "devices {other} and {device} show other histories of {channel:?} in circle {circle}"
                        );
                        self.ledger.violation(&self.world, what);
                    }
                    Some(_) => {}
                }
            }
        }
    }

    /// The history that a device's user sees; `None` if it has nothing to read there.
    fn read(&mut self, device: usize, circle: usize, channel: Option<usize>) -> Option<Vec<MessageView>> {
        let id = self.ledger.circles[circle];
        let honest = self.honest(circle).contains(&device);
        let must = channel.is_none_or(|channel| self.ledger.readers.contains(&(device, circle, channel)));
        let may = channel.is_none_or(|channel| self.ledger.cleared.contains(&(device, circle, channel)));
        let name = channel.map_or_else(|| "general".into(), channel_name);
        let view = self.world.devices[device].model.circle(id);
        let found = view.and_then(|view| view.channels.iter().find(|channel| channel.name == name)).cloned();
        let Some(found) = found else {
            if must && honest {
                self.ledger
                    .violation(&self.world, format!("device {device} has no {name} in circle {circle}"));
            }
            return None;
        };
        let joined = found.membership == Membership::Joined;
        if must && honest && !joined {
            self.ledger
                .violation(&self.world, format!("device {device} was let into {name}, and is not in it"));
        }
        if joined && !may {
            self.ledger.violation(&self.world, format!("device {device} is in {name}, and may not"));
        }
        let ask = Command::History { circle: id, channel: found.id, before: None, limit: 10_000 };
        let answer = self.world.ask(device, ask);
        self.world.told.clear();
        match answer {
            Ok(Reply::History { messages, .. }) if joined || !messages.is_empty() => Some(messages),
            Ok(Reply::History { .. }) => None,
            other => {
                let what = format!("device {device} cannot read {name} in circle {circle}: {other:?}");
                self.ledger.violation(&self.world, what);
                None
            }
        }
    }

    fn check_history(&mut self, device: usize, circle: usize, messages: &[MessageView], keys: &[Key]) {
        if !keys.is_sorted_by(|a, b| a < b) {
            let what = format!("device {device} shows a history of circle {circle} out of order or twice");
            self.ledger.violation(&self.world, what);
        }
        for message in messages {
            self.ledger.check_message(&self.world, device, message);
            let alone = self.honest(circle).len() < 2;
            if message.mine && message.delivery == Delivery::Pending && !alone && !self.has_odd(circle) {
                let what = format!("device {device} still shows {:?} as pending", message.msg_id);
                self.ledger.violation(&self.world, what);
            }
        }
    }

    /// What a person was told is sent is on its own device, whatever became of it elsewhere, also after another start.
    pub(super) fn check_own(&mut self) {
        for at in 0..self.scenario.devices.len() {
            if !self.lost.contains(&at) {
                self.world.crash(at, true);
                self.world.start(at);
            }
        }
        self.world.run(1_000);
        self.world.told.clear();
        for circle in 0..self.scenario.circles.len() {
            for device in 0..self.scenario.devices.len() {
                let own =
                    self.ledger.sent.iter().filter(|sent| sent.device == device && sent.circle == circle);
                let own: BTreeSet<Key> = own.map(|sent| sent.key).collect();
                let lacks = own.difference(&self.index(device, circle)).count();
                if lacks > 0 && !self.lost.contains(&device) {
                    let what = format!("device {device} lost {lacks} messages that were said to be sent");
                    self.ledger.violation(&self.world, what);
                }
                self.world.input(device, Input::Timeout);
            }
        }
    }
}
