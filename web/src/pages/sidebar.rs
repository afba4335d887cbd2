//! Circles, their channels, and the members of the circle one is in. On narrow screens it is a drawer.

use felund_wasm::core::{
    io::Command,
    view::{Access, ChannelView, CircleView, MemberView, Membership, circle_labels},
};
use leptos::prelude::*;

use crate::{
    app::{App, Panel, Place},
    colour, commands, describe,
    links::printable,
    pages::chat::focus_input,
    platform,
};

/// The column on the left.
#[component]
pub(super) fn Sidebar() -> impl IntoView {
    let app = App::here();
    let members = move || app.circle().map(|circle| circle.members).unwrap_or_default();
    view! {
        <nav id="side" aria-label="Circles and members">
            <h2>"Circles"</h2>
            <ul>
                {move || {
                    // Rows get plain values: what is an effect within them is made anew at each change, and with it
                    // the button that has the focus or is being pressed.
                    let here = app.here.get();
                    let circles = app.circles.read();
                    let rows = circles.iter().zip(circle_labels(&circles));
                    rows.map(|(circle, label)| circle_row(app, circle, &label, here)).collect_view()
                }}
            </ul>
            <button class="add" on:click=move |_| app.panel_open(Panel::Another(None))>
                "+ create or join"
            </button>
            {move || requests(app)}
            <h2>"Members"</h2>
            <ul class="members">
                {move || members().iter().map(member_row).collect_view()}
            </ul>
        </nav>
    }
}

fn circle_row(app: App, circle: &CircleView, label: &str, here: Option<Place>) -> impl IntoView + use<> {
    let id = circle.id;
    let here = here.filter(|here| here.circle == id);
    let unread: u32 = circle.channels.iter().map(|channel| channel.unread).sum();
    let name = printable(label);
    let channels = here.map(|here| {
        let rows = circle.channels.iter().map(|channel| channel_row(app, circle, channel.clone(), here));
        view! {
            <ul>{rows.collect_view()}</ul>
            <button class="add" on:click=move |_| app.panel_open(Panel::NewChannel(id))>
                "+ channel"
            </button>
        }
    });
    view! {
        <li>
            <button class="circle" class:here=here.is_some() on:click=move |_| app.enter(id)>
                <span aria-hidden="true">{if here.is_some() { "● " } else { "○ " }}</span>
                {name}
                {(unread > 0 && here.is_none()).then(|| count(unread))}
            </button>
            {channels}
        </li>
    }
}

fn channel_row(app: App, circle: &CircleView, channel: ChannelView, here: Place) -> impl IntoView + use<> {
    let here = here.channel == channel.id;
    let state = match (channel.membership, channel.access) {
        (Membership::Requested, _) => " asked to join",
        (Membership::Outside, Access::Key) => " passphrase",
        (Membership::Outside, _) => " not joined",
        (Membership::Joined, _) => "",
    };
    let (name, unread) = (printable(&channel.name), channel.unread);
    // Its creator should not have to look for who waits.
    let asking = channel.requests.len();
    let circle = circle.clone();
    view! {
        <li>
            <button class="channel" class:here=here class:outside=!state.is_empty() data-testid="channel"
                aria-current=here.then_some("true")
                on:click=move |_| commands::open_channel(app, &circle, &channel)>
                "# "{name}
                <span class="quiet">{state}</span>
                {(asking > 0).then(|| view! { <span class="count">" "{asking}" ask "</span> })}
                {(unread > 0).then(|| count(unread))}
            </button>
        </li>
    }
}

fn count(unread: u32) -> impl IntoView {
    view! {
        <span class="count">
            "("{unread}")"<span class="unseen">" unread"</span>
        </span>
    }
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
fn requests(app: App) -> Option<impl IntoView> {
    let (circle, channel) = (app.circle()?, app.channel()?);
    if channel.requests.is_empty() {
        return None;
    }
    let last = channel.requests.last().copied();
    let waiting = channel.requests.iter().map(|id| {
        let (circle_id, channel_id, member) = (circle.id, channel.id, *id);
        let name =
            circle.members.iter().find(|m| m.id == member).map_or_else(|| id.short(), |m| m.label.clone());
        let approve = move |_| {
            app.tell(Command::ApproveMember { circle: circle_id, channel: channel_id, member });
            app.forget_answers(app.last_note());
            // Who waits next takes this one's place, and their button its focus; the last one goes with it.
            if last == Some(member) && platform::may_type() {
                focus_input();
            }
        };
        view! { <li>{printable(&name)}" "<button class="small" on:click=approve>"let in"</button></li> }
    });
    Some(view! {
        <h2>"Waiting for #"{printable(&channel.name)}</h2>
        <ul class="members">{waiting.collect_view()}</ul>
    })
}
