//! What commands print: JSON lines for programs, columns for people.
//!
//! Names and texts come from other people: whatever could steer a terminal is escaped, in JSON too.

use std::io::{ErrorKind, Write};

use felund_core::{
    ids::{CircleId, MsgId, NodeId},
    view::{CircleView, Delivery, Finding, LinkView, MessageView, Reach, Reply},
};
use serde_json::{Value, json};

use super::wait;
use crate::text::{clean, is_dangerous, plural};

/// Prints the circle that was made, joined or opened to others.
pub(crate) fn circle(reply: &Reply, json: bool) -> Result<CircleId, String> {
    let (Reply::Circle { circle_id, name, invite } | Reply::Invite { circle_id, name, invite }) = reply
    else {
        return Err(wait::UNEXPECTED.to_owned());
    };
    if json {
        line(&json!({ "circle_id": circle_id, "name": name, "invite": invite }));
    } else {
        if matches!(reply, Reply::Circle { .. }) {
            println!("{}  {circle_id}", clean(name));
        }
        println!("{invite}");
    }
    Ok(*circle_id)
}

pub(crate) fn left(circle: &CircleView, json: bool) {
    if json {
        line(&json!({ "circle_id": circle.id, "name": circle.name, "invite": Value::Null }));
    } else {
        println!("left {}; nothing of it is kept on this device", clean(&circle.name));
    }
}

/// Says how far a message got.
pub(crate) fn sent(msg_id: MsgId, delivery: Delivery, json: bool) {
    if json {
        return line(&json!({ "msg_id": msg_id, "delivery": delivery }));
    }
    match delivery {
        Delivery::Delivered { to, of } => println!("delivered to {to} of {of}"),
        _ => println!("stored at the relay or an anchor"),
    }
}

/// A line a message; an error when nobody reads any more.
pub(crate) fn messages(messages: &[MessageView]) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    for message in messages {
        let value = json!({
            "circle_id": message.circle_id,
            "channel": message.channel,
            "msg_id": message.msg_id,
            "author": message.author,
            "name": message.name,
            "created_ts": message.created_ts,
            "text": message.text,
        });
        if let Err(error) = writeln!(out, "{}", escaped(&value)).and_then(|()| out.flush()) {
            return match error.kind() {
                ErrorKind::BrokenPipe => std::process::exit(0),
                _ => Err(format!("cannot print: {error}")),
            };
        }
    }
    Ok(())
}

pub(crate) fn circles(circles: &[CircleView], json: bool) {
    for circle in circles {
        let unread: u32 = circle.channels.iter().map(|channel| channel.unread).sum();
        if json {
            line(&json!({
                "circle_id": circle.id, "name": circle.name, "relay": circle.relay, "link": circle.link,
                "members": circle.members.len(), "unread": unread, "unsent": circle.unsent,
            }));
        } else {
            let members = plural(circle.members.len(), "member");
            println!(
                "{}  {}  {members}, {unread} unread, {}",
                circle.id.short(),
                clean(&circle.name),
                link(&circle.link)
            );
        }
    }
    if circles.is_empty() && !json {
        println!("no circle yet; use `felund create` or `felund join`");
    }
}

pub(crate) fn channels(circle: &CircleView, json: bool) {
    for channel in &circle.channels {
        if json {
            line(&json!({
                "circle_id": circle.id, "channel_id": channel.id, "channel": channel.name,
                "access": channel.access, "membership": channel.membership, "owned": channel.owned,
                "unread": channel.unread,
            }));
        } else {
            println!(
                "#{}  {}  {:?}, {} unread",
                clean(&channel.name),
                channel.access.as_str(),
                channel.membership,
                channel.unread
            );
        }
    }
}

pub(crate) fn members(circle: &CircleView, json: bool) {
    for member in &circle.members {
        if json {
            let elected = circle.anchor == Some(member.id);
            line(&json!({
                "node_id": member.id, "name": member.name, "reach": member.reach, "anchors": member.anchors,
                "anchor": elected,
            }));
        } else {
            let role = match (circle.anchor == Some(member.id), member.anchors) {
                (true, _) => ", the circle's anchor",
                (false, true) => ", can anchor",
                (false, false) => "",
            };
            println!("{}  {}  {}{role}", member.id.short(), clean(&member.label), reach(member.reach));
        }
    }
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

pub(crate) fn anchored(circle: &CircleView, state: &Anchored, json: bool) {
    let member = circle.members.iter().find(|member| Some(member.id) == state.elected);
    if json {
        line(&json!({
            "circle_id": circle.id, "circle": circle.name, "anchor": state.elected, "connected": state.connected,
        }));
        return;
    }
    let elected = match member {
        Some(member) if member.reach == Reach::You => "this device".to_owned(),
        Some(member) => clean(&member.label).into_owned(),
        None => "nobody yet".to_owned(),
    };
    println!("{}: {} connected; anchor: {elected}", clean(&circle.name), plural(state.connected, "member"));
}

pub(crate) fn findings(findings: &[Finding], json: bool) {
    for finding in findings {
        if json {
            line(&json!(finding));
            continue;
        }
        let mark = if finding.ok { "ok  " } else { "FAIL" };
        println!("{mark}  {}: {}", clean(&finding.subject), clean(&finding.detail));
        if let Some(advice) = &finding.advice {
            println!("      → {}", clean(advice));
        }
    }
}

fn line(value: &Value) {
    println!("{}", escaped(value));
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
        LinkView::Down { reason, .. } => format!("relay unreachable: {}", clean(reason)),
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
