//! The chat: header, sidebar, messages, composer, footer, and the keys that work everywhere in it.

use felund_wasm::Listener;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{HtmlTextAreaElement, KeyboardEvent};

use crate::{
    app::{App, Panel},
    pages::{
        back, composer::Composer, focus, header::Header, messages::Messages, notes::Notes, on_cleanup_keep,
        sidebar::Sidebar,
    },
    platform,
};

/// Puts the cursor into the input.
pub(super) fn focus_input() {
    let Some(input) = platform::element("composer") else { return };
    // Fails for elements that cannot be focused; this one can.
    let _ = input.focus();
    // Where a dialog closed with the cursor in a field of its own, Chromium gives the focus back and leaves the cursor in what is
    // gone: what is typed then is lost.
    let input: &HtmlTextAreaElement = input.unchecked_ref();
    if let (Ok(Some(from)), Ok(Some(to))) = (input.selection_start(), input.selection_end()) {
        let _ = input.set_selection_range(from, to);
    }
}

/// Everything one sees while chatting.
#[component]
pub(super) fn Chat(
    /// What was typed before the app was there.
    early: String,
) -> impl IntoView {
    let app = App::here();
    let invite = move || {
        if let Some(circle) = app.circle_now() {
            app.panel_open(Panel::Invite(circle.id));
        }
    };
    // An app that asks to be installed before it was of any use is a nuisance.
    Effect::new(move || {
        if app.chatted.get() {
            platform::tell_shell("felund-offer-install");
        }
    });
    let keys = platform::window().map(|window| {
        Listener::new(&window, "keydown", move |event| {
            let Ok(event) = event.dyn_into::<KeyboardEvent>() else { return };
            match &*event.key() {
                "F1" => app.panel_open(Panel::Help(None)),
                "F2" => invite(),
                "F3" => app.panel_open(Panel::Settings),
                "Escape" if app.panel.read_untracked().is_none() => {
                    app.drawer.set(false);
                    return focus_input();
                }
                _ => return,
            }
            event.prevent_default();
        })
    });
    on_cleanup_keep(keys);
    on_cleanup_keep(platform::on_notification_click(move |tag| app.go_to_notified(&tag)));
    back::closes(app);
    // What was there before still is, and in it the cursor of who has just typed a name or a passphrase.
    if platform::may_type() {
        focus("composer");
    }
    view! {
        <div class="chat" class:open=app.drawer>
            <Header />
            <Sidebar />
            <div class="shade" on:click=move |_| app.drawer.set(false)></div>
            <main>
                <Messages />
                <Notes />
                <Composer early />
            </main>
            <footer>
                <button on:click=move |_| app.panel_open(Panel::Help(None))><kbd>"F1"</kbd>" help"</button>
                <button on:click=move |_| invite()><kbd>"F2"</kbd>" invite"</button>
                <button on:click=move |_| app.panel_open(Panel::Settings)><kbd>"F3"</kbd>" settings"</button>
                <span class="keys"><kbd>"Esc"</kbd>" back to input"</span>
            </footer>
            <div class="unseen" aria-live="polite">{app.spoken}</div>
        </div>
    }
}
