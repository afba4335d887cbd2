//! What commands print: JSON lines for programs, columns for people.
//!
//! Names and texts come from other people: whatever could steer a terminal is escaped, in JSON too.

use felund_core::{
    ids::{CircleId, MsgId, NodeId},
    model::Model,
    view::{
        ChannelView, CircleView, Delivery, Finding, LinkView, MemberView, MessageView, Reach, Reply,
        circle_labels,
    },
};
use serde_json::{Value, json};

use super::wait;
use crate::text::{clean, held, is_dangerous, plural};

/// The circle that was made, joined or opened to others.
pub(crate) fn circle(reply: &Reply, json: bool) -> Result<(CircleId, String), String> {
    let (Reply::Circle { circle_id, name, invite } | Reply::Invite { circle_id, name, invite }) = reply
    else {
        return Err(wait::UNEXPECTED.to_owned());
    };
    let text = if json {
        line(&json!({ "circle_id": circle_id, "name": name, "invite": invite }))
    } else if matches!(reply, Reply::Circle { .. }) {
        format!("{}  {circle_id}\n{invite}\n", clean(name))
    } else {
        format!("{invite}\n")
    };
    Ok((*circle_id, text))
}

pub(crate) fn left(circle: &CircleView, json: bool) -> String {
    if json {
        line(&json!({ "circle_id": circle.id, "name": circle.name, "invite": Value::Null }))
    } else {
        format!("left {}; nothing of it is kept on this device\n", clean(&circle.name))
    }
}

/// How far a message got.
pub(crate) fn sent(msg_id: MsgId, delivery: Delivery, json: bool) -> String {
    if json {
        return line(&json!({ "msg_id": msg_id, "delivery": delivery }));
    }
    match delivery {
        Delivery::Delivered { to, of } => format!("delivered to {to} of {of}\n"),
        _ => "stored at the relay or an anchor\n".to_owned(),
    }
}

/// A message that is on this device only; people are told elsewhere, with the reason.
pub(crate) fn kept(msg_id: MsgId, state: &str, json: bool) -> String {
    if json { line(&json!({ "msg_id": msg_id, "delivery": { "state": state } })) } else { String::new() }
}

/// A line, in JSON always.
pub(crate) fn message(model: &Model, message: &MessageView) -> String {
    line(&json!({
        "circle_id": message.circle_id,
        "channel": model.channel_label(message),
        "channel_id": message.channel_id,
        "msg_id": message.msg_id,
        "author": message.author,
        "name": message.label,
        "created_ts": message.created_ts,
        "text": message.text,
    }))
}

pub(crate) fn circles(circles: &[CircleView], json: bool) -> String {
    if circles.is_empty() && !json {
        return "no circle yet; use `felund create` or `felund join`\n".to_owned();
    }
    let of = |(circle, name): (&CircleView, &String)| {
        let unread: u32 = circle.channels.iter().map(|channel| channel.unread).sum();
        if json {
            return line(&json!({
                "circle_id": circle.id, "name": name, "relay": circle.relay, "link": circle.link,
                "members": circle.members.len(), "unread": unread, "unsent": circle.unsent, "held": circle.held,
            }));
        }
        let members = plural(circle.members.len(), "member");
        let (id, link) = (circle.id.short(), link(&circle.link));
        let unsent = if circle.unsent > 0 { format!(", {} unsent", circle.unsent) } else { String::new() };
        let held = circle.held.as_ref().map(|reason| format!("; {}", held(reason))).unwrap_or_default();
        format!("{id}  {}  {members}, {unread} unread{unsent}, {link}{held}\n", clean(name))
    };
    circles.iter().zip(&circle_labels(circles)).map(of).collect()
}

pub(crate) fn channels(circle: &CircleView, json: bool) -> String {
    let of = |channel: &ChannelView| {
        if json {
            return line(&json!({
                "circle_id": circle.id, "channel_id": channel.id, "channel": channel.name,
                "access": channel.access, "membership": channel.membership, "owned": channel.owned,
                "unread": channel.unread,
            }));
        }
        let ChannelView { access, membership, unread, .. } = channel;
        format!("#{}  {}  {membership:?}, {unread} unread\n", clean(&channel.name), access.as_str())
    };
    circle.channels.iter().map(of).collect()
}

pub(crate) fn members(circle: &CircleView, json: bool) -> String {
    let of = |member: &MemberView| {
        let elected = circle.anchor == Some(member.id);
        if json {
            return line(&json!({
                "node_id": member.id, "name": member.label, "reach": member.reach, "anchors": member.anchors,
                "anchor": elected,
            }));
        }
        let role = match (elected, member.anchors) {
            (true, _) => ", the circle's anchor",
            (false, true) => ", can anchor",
            (false, false) => "",
        };
        format!("{}  {}  {}{role}\n", member.id.short(), clean(&member.label), reach(member.reach))
    };
    circle.members.iter().map(of).collect()
}

/// What an anchor says of a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Anchored {
    elected: Option<NodeId>,
    connected: usize,
}

impl Anchored {
    pub(crate) fn of(circle: &CircleView) -> Self {
        let direct = circle.members.iter().filter(|member| member.reach == Reach::Direct);
        Self { elected: circle.anchor, connected: direct.count() }
    }
}

