//! A dialog over the chat: the browser keeps the focus inside, at first where `autofocus` is, and Escape closes it.

use leptos::{html, prelude::*};

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
