//! What the screen shows and how it changes: a pure fold over signals that leaves effects behind.
//!
//! Nothing here touches the terminal, the clock or the node; [`super::run`] carries the effects out.

use std::collections::BTreeMap;

use felund_core::{
    config::HISTORY_PAGE,
    ids::{ChannelId, CircleId},
    io::{Command, Event},
    model::Model,
    view::{ChannelView, CircleView, Key, Membership, Reply, circle_labels},
};
use jiff::tz::TimeZone;
use ratatui::layout::Rect;

use super::{
    drafts::{self, Drafts},
    editor::Editor,
    overlay::{Overlay, Setting, Step, Wizard},
    scroll::Scroll,
    theme::Theme,
};
use crate::{
    args::Options,
    session::{ENDED, MISSED},
};

/// Messages older than this are no news to ring for, in milliseconds.
const NEWS_MS: u64 = 120_000;

/// A channel of a circle.
pub(crate) type Place = (CircleId, ChannelId);

/// What [`super::run`] must do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    Ask(Command, Pending),
    Copy(String),
    Bell,
    Quit,
}

/// What somebody must know whose question was not answered.
const UNSURE_SENT: &str = "look whether this was sent before you send it again";
const UNSURE_DONE: &str = "look whether it was done before you do it again";

/// What an answer is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Pending {
    /// Only a refusal is of interest.
    Quiet,
    Done(&'static str),
    Invite,
    /// Go to the circle when it is there; show its invite when the user made it.
    Circle {
        made: bool,
    },
    Channel(CircleId),
    History(Place),
    Doctor,
    Safety(String),
    /// The text, in case that it cannot be sent.
    Send(Place, String),
    /// The draft that is kept now.
    Draft(Place, String),
    Wizard,
    Setting(Setting),
}

/// A line for the user above the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) error: bool,
    pub(crate) text: String,
}

/// What a click hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hit {
    Circle(CircleId),
    Channel(CircleId, ChannelId),
    Messages,
}

/// What the last drawing found out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drawn {
    pub(crate) hits: Vec<(Rect, Hit)>,
    /// Where messages are.
    pub(crate) messages: Rect,
    /// Whether the oldest loaded message is on the screen.
    pub(crate) top: bool,
    /// Whether the newest one is.
    pub(crate) bottom: bool,
    /// The first row of the page over them.
    pub(crate) page_top: usize,
}

/// The whole screen's state.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) model: Model,
    pub(crate) open: Option<Place>,
    pub(crate) editor: Editor,
    pub(super) drafts: Drafts,
    pub(crate) scroll: Scroll,
    /// On the way to the channel's first message, a page after the other.
    pub(super) to_start: bool,
    /// Messages after this one were new when the channel was opened or the window left.
    pub(crate) new_after: Option<Key>,
    pub(crate) overlay: Option<Overlay>,
    pub(crate) wizard: Option<Wizard>,
    /// Whether the sidebar is shown over a screen too narrow for it.
    pub(crate) drawer: bool,
    pub(crate) notice: Option<Notice>,
    /// What went wrong before the node was ready, which may be why it is not.
    fault: Option<String>,
    pub(crate) focused: bool,
    /// Whether another process owns the node.
    pub(crate) mirror: bool,
    pub(crate) zone: TimeZone,
    pub(crate) theme: Theme,
    pub(crate) options: Options,
    pub(crate) drawn: Drawn,
    /// Unix milliseconds when the last signal came; “2 h ago” is counted from here.
    pub(crate) now: u64,
    pub(crate) effects: Vec<Effect>,
    pending: BTreeMap<u64, Pending>,
    /// Whether the bell was rung since the last drawing.
    rang: bool,
    loading: Option<Place>,
    /// Where history could not be read; not asked for again before the user comes back.
    unreadable: Option<Place>,
    /// The newest message that was last seen, and how many were unread then.
    marked: Option<(Key, u32)>,
    options_used: bool,
    /// The circle that the next `/circle leave` really leaves.
    pub(crate) leaving: Option<CircleId>,
}

