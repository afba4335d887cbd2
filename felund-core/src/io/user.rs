//! What user interfaces ask of the node, and what it tells them.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::{
    ids::{ChannelId, CircleId, MsgId, NodeId},
    view::{Access, CircleView, Delivery, IdentityView, Key, MessageView, Reply, Retention},
};

/// What everything is refused with until [`Command::Unlock`] has opened the keys.
pub const LOCKED: &str = "The keys are locked. Give the passphrase first.";

/// A command and the number its answer carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the asker; echoed in [`Event::Reply`].
    pub id: u64,
    /// What is wanted.
    pub command: Command,
}

/// What a user can want. Every command is answered by exactly one [`Event::Reply`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum Command {
    /// Says everything again as events, ending with [`Event::Ready`]: for a mirror that joins late.
    #[n(0)]
    Snapshot,
    /// Opens keys that a passphrase protects.
    #[n(1)]
    Unlock {
        /// What the user typed.
        #[n(0)]
        passphrase: String,
    },
    /// Protects the keys at rest, or stops doing so.
    #[n(2)]
    SetPassphrase {
        /// `None` removes it.
        #[n(0)]
        passphrase: Option<String>,
    },
    /// Sets the display name and tells every circle.
    #[n(3)]
    SetName {
        /// 1–64 characters.
        #[n(0)]
        name: String,
    },
    /// Makes a circle.
    #[n(4)]
    CreateCircle {
        /// 1–64 characters.
        #[n(0)]
        name: String,
        /// Base URL of its relay, such as `https://chat.example`.
        #[n(1)]
        relay: Option<String>,
    },
    /// Joins by an invite: the bare code, or a link that ends in one.
    #[n(5)]
    JoinCircle {
        /// As typed or scanned.
        #[n(0)]
        invite: String,
        /// Used when the invite names no relay.
        #[n(1)]
        relay: Option<String>,
    },
    /// Leaves a circle and deletes what this device holds of it.
    #[n(6)]
    LeaveCircle {
        /// Which.
        #[n(0)]
        circle: CircleId,
    },
    /// Renames a circle for everyone.
    #[n(7)]
    RenameCircle {
        /// Which.
        #[n(0)]
        circle: CircleId,
        /// 1–64 characters.
        #[n(1)]
        name: String,
    },
    /// Makes an invite.
    #[n(8)]
    Invite {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
    },
    /// Changes where a circle's relay is.
    #[n(9)]
    SetRelay {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// Base URL, or none.
        #[n(1)]
        relay: Option<String>,
    },
    /// Changes how much a circle keeps, and prunes.
    #[n(10)]
    SetRetention {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// How much.
        #[n(1)]
        retention: Retention,
    },
    /// Sends a chat message.
    #[n(11)]
    Send {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// Which channel.
        #[n(1)]
        channel: ChannelId,
        /// 1 byte to 16 KiB.
        #[n(2)]
        text: String,
    },
    /// Loads a page of a channel's messages, newest first page by page.
    #[n(12)]
    History {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// Which channel.
        #[n(1)]
        channel: ChannelId,
        /// Only messages before this one.
        #[n(2)]
        before: Option<Key>,
        /// At most this many, 1–10,000.
        #[n(3)]
        limit: u32,
    },
    /// Moves a channel's read marker forward; what came late is read then, too.
    #[n(13)]
    MarkRead {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// Which channel.
        #[n(1)]
        channel: ChannelId,
        /// The last message seen.
        #[n(2)]
        up_to: Key,
    },
    /// Keeps what was typed and not sent.
    #[n(14)]
    SaveDraft {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// Which channel.
        #[n(1)]
        channel: ChannelId,
        /// May be empty.
        #[n(2)]
        text: String,
    },
    /// Makes a channel.
    #[n(15)]
    CreateChannel {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// 1–64 characters, unique in the circle.
        #[n(1)]
        name: String,
        /// Who may read it.
        #[n(2)]
        access: Access,
        /// For [`Access::Key`] only.
        #[n(3)]
        passphrase: Option<String>,
    },
    /// Joins a channel; for [`Access::Invite`] without approval this asks for it.
    #[n(16)]
    JoinChannel {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// Which channel.
        #[n(1)]
        channel: ChannelId,
        /// For [`Access::Key`] only.
        #[n(2)]
        passphrase: Option<String>,
    },
    /// Leaves a channel.
    #[n(17)]
    LeaveChannel {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// Which channel.
        #[n(1)]
        channel: ChannelId,
    },
    /// Lets a member into an invite channel the user created.
    #[n(18)]
    ApproveMember {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// Which channel.
        #[n(1)]
        channel: ChannelId,
        /// Whom.
        #[n(2)]
        member: NodeId,
    },
    /// Renames a channel the user created.
    #[n(19)]
    RenameChannel {
        /// Which circle.
        #[n(0)]
        circle: CircleId,
        /// Which channel.
        #[n(1)]
        channel: ChannelId,
        /// 1–64 characters, unique in the circle.
        #[n(2)]
        name: String,
    },
    /// Stores and forwards for the circles of this device, or stops doing so; browsers and phones never do.
    #[n(20)]
    SetAnchor {
        /// Whether.
        #[n(0)]
        on: bool,
    },
    /// Hides this device's address from members, or stops doing so: nothing is dialed, listened at or announced, and
    /// peer connections go through TURN servers only.
    #[n(21)]
    SetHideAddress {
        /// Whether.
        #[n(0)]
        on: bool,
    },
    /// Uses these STUN and TURN servers instead of those that relays name.
    #[n(22)]
    SetIceServers {
        /// As [`crate::ice::parse_servers`] reads them; none for the relays'.
        #[n(0)]
        servers: String,
    },
    /// The number to compare with a member out of band.
    #[n(23)]
    SafetyNumber {
        /// Which member.
        #[n(0)]
        member: NodeId,
    },
    /// Checks every connection and says what is wrong and what to do.
    #[n(24)]
    Doctor,
}

