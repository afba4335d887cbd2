//! Commands without a screen, for scripts and servers.
//!
//! Each opens a session like the screen does, asks, waits for what it promises, prints and ends.

mod links;
mod output;
mod print;
mod wait;

use std::{
    collections::HashMap,
    convert::Infallible as Never,
    io::Read,
    process::ExitCode,
    time::{Duration, Instant},
};

use felund_core::{
    config::MAX_TEXT_LEN,
    ids::{ChannelId, CircleId, MsgId},
    io::Command,
    view::{CircleView, Delivery, Finding, LinkView, Membership, MessageView, Reply, circle_labels},
};

use crate::{
    args::{Cmd, EXIT_FAILED, EXIT_KEPT, Options},
    reach::{ASKING, ROUTER},
    session::Setup,
    target,
    text::held,
};
use links::Links;
use output::Printer;
pub(crate) use output::notice;
use wait::Client;

/// How long `send` waits for a confirmation.
const SEND_PATIENCE: Duration = Duration::from_secs(10);
/// How long a new member waits for the circle's history.
const JOIN_PATIENCE: Duration = Duration::from_secs(15);
/// How long the doctor waits for the router.
const ROUTER_PATIENCE: Duration = Duration::from_secs(10);
/// How long commands that only read wait for what is new at the relay.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(4);

/// What a command did.
struct Done {
    /// What is still to be printed.
    text: String,
    code: ExitCode,
}

impl From<String> for Done {
    fn from(text: String) -> Self {
        Self { text, code: ExitCode::SUCCESS }
    }
}

/// Carries out one command.
///
/// # Errors
/// A text for people.
pub(crate) fn run(options: Options, command: Cmd) -> Result<ExitCode, String> {
    // Only what runs on is worth connecting to; the doctor looks at how that would go.
    let stays = matches!(command, Cmd::Anchor | Cmd::Tail { .. } | Cmd::Doctor);
    let chosen = options.setup();
    // A browser can make few connections by WebRTC: not for what is gone in a moment.
    let webrtc = chosen.webrtc && matches!(command, Cmd::Anchor | Cmd::Tail { .. });
    // A command beside this process may be a doctor.
    let probes = chosen.probes && stays;
    let setup = Setup { anchor: matches!(command, Cmd::Anchor), stays, webrtc, probes, ..chosen };
    let mut client = Client::open(options.clone(), setup)?;
    let done = carry_out(&mut client, options, command)?;
    // Whoever else needs the data directory does not wait for whoever reads this.
    drop(client);
    output::print(&done.text)?;
    Ok(done.code)
}

fn carry_out(client: &mut Client, options: Options, command: Cmd) -> Result<Done, String> {
    let Options { relay, listen, no_mdns, json, .. } = options;
    let text = match command {
        Cmd::Create { circle_name: name } => {
            let alone = (relay.is_none() && listen.is_none()).then(|| alone(no_mdns));
            create(client, name, relay, alone.as_deref(), json)?
        }
        Cmd::Join { code } => join(client, &code, relay, json)?,
        Cmd::Invite { circle } => {
            let circle = target::circle_or_only(client.model.circles(), circle.as_deref())?.id;
            print::circle(&client.ask(&Command::Invite { circle })?, json)?.1
        }
        Cmd::Leave { circle } => {
            let circle = target::circle(client.model.circles(), &circle)?.clone();
            client.ask(&Command::LeaveCircle { circle: circle.id })?;
            print::left(&circle, json)
        }
        Cmd::Send { target, text } => return send(client, &target, &text, json),
        Cmd::Anchor => return until_stopped(client, |client, printer| anchor(client, printer, json)),
        Cmd::Tail { target } => {
            return until_stopped(client, |client, printer| tail(client, printer, target.as_deref()));
        }
        Cmd::History { target, limit } => history(client, &target, limit)?,
        Cmd::Who { circle } => {
            let circle = target::circle_or_only(client.model.circles(), circle.as_deref())?.id;
            print::members(caught_up(client, circle)?, json)
        }
        Cmd::Circles => {
            client.until_all_caught_up(CATCH_UP_PATIENCE);
            print::circles(client.model.circles(), json)
        }
        Cmd::Channels { circle } => {
            let circle = target::circle(client.model.circles(), &circle)?.id;
            print::channels(caught_up(client, circle)?, json)
        }
        Cmd::Doctor => {
            client.until_all_caught_up(CATCH_UP_PATIENCE);
            let findings = doctor(client)?;
            let failed = findings.iter().any(|finding| !finding.ok);
            let code = if failed { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS };
            return Ok(Done { text: print::findings(&findings, json), code });
        }
    };
    Ok(text.into())
}