impl App {
    pub(crate) fn new(options: Options, theme: Theme, zone: TimeZone) -> Self {
        Self {
            model: Model::default(),
            open: None,
            editor: Editor::default(),
            drafts: Drafts::default(),
            scroll: Scroll::Follow,
            to_start: false,
            new_after: None,
            overlay: None,
            wizard: None,
            drawer: false,
            notice: None,
            fault: None,
            focused: true,
            mirror: false,
            zone,
            theme,
            options,
            drawn: Drawn::default(),
            now: 0,
            effects: Vec::new(),
            pending: BTreeMap::new(),
            rang: false,
            loading: None,
            unreadable: None,
            marked: None,
            options_used: false,
            leaving: None,
        }
    }

    /// Starts anew with another session.
    pub(crate) fn reconnect(&mut self) {
        self.begin_anew(ENDED);
    }

    /// Starts anew with the same session, which this process has not listened to.
    pub(crate) fn resume(&mut self) {
        self.begin_anew(MISSED);
    }

    /// The place and what is typed stay. What was asked for is not answered any more.
    fn begin_anew(&mut self, why: &str) {
        self.model = Model::default();
        self.fault = None;
        self.loading = None;
        self.marked = None;
        self.drafts.anew = true;
        // The last first, so that several messages come back in their order.
        for pending in std::mem::take(&mut self.pending).into_values().rev() {
            match pending {
                Pending::Quiet | Pending::History(_) | Pending::Draft(..) => {}
                Pending::Send(..) => self.refused(&pending, format!("{why}; {UNSURE_SENT}")),
                _ => self.refused(&pending, format!("{why}; {UNSURE_DONE}")),
            }
        }
        // What it waits for comes from no other session.
        if let Some(wizard) = &mut self.wizard {
            wizard.busy = false;
        }
    }

    /// Remembers what the question with this number was for.
    pub(crate) fn asked(&mut self, id: u64, pending: Pending) {
        self.pending.insert(id, pending);
    }

    /// What a question that could not be asked was for.
    pub(crate) fn not_asked(&mut self, pending: &Pending, error: String) {
        self.refused(pending, error);
    }

    pub(crate) fn ask(&mut self, command: Command, pending: Pending) {
        self.effects.push(Effect::Ask(command, pending));
    }

    pub(crate) fn say(&mut self, text: impl Into<String>) {
        self.notice = Some(Notice { error: false, text: text.into() });
    }

    /// What was said is read. What keeps Felund from getting ready stays.
    pub(super) fn hush(&mut self) {
        self.notice = self.fault.clone().map(|text| Notice { error: true, text });
    }

    pub(crate) fn fail(&mut self, text: impl Into<String>) {
        self.notice = Some(Notice { error: true, text: text.into() });
    }

    /// Why there is nothing yet that something could be done with; `so` says what came of that.
    pub(super) fn unready(&self, so: &str) -> Option<String> {
        (!self.model.ready).then(|| match &self.fault {
            Some(fault) => format!("{so}: {fault}"),
            None => format!("Felund is still starting; {so}"),
        })
    }

    pub(crate) fn circle(&self) -> Option<&CircleView> {
        self.model.circle(self.open?.0)
    }

    /// What a circle is called on the screen.
    pub(crate) fn label(&self, circle: CircleId) -> String {
        let circles = self.model.circles();
        let at = circles.iter().position(|known| known.id == circle);
        at.map(|at| circle_labels(circles).swap_remove(at)).unwrap_or_default()
    }

    pub(crate) fn channel(&self) -> Option<&ChannelView> {
        let (_, channel) = self.open?;
        self.circle()?.channel(channel)
    }

    /// Takes in what the node said.
    pub(crate) fn event(&mut self, event: Event) {
        self.model.apply(&event);
        match event {
            Event::Circle(circle) => self.drafts.shown(&circle),
            Event::Reply { id, result } => {
                if let Some(pending) = self.pending.remove(&id) {
                    match result {
                        Ok(reply) => self.answered(pending, reply),
                        Err(error) => self.refused(&pending, error),
                    }
                }
            }
            Event::Notice { error, text } => {
                if error && !self.model.ready {
                    self.fault = Some(text.clone());
                }
                self.notice = Some(Notice { error, text });
            }
            Event::Message(message) if !message.mine => self.ring(message.created_ts),
            _ => {}
        }
        self.settle();
    }

    /// Once for all that comes before the next drawing, and not for what is caught up with.
    fn ring(&mut self, created_ts: u64) {
        let news = self.model.ready && self.now.saturating_sub(created_ts) < NEWS_MS;
        if news && !self.focused && !self.rang {
            self.rang = true;
            self.effects.push(Effect::Bell);
        }
    }

