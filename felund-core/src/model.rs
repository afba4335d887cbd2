//! The mirror of a node that user interfaces draw from: a pure fold over [`Event`]s.
//!
//! Terminal, browser tab and second browser tab apply the same events and so show the same thing.

use crate::{
    config::HISTORY_PAGE,
    ids::{ChannelId, CircleId},
    io::Event,
    sorted::SortedMap,
    view::{CircleView, IdentityView, Key, MessageView, Reach},
};

/// Messages of one channel that have been loaded, a contiguous newest part of its history.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Timeline {
    messages: Vec<MessageView>,
    /// Whether the oldest message kept is among them.
    pub start_reached: bool,
    /// Whether a first page has been loaded; before that there are only messages that have just come in.
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
    timelines: SortedMap<(CircleId, ChannelId), Timeline>,
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
                let timeline = self.timelines.entry((message.circle_id, message.channel_id)).or_default();
                timeline.upsert(message.clone());
                // A first page that is on its way may have been read before this message came, so it is kept for
                // when the page is there; of a channel that nobody opens only that many.
                if !timeline.loaded && timeline.messages.len() > HISTORY_PAGE as usize {
                    timeline.messages.remove(0);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{MsgId, NodeId},
        view::Delivery,
    };

    #[test]
    fn what_comes_in_while_the_first_page_is_read_is_not_lost() {
        let message = |ts: u64| MessageView {
            circle_id: CircleId([1; 16]),
            channel_id: ChannelId([2; 16]),
            channel: "general".into(),
            msg_id: MsgId([ts as u8; 16]),
            author: NodeId([3; 32]),
            name: "alice".into(),
            label: "alice".into(),
            created_ts: ts,
            text: ts.to_string(),
            mine: false,
            delivery: Delivery::Received,
        };
        let mut model = Model::default();
        for ts in 10..u64::from(HISTORY_PAGE) + 30 {
            model.apply(&Event::Message(message(ts)));
        }
        let (circle, channel) = (CircleId([1; 16]), ChannelId([2; 16]));
        let kept = model.timeline(circle, channel).map(|timeline| timeline.messages().len());
        assert_eq!(kept, Some(HISTORY_PAGE as usize), "of a channel that nobody opens only a page is kept");
        let page: Vec<_> = (1..=100).map(message).collect();
        model.apply_history(circle, channel, &page, true);
        let times: Vec<_> =
            model.timeline(circle, channel).unwrap().messages().iter().map(|m| m.created_ts).collect();
        assert_eq!(times, (1..u64::from(HISTORY_PAGE) + 30).collect::<Vec<_>>());
    }
}
