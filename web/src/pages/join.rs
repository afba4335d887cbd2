//! Creating a circle, or joining one by an invite that is pasted, scanned or opened as a file.

use leptos::{prelude::*, task::spawn_local};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::HtmlInputElement;

use crate::{app::App, pages::scan::Scan};

/// Largest file that can be an invite, in bytes.
const MAX_FILE: f64 = 65_536.0;

/// Both forms, one below the other.
#[component]
pub(super) fn JoinForm(
    /// What is in the input for an invite.
    code: RwSignal<String>,
    /// What went wrong.
    error: RwSignal<String>,
) -> impl IntoView {
    let app = App::here();
    let name = RwSignal::new(String::new());
    let busy = RwSignal::new(false);
    let scanning = RwSignal::new(false);
    let failed = move |app: App, text: String| {
        busy.set(false);
        // In the page when the form is gone.
        if let Some(text) = error.try_set(text) {
            app.note(true, text);
        }
    };
    let join = move || {
        // Gone when the dialog was closed meanwhile.
        let Some(typed) = code.try_get_untracked().map(|code| code.trim().to_owned()) else { return };
        if typed.is_empty() {
            error.set("Paste the invite first: a link, or a text that starts with felund1.".into());
            return;
        }
        error.set(String::new());
        busy.set(true);
        app.join_then(typed, move |_| busy.set(false), failed);
    };
    let create = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let typed = name.get_untracked().trim().to_owned();
        if typed.is_empty() {
            error.set("Type a name for the circle first.".into());
            return;
        }
        error.set(String::new());
        busy.set(true);
        app.create_then(typed, move |_| busy.set(false), failed);
    };
    let opened = move |event: web_sys::Event| {
        let input = event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
        let Some(file) = input.and_then(|input| input.files()).and_then(|files| files.get(0)) else { return };
        if file.size() > MAX_FILE {
            error.set("That file is too large to be an invite. Nothing was changed.".into());
            return;
        }
        spawn_local(async move {
            match JsFuture::from(file.text()).await.ok().and_then(|text| text.as_string()) {
                Some(text) => {
                    code.set(text.trim().to_owned());
                    join();
                }
                None => error.set("The file cannot be read. Choose it again.".into()),
            }
        });
    };
    view! {
        <section>
            <h2>"Join a circle"</h2>
            <form on:submit=move |event| {
                event.prevent_default();
                join();
            }>
                <label for="invite">"Invite (link or code)"</label>
                <textarea id="invite" autofocus=true rows="3" data-testid="invite-input" spellcheck="false" autocomplete="off"
                    placeholder="felund1.…" prop:value=code
                    on:input=move |event| code.set(event_target_value(&event))></textarea>
                <div class="buttons">
                    <button class="main" data-testid="join-submit" disabled=busy>"Join"</button>
                    <button type="button" data-testid="scan" on:click=move |_| scanning.set(true)>"Scan QR code"</button>
                    <label class="button">
                        "Open file"
                        <input class="unseen" type="file" accept=".felund,.txt,text/plain" on:change=opened />
                    </label>
                </div>
            </form>
            {move || scanning.get().then(|| view! {
                <Scan
                    found=move |text: String| {
                        scanning.set(false);
                        code.set(text);
                        join();
                    }
                    close=move || scanning.set(false)
                />
            })}
        </section>
        <section>
            <h2>"Create a circle"</h2>
            <form on:submit=create>
                <label for="circle">"Its name"</label>
                <input id="circle" maxlength="64" data-testid="create-name" autocomplete="off"
                    placeholder="garden club" prop:value=name
                    on:input=move |event| name.set(event_target_value(&event)) />
                <button data-testid="create-submit" disabled=busy>"Create"</button>
            </form>
        </section>
        <p class="error" role="alert">{error}</p>
    }
}
