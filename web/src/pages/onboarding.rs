//! The first minute: a name, and then a circle to be in.

use felund_wasm::core::{invite::Invite, io::Command};
use leptos::prelude::*;

use crate::{
    app::App,
    links::printable,
    pages::{focus, join::JoinForm, notes::Notes},
    platform,
};

/// Asks for a display name; with an invite this is all that is asked.
#[component]
pub(super) fn Name(
    invite: RwSignal<Option<String>>,
    joining: RwSignal<bool>,
    /// What went wrong, shown by whichever of the two forms is there.
    error: RwSignal<String>,
    /// What was typed before the app was there.
    early: String,
) -> impl IntoView {
    let app = App::here();
    let name = RwSignal::new(early);
    let invited = Memo::new(move |_| Some(circle_of(&invite.get()?)));
    let joins = move || matches!(*invited.read(), Some(Ok(_)));
    let failed = move |app: App, text: String| {
        joining.set(false);
        if app.circles.read_untracked().is_empty() {
            error.set(text);
        } else {
            app.note(true, text);
        }
    };
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let wanted = name.get_untracked().trim().to_owned();
        if wanted.is_empty() {
            error.set("Type the name others will see.".into());
            return;
        }
        error.set(String::new());
        joining.set(true);
        app.ask_or(
            Command::SetName { name: wanted },
            move |app, _| match invite.get_untracked().filter(|_| untrack(joins)) {
                Some(code) => app.join_then(
                    code,
                    move |_| {
                        invite.set(None);
                        joining.set(false);
                    },
                    failed,
                ),
                None => joining.set(false),
            },
            failed,
        );
    };
    focus("name");
    view! {
        <main class="start">
            <h1>"felund"</h1>
            <p>"Private chat for small circles. No account, no phone number: your keys stay on this device."</p>
            {move || invited.get().map(|invited| match invited {
                Ok(name) => view! { <p class="invited">"You are invited to "{name}"."</p> }.into_any(),
                Err(text) => view! { <p class="error" role="alert" data-testid="damaged">{text}</p> }.into_any(),
            })}
            <form on:submit=submit>
                <label for="name">"Your name in the chat"</label>
                <input id="name" data-testid="name-input" maxlength="64" autocomplete="nickname"
                    enterkeyhint="go" prop:value=name
                    on:input=move |event| name.set(event_target_value(&event)) />
                <button class="main" data-testid="name-submit" disabled=joining>
                    {move || match (joining.get(), joins()) {
                        (true, true) => "Joining…",
                        (true, false) => "One moment…",
                        (false, true) => "Join",
                        (false, false) => "Go on",
                    }}
                </button>
            </form>
            <p class="error" role="alert">{error}</p>
            <Notes />
        </main>
    }
}

/// What an invite is to, or why it is none.
pub(super) fn circle_of(invite: &str) -> Result<String, String> {
    let name = Invite::parse(invite).map_err(|error| error.to_string())?.name;
    Ok(name.map_or("a circle".into(), |name| ["“", &*printable(&name), "”"].concat()))
}

/// Takes an invite, and out of the address, too.
pub(super) fn take(invite: RwSignal<Option<String>>) -> Option<String> {
    let code = invite.get()?;
    invite.set(None);
    platform::clear_address();
    Some(code)
}

/// Offers to create or to join.
#[component]
pub(super) fn Begin(invite: RwSignal<Option<String>>, error: RwSignal<String>) -> impl IntoView {
    let code = RwSignal::new(String::new());
    Effect::new(move || {
        if let Some(invite) = take(invite) {
            match circle_of(&invite) {
                Err(text) => error.set(text),
                // What is said was said of another one.
                Ok(_) if !code.read_untracked().is_empty() => error.set(String::new()),
                Ok(_) => {}
            }
            code.set(invite);
        }
    });
    focus("invite");
    view! {
        <main class="start">
            <h1>"felund"</h1>
            <JoinForm code error />
            <Notes />
        </main>
    }
}
