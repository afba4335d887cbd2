//! What slash commands and function keys do.

use felund_core::{
    ids::{ChannelId, CircleId, NodeId},
    io::Command,
    slash::{self, Names, Slash},
    view::{
        ChannelView, CircleView, Finding, LinkView, MemberView, Membership, Reach, circle_labels,
        circle_named,
    },
};

use super::{
    app::{App, Pending},
    overlay::{Overlay, Page, Settings},
    ui::words,
};
use crate::text::{held, plural};

impl App {
    /// Carries out a slash command.
    pub(crate) fn command(&mut self, command: Slash) -> Result<(), String> {
        let leaving = self.leaving.take();
        match command {
            Slash::Help(topic) => self.show_help(topic.as_deref()),
            Slash::Invite => self.ask_invite(),
            Slash::Join(code) => {
                let invite = code.expose().clone();
                let relay = self.options.relay.clone();
                self.ask(Command::JoinCircle { invite, relay }, Pending::Circle { made: false });
            }
            Slash::Circles => self.show_circles(),
            Slash::CircleCreate(name) => {
                let relay =
                    self.options.relay.clone().or_else(|| self.circle().and_then(|c| c.relay.clone()));
                self.ask(Command::CreateCircle { name, relay }, Pending::Circle { made: true });
            }
            Slash::CircleSwitch(name) => {
                if let Some(why) = self.unready("nothing was done") {
                    return Err(why);
                }
                let id = circle_named(self.model.circles(), &name)?.id;
                let place = self.first_channel(id).ok_or("this circle has no channel yet")?;
                self.go(place);
            }
            Slash::CircleName(name) => {
                let circle = self.here()?.0;
                self.ask(Command::RenameCircle { circle, name }, Pending::Done("renamed for everyone"));
            }
            Slash::CircleLeave => {
                let circle = self.here()?.0;
                if leaving != Some(circle) {
                    self.leaving = Some(circle);
                    self.say(
                        "This deletes the circle's messages and keys from this device; only a new invite brings \
                         you back. Type /circle leave once more to do it.",
                    );
                    return Ok(());
                }
                let left = Pending::Done("left; nothing of it is kept on this device");
                self.ask(Command::LeaveCircle { circle }, left);
            }
            Slash::Channels => self.show_channels()?,
            Slash::Who(channel) => self.show_members(channel.as_deref())?,
            Slash::Name(name) => self.ask(Command::SetName { name }, Pending::Done("your name is changed")),
            Slash::Settings => self.show_settings(),
            Slash::Doctor => {
                self.say("checking every connection…");
                self.ask(Command::Doctor, Pending::Doctor);
            }
            Slash::Debug => self.show_debug(),
            Slash::Safety(name) => {
                let member = self.member(&name)?;
                let (member, name) = (member.id, member.label.clone());
                self.ask(Command::SafetyNumber { member }, Pending::Safety(name));
            }
            Slash::Quit => self.quit(),
            channel => self.channel_command(channel)?,
        }
        Ok(())
    }

    fn channel_command(&mut self, command: Slash) -> Result<(), String> {
        let (circle, channel) = self.here()?;
        match command {
            Slash::ChannelCreate { name, access, passphrase } => {
                let passphrase = passphrase.map(|secret| secret.expose().clone());
                self.ask(
                    Command::CreateChannel { circle, name, access, passphrase },
                    Pending::Channel(circle),
                );
            }
            Slash::ChannelJoin { name, passphrase } => {
                let passphrase = passphrase.map(|secret| secret.expose().clone());
                let channel = self.channel_to_join(&name, passphrase.as_deref())?;
                self.ask(Command::JoinChannel { circle, channel, passphrase }, Pending::Channel(circle));
            }
            Slash::ChannelSwitch(name) => {
                let channel = self.channel_named(&name)?;
                self.go((circle, channel));
            }
            Slash::ChannelLeave => {
                self.ask(Command::LeaveChannel { circle, channel }, Pending::Done("left the channel"));
            }
            Slash::ChannelRequests => self.show_requests()?,
            Slash::ChannelApprove(name) => {
                let member = self.member(&name)?.id;
                let done = Pending::Done("approved");
                self.ask(Command::ApproveMember { circle, channel, member }, done);
            }
            Slash::ChannelRename(name) => {
                self.ask(
                    Command::RenameChannel { circle, channel, name },
                    Pending::Done("renamed for everyone"),
                );
            }
            _ => {}
        }
        Ok(())
    }

