//! The app's state: a mirror of the node and what the user is looking at, and the actions pages call.
//!
//! The mirror is one plain value; signals only say which part of it changed, so that a burst of a thousand messages
//! is folded in at once and drawn once.

mod drafts;
mod notes;

use felund_wasm::{
    Client, Options,
    core::{
        config::HISTORY_PAGE,
        ids::{ChannelId, CircleId, MsgId},
        io::{Command, Event, LOCKED},
        model::Model,
        view::{ChannelView, CircleView, IdentityView, Key, Membership, MessageView, Reply, circle_labels},
    },
};
use leptos::{prelude::*, task::spawn_local};
use wasm_bindgen_futures::JsFuture;

use self::notes::Note;
use crate::{links::printable, platform};

/// The app has come in part only, see `web/rest.js`.
const NO_REST: &str = "The rest of the app could not be loaded, and nothing was changed. Look at the connection and try \
                       again; if it stays so, reload the page.";

/// A channel of a circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) circle: CircleId,
    pub(crate) channel: ChannelId,
}

/// How far starting has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Starting,
    Locked,
    Ready,
}

/// What lies over the chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Panel {
    Help(Option<String>),
    Invite(CircleId),
    /// Another circle: create or join; with a code, join that.
    Another(Option<String>),
    NewChannel(CircleId),
    /// A channel that wants a passphrase or an approval.
    JoinChannel(Place),
    Settings,
    Doctor,
    Safety {
        name: String,
        number: String,
    },
    Leave(CircleId),
}

/// Before every message.
pub(crate) const BEFORE_ALL: Key = Key { ts: 0, id: MsgId([0; 16]) };
/// Messages older than this are no news to notify of, in milliseconds.
const NEWS_MS: f64 = 120_000.0;
/// Within this time a tab that shows a message has marked it as read, in milliseconds.
const READ_MS: i32 = 1_000;

/// Handles to everything; copies share it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct App {
    client: StoredValue<Client, LocalStorage>,
    model: StoredValue<Model>,
    pub(crate) phase: RwSignal<Phase>,
    pub(crate) identity: RwSignal<Option<IdentityView>>,
    pub(crate) circles: RwSignal<Vec<CircleView>>,
    pub(crate) here: RwSignal<Option<Place>>,
    /// Counts changes of the timeline on screen.
    pub(crate) timeline: RwSignal<u64>,
    /// The last message seen before the "new messages" line.
    pub(crate) mark: RwSignal<Option<Key>>,
    /// Notified when the user sends a message here.
    pub(crate) sent: Trigger,
    pub(crate) panel: RwSignal<Option<Panel>>,
    pub(crate) drawer: RwSignal<bool>,
    pub(crate) notes: RwSignal<Vec<Note>>,
    next_note: StoredValue<u32>,
    /// What the live region says.
    pub(crate) spoken: RwSignal<String>,
    pub(crate) chatted: RwSignal<bool>,
    loading: StoredValue<Vec<Place>>,
    /// Drafts that the node has not kept yet. As long as the keys are locked it keeps none.
    unkept: StoredValue<Vec<(Place, String)>>,
    /// Where to go once it is there.
    awaited: StoredValue<Option<(CircleId, Option<ChannelId>)>>,
}

impl App {
    /// Starts the node and provides the app to every page.
    pub(crate) fn start() -> Self {
        let deliver = StoredValue::new_local(None::<App>);
        let options = Options { deposed: platform::reload, ..Options::default() };
        let client = Client::start(options, move |events| {
            if let Some(Some(app)) = deliver.try_get_value() {
                app.take(&events);
            }
        });
        let app = Self {
            client: StoredValue::new_local(client),
            model: StoredValue::new(Model::default()),
            phase: RwSignal::new(Phase::Starting),
            identity: RwSignal::new(None),
            circles: RwSignal::new(Vec::new()),
            here: RwSignal::new(None),
            timeline: RwSignal::new(0),
            mark: RwSignal::new(None),
            sent: Trigger::new(),
            panel: RwSignal::new(None),
            drawer: RwSignal::new(false),
            notes: RwSignal::new(Vec::new()),
            next_note: StoredValue::new(0),
            spoken: RwSignal::new(String::new()),
            chatted: RwSignal::new(false),
            loading: StoredValue::new(Vec::new()),
            unkept: StoredValue::new(Vec::new()),
            awaited: StoredValue::new(None),
        };
        deliver.set_value(Some(app));
        provide_context(app);
        app
    }

    /// Asks the node; the answer comes to `then`, an error also as a note.
    pub(crate) fn ask(self, command: Command, then: impl FnOnce(App, Reply) + 'static) {
        self.ask_or(command, then, |app, error| app.note(true, error));
    }

