//! An invite as link, text and QR code.

use felund_wasm::core::{ids::CircleId, io::Command, view::Reply};
use leptos::{prelude::*, task::spawn_local};
use qrcodegen::{QrCode, QrCodeEcc};

use crate::{app::App, links::printable, pages::dialog::Dialog, platform};

/// White around a code, in modules: readers need four.
const QUIET: i32 = 4;

/// Makes an invite and shows it.
#[component]
pub(super) fn Invite(circle: CircleId) -> impl IntoView {
    let app = App::here();
    let (code, name, error) =
        (RwSignal::new(String::new()), RwSignal::new(String::new()), RwSignal::new(String::new()));
    let copied = RwSignal::new("");
    app.ask_or(
        Command::Invite { circle },
        move |_, reply| {
            if let Reply::Invite { name: circle, invite, .. } = reply {
                name.try_set(printable(&circle));
                code.try_set(invite);
            }
        },
        move |_, text| {
            error.try_set(text);
        },
    );
    let relay = app.circles.read_untracked().iter().find(|c| c.id == circle).and_then(|c| c.relay.clone());
    let base = relay.or_else(platform::origin).unwrap_or_default();
    let link = Memo::new(move |_| [&*base, "/#", &*code.read()].concat());
    let copy = move |what: &'static str, text: String| {
        spawn_local(async move {
            let done = platform::copy(&text).await;
            copied.try_set(if done {
                what
            } else {
                "The browser did not allow copying: select the text instead."
            });
        });
    };
    view! {
        <Dialog title="Invite">
            {move || {
                if code.read().is_empty() {
                    let text = if error.read().is_empty() { "Making an invite…".into() } else { error.get() };
                    return view! { <p role="status">{text}</p> }.into_any();
                }
                view! {
                    <p>
                        "Whoever has this is a member of “"{name}
                        "” and can read along. Send it only to people you trust."
                    </p>
                    {qr(&link.get()).map(|(size, path)| {
                        let view_box = ["0 0 ", &*size.to_string(), " ", &*size.to_string()].concat();
                        view! {
                            <svg class="qr" role="img" aria-label="QR code of the link" viewBox=view_box>
                                <path d=path />
                            </svg>
                        }
                    })}
                    <label for="invite-link">"Link"</label>
                    <input id="invite-link" readonly data-testid="invite-link" prop:value=link />
                    <label for="invite-code">"Code"</label>
                    <textarea id="invite-code" readonly rows="3" data-testid="invite-code" prop:value=code></textarea>
                    <div class="buttons">
                        <button class="main" on:click=move |_| copy("Link copied.", link.get_untracked())>
                            "Copy link"
                        </button>
                        <button on:click=move |_| copy("Code copied.", code.get_untracked())>"Copy code"</button>
                        {platform::can_share().then(|| view! {
                            <button on:click=move |_| {
                                platform::share(&name.get_untracked(), &link.get_untracked());
                            }>"Share…"</button>
                        })}
                    </div>
                    <p role="status">{copied}</p>
                }
                .into_any()
            }}
        </Dialog>
    }
}

/// Side length and the path of all dark modules; nothing when the text is too long for a code.
fn qr(text: &str) -> Option<(i32, String)> {
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
    let mut path = String::new();
    for y in 0..code.size() {
        for x in (0..code.size()).filter(|x| code.get_module(*x, y)) {
            path.push_str(
                &["M", &(x + QUIET).to_string(), " ", &(y + QUIET).to_string(), "h1v1h-1z"].concat(),
            );
        }
    }
    Some((code.size() + 2 * QUIET, path))
}