/// What the user interface learns. Applying every event to a [`crate::model::Model`] yields the whole state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The keys are protected: send [`Command::Unlock`].
    #[n(0)]
    Locked,
    /// Who this device is; comes before anything else once unlocked, and when the name changes.
    #[n(1)]
    Identity(#[n(0)] IdentityView),
    /// Everything known has been said; what comes now is news.
    #[n(2)]
    Ready,
    /// A circle is new or changed.
    #[n(3)]
    Circle(#[n(0)] CircleView),
    /// A circle is gone from this device.
    #[n(4)]
    CircleGone {
        /// Which.
        #[n(0)]
        circle_id: CircleId,
    },
    /// A chat message came in or was sent just now.
    #[n(5)]
    Message(#[n(0)] MessageView),
    /// An own message got further; or, if `delivery` is pending, its relay has refused it for good.
    #[n(6)]
    Delivery {
        /// Which circle.
        #[n(0)]
        circle_id: CircleId,
        /// Which channel.
        #[n(1)]
        channel_id: ChannelId,
        /// Which message.
        #[n(2)]
        msg_id: MsgId,
        /// How far.
        #[n(3)]
        delivery: Delivery,
    },
    /// Messages up to and including this one have been pruned.
    #[n(7)]
    Pruned {
        /// Which circle.
        #[n(0)]
        circle_id: CircleId,
        /// Which channel.
        #[n(1)]
        channel_id: ChannelId,
        /// The newest one gone.
        #[n(2)]
        up_to: Key,
    },
    /// Something the user should know; what happened, whether anything was lost, what to do.
    #[n(8)]
    Notice {
        /// Whether it is a fault rather than news.
        #[n(0)]
        error: bool,
        /// For people.
        #[n(1)]
        text: String,
    },
    /// The answer to a command.
    #[n(9)]
    Reply {
        /// Of the [`Request`].
        #[n(0)]
        id: u64,
        /// The answer, or a text for people that says what happened and what to do.
        #[n(1)]
        result: Result<Reply, String>,
    },
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;
    use crate::view::{Figures, Finding, LinkView, MemberView, Reach};

    fn survives<T>(said: &T)
    where
        T: PartialEq + fmt::Debug + minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>,
    {
        let bytes = minicbor::to_vec(said).unwrap();
        assert_eq!(minicbor::decode::<T>(&bytes).unwrap(), *said);
    }

    /// One of each shape: no fields, optional fields there and not, lists, and what stands in what.
    #[test]
    fn what_tabs_ask_and_are_told_survives_the_way_between_them() {
        let (circle, channel) = (CircleId([1; 16]), ChannelId([2; 16]));
        let (member, key) = (NodeId([3; 32]), Key { ts: u64::MAX, id: MsgId([4; 16]) });
        for before in [None, Some(key)] {
            survives(&Command::History { circle, channel, before, limit: u32::MAX });
        }
        let retention = Retention { messages: 1, days: 2 };
        survives(&Command::SetRetention { circle, retention });
        let (name, access) = (String::from("bed ünö"), Access::Key);
        survives(&Command::CreateChannel { circle, name: name.clone(), access, passphrase: None });
        survives(&vec![Command::Snapshot, Command::Doctor, Command::SetAnchor { on: true }]);
        let reach = [Reach::You, Reach::Direct, Reach::Offline { last_seen: Some(0) }];
        let members = reach.map(|reach| {
            let label = format!("{name}#{}", member.short());
            MemberView { id: member, name: name.clone(), reach, anchors: true, label }
        });
        let link = LinkView::Down { reason: "no answer".into(), retry_in_s: 3 };
        survives(&Event::Circle(CircleView {
            id: circle,
            name: name.clone(),
            relay: None,
            link,
            channels: Vec::new(),
            members: members.to_vec(),
            anchor: Some(member),
            unsent: 7,
            retention,
            held: Some("it is full".into()),
            arriving: Some(300),
        }));
        let delivery = Delivery::Delivered { to: 1, of: 2 };
        let (circle_id, channel_id, msg_id) = (circle, channel, key.id);
        survives(&Event::Delivery { circle_id, channel_id, msg_id, delivery });
        let message = MessageView {
            circle_id,
            channel_id,
            channel: name.clone(),
            msg_id,
            author: member,
            label: name.clone(),
            name,
            created_ts: key.ts,
            text: "\u{0}\n".into(),
            mine: false,
            delivery: Delivery::Received,
        };
        let figures =
            Figures { rtt_ms: Some(0), candidates: Some(vec![String::new()]), ..Figures::default() };
        let findings = vec![Finding::new("relay", false, "gone", Some("wait")).with(figures)];
        for reply in [
            Reply::Done,
            Reply::History { messages: vec![message], start_reached: true, from: Some(key) },
            Reply::Doctor { findings },
        ] {
            survives(&Event::Reply { id: 1, result: Ok(reply) });
        }
        survives(&vec![Event::Reply { id: 2, result: Err("no".into()) }, Event::Ready]);
    }
}
