//! The passphrase, when the keys on this device are protected by one.

use felund_wasm::core::io::Command;
use leptos::prelude::*;

use crate::{
    app::App,
    pages::{focus, notes::Notes},
};

/// Asks for it.
#[component]
pub(super) fn Unlock() -> impl IntoView {
    let app = App::here();
    let (typed, error) = (RwSignal::new(String::new()), RwSignal::new(String::new()));
    let busy = RwSignal::new(false);
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        busy.set(true);
        error.set(String::new());
        app.ask_or(
            Command::Unlock { passphrase: typed.get_untracked() },
            move |_, _| busy.set(false),
            move |_, text| {
                busy.set(false);
                error.set(text);
            },
        );
    };
    focus("passphrase");
    view! {
        <main class="start">
            <h1>"felund"</h1>
            <form on:submit=submit>
                <label for="passphrase">"The passphrase that protects your keys on this device"</label>
                <input id="passphrase" type="password" autocomplete="current-password" prop:value=typed
                    on:input=move |event| typed.set(event_target_value(&event)) />
                <button class="main" disabled=busy>
                    {move || if busy.get() { "Unlocking…" } else { "Unlock" }}
                </button>
            </form>
            <p class="error" role="alert">{error}</p>
            <Notes />
        </main>
    }
}