    /// As [`App::ask`], with an own way to show an error.
    pub(crate) fn ask_or(
        self,
        command: Command,
        then: impl FnOnce(App, Reply) + 'static,
        otherwise: impl FnOnce(App, String) + 'static,
    ) {
        let Some(answer) = self.client.try_with_value(|client| client.request(command)) else { return };
        spawn_local(async move {
            match answer.await {
                Ok(reply) => then(self, reply),
                Err(error) => otherwise(self, error),
            }
        });
    }

    /// Asks for something whose success shows by itself.
    pub(crate) fn tell(self, command: Command) {
        self.ask(command, |_, _| {});
    }

    /// Whether this tab owns the node.
    pub(crate) fn leads(self) -> bool {
        self.client.try_with_value(Client::is_leader).unwrap_or_default()
    }

    fn take(self, events: &[Event]) {
        if self.model.try_update_value(|model| events.iter().for_each(|event| model.apply(event))).is_none() {
            return;
        }
        let (mut circles, mut timeline) = (false, false);
        for event in events {
            match event {
                Event::Locked => self.phase.set(Phase::Locked),
                Event::Identity(identity) => self.identity.set(Some(identity.clone())),
                Event::Circle(circle) => {
                    circles = true;
                    // Authors may be called something else now.
                    timeline |= self.here.get_untracked().is_some_and(|here| here.circle == circle.id);
                }
                Event::CircleGone { .. } => circles = true,
                Event::Message(message) => {
                    timeline |= self.is_here(message.circle_id, message.channel_id);
                    self.announce(message);
                }
                Event::Delivery { circle_id, channel_id, .. }
                | Event::Pruned { circle_id, channel_id, .. } => {
                    timeline |= self.is_here(*circle_id, *channel_id);
                }
                Event::Notice { error, text } => self.note(*error, text.clone()),
                Event::Ready | Event::Reply { .. } => {}
            }
        }
        if circles {
            self.circles.set(self.model.with_value(|model| model.circles().to_vec()));
            let loaded = self.with_messages(|_, loaded, _| loaded);
            if let Some(here) = self.here.get_untracked().filter(|_| !loaded) {
                // The channel on screen has been left or joined again, in another tab perhaps.
                timeline = true;
                self.load(here);
            }
        }
        if timeline {
            self.timeline.update(|count| *count += 1);
        }
        if events.contains(&Event::Ready) {
            if self.phase.get_untracked() == Phase::Locked {
                self.unlocked();
            }
            self.phase.set(Phase::Ready);
        }
        self.settle();
    }

    /// What was refused meanwhile is done now, and nobody need be told any more that it was.
    #[inline(never)]
    fn unlocked(self) {
        self.notes.update(|notes| notes.retain(|note| note.text != LOCKED));
        for (place, text) in self.unkept.get_value() {
            self.save_draft(place, text);
        }
    }

    /// Sees to it that the place on screen exists.
    fn settle(self) {
        let circles = self.circles.read_untracked();
        if self.phase.get_untracked() != Phase::Ready {
            return;
        }
        if let Some((id, channel)) = self.awaited.get_value() {
            let circle = circles.iter().find(|circle| circle.id == id);
            let found = circle.into_iter().flat_map(|circle| &circle.channels).find(|known| {
                channel.map_or(known.membership == Membership::Joined, |channel| known.id == channel)
            });
            let place = found.map(|channel| Place { circle: id, channel: channel.id });
            match (place, found.map(|channel| channel.membership)) {
                (Some(place), Some(Membership::Joined)) => {
                    drop(circles);
                    return self.go(place);
                }
                // Whoever is let in later may be writing elsewhere by then.
                (place, Some(Membership::Requested)) if self.here.get_untracked() != place => {
                    self.awaited.set_value(None);
                }
                _ => {}
            }
        }
        let here = self.here.get_untracked();
        let exists = |place: Place| {
            let circle = circles.iter().find(|circle| circle.id == place.circle);
            circle.is_some_and(|circle| circle.channel(place.channel).is_some())
        };
        if here.is_some_and(exists) {
            return;
        }
        let kept = platform::setting("felund-here").unwrap_or_default();
        let wanted = circles.iter().find(|circle| circle.id.to_string() == kept).or(circles.first());
        let place =
            wanted.and_then(|circle| Some(Place { circle: circle.id, channel: circle.channels.first()?.id }));
        drop(circles);
        match place {
            Some(place) => self.go(place),
            None => self.here.set(None),
        }
    }