    /// Brings place and wizard in line with what is known.
    pub(super) fn settle(&mut self) {
        if self.model.locked {
            if !matches!(&self.wizard, Some(wizard) if wizard.step == Step::Passphrase) {
                self.ask_first(Step::Passphrase);
            }
            return;
        }
        if !self.model.ready {
            return;
        }
        self.fault = None;
        self.use_given_options();
        self.give_back();
        let gone = self.open.is_some() && self.channel().is_none();
        if gone {
            self.open = None;
            self.editor.take();
        }
        let in_circles = !self.model.circles().is_empty();
        self.wizard.take_if(|wizard| wizard.busy && wizard.step == Step::Passphrase);
        if let Some(wizard) = &mut self.wizard {
            wizard.overtake(in_circles);
        }
        if !in_circles {
            self.ask_first_questions();
            return;
        }
        if self.open.is_none()
            && let Some(place) = first_place(&self.model)
        {
            self.go(place);
        }
        self.load_if_needed();
    }

    fn use_given_options(&mut self) {
        if self.options_used {
            return;
        }
        self.options_used = true;
        let servers = self.options.ice_servers();
        if let Some(servers) = servers
            && self.model.identity.as_ref().is_none_or(|identity| identity.ice_servers != servers)
        {
            self.ask(Command::SetIceServers { servers }, Pending::Quiet);
        }
        if self.options.hide_address && self.mirror {
            self.ask(Command::SetHideAddress { on: true }, Pending::Quiet);
        }
        let Some(name) = self.options.name.clone() else { return };
        if self.model.identity.as_ref().is_none_or(|identity| identity.name != name) {
            self.ask(Command::SetName { name }, Pending::Quiet);
        }
    }

    fn ask_first_questions(&mut self) {
        if self.wizard.as_ref().is_some_and(|wizard| wizard.step != Step::Passphrase) {
            return;
        }
        let named = self.model.identity.as_ref().is_some_and(|identity| !identity.name.is_empty());
        let given = self.options.name.is_some();
        let step = if named || given { Step::Choice(false) } else { Step::Name };
        self.ask_first(step);
    }

    /// Asks what comes before there is a chat. What was typed before that could be seen, the beginning of a passphrase perhaps,
    /// is no message.
    fn ask_first(&mut self, step: Step) {
        if self.open.is_none() {
            self.editor.take();
        }
        self.wizard = Some(Wizard::new(step));
    }

    fn answered(&mut self, pending: Pending, reply: Reply) {
        match (pending, reply) {
            (Pending::History(place), page) => {
                self.loading = None;
                self.model.apply_history(place.0, place.1, &page);
                if self.to_start && self.open == Some(place) {
                    self.scroll_to_top();
                }
            }
            (Pending::Circle { made }, Reply::Circle { circle_id, name, invite }) => {
                self.wizard = None;
                if let Some(place) = self.first_channel(circle_id) {
                    self.go(place);
                }
                if made && !matches!(self.overlay, Some(Overlay::Settings(_))) {
                    self.show_invite(circle_id, name, invite);
                }
            }
            // What is being typed there, a passphrase perhaps, must not go on in the message input.
            (Pending::Invite | Pending::Doctor | Pending::Safety(_), _)
                if matches!(self.overlay, Some(Overlay::Settings(_))) =>
            {
                self.say("an answer came while the settings were open; ask again");
            }
            (Pending::Invite, Reply::Invite { circle_id, name, invite }) => {
                self.show_invite(circle_id, name, invite);
            }
            (Pending::Channel(circle), Reply::Channel { channel_id }) => self.go((circle, channel_id)),
            (Pending::Doctor, Reply::Doctor { findings }) => self.show_findings(&findings),
            (Pending::Safety(name), Reply::SafetyNumber { number }) => self.show_safety(&name, &number),
            (Pending::Draft(place, text), _) => self.draft_kept(place, &text),
            (Pending::Done(text), _) => self.say(text),
            (Pending::Wizard, _) => self.wizard_went_on(),
            (Pending::Setting(setting), _) => self.setting_done(Ok(setting.changed().to_owned())),
            _ => {}
        }
    }

