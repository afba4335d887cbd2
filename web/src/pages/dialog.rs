//! A dialog over the chat: the browser keeps the focus inside, at first in the form if there is one, and Escape closes it.

use leptos::{html, prelude::*};
use wasm_bindgen::JsCast;
use web_sys::HtmlInputElement;

use crate::{app::App, pages::chat::focus_input};

/// Shows its children until it is closed.
#[component]
pub(super) fn Dialog(
    /// Its heading.
    #[prop(into)]
    title: String,
    children: Children,
) -> impl IntoView {
    let app = App::here();
    let dialog = NodeRef::<html::Dialog>::new();
    Effect::new(move || {
        if let Some(dialog) = dialog.get() {
            // Refused only for one that is open already.
            let _ = dialog.show_modal();
            // The browser would take the button that closes it.
            let fields = "form :is(input:not(.unseen), textarea, select)";
            let field = dialog.query_selector(fields).ok().flatten();
            // What is filled in, as in the settings, is mostly not what one came for, and a phone's keyboard covers the rest. All
            // of these have a value.
            let empty = |field: &&HtmlInputElement| field.value().is_empty();
            if let Some(field) = field.as_ref().map(JsCast::unchecked_ref).filter(empty) {
                // Fails for elements that cannot be focused; these can.
                let _ = field.focus();
            }
        }
    });
    let closed = move |_| {
        app.panel.set(None);
        focus_input();
    };
    view! {
        <dialog node_ref=dialog aria-labelledby="title" on:close=closed>
            <div class="top">
                <h2 id="title">{title}</h2>
                <button aria-label="Close" on:click=move |_| app.panel.set(None)>"✕"</button>
            </div>
            {children()}
        </dialog>
    }
}
