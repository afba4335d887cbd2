//! Circles, their channels, and the members of the circle one is in. On narrow screens it is a drawer.

use felund_wasm::{
    Listener,
    core::{
        ids::{CircleId, NodeId},
        io::Command,
        view::{Access, MemberView, Membership},
    },
};
use leptos::{prelude::*, task::spawn_local};
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement, MouseEvent};

use crate::{
    app::{App, Panel, Place},
    colour, commands, describe,
    links::printable,
    pages::{chat::focus_input, on_cleanup_keep},
    platform,
};

/// Words such as `5 min ago` are said anew this often, in milliseconds.
const AGE_MS: i32 = 60_000;

/// The column on the left.
#[component]
pub(super) fn Sidebar() -> impl IntoView {
    let app = App::here();
    // Time passes also while nothing happens.
    let aged = RwSignal::new(0_u64);
    let age = move || platform::hidden() || aged.try_update(|count| *count += 1).is_some();
    spawn_local(async move {
        while age() {
            platform::pause(AGE_MS).await;
        }
    });
    let shown = platform::document().map(|document| {
        Listener::new(&document, "visibilitychange", move |_| {
            age();
        })
    });
    on_cleanup_keep(shown);
    let members = move || {
        aged.track();
        app.circle().map(|circle| circle.members).unwrap_or_default()
    };
    let circles = move || app.circles.read().iter().map(|circle| Row::Circle(circle.id)).collect();
    view! {
        <nav id="side" aria-label="Circles and members">
            <h2>"Circles"</h2>
            <ul>{rows(app, Signal::derive(circles))}</ul>
            <button class="add" on:click=move |_| app.panel_open(Panel::Another(None))>
                "+ create or join"
            </button>
            {requests(app)}
            <h2>"Members"</h2>
            <ul class="members">
                {move || members().iter().map(member_row).collect_view()}
            </ul>
        </nav>
    }
}

/// What a row that can be pressed shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Row {
    Circle(CircleId),
    Channel(Place),
    /// A member who waits to be let into a channel.
    Waiting(Place, NodeId),
}

/// A list of rows. A row belongs to what it shows: the button that has the focus or is being pressed stays, and stays
/// that one's, whatever comes before it.
fn rows(app: App, list: Signal<Vec<Row>>) -> AnyView {
    let shown = move |row| match row {
        Row::Circle(id) => circle_row(app, id),
        Row::Channel(place) => channel_row(app, place),
        Row::Waiting(place, member) => request(app, place, member),
    };
    view! { <For each=move || list.get() key=|row| *row children=shown/> }.into_any()
}

fn circle_row(app: App, id: CircleId) -> AnyView {
    let here = Memo::new(move |_| app.here.get().is_some_and(|here| here.circle == id));
    let of = move || app.circles.read().iter().find(|circle| circle.id == id).cloned();
    let unread = move || {
        let channels = of().filter(|_| !here.get()).map(|circle| circle.channels).unwrap_or_default();
        count(channels.iter().map(|channel| channel.unread).sum())
    };
    let channels = move || {
        let channels = of().map(|circle| circle.channels).unwrap_or_default();
        channels.iter().map(|channel| Row::Channel(Place { circle: id, channel: channel.id })).collect()
    };
    view! {
        <li>
            <button class="circle" class:here=here on:click=move |_| app.enter(id)>
                <span aria-hidden="true">{move || if here.get() { "● " } else { "○ " }}</span>
                {move || app.label(id)}
                {unread}
            </button>
            {move || here.get().then(|| view! {
                <ul>{rows(app, Signal::derive(channels))}</ul>
                <button class="add" on:click=move |_| app.panel_open(Panel::NewChannel(id))>
                    "+ channel"
                </button>
            })}
        </li>
    }
    .into_any()
}

fn channel_row(app: App, place: Place) -> AnyView {
    let here = move || app.here.get() == Some(place);
    let state = move || {
        app.channel_of(place).map_or("", |channel| match (channel.membership, channel.access) {
            (Membership::Requested, _) => " asked to join",
            (Membership::Outside, Access::Key) => " passphrase",
            (Membership::Outside, _) => " not joined",
            (Membership::Joined, _) => "",
        })
    };
    let name = move || app.channel_of(place).map(|channel| printable(&channel.name));
    let news = move || {
        let channel = app.channel_of(place)?;
        // Its creator should not have to look for who waits.
        let asking = channel.requests.len();
        Some(view! {
            {(asking > 0).then(|| view! { <span class="count">" "{asking}" ask "</span> })}
            {count(channel.unread)}
        })
    };
    view! {
        <li>
            <button class="channel" class:here=here class:outside=move || !state().is_empty() data-testid="channel"
                aria-current=move || here().then_some("true")
                on:click=move |_| commands::open_channel(app, place)>
                "# "{name}
                <span class="quiet">{state}</span>
                {news}
            </button>
        </li>
    }
    .into_any()
}

fn count(unread: u32) -> Option<impl IntoView> {
    (unread > 0).then(|| {
        view! {
            <span class="count">
                "("{unread}")"<span class="unseen">" unread"</span>
            </span>
        }
    })
}

fn member_row(member: &MemberView) -> impl IntoView + use<> {
    let (symbol, words) = describe::reach(member.reach);
    view! {
        <li data-testid="member">
            <span aria-hidden="true">{symbol}" "</span>
            <span class=colour::class(member.id)>{printable(&member.label)}</span>
            <span class="quiet">" "{words}</span>
        </li>
    }
}

/// Members who wait to be let into the channel on screen, for its creator.
fn requests(app: App) -> impl IntoView {
    let waiting = move || {
        let place = app.here.get();
        let requests = app.channel().map(|channel| channel.requests).unwrap_or_default();
        place
            .into_iter()
            .flat_map(|place| requests.iter().map(move |id| Row::Waiting(place, *id)))
            .collect::<Vec<_>>()
    };
    let any = Memo::new(move |_| !waiting().is_empty());
    let channel = move || app.channel().map(|channel| printable(&channel.name));
    move || {
        any.get().then(|| {
            view! {
                <h2>"Waiting for #"{channel}</h2>
                <ul class="members">{rows(app, Signal::derive(waiting))}</ul>
            }
        })
    }
}

fn request(app: App, place: Place, member: NodeId) -> AnyView {
    let name = move || {
        let circle = app.circle();
        let known = circle.iter().flat_map(|circle| &circle.members).find(|known| known.id == member);
        known.map_or_else(|| member.short(), |known| printable(&known.label))
    };
    let approve = move |event: MouseEvent| {
        // The second of a double click is meant for whom the first one has let in.
        if event.detail() > 1 {
            return;
        }
        let Place { circle, channel } = place;
        app.tell(Command::ApproveMember { circle, channel, member });
        app.forget_answers(app.last_note());
        // The row goes, and with it what has the focus: who waits next has it then.
        let row = event_target::<Element>(&event).parent_element();
        let next = row.and_then(|row| row.next_element_sibling()?.last_element_child());
        match next.and_then(|next| next.dyn_into::<HtmlElement>().ok()) {
            // Fails for elements that cannot be focused; buttons can.
            Some(next) => drop(next.focus()),
            None if platform::may_type() => focus_input(),
            None => {}
        }
    };
    view! {
        <li>
            {name}" "
            <button class="small" aria-label=move || ["let in ", &name()].concat() on:click=approve>"let in"</button>
        </li>
    }
    .into_any()
}