    fn is_here(self, circle: CircleId, channel: ChannelId) -> bool {
        self.here.get_untracked() == Some(Place { circle, channel })
    }

    /// Tells of a message by voice and, when nobody looks, by notification.
    fn announce(self, message: &MessageView) {
        let recent = js_sys::Date::now() - (message.created_ts as f64) < NEWS_MS;
        if message.mine {
            self.chatted.set(true);
        }
        if message.mine || !recent || self.phase.get_untracked() != Phase::Ready {
            return;
        }
        let text = printable(&message.text);
        let spoken = [&*message.label, ": ", &*text].concat();
        if platform::hidden() {
            if self.leads() {
                let channel = self.model.with_value(|model| model.channel_label(message));
                let title = [&*printable(&message.label), " in #", &*printable(&channel)].concat();
                let place = Place { circle: message.circle_id, channel: message.channel_id };
                self.notify_unless_read(place, message.key(), title, text);
            }
        } else if self.is_here(message.circle_id, message.channel_id) {
            // What does not change is not spoken again.
            let again = if *self.spoken.read_untracked() == spoken { "\u{a0}" } else { "" };
            self.spoken.set(spoken + again);
        }
    }

    /// Notifies of a message that no other tab shows: one that does marks it as read.
    fn notify_unless_read(self, place: Place, key: Key, title: String, text: String) {
        let before = self.channel_at(place).and_then(|channel| channel.read_up_to);
        spawn_local(async move {
            platform::pause(READ_MS).await;
            let Some(channel) = self.channel_at(place) else { return };
            // One that came late is before what was read, and unread all the same.
            let late = channel.read_up_to == before && channel.unread > 0;
            if late || channel.read_up_to.is_none_or(|read| read < key) {
                platform::notify(title, &text, &place.channel.to_string());
            }
        });
    }

    /// Shows a channel.
    pub(crate) fn go(self, place: Place) {
        self.awaited.set_value(None);
        if self.here.get_untracked() != Some(place) {
            // Where nothing was read everything is new.
            let mark =
                |channel: ChannelView| channel.read_up_to.or((channel.unread > 0).then_some(BEFORE_ALL));
            self.mark.set(self.channel_at(place).and_then(mark));
            self.here.set(Some(place));
            platform::set_setting("felund-here", &place.circle.to_string());
        }
        self.drawer.set(false);
        let loaded = self.with_messages(|_, loaded, _| loaded);
        if !loaded {
            self.load(place);
        }
        self.timeline.update(|count| *count += 1);
    }

    /// Shows the channel that a clicked notification is of, see [`App::notify_unless_read`].
    pub(crate) fn go_to_notified(self, tag: &str) {
        let place = self.circles.read_untracked().iter().find_map(|circle| {
            let channel = circle.channels.iter().find(|channel| channel.id.to_string() == tag)?;
            Some(Place { circle: circle.id, channel: channel.id })
        });
        if let Some(place) = place {
            self.go(place);
        }
    }

    /// Loads the next older page of a channel.
    pub(crate) fn load(self, place: Place) {
        let joined = self.channel_at(place).is_some_and(|channel| channel.membership == Membership::Joined);
        let busy = self.loading.with_value(|loading| loading.contains(&place));
        if busy || !joined {
            return;
        }
        self.loading.update_value(|loading| loading.push(place));
        let before = self.model.with_value(|model| model.oldest(place.circle, place.channel));
        let Place { circle, channel } = place;
        let command = Command::History { circle, channel, before, limit: HISTORY_PAGE };
        let done = move |app: App| {
            app.loading.try_update_value(|loading| loading.retain(|busy| *busy != place));
        };
        self.ask_or(
            command,
            move |app, reply| {
                done(app);
                app.model.try_update_value(|model| model.apply_history(circle, channel, &reply));
                if app.here.try_get_untracked() == Some(Some(place)) {
                    app.timeline.update(|count| *count += 1);
                }
            },
            move |app, error| {
                done(app);
                app.note(true, error);
            },
        );
    }

    /// Reads the messages on screen: (messages, whether a first page is there, whether the oldest is among them).
    pub(crate) fn with_messages<T>(self, read: impl FnOnce(&[MessageView], bool, bool) -> T) -> T {
        let here = self.here.get_untracked();
        self.model.with_value(|model| {
            let timeline = here.and_then(|place| model.timeline(place.circle, place.channel));
            match timeline {
                Some(timeline) => read(timeline.messages(), timeline.loaded, timeline.start_reached),
                None => read(&[], false, false),
            }
        })
    }

