//! The parts of the screen. `Screen` decides which of them there are; each part draws signals of the app.

mod back;
mod chat;
mod composer;
mod dialog;
mod header;
mod invite;
mod join;
mod messages;
mod notes;
mod onboarding;
mod panels;
mod scan;
mod settings;
mod sidebar;
mod unlock;

use felund_wasm::Listener;
use leptos::prelude::*;

use crate::{
    app::{App, Panel, Phase},
    platform::{self, Early},
};

/// What fills the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Name,
    Begin,
    Unlock,
    Chat,
}

/// Everything.
#[component]
pub(crate) fn Screen(early: Early) -> impl IntoView {
    let app = App::start();
    let invite = RwSignal::new(platform::invite_in_address());
    let (joining, error) = (RwSignal::new(false), RwSignal::new(String::new()));
    let known = platform::setting("felund-here").is_some();
    let stage = Memo::new(move |_| {
        let named = app.identity.read().as_ref().is_some_and(|identity| !identity.name.is_empty());
        match app.phase.get() {
            Phase::Locked => Stage::Unlock,
            Phase::Starting if known => Stage::Chat,
            Phase::Starting => Stage::Name,
            Phase::Ready if !named || joining.get() => Stage::Name,
            Phase::Ready if app.circles.read().is_empty() => Stage::Begin,
            Phase::Ready => Stage::Chat,
        }
    });
    // An invite opened in an app that is in use already is asked about.
    Effect::new(move || {
        if stage.get() == Stage::Chat
            && app.phase.get() == Phase::Ready
            && let Some(code) = onboarding::take(invite)
        {
            app.panel_open(Panel::Another(Some(code)));
        }
    });
    let opened = platform::window().map(|window| {
        Listener::new(&window, "hashchange", move |_| {
            if let Some(code) = platform::invite_in_address() {
                invite.set(Some(code));
            }
        })
    });
    on_cleanup_keep(opened);
    Effect::new(move || {
        let unread = app.circles.read().iter().flat_map(|circle| &circle.channels).map(|c| c.unread).sum();
        let place = app.here.get().map(|here| app.label(here.circle)).unwrap_or_default();
        platform::show_unread(unread, &place);
    });
    if early.focused {
        request_animation_frame(chat::focus_input);
    }
    // Taken by what is shown first: a name is no message.
    let early = StoredValue::new(early.text);
    let early = move || early.try_update_value(std::mem::take).unwrap_or_default();
    view! {
        {move || match stage.get() {
            Stage::Name => view! { <onboarding::Name invite joining error early=early() /> }.into_any(),
            Stage::Begin => view! { <onboarding::Begin invite error /> }.into_any(),
            Stage::Unlock => view! { <unlock::Unlock /> }.into_any(),
            Stage::Chat => chat(early()),
        }}
        <panels::Panels />
    }
}

/// Not in line: a first visit need not load it.
#[inline(never)]
fn chat(early: String) -> AnyView {
    view! { <chat::Chat early /> }.into_any()
}

/// Puts the cursor into an input once it is in the page.
pub(crate) fn focus(id: &'static str) {
    Effect::new(move || {
        if let Some(input) = platform::element(id) {
            // Fails for elements that cannot be focused; inputs can.
            let _ = input.focus();
        }
    });
}

/// Keeps a guard until the part of the screen that made it goes.
pub(crate) fn on_cleanup_keep<T: 'static>(guard: T) {
    let guard = StoredValue::new_local(guard);
    on_cleanup(move || guard.dispose());
}