/// A circle with what is new at its relay, or without it where that does not answer.
fn caught_up(client: &mut Client, circle: CircleId) -> Result<&CircleView, String> {
    client.until_caught_up(circle, CATCH_UP_PATIENCE);
    let circle = client.circle(circle)?;
    if let Some(trouble) = wait::trouble(circle) {
        notice(&format!("the relay {trouble}; this is what is kept here"));
    }
    Ok(circle)
}

/// Whom a circle without a relay can reach.
fn alone(no_mdns: bool) -> String {
    let who = if no_mdns {
        "nobody else can be reached yet"
    } else {
        "only members in the same local network can be reached, while felund runs"
    };
    format!(
        "this circle has no relay, so {who}; give one with --relay URL or FELUND_RELAY, or let members connect with \
         --listen ADDR:PORT"
    )
}

fn create(
    client: &mut Client,
    name: String,
    relay: Option<String>,
    hint: Option<&str>,
    json: bool,
) -> Result<String, String> {
    let reply = client.ask(&Command::CreateCircle { name, relay })?;
    hint.into_iter().for_each(notice);
    let (id, text) = print::circle(&reply, json)?;
    // At once: a relay may take its time, and whoever is tired of that has the invite.
    let printed = output::print(&text);
    client.until_caught_up(id, JOIN_PATIENCE);
    if let Some(trouble) = wait::trouble(client.circle(id)?) {
        notice(&format!(
            "the circle is made, but its relay {trouble}; others can join as soon as it serves the circle"
        ));
    }
    printed.map(|()| String::new())
}

fn join(client: &mut Client, code: &str, relay: Option<String>, json: bool) -> Result<String, String> {
    let reply = client.ask(&Command::JoinCircle { invite: code.to_owned(), relay })?;
    let Reply::Circle { circle_id, name, invite } = reply else { return Err(wait::UNEXPECTED.to_owned()) };
    client.until_caught_up(circle_id, JOIN_PATIENCE);
    let circle = client.circle(circle_id)?;
    if let Some(trouble) = wait::trouble(circle) {
        notice(&format!("joined, but the relay {trouble}; history comes as soon as it answers"));
    } else if wait::is_alone(circle) {
        notice(
            "joined, but none of the members that the invite names could be reached; history comes as soon as one \
             is, while felund runs",
        );
    }
    let name = if circle.name.is_empty() { name } else { circle.name.clone() };
    Ok(print::circle(&Reply::Circle { circle_id, name, invite }, json)?.1)
}

fn send(client: &mut Client, wanted: &str, text: &[String], json: bool) -> Result<Done, String> {
    let text = if text == ["-"] { read_text(std::io::stdin())? } else { text.join(" ") };
    let (circle, channel) = client.channel(wanted)?;
    client.until_let_in(circle, channel);
    let msg_id = submit(client, circle, channel, &text)?;
    confirmed(client, circle, channel, msg_id, json)
}

/// Waits until somebody else keeps the message.
fn confirmed(
    client: &mut Client,
    circle: CircleId,
    channel: ChannelId,
    msg_id: MsgId,
    json: bool,
) -> Result<Done, String> {
    let until = Instant::now() + SEND_PATIENCE;
    let mut generation = None;
    loop {
        let mut before = None;
        if generation.replace(client.generation()) != Some(client.generation()) {
            // What an earlier owner heard of it is in the history.
            let found = newest(client, circle, channel)?.into_iter().find(|m| m.msg_id == msg_id);
            before = found.map(|message| message.delivery).filter(|delivery| *delivery != Delivery::Pending);
        }
        let delivery = client.delivery(msg_id);
        if delivery == Some(Delivery::Pending) {
            // Why was said when it was told.
            return Ok(Done {
                text: print::kept(msg_id, "refused", json),
                code: ExitCode::from(EXIT_FAILED),
            });
        }
        if let Some(delivery) = delivery.or(before) {
            return Ok(print::sent(msg_id, delivery, json).into());
        }
        if !client.step(until)? {
            notice(&why_kept(client.circle(circle).ok(), client.is_mirror(), msg_id));
            return Ok(Done { text: print::kept(msg_id, "waiting", json), code: ExitCode::from(EXIT_KEPT) });
        }
    }
}

