//! What people did and were told, held against each other while it happens.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{EPOCH_MS, SECRET, Scenario, Told, World};
use crate::{
    ids::{ChannelId, CircleId, MsgId, NodeId},
    io::Event,
    view::{Access, Delivery, Key, MessageView, Reply},
};

/// An own message counts as timely if its clock is at most this far ahead of true time, in milliseconds: then nobody
/// whose clock is honest refuses it.
const TIMELY_MS: u64 = crate::config::MAX_FUTURE_MS - 2 * 60_000;

/// A channel of the scenario; `None` is general.
pub(super) type Place = (usize, Option<usize>);

/// A message that somebody was told is sent.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) device: usize,
    pub(super) circle: usize,
    pub(super) key: Key,
    /// Honest clocks take it.
    pub(super) timely: bool,
    /// Devices that it was for, as its author knew them.
    pub(super) recipients: BTreeSet<usize>,
}

/// What a command was for.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    Say { circle: usize, channel: ChannelId },
    Enter { circle: usize },
    Create { circle: usize, channel: usize },
    Join { circle: usize, channel: usize, approved: bool },
    Approve { device: usize, circle: usize, channel: usize },
}

/// Everything that is needed to judge.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) violations: Vec<String>,
    pub(super) nodes: Vec<Option<NodeId>>,
    pub(super) circles: Vec<CircleId>,
    pub(super) channels: BTreeMap<(usize, usize), ChannelId>,
    pub(super) sent: Vec<Sent>,
    /// Texts people gave to be sent, whether or not they were told that they are: by whom and where.
    pub(super) said: BTreeMap<String, (usize, Place)>,
    /// Asked and not answered.
    pub(super) asked: BTreeMap<(usize, u64), Asked>,
    /// May have a channel's key.
    pub(super) cleared: BTreeSet<(usize, usize, usize)>,
    /// Must have it: they were told so.
    pub(super) readers: BTreeSet<(usize, usize, usize)>,
    /// Were told that they are in a circle.
    pub(super) members: BTreeSet<(usize, usize)>,
    /// Own messages that are durable at the relay, as their authors were told.
    pub(super) stored: BTreeSet<MsgId>,
    keys: BTreeMap<MsgId, Key>,
    /// Shown since the device's process started.
    shown: BTreeSet<(usize, MsgId)>,
}

impl Ledger {
    pub(super) fn violation(&mut self, world: &World, what: impl Into<String>) {
        let (what, seconds) = (what.into(), world.now as f64 / 1_000.0);
        self.violations.push(format!("{seconds:.3} s: {what}"));
    }

    pub(super) fn place_of(&self, circle: CircleId, channel: ChannelId) -> Option<Place> {
        let circle = self.circles.iter().position(|id| *id == circle)?;
        let channel = self.channels.iter().find(|((of, _), id)| *of == circle && **id == channel);
        Some((circle, channel.map(|((_, channel), _)| *channel)))
    }

    /// A device's process ended: nothing it was asked will be answered, and its screen begins anew.
    pub(super) fn crashed(&mut self, device: usize) {
        self.asked.retain(|(of, _), _| *of != device);
        self.shown.retain(|(of, _)| *of != device);
    }

    pub(super) fn note(&mut self, world: &World, scenario: &Scenario, told: &Told) {
        let device = told.device;
        match &told.event {
            Event::Message(_) if !scenario.is_used(device) => {
                self.violation(
                    world,
                    format!("device {device} does nothing but anchor, and opened a message"),
                );
            }
            Event::Message(message) => self.shown(world, device, message),
            Event::Delivery { circle_id, msg_id, delivery, .. } => {
                self.delivery(world, device, *circle_id, *msg_id, *delivery);
            }
            Event::Reply { id, result } => {
                let Some(asked) = self.asked.remove(&(device, *id)) else {
                    return self.violation(world, format!("device {device} answered request {id} unasked"));
                };
                // A mistaken passphrase gives nothing away; other refusals change nothing either.
                if let Ok(reply) = result {
                    self.answered(world, device, asked, reply);
                }
            }
            _ => {}
        }
    }

