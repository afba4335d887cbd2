//! Where one is, and how everybody there is reached, in words.

use leptos::prelude::*;

use crate::{app::App, describe, links::printable};

/// The line at the top.
#[component]
pub(super) fn Header() -> impl IntoView {
    let app = App::here();
    let circle = Memo::new(move |_| app.circle());
    let unread = move || {
        let here = app.here.get();
        let circles = app.circles.read();
        let channels = circles.iter().flat_map(|circle| &circle.channels);
        let total: u32 =
            channels.filter(|c| here.is_none_or(|here| here.channel != c.id)).map(|c| c.unread).sum();
        total
    };
    let menu = move || match unread() {
        0 => "Circles and members".to_owned(),
        unread => ["Circles and members, ", &unread.to_string(), " unread"].concat(),
    };
    view! {
        <header>
            <button class="menu" aria-label=menu aria-controls="side"
                aria-expanded=move || if app.drawer.get() { "true" } else { "false" }
                on:click=move |_| app.drawer.update(|open| *open = !*open)>
                "☰"
                {move || (unread() > 0).then(|| view! { <span class="count">{unread()}</span> })}
            </button>
            <h1>
                <span class="brand">"felund ─ "</span>
                <span data-testid="circle-name">
                    {move || circle.get().map_or("…".to_owned(), |circle| app.label(circle.id))}
                </span>
                {move || app.channel().map(|channel| view! {
                    <span class="quiet">" ▸ "</span><span>"#"{printable(&channel.name)}</span>
                })}
            </h1>
            <span class="link" data-testid="link-state" role="status"
                title=move || circle.get().map(|circle| describe::link_detail(&circle))>
                {move || circle.get().map_or("starting…".to_owned(), |circle| describe::link(&circle))}
            </span>
        </header>
    }
}