pub(crate) fn anchored(circle: &CircleView, name: &str, state: &Anchored, json: bool) -> String {
    let member = circle.members.iter().find(|member| Some(member.id) == state.elected);
    if json {
        return line(&json!({
            "circle_id": circle.id, "circle": name, "anchor": state.elected, "connected": state.connected,
        }));
    }
    let elected = match member {
        Some(member) if member.reach == Reach::You => "this device".to_owned(),
        Some(member) => clean(&member.label).into_owned(),
        None => "nobody yet".to_owned(),
    };
    let connected = plural(state.connected, "member");
    format!("{}: {connected} connected; anchor: {elected}\n", clean(name))
}

pub(crate) fn findings(findings: &[Finding], json: bool) -> String {
    let of = |finding: &Finding| {
        if json {
            return line(&json!(finding));
        }
        let mark = if finding.ok { "ok  " } else { "FAIL" };
        let advice = finding.advice.as_ref().map(|advice| format!("      → {}\n", clean(advice)));
        let (subject, detail) = (clean(&finding.subject), clean(&finding.detail));
        format!("{mark}  {subject}: {detail}\n{}", advice.unwrap_or_default())
    };
    findings.iter().map(of).collect()
}

fn line(value: &Value) -> String {
    let mut line = escaped(value);
    line.push('\n');
    line
}

/// The JSON with every character escaped that could steer a terminal. JSON itself demands that for ASCII controls
/// only; the others stand in strings alone, where this form means the same.
fn escaped(value: &Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        match u32::from(c) {
            code @ 0..=0xffff if is_dangerous(c) => out.push_str(&format!("\\u{code:04x}")),
            _ => out.push(c),
        }
    }
    out
}

fn link(link: &LinkView) -> String {
    match link {
        LinkView::None => "no relay".to_owned(),
        LinkView::Connecting => "connecting".to_owned(),
        LinkView::Live => "live through the relay".to_owned(),
        LinkView::Polling => "polling the relay".to_owned(),
        LinkView::Down { reason, .. } => format!("relay unavailable: {}", clean(reason)),
    }
}

fn reach(reach: Reach) -> String {
    match reach {
        Reach::You => "you".to_owned(),
        Reach::Direct => "direct".to_owned(),
        Reach::Anchor => "via an anchor".to_owned(),
        Reach::Relay => "via the relay".to_owned(),
        Reach::Offline { last_seen: Some(at) } => format!("offline since {}", crate::text::utc(at)),
        Reach::Offline { last_seen: None } => "offline".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use felund_core::ids::ChannelId;

    use super::*;

    #[test]
    fn a_message_names_its_channel_and_its_author_as_lists_do() {
        let message = MessageView {
            circle_id: CircleId([1; 16]),
            channel_id: ChannelId([2; 16]),
            channel: "general".into(),
            msg_id: MsgId([3; 16]),
            author: NodeId([4; 32]),
            name: "alice".into(),
            label: "alice#04040404".into(),
            created_ts: 5,
            text: "hello".into(),
            mine: false,
            delivery: Delivery::Received,
        };
        let line: Value = serde_json::from_str(&super::message(&Model::default(), &message)).expect("JSON");
        assert_eq!(line["channel"], "general#02020202", "no list has told of it");
        assert_eq!((&line["channel_id"], &line["name"]), (&json!(ChannelId([2; 16])), &json!(message.label)));
    }

    #[test]
    fn a_relay_that_refuses_a_circle_is_not_called_unreachable() {
        let reason = "this relay takes no further circles";
        let down = LinkView::Down { reason: reason.into(), retry_in_s: 1 };
        assert_eq!(link(&down), "relay unavailable: this relay takes no further circles");
        let circle = CircleView { link: down, ..crate::target::tests::circle_view("garden club", 1) };
        assert_eq!(wait::trouble(&circle), Some(format!("is unavailable ({reason})")));
    }

    #[test]
    fn a_circle_says_why_its_messages_wait() {
        let mut circle = crate::target::tests::circle_view("garden club", 1);
        circle.link = LinkView::Live;
        assert!(circles(&[circle.clone()], false).ends_with("0 unread, live through the relay\n"));
        (circle.unsent, circle.held) = (2, Some("the disk is full".into()));
        let of = |circle: &CircleView| -> Value {
            serde_json::from_str(&circles(std::slice::from_ref(circle), true)).expect("JSON")
        };
        assert_eq!(of(&circle)["held"], json!("the disk is full"));
        assert_eq!(of(&CircleView { held: None, ..circle.clone() }).get("held"), Some(&Value::Null));
        let line = circles(&[circle], false);
        let why = "2 unsent, live through the relay; the relay takes no messages: the disk is full\n";
        assert!(line.ends_with(why), "{line}");
    }

    #[test]
    fn a_message_that_waits_is_a_line_for_programs() {
        let id = MsgId([0xab; 16]);
        let line = format!("{{\"delivery\":{{\"state\":\"waiting\"}},\"msg_id\":\"{id}\"}}\n");
        assert_eq!((kept(id, "waiting", true), kept(id, "waiting", false)), (line, String::new()));
    }
}
