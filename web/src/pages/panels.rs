//! What opens over the chat.

use felund_wasm::{
    core::{
        ids::CircleId,
        io::Command,
        slash,
        view::{Access, Finding, Membership, Reply},
    },
    storage,
};
use leptos::{prelude::*, task::spawn_local};

use crate::{
    app::{App, Panel, Place},
    commands,
    links::printable,
    pages::{
        chat::focus_input, dialog::Dialog, invite::Invite, join::JoinForm, onboarding::circle_of,
        settings::Settings,
    },
};

/// The panel that is open, if any.
#[component]
pub(super) fn Panels() -> impl IntoView {
    let app = App::here();
    Effect::new(move |was_open: Option<bool>| {
        let open = app.panel.read().is_some();
        if was_open == Some(true) && !open {
            focus_input();
        }
        open
    });
    move || app.panel.get().map(show)
}

/// Not in line: a first visit need not load it.
#[inline(never)]
fn show(panel: Panel) -> AnyView {
    match panel {
        Panel::Help(topic) => view! { <Help topic /> }.into_any(),
        Panel::Invite(circle) => view! { <Invite circle /> }.into_any(),
        Panel::Another(code) => another(code),
        Panel::NewChannel(circle) => view! { <NewChannel circle /> }.into_any(),
        Panel::JoinChannel(place) => view! { <JoinChannel place /> }.into_any(),
        Panel::Settings => view! { <Settings /> }.into_any(),
        Panel::Doctor => view! { <Doctor /> }.into_any(),
        Panel::Safety { name, number } => view! { <Safety name number /> }.into_any(),
        Panel::Leave(circle) => view! { <Leave circle /> }.into_any(),
    }
}

fn another(code: Option<String>) -> AnyView {
    let (title, error) = match code.as_deref().map(circle_of) {
        Some(Ok(name)) => (["Join ", &*name, "?"].concat(), String::new()),
        Some(Err(text)) => ("Another circle".into(), text),
        None => ("Another circle".into(), String::new()),
    };
    let (code, error) = (RwSignal::new(code.unwrap_or_default()), RwSignal::new(error));
    view! { <Dialog title><JoinForm code error /></Dialog> }.into_any()
}

#[component]
fn Help(topic: Option<String>) -> impl IntoView {
    let rows: Vec<&'static slash::Help> = match &topic {
        Some(topic) => slash::help_for(topic).collect(),
        None => slash::help().iter().collect(),
    };
    view! {
        <Dialog title="Help">
            <p>
                "Type and press Enter to send; Shift+Enter makes a new line. A line that starts with / is a command, \
                 and Tab completes it. Esc goes back to the input."
            </p>
            <dl class="commands">
                {rows.into_iter().map(|row| view! {
                    <dt>{row.usage()}</dt>
                    <dd>{row.about}</dd>
                }).collect_view()}
            </dl>
            <p class="quiet">
                "Marks: … kept here, ✓ stored at the relay or an anchor, ✓ 2/4 reached two of four, ✓✓ reached everyone. \
                 Members: ● direct, ◐ through a relay or an anchor, ○ away."
            </p>
        </Dialog>
    }
}

/// What a form has asked for: whether the answer is awaited, and what went wrong.
#[derive(Clone, Copy)]
struct Asking {
    busy: RwSignal<bool>,
    error: RwSignal<String>,
}

impl Asking {
    fn new() -> Self {
        Self { busy: RwSignal::new(false), error: RwSignal::new(String::new()) }
    }

    /// Whether it may be asked for: something is `missing`, or it was asked for already, where not.
    fn begin(self, missing: Option<&str>) -> bool {
        if self.busy.get_untracked() {
            return false;
        }
        self.error.set(missing.unwrap_or_default().into());
        self.busy.set(missing.is_none());
        missing.is_none()
    }

    /// Shows what went wrong: here, or in the page when the form is gone.
    fn failed(self, app: App, text: String) {
        self.busy.try_set(false);
        if let Some(text) = self.error.try_set(text) {
            app.note(true, text);
        }
    }
}

#[component]
fn NewChannel(circle: CircleId) -> impl IntoView {
    let app = App::here();
    let (name, passphrase) = (RwSignal::new(String::new()), RwSignal::new(String::new()));
    let access = RwSignal::new(Access::Public);
    let asking = Asking::new();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let wanted = name.get_untracked().trim().trim_start_matches('#').to_owned();
        let access = access.get_untracked();
        let passphrase = (access == Access::Key).then(|| passphrase.get_untracked());
        let missing = if wanted.is_empty() {
            Some("Type a name for the channel first.")
        } else {
            passphrase.as_ref().is_some_and(String::is_empty).then_some("Type a passphrase first.")
        };
        if asking.begin(missing) {
            let command = Command::CreateChannel { circle, name: wanted, access, passphrase };
            commands::create_channel(app, command, move |app, text| asking.failed(app, text));
        }
    };
    let choice = move |mode: Access, words: &'static str| {
        view! {
            <label class="choice">
                <input type="radio" name="access" checked=mode == Access::Public
                    on:change=move |_| access.set(mode) />
                {words}
            </label>
        }
    };
    view! {
        <Dialog title="New channel">
            <form on:submit=submit>
                <label for="channel-name">"Its name"</label>
                <input id="channel-name" autofocus=true maxlength="64" autocomplete="off" prop:value=name
                    on:input=move |event| name.set(event_target_value(&event)) />
                <fieldset>
                    <legend>"Who can read it"</legend>
                    {choice(Access::Public, "everyone in the circle")}
                    {choice(Access::Key, "who knows a passphrase")}
                    {choice(Access::Invite, "whom I let in")}
                </fieldset>
                {move || (access.get() == Access::Key).then(|| view! {
                    <label for="channel-key">"Passphrase"</label>
                    <input id="channel-key" autocomplete="off" prop:value=passphrase
                        on:input=move |event| passphrase.set(event_target_value(&event)) />
                })}
                <button class="main" disabled=asking.busy>"Create"</button>
                <p class="error" role="alert">{asking.error}</p>
            </form>
        </Dialog>
    }
}

