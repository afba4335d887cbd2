//! The mirror of a node that user interfaces draw from: a pure fold over [`Event`]s.
//!
//! Terminal, browser tab and second browser tab apply the same events and so show the same thing.

use crate::{
    circle::MARK,
    config::HISTORY_PAGE,
    ids::{ChannelId, CircleId},
    io::Event,
    sorted::SortedMap,
    view::{CircleView, IdentityView, Key, MemberView, Membership, MessageView, Reach, Reply},
};

/// Messages of one channel that have been loaded, a contiguous newest part of its history.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Timeline {
    messages: Vec<MessageView>,
    /// Where the contiguous part begins; `None`: with the first. What came in late and belongs before it waits for its page.
    from: Option<Key>,
    /// The newest message that was not kept before the first page.
    dropped: Option<Key>,
    /// Whether the oldest message kept is among them.
    pub start_reached: bool,
    /// Whether a first page has been loaded; before that there are only messages that have just come in.
    pub loaded: bool,
}

impl Timeline {
    /// In order.
    #[must_use]
    pub fn messages(&self) -> &[MessageView] {
        let before = |message: &MessageView| self.from.is_some_and(|from| message.key() < from);
        &self.messages[self.messages.partition_point(before)..]
    }

    fn upsert(&mut self, message: MessageView) {
        match self.messages.binary_search_by_key(&message.key(), MessageView::key) {
            Ok(at) => self.messages[at] = message,
            Err(at) => self.messages.insert(at, message),
        }
    }