    /// The user has seen everything on screen.
    pub(crate) fn seen(self) {
        let Some(place) = self.here.get_untracked() else { return };
        let last = self.with_messages(|messages, _, _| messages.last().map(MessageView::key));
        let Some(ChannelView { read_up_to, unread, .. }) = self.channel_at(place) else { return };
        let news = |last: &Key| unread > 0 || read_up_to.is_none_or(|read| read < *last);
        if let Some(up_to) = last.filter(news) {
            self.tell(Command::MarkRead { circle: place.circle, channel: place.channel, up_to });
            platform::close_notifications(place.channel.to_string());
        }
    }

    /// The circle on screen, tracked.
    pub(crate) fn circle(self) -> Option<CircleView> {
        let here = self.here.get()?;
        self.circles.read().iter().find(|circle| circle.id == here.circle).cloned()
    }

    /// As [`App::circle`], untracked.
    pub(crate) fn circle_now(self) -> Option<CircleView> {
        untrack(move || self.circle())
    }

    /// What a circle is called on the screen, tracked.
    pub(crate) fn label(self, circle: CircleId) -> String {
        let circles = self.circles.read();
        let at = circles.iter().position(|known| known.id == circle);
        at.map(|at| printable(&circle_labels(&circles).swap_remove(at))).unwrap_or_default()
    }

    /// The channel on screen, tracked.
    pub(crate) fn channel(self) -> Option<ChannelView> {
        self.channel_of(self.here.get()?)
    }

    /// A channel, tracked.
    pub(crate) fn channel_of(self, place: Place) -> Option<ChannelView> {
        self.circles.track();
        self.channel_at(place)
    }

    /// As [`App::channel_of`], untracked.
    pub(crate) fn channel_at(self, place: Place) -> Option<ChannelView> {
        let circles = self.circles.read_untracked();
        let circle = circles.iter().find(|circle| circle.id == place.circle)?;
        circle.channel(place.channel).cloned()
    }

    /// Joins by an invite and goes there.
    pub(crate) fn join(self, invite: String) {
        self.join_then(invite, |_| {}, |app, error| app.note(true, error));
    }

    /// As [`App::join`]; `then` is called once there, an error shown by `otherwise`.
    pub(crate) fn join_then(
        self,
        invite: String,
        then: impl FnOnce(App) + 'static,
        otherwise: impl FnOnce(App, String) + 'static,
    ) {
        self.ask_to_enter(Command::JoinCircle { invite, relay: platform::origin() }, then, otherwise);
    }

    /// Carries out what makes or joins a circle, and goes there.
    fn ask_to_enter(
        self,
        command: Command,
        then: impl FnOnce(App) + 'static,
        otherwise: impl FnOnce(App, String) + 'static,
    ) {
        spawn_local(async move {
            if let Some(rest) = platform::rest()
                && JsFuture::from(rest).await.is_err()
            {
                return otherwise(self, NO_REST.into());
            }
            self.ask_or(
                command,
                |app, reply| {
                    app.entered(&reply);
                    then(app);
                },
                otherwise,
            );
        });
    }

    /// Makes a circle whose relay is where this page came from, and goes there.
    pub(crate) fn create(self, name: String) {
        self.create_then(name, |_| {}, |app, error| app.note(true, error));
    }

    /// As [`App::create`]; `then` is called once there, an error shown by `otherwise`.
    pub(crate) fn create_then(
        self,
        name: String,
        then: impl FnOnce(App) + 'static,
        otherwise: impl FnOnce(App, String) + 'static,
    ) {
        self.ask_to_enter(Command::CreateCircle { name, relay: platform::origin() }, then, otherwise);
    }

    fn entered(self, reply: &Reply) {
        let Reply::Circle { circle_id, .. } = *reply else { return };
        platform::clear_address();
        self.panel.set(None);
        self.enter(circle_id);
        // Most browsers decide silently; those that ask the user do it when there is something worth keeping.
        spawn_local(async move {
            felund_wasm::storage::persist().await;
        });
    }

    /// Goes to a circle's first channel, as soon as it is known.
    pub(crate) fn enter(self, id: CircleId) {
        platform::set_setting("felund-here", &id.to_string());
        self.awaited.set_value(Some((id, None)));
        self.settle();
    }

    /// Opens a panel over the chat.
    pub(crate) fn panel_open(self, panel: Panel) {
        self.drawer.set(false);
        self.panel.set(Some(panel));
    }

    /// Goes to a channel as soon as the mirror shows it as joined.
    pub(crate) fn go_when_known(self, place: Place) {
        self.panel.set(None);
        self.awaited.set_value(Some((place.circle, Some(place.channel))));
        self.settle();
    }

    /// The app of the page that asks.
    pub(crate) fn here() -> Self {
        expect_context()
    }
}
