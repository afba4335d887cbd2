//! What can be set: oneself, this browser, this circle.

use felund_wasm::{
    core::{
        io::Command,
        view::{CircleView, Retention},
    },
    storage,
};
use leptos::{prelude::*, task::spawn_local};
use web_sys::NotificationPermission;

use crate::{
    app::{App, Panel},
    pages::dialog::Dialog,
    platform,
};

/// Everything that can be set.
#[component]
pub(super) fn Settings() -> impl IntoView {
    let app = App::here();
    let saved = RwSignal::new(String::new());
    let name =
        RwSignal::new(app.identity.read_untracked().as_ref().map(|me| me.name.clone()).unwrap_or_default());
    view! {
        <Dialog title="Settings">
            <p role="status" class="saved note">{saved}</p>
            <form on:submit=move |event| {
                event.prevent_default();
                let name = name.get_untracked().trim().into();
                tell(app, saved, Command::SetName { name }, "Your name is changed.");
            }>
                <label for="set-name">"Your name"</label>
                <div class="pair">
                    <input id="set-name" maxlength="64" autocomplete="nickname" prop:value=name
                        on:input=move |event| name.set(event_target_value(&event)) />
                    <button>"Save"</button>
                </div>
            </form>
            <Browser />
            <Passphrase />
            <Connections saved />
            {app.circle_now().map(|circle| view! { <OfCircle circle saved /> })}
        </Dialog>
    }
}

/// Changes something, and says so or why not.
fn tell(app: App, saved: RwSignal<String>, command: Command, done: &'static str) {
    saved.set(String::new());
    app.ask_or(
        command,
        move |_, _| {
            saved.try_set(done.into());
        },
        move |_, error| {
            saved.try_set(error);
        },
    );
}

/// Theme, notifications, storage, installation.
#[component]
fn Browser() -> impl IntoView {
    let theme = platform::setting("felund-theme").unwrap_or_default();
    let asked = RwSignal::new(platform::notification_permission());
    let kept = RwSignal::new(None::<bool>);
    let refused = RwSignal::new(false);
    spawn_local(async move {
        kept.try_set(storage::persisted().await);
    });
    let notifications = move || match asked.get() {
        None => "This browser has none.",
        Some(NotificationPermission::Granted) => "On: you are told of messages while the app is hidden.",
        Some(NotificationPermission::Denied) => {
            "Off: the browser blocks them. Allow them in its settings for this site."
        }
        Some(_) => "Off.",
    };
    let storage = move || match (kept.get(), refused.get()) {
        (Some(true), _) => "Kept until you delete it.",
        (_, true) => {
            "The browser refused to promise that. Install the app or allow notifications, then ask again."
        }
        (Some(false), _) => "The browser may delete everything here when space gets short.",
        (None, _) => "The browser does not say.",
    };
    let option = move |value: &'static str, words: &'static str| {
        view! { <option value=value selected=theme == value>{words}</option> }
    };
    view! {
        <label for="theme">"Theme"</label>
        <select id="theme" on:change=move |event| platform::set_theme(&event_target_value(&event))>
            {option.clone()("", "as the system")}
            {option.clone()("light", "light")}
            {option("dark", "dark")}
        </select>
        <h3>"Notifications"</h3>
        <p>{notifications}</p>
        {move || (asked.get() == Some(NotificationPermission::Default)).then(|| view! {
            <button on:click=move |_| spawn_local(async move {
                asked.try_set(platform::ask_for_notifications().await);
            })>"Allow notifications"</button>
        })}
        <h3>"Storage on this device"</h3>
        <p>{storage}</p>
        {move || (kept.get() == Some(false)).then(|| view! {
            <button on:click=move |_| spawn_local(async move {
                let granted = storage::persist().await;
                refused.try_set(granted != Some(true));
                kept.try_set(granted);
            })>"Ask the browser to keep it"</button>
        })}
    }
}

/// The passphrase that protects the keys at rest.
#[component]
fn Passphrase() -> impl IntoView {
    let app = App::here();
    let (typed, state) = (RwSignal::new(String::new()), RwSignal::new(String::new()));
    // There is no way back in after a slip.
    let shown = RwSignal::new(false);
    let protected = move || app.identity.read().as_ref().is_some_and(|identity| identity.passphrase);
    let set = move |passphrase: Option<String>| {
        state.set("One moment…".into());
        app.ask_or(
            Command::SetPassphrase { passphrase },
            move |_, _| {
                typed.try_set(String::new());
                state.try_set("Done.".into());
            },
            move |_, error| {
                state.try_set(error);
            },
        );
    };
    view! {
        <h3>"Passphrase"</h3>
        <p>
            {move || if protected() {
                "Your keys on this device are protected: it is asked for at every start."
            } else {
                "Whoever can use this browser can read your circles. A passphrase protects the keys; without it \
                 nobody can open them, you neither."
            }}
        </p>
        <form on:submit=move |event| {
            event.prevent_default();
            let passphrase = typed.get_untracked();
            if !passphrase.is_empty() {
                set(Some(passphrase));
            }
        }>
            <label for="set-passphrase">"New passphrase"</label>
            <div class="pair">
                <input id="set-passphrase" type=move || if shown.get() { "text" } else { "password" }
                    autocomplete="new-password" autocapitalize="off" spellcheck="false" prop:value=typed
                    on:input=move |event| typed.set(event_target_value(&event)) />
                <button>"Set"</button>
            </div>
            <label class="choice">
                <input type="checkbox" prop:checked=shown
                    on:change=move |event| shown.set(event_target_checked(&event)) />
                "Show what I type"
            </label>
        </form>
        {move || protected().then(|| view! { <button on:click=move |_| set(None)>"Remove it"</button> })}
        <p role="status">{state}</p>
    }
}

