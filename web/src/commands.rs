//! What a typed line does: a message to send, or a slash command of the table both clients share.

use felund_wasm::core::{
    io::Command,
    slash::{self, Line, Names, Slash},
    view::{ChannelView, CircleView, MemberView, Membership, Reply, circle_labels, circle_named},
};
use leptos::prelude::{GetUntracked as _, Notify as _, ReadUntracked as _, Set as _};

use crate::{
    app::{App, Panel, Place},
    describe,
};

/// Names that completion offers.
pub(crate) fn names(app: App) -> Names {
    let circle = app.circle_now();
    let requests = circle.as_ref().and_then(|circle| {
        let channel = current(app, circle)?;
        let of = |id| circle.members.iter().find(|member| member.id == id).map(|member| member.label.clone());
        Some(channel.requests.iter().filter_map(|id| of(*id)).collect())
    });
    Names {
        circles: circle_labels(&app.circles.read_untracked()),
        channels: circle
            .iter()
            .flat_map(|circle| &circle.channels)
            .map(|channel| channel.name.clone())
            .collect(),
        members: circle
            .iter()
            .flat_map(|circle| &circle.members)
            .map(|member| member.label.clone())
            .collect(),
        requests: requests.unwrap_or_default(),
    }
}

fn current(app: App, circle: &CircleView) -> Option<ChannelView> {
    let here = app.here.get_untracked()?;
    circle.channel(here.channel).cloned()
}

/// Carries a line out. An error says why the line stays in the input; `unsent` is told later of where a message could
/// not be sent to.
pub(crate) fn run(app: App, line: &str, unsent: impl FnOnce(Place) + 'static) -> Result<(), String> {
    let line = slash::parse(line).map_err(|error| error.to_string())?;
    let command = match line {
        Line::Message(text) => return send(app, text, unsent),
        Line::Command(command) => command,
    };
    match command {
        Slash::Help(topic) => app.panel_open(Panel::Help(topic)),
        Slash::Join(code) => {
            app.join(code.expose().clone());
        }
        Slash::Circles => {
            let names = circle_labels(&app.circles.read_untracked());
            app.answer(["Your circles: ", &names.join(", ")].concat());
        }
        Slash::CircleCreate(name) => app.create(name),
        Slash::CircleSwitch(name) => {
            let id = circle_named(&app.circles.read_untracked(), &name)?.id;
            app.enter(id);
        }
        Slash::Name(name) => app.tell(Command::SetName { name }),
        Slash::Settings => app.panel_open(Panel::Settings),
        Slash::Doctor | Slash::Debug => app.panel_open(Panel::Doctor),
        Slash::Quit => app.answer("To quit, close this tab. Everything is kept on this device."),
        other => {
            let circle = app.circle_now().ok_or("There is no circle yet: create or join one first.")?;
            in_circle(app, &circle, other)?;
        }
    }
    Ok(())
}