#[component]
fn JoinChannel(place: Place) -> impl IntoView {
    let app = App::here();
    let circles = app.circles.read_untracked();
    let circle = circles.iter().find(|circle| circle.id == place.circle).cloned();
    drop(circles);
    let channel = circle.as_ref().and_then(|circle| circle.channel(place.channel).cloned());
    let (Some(circle), Some(channel)) = (circle, channel) else {
        return view! { <Dialog title="Channel"><p>"This channel is gone."</p></Dialog> }.into_any();
    };
    let title = ["#", &*printable(&channel.name)].concat();
    if channel.membership == Membership::Requested {
        let text = "You have asked to be let in: whoever made this channel has to approve. You will be told once you are in.";
        return view! { <Dialog title><p>{text}</p></Dialog> }.into_any();
    }
    let passphrase = RwSignal::new(String::new());
    let access = channel.access;
    let words = match access {
        Access::Public => "Everyone in the circle can read this channel.",
        Access::Key => "This channel opens with a passphrase. Ask whoever made it.",
        Access::Invite => "Whoever made this channel decides who reads it. They will see that you ask.",
    };
    let asking = Asking::new();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let typed = (access == Access::Key).then(|| passphrase.get_untracked());
        let missing = typed.as_ref().is_some_and(String::is_empty).then_some("Type the passphrase first.");
        if asking.begin(missing) {
            commands::join_channel(app, &circle, &channel, typed, move |app, text| asking.failed(app, text));
        }
    };
    view! {
        <Dialog title>
            <p>{words}</p>
            <form on:submit=submit>
                {(access == Access::Key).then(|| view! {
                    <label for="channel-key">"Passphrase"</label>
                    <input id="channel-key" autofocus=true autocomplete="off" prop:value=passphrase
                        on:input=move |event| passphrase.set(event_target_value(&event)) />
                })}
                <button class="main" disabled=asking.busy>
                    {if access == Access::Invite { "Ask to be let in" } else { "Join" }}
                </button>
                <p class="error" role="alert">{asking.error}</p>
            </form>
        </Dialog>
    }
    .into_any()
}

#[component]
fn Doctor() -> impl IntoView {
    let app = App::here();
    let (findings, done) = (RwSignal::new(Vec::<Finding>::new()), RwSignal::new(false));
    let tab = if app.leads() {
        "This tab holds the connection; other tabs of this site mirror it."
    } else {
        "Another tab of this site holds the connection; this one mirrors it."
    };
    findings.update(|list| {
        list.push(Finding::new("tab", true, tab, None));
    });
    let add = move |more: Vec<Finding>| {
        findings.try_update(|list| list.extend(more));
    };
    spawn_local(async move { add(storage::findings().await) });
    app.ask_or(
        Command::Doctor,
        move |_, reply| {
            if let Reply::Doctor { findings } = reply {
                add(findings);
            }
            done.try_set(true);
        },
        move |_, error| {
            add(vec![Finding::new("check", false, error, None)]);
            done.try_set(true);
        },
    );
    view! {
        <Dialog title="Doctor">
            <ul class="findings">
                {move || findings.get().into_iter().map(|finding| view! {
                    <li>
                        <span class=if finding.ok { "ok" } else { "bad" }>
                            {if finding.ok { "✓ " } else { "✗ " }}
                            <span class="unseen">{if finding.ok { "fine: " } else { "problem: " }}</span>
                        </span>
                        <strong>{printable(&finding.subject)}</strong>
                        <p>{printable(&finding.detail)}</p>
                        {finding.advice.map(|advice| view! { <p class="advice">"→ "{advice}</p> })}
                    </li>
                }).collect_view()}
            </ul>
            <p role="status">
                {move || if done.get() { "That is everything that was checked." } else { "Checking connections…" }}
            </p>
        </Dialog>
    }
}

#[component]
fn Safety(name: String, number: String) -> impl IntoView {
    view! {
        <Dialog title="Safety number">
            <p>
                "Compare this number with "{printable(&name)}
                " in person or on the phone. When both see the same, nobody stands between you."
            </p>
            <p class="number">{number}</p>
        </Dialog>
    }
}

#[component]
fn Leave(circle: CircleId) -> impl IntoView {
    let app = App::here();
    let name = untrack(|| app.label(circle));
    let leave = move |_| {
        app.panel.set(None);
        app.tell(Command::LeaveCircle { circle });
    };
    view! {
        <Dialog title="Leave the circle">
            <p>
                "This deletes everything that this device holds of “"{name}
                "”. The others keep what they have. Without an invite you cannot come back."
            </p>
            <div class="buttons">
                <button class="danger" on:click=leave>"Leave and delete"</button>
                <button on:click=move |_| app.panel.set(None)>"Stay"</button>
            </div>
        </Dialog>
    }
}