/// Hands the message to the node, exactly once even when the process that owns it ends in between.
fn submit(client: &mut Client, circle: CircleId, channel: ChannelId, text: &str) -> Result<MsgId, String> {
    let last = newest(client, circle, channel)?.first().map(MessageView::key);
    loop {
        match client.try_ask(&Command::Send { circle, channel, text: text.to_owned() })? {
            Some(Reply::Sent { msg_id, .. }) => return Ok(msg_id),
            Some(_) => return Err(wait::UNEXPECTED.to_owned()),
            None => {}
        }
        let done = newest(client, circle, channel)?
            .into_iter()
            .find(|message| message.mine && message.text == text && Some(message.key()) > last);
        if let Some(message) = done {
            return Ok(message.msg_id);
        }
    }
}

/// Newest first.
fn newest(client: &mut Client, circle: CircleId, channel: ChannelId) -> Result<Vec<MessageView>, String> {
    match client.ask(&Command::History { circle, channel, before: None, limit: 20 })? {
        Reply::History { mut messages, .. } => {
            messages.reverse();
            Ok(messages)
        }
        _ => Err(wait::UNEXPECTED.to_owned()),
    }
}

/// Why a message is on this device only, and when it is sent.
fn why_kept(circle: Option<&CircleView>, beside: bool, msg_id: MsgId) -> String {
    let mut as_soon_as = "the relay takes it";
    let why = match circle.map(|circle| (&circle.link, &circle.held)) {
        Some((LinkView::Down { reason, .. }, _)) => format!("the relay is unavailable: {reason}"),
        Some((LinkView::None, _)) => {
            as_soon_as = "a member is connected";
            "the circle has no relay, and no member is connected".to_owned()
        }
        Some((_, Some(reason))) => held(reason),
        _ => "the relay did not confirm it in time".to_owned(),
    };
    let sent = if beside {
        format!(", and the client that is running sends it as soon as {as_soon_as}")
    } else {
        " and is sent the next time Felund runs".to_owned()
    };
    format!("{why}. Nothing is lost: message {msg_id} is kept here{sent}")
}

/// A text without the line breaks at its end.
fn read_text(mut from: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    // Room for the line break at the end, and one byte to notice that there is more.
    let limit = MAX_TEXT_LEN as u64 + 3;
    let fault = |e| format!("cannot read the message: {e}; nothing was sent");
    let mut full = from.by_ref().take(limit).read_to_end(&mut bytes).map_err(fault)? as u64 == limit;
    let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
    while bytes.last().is_some_and(is_break) {
        bytes.pop();
    }
    // Line breaks may have filled it, and what follows them is not to be cut off.
    while full && bytes.len() <= MAX_TEXT_LEN {
        let mut more = Vec::new();
        full = from.by_ref().take(limit).read_to_end(&mut more).map_err(fault)? > 0;
        if !more.iter().all(is_break) {
            bytes.resize(MAX_TEXT_LEN + 1, 0);
        }
    }
    if bytes.len() > MAX_TEXT_LEN {
        return Err(format!("the message is longer than {} KiB; nothing was sent", MAX_TEXT_LEN / 1024));
    }
    String::from_utf8(bytes).map_err(|_| "the message is not UTF-8 text; nothing was sent".to_owned())
}

fn history(client: &mut Client, wanted: &str, limit: u32) -> Result<String, String> {
    let (circle, _) = client.channel(wanted)?;
    caught_up(client, circle)?;
    let (circle, channel) = client.channel(wanted)?;
    match client.ask(&Command::History { circle, channel, before: None, limit })? {
        Reply::History { messages, .. } => {
            match unreadable(client.circle(circle)?, channel).filter(|_| messages.is_empty()) {
                Some((_, why)) => Err(why),
                None => Ok(messages.iter().map(|message| print::message(&client.model, message)).collect()),
            }
        }
        _ => Err(wait::UNEXPECTED.to_owned()),
    }
}

/// Why nothing of a channel can be read here, if so, and how far one is in it.
fn unreadable(circle: &CircleView, channel: ChannelId) -> Option<(Membership, String)> {
    let channel = circle.channel(channel)?;
    Some((channel.membership, channel.not_in("nothing of it can be read here")?))
}

/// Carries out what runs until it is asked to end: it has done its work then, and so it has when nobody reads any more.
fn until_stopped(
    client: &mut Client,
    work: impl FnOnce(&mut Client, &Printer) -> Result<Never, String>,
) -> Result<Done, String> {
    let printer = client.printer()?;
    let Err(error) = work(client, &printer);
    printer.finish()?;
    if client.is_stopped() { Ok(String::new().into()) } else { Err(error) }
}