    fn here(&self) -> Result<(CircleId, ChannelId), String> {
        self.open.ok_or_else(|| self.nowhere("open a circle first: /circle create NAME or /join CODE"))
    }

    fn here_view(&self) -> Result<(&CircleView, &ChannelView), String> {
        self.circle().zip(self.channel()).ok_or_else(|| self.nowhere("open a circle first"))
    }

    fn nowhere(&self, first: &str) -> String {
        self.unready("nothing was done").unwrap_or_else(|| first.to_owned())
    }

    fn channel_named(&self, name: &str) -> Result<ChannelId, String> {
        Ok(self.here_view()?.0.channel_named(name)?.id)
    }

    /// A channel to join. The rest of a name with spaces was read as its passphrase where nobody put it into quotes.
    fn channel_to_join(&self, name: &str, passphrase: Option<&str>) -> Result<ChannelId, String> {
        let whole = [name, passphrase.unwrap_or_default()].join(" ");
        self.channel_named(name).map_err(|error| match self.channel_named(&whole) {
            Ok(_) => format!("a name with spaces wants quotes: /channel join \"{whole}\""),
            Err(_) => error,
        })
    }

    fn member(&self, name: &str) -> Result<&MemberView, String> {
        self.here_view()?.0.member_named(name)
    }

    /// What there is to complete with.
    pub(crate) fn names(&self) -> Names {
        let circles = circle_labels(self.model.circles());
        let Ok((circle, channel)) = self.here_view() else { return Names { circles, ..Names::default() } };
        let name = |id: &NodeId| circle.members.iter().find(|m| m.id == *id).map(|m| m.label.clone());
        Names {
            circles,
            channels: circle.channels.iter().map(|channel| channel.name.clone()).collect(),
            members: circle
                .members
                .iter()
                .filter(|m| m.reach != Reach::You)
                .map(|m| m.label.clone())
                .collect(),
            requests: channel.requests.iter().filter_map(name).collect(),
        }
    }

    fn show(&mut self, title: impl Into<String>, lines: Vec<String>) {
        self.overlay = Some(Overlay::Page(Page { title: title.into(), lines, top: 0 }));
    }

    pub(crate) fn show_help(&mut self, topic: Option<&str>) {
        let row = |help: &slash::Help| format!("{}\n    {}", help.usage(), help.about);
        if let Some(topic) = topic {
            return self.show(format!("help {topic}"), slash::help_for(topic).map(row).collect());
        }
        let mut lines: Vec<_> = KEYS.iter().map(|(key, does)| format!("{key:<22}{does}")).collect();
        lines.push(String::new());
        lines.extend(slash::help().iter().map(row));
        self.show("help", lines);
    }

    pub(crate) fn show_settings(&mut self) {
        if let Some(why) = self.unready("there are no settings yet") {
            return self.fail(why);
        }
        self.overlay = Some(Overlay::Settings(Settings::default()));
    }

    pub(crate) fn ask_invite(&mut self) {
        match self.here() {
            Ok((circle, _)) => self.ask(Command::Invite { circle }, Pending::Invite),
            Err(error) => self.fail(error),
        }
    }

    pub(crate) fn show_invite(&mut self, circle: CircleId, name: String, code: String) {
        let relay = self.model.circle(circle).and_then(|circle| circle.relay.as_ref());
        let link = relay.map(|relay| format!("{}/#{code}", relay.trim_end_matches('/')));
        self.overlay = Some(Overlay::Invite { name, link, code, copied: false });
    }

    fn show_circles(&mut self) {
        let line = |circle: &CircleView| {
            let members = plural(circle.members.len(), "member");
            let (name, link) = (self.label(circle.id), words::link(&circle.link));
            format!("{name}  ({members}, {link}, id {})", circle.id.short())
        };
        let lines = self.model.circles().iter().map(line).collect();
        self.show("circles", lines);
    }

    fn show_channels(&mut self) -> Result<(), String> {
        let (circle, _) = self.here_view()?;
        let line = |channel: &ChannelView| {
            let stands = match channel.membership {
                Membership::Joined => "joined",
                Membership::Outside => "not joined",
                Membership::Requested => "asked to be let in",
            };
            format!("#{}  ({}, {stands}, {} unread)", channel.name, channel.access.as_str(), channel.unread)
        };
        let lines = circle.channels.iter().map(line).collect();
        self.show(format!("channels of {}", self.label(circle.id)), lines);
        Ok(())
    }

