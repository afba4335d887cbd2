//! The mirror of a node that user interfaces draw from: a pure fold over [`Event`]s.
//!
//! Terminal, browser tab and second browser tab apply the same events and so show the same thing.

use std::collections::BTreeMap;

use crate::{
    ids::{ChannelId, CircleId},
    io::Event,
    view::{CircleView, IdentityView, Key, MessageView, Reach},
};

/// Messages of one channel that have been loaded, a contiguous newest part of its history.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Timeline {
    messages: Vec<MessageView>,
    /// Whether the oldest message kept is among them.
    pub start_reached: bool,
    /// Whether a first page has been loaded.
    pub loaded: bool,
}

impl Timeline {
    /// In order.
    #[must_use]
    pub fn messages(&self) -> &[MessageView] {
        &self.messages
    }

    fn upsert(&mut self, message: MessageView) {
        match self.messages.binary_search_by_key(&message.key(), MessageView::key) {
            Ok(at) => self.messages[at] = message,
            Err(at) => self.messages.insert(at, message),
        }
    }
}

/// Everything a user interface knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    /// Who this device is.
    pub identity: Option<IdentityView>,
    /// Whether a passphrase is wanted.
    pub locked: bool,
    /// Whether everything known has been said.
    pub ready: bool,
    circles: Vec<CircleView>,
    timelines: BTreeMap<(CircleId, ChannelId), Timeline>,
}

impl Model {
    /// Takes in one event. Replies and notices change nothing here.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Locked => self.locked = true,
            Event::Identity(identity) => {
                self.identity = Some(identity.clone());
                self.locked = false;
            }
            Event::Ready => self.ready = true,
            Event::Circle(circle) => match self.circles.iter_mut().find(|known| known.id == circle.id) {
                Some(known) => known.clone_from(circle),
                None => self.circles.push(circle.clone()),
            },
            Event::CircleGone { circle_id } => {
                self.circles.retain(|circle| circle.id != *circle_id);
                self.timelines.retain(|(circle, _), _| circle != circle_id);
            }
            Event::Message(message) => {
                // Before its first page is there a timeline stays empty: the page will hold this message too.
                let timeline = self.timelines.entry((message.circle_id, message.channel_id)).or_default();
                if timeline.loaded {
                    timeline.upsert(message.clone());
                }
            }
            Event::Delivery { circle_id, channel_id, msg_id, delivery } => {
                if let Some(timeline) = self.timelines.get_mut(&(*circle_id, *channel_id))
                    && let Some(message) = timeline.messages.iter_mut().rev().find(|m| m.msg_id == *msg_id)
                {
                    message.delivery = *delivery;
                }
            }
            Event::Pruned { circle_id, channel_id, up_to } => {
                if let Some(timeline) = self.timelines.get_mut(&(*circle_id, *channel_id)) {
                    timeline.messages.retain(|message| message.key() > *up_to);
                }
            }
            Event::Notice { .. } | Event::Reply { .. } => {}
        }
    }

    /// Takes in a page of [`crate::view::Reply::History`].
    pub fn apply_history(
        &mut self,
        circle: CircleId,
        channel: ChannelId,
        page: &[MessageView],
        start_reached: bool,
    ) {
        let timeline = self.timelines.entry((circle, channel)).or_default();
        for message in page {
            timeline.upsert(message.clone());
        }
        timeline.loaded = true;
        timeline.start_reached |= start_reached;
    }

    /// Circles in the order they became known.
    #[must_use]
    pub fn circles(&self) -> &[CircleView] {
        &self.circles
    }

    /// One circle.
    #[must_use]
    pub fn circle(&self, id: CircleId) -> Option<&CircleView> {
        self.circles.iter().find(|circle| circle.id == id)
    }

    /// The loaded messages of a channel, if it was ever opened or heard of.
    #[must_use]
    pub fn timeline(&self, circle: CircleId, channel: ChannelId) -> Option<&Timeline> {
        self.timelines.get(&(circle, channel))
    }

    /// The oldest loaded message of a channel: pass as `before` for the next page.
    #[must_use]
    pub fn oldest(&self, circle: CircleId, channel: ChannelId) -> Option<Key> {
        self.timeline(circle, channel)?.messages.first().map(MessageView::key)
    }

    /// Unread messages in all circles.
    #[must_use]
    pub fn unread(&self) -> u32 {
        self.circles.iter().flat_map(|circle| &circle.channels).map(|channel| channel.unread).sum()
    }

    /// How many other members are reached (direct, via an anchor, via the relay).
    #[must_use]
    pub fn reach_counts(circle: &CircleView) -> (usize, usize, usize) {
        let count = |reach: Reach| circle.members.iter().filter(|m| m.reach == reach).count();
        (count(Reach::Direct), count(Reach::Anchor), count(Reach::Relay))
    }
}