/// Who gets to know where this device is, and by which servers connections are made.
#[component]
fn Connections(saved: RwSignal<String>) -> impl IntoView {
    let app = App::here();
    let servers = RwSignal::new(
        app.identity
            .read_untracked()
            .as_ref()
            .map(|me| me.ice_servers.replace('\n', " "))
            .unwrap_or_default(),
    );
    let hidden = move || app.identity.read().as_ref().is_some_and(|me| me.hide_address);
    let tell = move |command: Command| tell(app, saved, command, "Changed; connections are made anew.");
    view! {
        <h3>"Connections"</h3>
        <label class="choice">
            <input id="hide-address" type="checkbox" prop:checked=hidden
                on:change=move |event| tell(Command::SetHideAddress { on: event_target_checked(&event) }) />
            "Hide my address from members"
        </label>
        <p>
            "Connections then go through TURN servers, or everything through the relay. Those still see where you are."
        </p>
        <form on:submit=move |event| {
            event.prevent_default();
            tell(Command::SetIceServers { servers: servers.get_untracked() });
        }>
            <label for="ice-servers">"STUN and TURN servers, instead of the relay’s"</label>
            <div class="pair">
                <input id="ice-servers" autocomplete="off"
                    placeholder="turn:turn.example USER CREDENTIAL" prop:value=servers
                    on:input=move |event| servers.set(event_target_value(&event)) />
                <button>"Save"</button>
            </div>
        </form>
    }
}

/// The circle on screen.
#[component]
fn OfCircle(circle: CircleView, saved: RwSignal<String>) -> impl IntoView {
    let app = App::here();
    let id = circle.id;
    let messages = RwSignal::new(circle.retention.messages.to_string());
    let days = RwSignal::new(circle.retention.days.to_string());
    let relay = RwSignal::new(circle.relay.clone().unwrap_or_default());
    let name = RwSignal::new(circle.name.clone());
    let tell = move |command: Command, done: &'static str| tell(app, saved, command, done);
    let keep = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        match (messages.read_untracked().trim().parse(), days.read_untracked().trim().parse()) {
            (Ok(messages), Ok(days)) => {
                let retention = Retention { messages, days };
                tell(Command::SetRetention { circle: id, retention }, "What is kept is changed.");
            }
            _ => saved.set(
                "Nothing was changed: both must be whole numbers, 1 to 1,000,000 messages and 1 to 3,650 days."
                    .into(),
            ),
        }
    };
    let move_relay = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let typed = relay.get_untracked().trim().to_owned();
        let command = Command::SetRelay { circle: id, relay: (!typed.is_empty()).then_some(typed) };
        tell(command, "The relay is changed on this device.");
    };
    let rename = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let name = name.get_untracked().trim().to_owned();
        tell(Command::RenameCircle { circle: id, name }, "The circle is renamed for everyone.");
    };
    view! {
        <h3>"Circle “"{untrack(|| app.label(id))}"”"</h3>
        <form on:submit=rename>
            <label for="circle-name">"Its name, for everyone"</label>
            <div class="pair">
                <input id="circle-name" maxlength="64" autocomplete="off" prop:value=name
                    on:input=move |event| name.set(event_target_value(&event)) />
                <button>"Rename"</button>
            </div>
        </form>
        <form on:submit=keep>
            <label for="keep-messages">"Messages kept per channel, and for how many days"</label>
            <div class="pair">
                <input id="keep-messages" inputmode="numeric" prop:value=messages
                    on:input=move |event| messages.set(event_target_value(&event)) />
                <input aria-label="Days" inputmode="numeric" prop:value=days
                    on:input=move |event| days.set(event_target_value(&event)) />
                <button>"Save"</button>
            </div>
        </form>
        <form on:submit=move_relay>
            <label for="relay">"Relay"</label>
            <div class="pair">
                <input id="relay" inputmode="url" autocomplete="off" placeholder="https://…" prop:value=relay
                    on:input=move |event| relay.set(event_target_value(&event)) />
                <button>"Save"</button>
            </div>
        </form>
        <div class="buttons">
            <button on:click=move |_| app.panel_open(Panel::Doctor)>"Check connections"</button>
            <button class="danger" on:click=move |_| app.panel_open(Panel::Leave(id))>"Leave circle…"</button>
        </div>
    }
}