    fn show_members(&mut self, channel: Option<&str>) -> Result<(), String> {
        let only = match channel {
            Some(name) => {
                let id = self.channel_named(name)?;
                let (circle, _) = self.here_view()?;
                circle.channel(id).map(|channel| channel.members.clone()).unwrap_or_default()
            }
            None => Vec::new(),
        };
        let (circle, _) = self.here_view()?;
        let members = circle.members.iter().filter(|m| only.is_empty() || only.contains(&m.id));
        let line = |m: &felund_core::view::MemberView| {
            format!(
                "{} {}  {}  ({})",
                words::dot(m.reach),
                m.label,
                words::reach(m.reach, self.now),
                m.id.short()
            )
        };
        let lines = members.map(line).collect();
        self.show(format!("who is in {}", self.label(circle.id)), lines);
        Ok(())
    }

    fn show_requests(&mut self) -> Result<(), String> {
        let (circle, channel) = self.here_view()?;
        if !channel.owned {
            return Err("only who made a channel lets members in".to_owned());
        }
        let name = |id: &NodeId| {
            let member = circle.members.iter().find(|member| member.id == *id);
            member.map_or_else(|| id.short(), |m| format!("{}  ({})", m.label, m.id.short()))
        };
        let mut lines: Vec<_> = channel.requests.iter().map(name).collect();
        if lines.is_empty() {
            lines.push("nobody waits".to_owned());
        } else {
            lines.push(String::new());
            lines.push("/channel approve NAME lets somebody in".to_owned());
        }
        self.show(format!("waiting for #{}", channel.name.clone()), lines);
        Ok(())
    }

    pub(crate) fn show_findings(&mut self, findings: &[Finding]) {
        self.notice = None;
        let line = |finding: &Finding| {
            let mark = if finding.ok { "✓ ok" } else { "✗ not ok" };
            let advice =
                finding.advice.as_ref().map(|advice| format!("\n    → {advice}")).unwrap_or_default();
            format!("{mark}  {}: {}{advice}", finding.subject, finding.detail)
        };
        self.show("doctor", findings.iter().map(line).collect());
    }

    pub(crate) fn show_safety(&mut self, name: &str, number: &str) {
        let mut lines =
            vec![format!("Compare this number with {name}, face to face or on the phone:"), String::new()];
        let groups: Vec<_> = number.split_whitespace().collect();
        lines.extend(groups.chunks(4).map(|row| format!("    {}", row.join("  "))));
        lines.push(String::new());
        lines.push("When both see the same, nobody sits in between.".to_owned());
        self.show("safety number", lines);
    }

    fn show_debug(&mut self) {
        let mut lines = vec![format!("felund {}", env!("CARGO_PKG_VERSION"))];
        if let Some(identity) = &self.model.identity {
            lines.push(format!("device {}", identity.node_id));
        }
        lines.push(if self.mirror {
            "mirrors the felund that owns this data directory".to_owned()
        } else {
            "owns this data directory".to_owned()
        });
        for circle in self.model.circles() {
            lines.push(String::new());
            lines.push(format!("circle {} {}", circle.id, circle.name));
            lines.push(format!("    relay {}", circle.relay.as_deref().unwrap_or("none")));
            let retry = match &circle.link {
                LinkView::Down { retry_in_s, .. } => format!(", tried again after {retry_in_s} s"),
                _ => String::new(),
            };
            lines.push(format!("    {}{retry}; {} unsent", words::link(&circle.link), circle.unsent));
            lines.extend(circle.held.as_ref().map(|reason| format!("    {}", held(reason))));
            for channel in &circle.channels {
                let loaded = self.model.timeline(circle.id, channel.id).map_or(0, |t| t.messages().len());
                lines.push(format!("    channel {} #{}: {loaded} loaded", channel.id, channel.name));
            }
        }
        self.show("debug", lines);
    }
}

const KEYS: [(&str, &str); 12] = [
    ("Enter", "sends"),
    ("Alt+Enter, Ctrl+J", "begins a new line"),
    ("Tab, Shift+Tab", "next and previous channel; completes a command"),
    ("Alt+Up, Alt+Down", "previous and next channel"),
    ("PgUp, PgDn, Up, Down", "scroll; Ctrl+Home, Ctrl+End go all the way"),
    ("Esc", "back to the input and the newest message"),
    ("F1", "this help"),
    ("F2", "invite to this circle"),
    ("F3", "settings"),
    ("Ctrl+A, E, U, K, W", "edit the line as in a shell"),
    ("Mouse", "click a channel, turn the wheel; hold Shift to select text"),
    ("Ctrl+C, Ctrl+Q", "quit; nothing is lost"),
];
