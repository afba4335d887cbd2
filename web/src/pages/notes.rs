//! What the app has to tell, above the input.

use leptos::prelude::*;

use crate::app::App;

/// All notes; each can be dismissed.
#[component]
pub(super) fn Notes() -> impl IntoView {
    let app = App::here();
    view! {
        <div class="notes" role="status" aria-live="polite">
            <For each=move || app.notes.get() key=|note| note.id let:note>
                <div class="note" class:error=note.error data-testid="notice">
                    <span>{note.text}</span>
                    <button aria-label="Dismiss" on:click=move |_| app.dismiss(note.id)>"✕"</button>
                </div>
            </For>
        </div>
    }
}