/// What the doctor finds, when the router has answered or taken its time.
fn doctor(client: &mut Client) -> Result<Vec<Finding>, String> {
    let until = Instant::now() + ROUTER_PATIENCE;
    loop {
        let Reply::Doctor { findings } = client.ask(&Command::Doctor)? else {
            return Err(wait::UNEXPECTED.to_owned());
        };
        let asking = findings.iter().any(|finding| finding.subject == ROUTER && finding.detail == ASKING);
        if !asking || Instant::now() >= until {
            return Ok(findings);
        }
        client.step(Instant::now() + Duration::from_millis(500))?;
    }
}

/// Anchors until interrupted, and says whenever a circle's members or its anchor change.
fn anchor(client: &mut Client, printer: &Printer, json: bool) -> Result<Never, String> {
    if client.model.circles().is_empty() {
        return Err(
            "this device is in no circle yet, so there is nothing to anchor; join one with `felund join`"
                .into(),
        );
    }
    if client.is_mirror() {
        client.ask(&Command::SetAnchor { on: true })?;
        notice("the client that is running anchors from now on, until it is told otherwise in its settings");
    }
    let (mut said, mut links) = (HashMap::new(), Links::default());
    loop {
        links.news(client.model.circles().iter()).iter().for_each(|news| notice(news));
        let circles = client.model.circles();
        for (circle, name) in circles.iter().zip(circle_labels(circles)) {
            let state = print::Anchored::of(circle);
            if said.insert(circle.id, state.clone()).as_ref() != Some(&state) {
                printer.print(print::anchored(circle, &name, &state, json))?;
            }
        }
        client.changed_or_reopen()?;
        client.skip_messages();
    }
}

fn tail(client: &mut Client, printer: &Printer, wanted: Option<&str>) -> Result<Never, String> {
    let only = match wanted {
        Some(wanted) => {
            let (circle, channel) = client.circle_or_channel(wanted)?;
            if let Some(channel) = channel {
                client.until_let_in(circle, channel);
                may_listen(client.circle(circle)?, channel)?;
            }
            Some((circle, channel))
        }
        None => None,
    };
    if client.model.circles().is_empty() {
        notice(
            "this device is in no circle yet: nothing can come before it joins one, see `felund join --help`",
        );
    }
    let mut links = Links::default();
    loop {
        let listened = |circle: &&CircleView| only.is_none_or(|(id, _)| circle.id == id);
        links.news(client.model.circles().iter().filter(listened)).iter().for_each(|news| notice(news));
        while let Some(message) = client.next_message() {
            if only.is_none_or(|(circle, channel)| {
                message.circle_id == circle && channel.is_none_or(|channel| message.channel_id == channel)
            }) {
                let told = client.until_told_of(&message);
                printer.print(print::message(&client.model, &message))?;
                told?;
            }
        }
        client.changed_or_reopen()?;
    }
}

/// Who has asked to be let into a channel hears of it from then on; anybody else outside never does.
fn may_listen(circle: &CircleView, channel: ChannelId) -> Result<(), String> {
    match unreadable(circle, channel) {
        None => Ok(()),
        Some((Membership::Outside, why)) => Err(why),
        Some((_, why)) => {
            notice(&format!("{why} What is written once you are let in is waited for"));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_kept_beside_a_running_client_waits_for_no_other() {
        let mut circle = target::tests::circle_view("garden club", 1);
        let down = LinkView::Down { reason: "refused".into(), retry_in_s: 1 };
        for (link, as_soon_as) in [(LinkView::None, "a member is connected"), (down, "the relay takes it")] {
            circle.link = link;
            let said = |beside| why_kept(Some(&circle), beside, MsgId([3; 16]));
            assert!(said(true).ends_with(as_soon_as), "{}", said(true));
            assert!(said(false).ends_with("the next time Felund runs"));
        }
    }

    #[test]
    fn a_text_is_read_whole_or_refused() {
        let long = "x".repeat(MAX_TEXT_LEN);
        let breaks = "\n".repeat(MAX_TEXT_LEN * 3);
        for (given, text) in [
            ("hello\n".to_owned(), Some("hello")),
            ("a\n\nb\r\n\r\n".to_owned(), Some("a\n\nb")),
            (format!("{long}\r\n"), Some(long.as_str())),
            (format!("{long}{breaks}"), Some(long.as_str())),
            (format!("hello{breaks}"), Some("hello")),
            (format!("{long}x"), None),
            (format!("{long}\n\n\nx"), None),
            (format!("hello{breaks}x"), None),
            (format!("hello{breaks}x{breaks}"), None),
        ] {
            let read = read_text(given.as_bytes());
            assert_eq!(read.as_deref().ok(), text, "{} bytes", given.len());
        }
        assert!(read_text(&b"\xff"[..]).is_err_and(|error| error.contains("UTF-8")));
    }
}