    fn refused(&mut self, pending: &Pending, error: String) {
        match pending {
            Pending::History(place) => {
                self.loading = None;
                self.unreadable = Some(*place);
                self.fail(error);
            }
            Pending::Send(place, text) => {
                if self.open == Some(*place) {
                    self.editor.set(drafts::before(text, self.editor.text()));
                } else {
                    self.drafts.returned.push((*place, text.clone()));
                    self.give_back();
                }
                self.fail(error);
            }
            Pending::Wizard | Pending::Circle { .. } if self.wizard.is_some() => self.wizard_refused(error),
            Pending::Setting(_) => self.setting_done(Err(error)),
            _ => self.fail(error),
        }
    }

    pub(crate) fn first_channel(&self, circle: CircleId) -> Option<Place> {
        let channel = self.model.circle(circle)?.channels.first()?;
        Some((circle, channel.id))
    }

    /// Opens a channel, keeping what was typed in the one before.
    pub(crate) fn go(&mut self, place: Place) {
        if self.open == Some(place) {
            return;
        }
        self.keep_draft();
        // Typed before there was a channel to type in.
        let typed = if self.open.is_none() { self.editor.take() } else { String::new() };
        self.open = Some(place);
        self.scroll = Scroll::Follow;
        self.to_start = false;
        self.unreadable = None;
        self.marked = None;
        let unread = self.channel().filter(|channel| channel.unread > 0);
        self.new_after = unread
            .map(|channel| channel.read_up_to.unwrap_or(Key { ts: 0, id: felund_core::ids::MsgId([0; 16]) }));
        self.take_up_draft(place, typed);
        self.load_if_needed();
    }

    fn load_if_needed(&mut self) {
        let Some(place) = self.open else { return };
        let loaded = self.model.timeline(place.0, place.1).is_some_and(|timeline| timeline.loaded);
        let joined = self.channel().is_some_and(|channel| channel.membership == Membership::Joined);
        if !loaded && joined {
            self.load(place, None);
        }
    }

    fn load(&mut self, place: Place, before: Option<Key>) {
        if self.loading == Some(place) || self.unreadable == Some(place) {
            return;
        }
        self.loading = Some(place);
        let (circle, channel) = place;
        let command = Command::History { circle, channel, before, limit: HISTORY_PAGE };
        self.ask(command, Pending::History(place));
    }

    pub(crate) fn is_loading(&self) -> bool {
        self.loading.is_some() && self.loading == self.open
    }

    /// Follows from what is on the screen: older pages, and how far the user has read.
    pub(crate) fn after_drawing(&mut self, drawn: Drawn) {
        self.drawn = drawn;
        self.rang = false;
        if let Some(Overlay::Page(page)) = &mut self.overlay {
            page.top = self.drawn.page_top;
        }
        let Some(place) = self.open else { return };
        let Some(timeline) = self.model.timeline(place.0, place.1) else { return };
        if !timeline.loaded {
            return;
        }
        let older = self.drawn.top && !timeline.start_reached;
        let newest = timeline.messages().last().map(felund_core::view::MessageView::key);
        let covered = self.overlay.is_some() || self.wizard.is_some() || self.drawer;
        if older && let Some(before) = self.model.oldest(place.0, place.1) {
            self.load(place, Some(before));
        }
        let seen = self.focused && self.drawn.bottom && !covered;
        let Some(up_to) = newest.filter(|_| seen) else { return };
        let Some(ChannelView { read_up_to, unread, .. }) = self.channel() else { return };
        let news = *unread > 0 || read_up_to.is_none_or(|read| read < up_to);
        // Once, however often it is drawn before the node says so; what comes late comes again.
        let state = (up_to, *unread);
        if self.marked.replace(state) != Some(state) && news {
            let (circle, channel) = place;
            self.ask(Command::MarkRead { circle, channel, up_to }, Pending::Quiet);
        }
    }

    /// The window is looked at, or not any more: what comes in meanwhile is new, as is what was below the screen.
    pub(crate) fn focus(&mut self, focused: bool) {
        if self.focused && !focused && self.drawn.bottom {
            let newest = self.open.and_then(|(circle, channel)| {
                self.model
                    .timeline(circle, channel)?
                    .messages()
                    .last()
                    .map(felund_core::view::MessageView::key)
            });
            self.new_after = newest;
        }
        self.focused = focused;
    }
}

fn first_place(model: &Model) -> Option<Place> {
    let with_channels = model.circles().iter().find(|circle| !circle.channels.is_empty())?;
    Some((with_channels.id, with_channels.channels[0].id))
}