    /// Takes in a page that begins at `from`.
    fn read(&mut self, page: &[MessageView], from: Option<Key>, start_reached: bool) {
        for message in page {
            self.upsert(message.clone());
        }
        // What was dropped may have come after the page was read: then the next one ends where nothing was.
        if let Some(dropped) = self.dropped.take().filter(|dropped| from <= Some(*dropped)) {
            let kept = self.messages.partition_point(|message| message.key() <= dropped);
            self.from = self.messages.get(kept).map(MessageView::key);
        } else {
            self.start_reached |= start_reached;
            if self.start_reached {
                self.from = None;
            } else if !self.loaded || from < self.from {
                self.from = from;
            }
        }
        self.loaded = true;
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
            Event::Circle(circle) => {
                self.rename(circle);
                match self.circles.iter_mut().find(|known| known.id == circle.id) {
                    Some(known) => known.clone_from(circle),
                    None => self.circles.push(circle.clone()),
                }
                // Of a channel one is not in nothing is told: after joining again its history is read anew.
                let is_in = |channel| {
                    circle.channel(channel).is_some_and(|channel| channel.membership == Membership::Joined)
                };
                self.timelines.retain(|(id, channel), _| *id != circle.id || is_in(*channel));
            }
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
                    let oldest = timeline.messages.remove(0).key();
                    timeline.dropped = timeline.dropped.max(Some(oldest));
                }
            }
            Event::Delivery { circle_id, channel_id, msg_id, delivery } => {
                if let Some(timeline) = self.timelines.get_mut(&(*circle_id, *channel_id))
                    // Members may write messages of the same id.
                    && let Some(message) =
                        timeline.messages.iter_mut().rev().find(|m| m.mine && m.msg_id == *msg_id)
                {
                    message.delivery = *delivery;
                }
            }
            Event::Pruned { circle_id, channel_id, up_to } => {
                if let Some(timeline) = self.timelines.get_mut(&(*circle_id, *channel_id)) {
                    timeline.messages.retain(|message| message.key() > *up_to);
                    timeline.dropped = timeline.dropped.filter(|dropped| dropped > up_to);
                }
            }
            Event::Notice { .. } | Event::Reply { .. } => {}
        }
    }

    /// Calls the authors of what is loaded what they are called now.
    fn rename(&mut self, circle: &CircleView) {
        let known = self.circle(circle.id).map_or(&[][..], |known| &known.members);
        let renamed = |member: &&MemberView| {
            !known.iter().any(|known| (known.id, &known.label) == (member.id, &member.label))
        };
        let renamed: Vec<&MemberView> = circle.members.iter().filter(renamed).collect();
        if renamed.is_empty() {
            return;
        }
        let here = self.timelines.iter_mut().filter(|((id, _), _)| *id == circle.id);
        for message in here.flat_map(|(_, timeline)| &mut timeline.messages) {
            if let Some(member) = renamed.iter().find(|member| member.id == message.author) {
                message.name.clone_from(&member.name);
                message.label.clone_from(&member.label);
            }
        }
    }

    /// Takes in a page of history; another reply is none.
    pub fn apply_history(&mut self, circle: CircleId, channel: ChannelId, page: &Reply) {
        if let Reply::History { messages, start_reached, from } = page {
            self.timelines.entry((circle, channel)).or_default().read(messages, *from, *start_reached);
        }
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

    /// What the channel of a message is called now. One that no view has told of so far is not taken at its word.
    #[must_use]
    pub fn channel_label(&self, message: &MessageView) -> String {
        let known = self.circle(message.circle_id).map_or(&[][..], |circle| &circle.channels);
        match known.iter().find(|channel| channel.id == message.channel_id) {
            Some(channel) => channel.name.clone(),
            None => [&*message.channel, MARK, &*message.channel_id.short()].concat(),
        }
    }

    /// The loaded messages of a channel, if it was ever opened or heard of.
    #[must_use]
    pub fn timeline(&self, circle: CircleId, channel: ChannelId) -> Option<&Timeline> {
        self.timelines.get(&(circle, channel))
    }

    /// Where the loaded part of a channel begins: pass as `before` for the next page. None before the first page, which
    /// is the newest one.
    #[must_use]
    pub fn oldest(&self, circle: CircleId, channel: ChannelId) -> Option<Key> {
        let timeline = self.timeline(circle, channel).filter(|timeline| timeline.loaded)?;
        timeline.from.or_else(|| timeline.messages().first().map(MessageView::key))
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
        view::{Access, ChannelView, Delivery, LinkView, Retention},
    };

    const CIRCLE: CircleId = CircleId([1; 16]);
    const CHANNEL: ChannelId = ChannelId([2; 16]);

    fn message(ts: u64) -> MessageView {
        MessageView {
            circle_id: CIRCLE,
            channel_id: CHANNEL,
            channel: "general".into(),
            msg_id: MsgId([ts as u8; 16]),
            author: NodeId([3; 32]),
            name: "alice".into(),
            label: "alice".into(),
            created_ts: ts,
            text: ts.to_string(),
            mine: false,
            delivery: Delivery::Received,
        }
    }

    fn page(ts: impl IntoIterator<Item = u64>, start_reached: bool) -> Reply {
        let messages: Vec<MessageView> = ts.into_iter().map(message).collect();
        let from = messages.first().map(MessageView::key);
        Reply::History { messages, start_reached, from }
    }

    fn times(model: &Model) -> Vec<u64> {
        let timeline = model.timeline(CIRCLE, CHANNEL);
        timeline.into_iter().flat_map(Timeline::messages).map(|message| message.created_ts).collect()
    }

    #[test]
    fn what_comes_in_while_the_first_page_is_read_is_not_lost() {
        let mut model = Model::default();
        for ts in 10..u64::from(HISTORY_PAGE) + 30 {
            model.apply(&Event::Message(message(ts)));
        }
        assert_eq!(
            times(&model).len(),
            HISTORY_PAGE as usize,
            "of a channel that nobody opens only a page is kept"
        );
        assert_eq!(model.oldest(CIRCLE, CHANNEL), None, "the first page is the newest one");
        model.apply_history(CIRCLE, CHANNEL, &page(1..=100, true));
        assert_eq!(model.oldest(CIRCLE, CHANNEL), Some(message(30).key()), "29 came at whatever time");
        model.apply_history(CIRCLE, CHANNEL, &page(1..30, true));
        assert_eq!(times(&model), (1..u64::from(HISTORY_PAGE) + 30).collect::<Vec<_>>());
    }

    #[test]
    fn more_than_is_kept_may_come_while_the_first_page_is_read() {
        let mut model = Model::default();
        for ts in 21..=250 {
            model.apply(&Event::Message(message(ts)));
        }
        model.apply_history(CIRCLE, CHANNEL, &page(1..=20, true));
        assert_eq!(times(&model), (151..=250).collect::<Vec<_>>());
        let timeline = model.timeline(CIRCLE, CHANNEL).unwrap();
        assert!(timeline.loaded && !timeline.start_reached, "there is more to read");
        assert_eq!(model.oldest(CIRCLE, CHANNEL), Some(message(151).key()));
        model.apply_history(CIRCLE, CHANNEL, &page(51..=150, false));
        model.apply_history(CIRCLE, CHANNEL, &page(1..=50, true));
        assert_eq!(times(&model), (1..=250).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_deleted_is_not_waited_for() {
        let mut model = Model::default();
        for ts in 1..=150 {
            model.apply(&Event::Message(message(ts)));
        }
        let (circle_id, channel_id, up_to) = (CIRCLE, CHANNEL, message(140).key());
        model.apply(&Event::Pruned { circle_id, channel_id, up_to });
        model.apply_history(CIRCLE, CHANNEL, &page(141..=150, true));
        assert!(model.timeline(CIRCLE, CHANNEL).is_some_and(|timeline| timeline.start_reached));
        assert_eq!(times(&model), (141..=150).collect::<Vec<_>>());
    }

    #[test]
    fn a_page_of_which_nothing_opens_leads_to_the_one_before() {
        let empty = |from: u64, start_reached| Reply::History {
            messages: Vec::new(),
            start_reached,
            from: Some(message(from).key()),
        };
        let mut model = Model::default();
        model.apply_history(CIRCLE, CHANNEL, &empty(300, false));
        assert_eq!(model.oldest(CIRCLE, CHANNEL), Some(message(300).key()));
        model.apply_history(CIRCLE, CHANNEL, &empty(200, false));
        model.apply(&Event::Message(message(150)));
        assert_eq!(model.oldest(CIRCLE, CHANNEL), Some(message(200).key()));
        assert!(times(&model).is_empty(), "what came in late waits for its page");
        model.apply_history(CIRCLE, CHANNEL, &page(100..200, true));
        assert_eq!(times(&model), (100..200).collect::<Vec<_>>());
    }

    #[test]
    fn the_delivery_of_an_own_message_is_not_shown_at_anothers_of_its_id() {
        let mut model = Model::default();
        let own = MessageView { mine: true, delivery: Delivery::Pending, ..message(5) };
        let copy = MessageView { created_ts: 9, ..message(5) };
        let (circle_id, channel_id, msg_id) = (CIRCLE, CHANNEL, own.msg_id);
        for event in [own, copy].map(Event::Message) {
            model.apply(&event);
        }
        model.apply(&Event::Delivery { circle_id, channel_id, msg_id, delivery: Delivery::Stored });
        let shown = model.timeline(CIRCLE, CHANNEL).unwrap().messages().iter().map(|m| m.delivery);
        assert_eq!(shown.collect::<Vec<_>>(), [Delivery::Stored, Delivery::Received]);
    }

    #[test]
    fn what_comes_in_late_leaves_no_hole_in_what_is_loaded() {
        let mut model = Model::default();
        model.apply(&Event::Message(message(3)));
        model.apply_history(CIRCLE, CHANNEL, &page(50..60, false));
        model.apply(&Event::Message(message(20)));
        model.apply(&Event::Message(message(70)));
        assert_eq!(times(&model), (50..60).chain([70]).collect::<Vec<_>>());
        assert_eq!(model.oldest(CIRCLE, CHANNEL), Some(message(50).key()), "the next page ends here");
        // A page that was read before a late message came lacks it.
        model.apply_history(CIRCLE, CHANNEL, &page((10..50).filter(|ts| *ts != 20), false));
        assert_eq!(times(&model), (10..60).chain([70]).collect::<Vec<_>>());
        model.apply_history(CIRCLE, CHANNEL, &page(5..10, true));
        assert_eq!(times(&model), [3].into_iter().chain(5..60).chain([70]).collect::<Vec<_>>());
        model.apply(&Event::Message(message(1)));
        assert_eq!(model.oldest(CIRCLE, CHANNEL), Some(message(1).key()), "nothing is older than the start");
    }

    fn circle(membership: Membership, members: Vec<MemberView>) -> Event {
        let channel = ChannelView {
            id: CHANNEL,
            name: "plans".into(),
            access: Access::Public,
            membership,
            owned: false,
            unread: 0,
            read_up_to: None,
            requests: Vec::new(),
            members: Vec::new(),
            draft: String::new(),
        };
        Event::Circle(CircleView {
            id: CIRCLE,
            name: "garden club".into(),
            relay: None,
            link: LinkView::Live,
            channels: vec![channel],
            members,
            anchor: None,
            unsent: 0,
            retention: Retention { messages: 1_000, days: 30 },
            held: None,
            arriving: None,
        })
    }

    #[test]
    fn a_channel_that_was_left_is_read_anew() {
        let circle = |membership| circle(membership, Vec::new());
        let mut model = Model::default();
        model.apply(&circle(Membership::Joined));
        model.apply_history(CIRCLE, CHANNEL, &page(1..5, true));
        model.apply(&circle(Membership::Joined));
        assert_eq!(times(&model), [1, 2, 3, 4]);
        model.apply(&circle(Membership::Outside));
        model.apply(&circle(Membership::Joined));
        assert_eq!(model.timeline(CIRCLE, CHANNEL), None);
    }

    #[test]
    fn a_channel_is_called_in_messages_as_it_is_in_lists() {
        let mut model = Model::default();
        let made_up = MessageView { channel: "general".into(), ..message(1) };
        assert_eq!(model.channel_label(&made_up), "general#02020202", "nothing is known of it");
        model.apply(&circle(Membership::Joined, Vec::new()));
        let Event::Circle(mut view) = circle(Membership::Joined, Vec::new()) else { unreachable!() };
        view.channels[0].name = "general#02020202".into();
        model.apply(&Event::Circle(view));
        assert_eq!(model.channel_label(&made_up), "general#02020202");
        model.apply(&circle(Membership::Joined, Vec::new()));
        assert_eq!(model.channel_label(&made_up), model.circles()[0].channels[0].name);
    }

    #[test]
    fn what_an_author_wrote_bears_the_name_they_have_now() {
        let called = |id, name: &str| MemberView {
            id: NodeId([id; 32]),
            name: name.into(),
            reach: Reach::Direct,
            anchors: false,
            label: name.into(),
        };
        let labels = |model: &Model| {
            let timeline = model.timeline(CIRCLE, CHANNEL).unwrap();
            timeline.messages().iter().map(|message| message.label.clone()).collect::<Vec<_>>()
        };
        let mut model = Model::default();
        model.apply(&circle(Membership::Joined, vec![called(3, "alice")]));
        model.apply_history(CIRCLE, CHANNEL, &page(1..3, true));
        let of_bob = MessageView { author: NodeId([4; 32]), label: "bob".into(), ..message(3) };
        model.apply(&Event::Message(of_bob));
        model.apply(&circle(Membership::Joined, vec![called(3, "alicia"), called(4, "bob")]));
        assert_eq!(labels(&model), ["alicia", "alicia", "bob"]);
    }
}
