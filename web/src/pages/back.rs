//! Going back closes what lies over the chat, and does not leave the app: while something does, an entry of its own is
//! the last of the tab's history.

use felund_wasm::Listener;
use leptos::prelude::*;
use wasm_bindgen::JsValue;
use web_sys::History;

use crate::{app::App, pages::on_cleanup_keep, platform};

/// State of that entry.
const OVER: &str = "over";

/// Sees to it while the chat is there.
pub(super) fn closes(app: App) {
    let Some(window) = platform::window() else { return };
    let Ok(history) = window.history() else { return };
    let history = StoredValue::new_local(history);
    let over = Memo::new(move |_| app.drawer.get() || app.panel.read().is_some());
    // Whether the app itself has asked to go back. Until it has come to that, entries cannot be told apart.
    let going = StoredValue::new(false);
    Effect::new(move |was: Option<bool>| {
        let over = over.get();
        if over != was.unwrap_or_default() && !going.get_value() {
            history.with_value(|history| match (over, is_over(history)) {
                (true, false) => push(history),
                (false, true) => going.set_value(history.back().is_ok()),
                _ => {}
            });
        }
        over
    });
    let went = Listener::new(&window, "popstate", move |_| {
        let opened = over.get_untracked();
        history.with_value(|history| match going.get_value() {
            // Opened anew meanwhile.
            true if opened => push(history),
            false if opened && !is_over(history) => {
                app.drawer.set(false);
                app.panel.set(None);
            }
            _ => {}
        });
        going.set_value(false);
    });
    on_cleanup_keep(went);
}

fn is_over(history: &History) -> bool {
    history.state().is_ok_and(|state| state == JsValue::from_str(OVER))
}

fn push(history: &History) {
    // Refused only when called hundreds of times a minute: going back then leaves.
    let _ = history.push_state(&OVER.into(), "");
}