fn in_circle(app: App, circle: &CircleView, command: Slash) -> Result<(), String> {
    let id = circle.id;
    let here = || current(app, circle).ok_or("There is no channel here.".to_owned());
    match command {
        Slash::Invite => app.panel_open(Panel::Invite(id)),
        Slash::CircleName(name) => app.tell(Command::RenameCircle { circle: id, name }),
        Slash::CircleLeave => app.panel_open(Panel::Leave(id)),
        Slash::Channels => {
            let names: Vec<String> = circle.channels.iter().map(|c| ["#", &*c.name].concat()).collect();
            app.answer(["Channels here: ", &names.join(", ")].concat());
        }
        Slash::ChannelCreate { name, access, passphrase } => {
            let passphrase = passphrase.map(|secret| secret.expose().clone());
            let command = Command::CreateChannel { circle: id, name, access, passphrase };
            create_channel(app, command, |app, error| app.note(true, error));
        }
        Slash::ChannelJoin { name, passphrase } => {
            let channel = circle.channel_named(&name)?;
            if channel.membership == Membership::Requested {
                open_channel(app, Place { circle: id, channel: channel.id });
                return Ok(());
            }
            let passphrase = passphrase.map(|secret| secret.expose().clone());
            join_channel(app, circle, channel, passphrase, |app, error| app.note(true, error));
        }
        Slash::ChannelSwitch(name) => {
            open_channel(app, Place { circle: id, channel: circle.channel_named(&name)?.id });
        }
        Slash::ChannelLeave => app.tell(Command::LeaveChannel { circle: id, channel: here()?.id }),
        Slash::ChannelRequests => {
            let names: Vec<String> = names(app).requests;
            let text = if names.is_empty() {
                "Nobody waits to be let into this channel.".into()
            } else {
                ["Waiting: ", &names.join(", "), ". /channel approve NAME lets one in."].concat()
            };
            app.answer(text);
        }
        Slash::ChannelApprove(name) => {
            let member = circle.member_named(&name)?.id;
            app.tell(Command::ApproveMember { circle: id, channel: here()?.id, member });
        }
        Slash::ChannelRename(name) => {
            app.tell(Command::RenameChannel { circle: id, channel: here()?.id, name });
        }
        Slash::Who(of) => {
            let of = of.map(|name| circle.channel_named(&name)).transpose()?;
            let within = |member: &&MemberView| {
                of.as_ref()
                    .is_none_or(|channel| channel.members.is_empty() || channel.members.contains(&member.id))
            };
            let who: Vec<String> = circle
                .members
                .iter()
                .filter(within)
                .map(|member| [&*member.label, " (", &*describe::reach(member.reach).1, ")"].concat())
                .collect();
            app.answer(who.join(", "));
        }
        Slash::Safety(name) => {
            let member = circle.member_named(&name)?;
            let name = member.label.clone();
            app.ask(Command::SafetyNumber { member: member.id }, move |app, reply| {
                if let Reply::SafetyNumber { number } = reply {
                    app.panel_open(Panel::Safety { name, number });
                }
            });
        }
        // The rest was carried out by `run`.
        _ => {}
    }
    Ok(())
}

fn send(app: App, text: String, unsent: impl FnOnce(Place) + 'static) -> Result<(), String> {
    if text.trim().is_empty() {
        return Ok(());
    }
    let place = app.here.get_untracked().ok_or("There is no channel to send to yet.")?;
    app.mark.set(None);
    app.sent.notify();
    let Place { circle, channel } = place;
    app.ask_or(
        Command::Send { circle, channel, text },
        |_, _| {},
        move |app, error| {
            unsent(place);
            app.note(true, error);
        },
    );
    Ok(())
}

/// Makes a channel and goes there; `otherwise` shows what went wrong.
pub(crate) fn create_channel(app: App, command: Command, otherwise: impl FnOnce(App, String) + 'static) {
    let Command::CreateChannel { circle, .. } = command else { return };
    let go = move |app: App, reply| {
        if let Reply::Channel { channel_id } = reply {
            app.go_when_known(Place { circle, channel: channel_id });
        }
    };
    app.ask_or(command, go, otherwise);
}

/// Goes to a channel the user is in, or to where they can ask to be let in.
pub(crate) fn open_channel(app: App, place: Place) {
    match app.channel_at(place).map(|channel| channel.membership) {
        Some(Membership::Joined) => app.go(place),
        Some(Membership::Outside | Membership::Requested) => app.panel_open(Panel::JoinChannel(place)),
        None => {}
    }
}

/// Joins a channel, or asks its creator; `otherwise` shows what went wrong.
pub(crate) fn join_channel(
    app: App,
    circle: &CircleView,
    channel: &ChannelView,
    passphrase: Option<String>,
    otherwise: impl FnOnce(App, String) + 'static,
) {
    let place = Place { circle: circle.id, channel: channel.id };
    let command = Command::JoinChannel { circle: circle.id, channel: channel.id, passphrase };
    app.ask_or(command, move |app, _| app.go_when_known(place), otherwise);
}