    fn answered(&mut self, world: &World, device: usize, asked: Asked, reply: &Reply) {
        match (asked, reply) {
            (Asked::Say { circle, channel }, Reply::Sent { msg_id, created_ts }) => {
                let key = Key { ts: *created_ts, id: *msg_id };
                if !world.devices[device].disk.is_durable(self.circles[circle], key) {
                    let what = format!("device {device} says that {msg_id:?} is sent before it is durable");
                    self.violation(world, what);
                }
                let timely = key.ts <= EPOCH_MS + world.now + TIMELY_MS;
                let recipients = self.recipients(world, device, circle, channel);
                self.sent.push(Sent { device, circle, key, timely, recipients });
            }
            (Asked::Enter { circle }, Reply::Circle { .. }) => {
                self.members.insert((device, circle));
            }
            (Asked::Create { circle, channel }, Reply::Channel { channel_id }) => {
                self.channels.insert((circle, channel), *channel_id);
                self.readers.insert((device, circle, channel));
            }
            (Asked::Join { circle, channel, approved }, Reply::Channel { .. }) => {
                if approved {
                    self.readers.insert((device, circle, channel));
                }
            }
            (Asked::Approve { device: member, circle, channel }, Reply::Done) => {
                self.readers.insert((member, circle, channel));
            }
            (asked, reply) => {
                self.violation(world, format!("device {device} answered {asked:?} by {reply:?}"));
            }
        }
    }

    /// Whom a message is for, as its author knows them now.
    fn recipients(&self, world: &World, device: usize, circle: usize, channel: ChannelId) -> BTreeSet<usize> {
        let Some(view) = world.devices[device].model.circle(self.circles[circle]) else {
            return BTreeSet::new();
        };
        let few = view
            .channel(channel)
            .filter(|found| found.access != Access::Public)
            .map(|found| found.members.clone());
        let ids = few.unwrap_or_else(|| view.members.iter().map(|member| member.id).collect());
        let known = |id: &NodeId| self.nodes.iter().position(|node| node.as_ref() == Some(id));
        ids.iter().filter_map(known).filter(|other| *other != device).collect()
    }

    fn shown(&mut self, world: &World, device: usize, message: &MessageView) {
        if !self.shown.insert((device, message.msg_id)) {
            self.violation(world, format!("device {device} was shown {:?} twice", message.msg_id));
        }
        self.keys.insert(message.msg_id, message.key());
        self.check_message(world, device, message);
    }

    /// A message, wherever it is shown, is what its author said there, and its reader may read it.
    pub(super) fn check_message(&mut self, world: &World, device: usize, message: &MessageView) {
        let place = self.place_of(message.circle_id, message.channel_id);
        let Some((author, said)) = self.said.get(&message.text).copied() else {
            return self.violation(world, format!("device {device} was shown what nobody said"));
        };
        if self.nodes[author] != Some(message.author) {
            self.violation(world, format!("device {device} was shown {author}'s words as another's"));
        }
        // A channel whose making was not confirmed to its owner has no place yet.
        if place.is_some_and(|place| place.1.is_some() && place != said) {
            self.violation(
                world,
                format!("device {device} was shown in {place:?} what was said in {said:?}"),
            );
        }
        if let (circle, Some(channel)) = said
            && !self.cleared.contains(&(device, circle, channel))
        {
            let what = format!("device {device} reads channel {channel} of circle {circle} without a key");
            self.violation(world, what);
        }
    }

    /// A claim of delivery is true: those who are said to have a message have it on their disks.
    fn delivery(
        &mut self,
        world: &World,
        device: usize,
        circle_id: CircleId,
        msg_id: MsgId,
        delivery: Delivery,
    ) {
        let Some(key) = self.keys.get(&msg_id).copied() else { return };
        let others = world.devices.iter().enumerate().filter(|(at, _)| *at != device);
        let have = others.filter(|(_, other)| other.disk.is_durable(circle_id, key)).count();
        match delivery {
            Delivery::Stored if world.relay.is_durable(&msg_id) => {
                self.stored.insert(msg_id);
            }
            Delivery::Stored if have == 0 => {
                self.violation(world, format!("{msg_id:?} is said to be stored, and nobody has it for good"));
            }
            // What came from the relay is had from it again, together with its place in the relay's log.
            Delivery::Delivered { to, .. }
                if !world.relay.holds(&msg_id) && have < usize::try_from(to).unwrap_or(usize::MAX) =>
            {
                let what =
                    format!("{msg_id:?} is said to be delivered to {to}, only {have} have it for good");
                self.violation(world, what);
            }
            _ => {}
        }
    }

    /// A text nobody else has said, that no relay may read.
    pub(super) fn compose(&mut self, device: usize, place: Place, length: usize) -> String {
        let mut text = format!("{SECRET} {}: device {device} says", self.said.len());
        while text.len() < length {
            text.push_str(" and says");
        }
        self.said.insert(text.clone(), (device, place));
        text
    }
}
