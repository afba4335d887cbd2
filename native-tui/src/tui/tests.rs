//! The screen as people see it and what keys do to it, topic by topic; here is what all of them begin with.

mod commands;
mod drafts;
mod overlays;
mod reading;
mod screen;

use crossterm::event::{
    Event as Term, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use felund_core::{
    ids::{ChannelId, CircleId, MsgId, NodeId},
    io::{Command, Event},
    view::{
        Access, ChannelView, CircleView, Delivery, IdentityView, LinkView, MemberView, Membership,
        MessageView, Reach, Reply, Retention,
    },
};
use jiff::tz::TimeZone;
use ratatui::{buffer::Buffer, layout::Rect};

use super::{
    app::{App, Effect, Pending},
    scroll::Scroll,
    theme::Theme,
    ui,
};
use crate::args::Options;

const GARDEN: CircleId = CircleId([1; 16]);
const FAMILY: CircleId = CircleId([2; 16]);
const GENERAL: ChannelId = ChannelId([3; 16]);
const SEEDS: ChannelId = ChannelId([4; 16]);
/// 2026-02-24 10:30 UTC.
const NOW: u64 = 1_771_929_000_000;

fn channel(id: ChannelId, name: &str, unread: u32) -> ChannelView {
    ChannelView {
        id,
        name: name.into(),
        access: Access::Public,
        membership: Membership::Joined,
        owned: false,
        unread,
        read_up_to: None,
        requests: vec![],
        members: vec![],
        draft: String::new(),
    }
}

fn member(id: u8, name: &str, reach: Reach) -> MemberView {
    MemberView { id: NodeId([id; 32]), name: name.into(), reach, anchors: false, label: name.into() }
}

fn garden() -> CircleView {
    CircleView {
        id: GARDEN,
        name: "garden club".into(),
        relay: Some("https://chat.example".into()),
        link: LinkView::Live,
        channels: vec![channel(GENERAL, "general", 0), channel(SEEDS, "seeds", 2)],
        members: vec![
            member(9, "me", Reach::You),
            member(1, "alice", Reach::Direct),
            member(2, "bob", Reach::Direct),
            member(3, "cleo", Reach::Relay),
            member(4, "dan", Reach::Offline { last_seen: Some(NOW - 2 * 3_600_000) }),
        ],
        anchor: None,
        unsent: 0,
        retention: Retention { messages: 1_000, days: 30 },
        held: None,
        arriving: None,
    }
}

fn family() -> CircleView {
    CircleView {
        id: FAMILY,
        name: "family".into(),
        channels: vec![channel(ChannelId([5; 16]), "general", 0)],
        members: vec![member(9, "me", Reach::You)],
        ..garden()
    }
}

fn message(n: u64, author: u8, name: &str, text: &str, delivery: Delivery) -> MessageView {
    MessageView {
        circle_id: GARDEN,
        channel_id: GENERAL,
        channel: "general".into(),
        msg_id: MsgId([u8::try_from(n % 251).unwrap_or(0); 16]),
        author: NodeId([author; 32]),
        name: name.into(),
        label: name.into(),
        created_ts: NOW + n * 60_000,
        text: text.into(),
        mine: author == 9,
        delivery,
    }
}

fn empty_app() -> App {
    let mut app = App::new(Options::default(), Theme::new(true), TimeZone::UTC);
    app.now = NOW + 6 * 60_000;
    app
}

fn identity(name: &str) -> Event {
    Event::Identity(IdentityView {
        node_id: NodeId([9; 32]),
        name: name.into(),
        passphrase: false,
        anchor: false,
        hide_address: false,
        ice_servers: String::new(),
    })
}

fn page_of(messages: Vec<MessageView>, start_reached: bool) -> Reply {
    let from = messages.first().map(MessageView::key);
    Reply::History { messages, start_reached, from }
}

fn app_with(messages: Vec<MessageView>, start_reached: bool) -> App {
    let mut app = empty_app();
    for event in [identity("me"), Event::Circle(garden()), Event::Circle(family()), Event::Ready] {
        app.event(event);
    }
    answer(&mut app, page_of(messages, start_reached));
    app
}

fn chat() -> App {
    let messages = vec![
        message(2, 1, "alice", "hey everyone", Delivery::Received),
        message(3, 9, "me", "yo", Delivery::Delivered { to: 4, of: 4 }),
        message(5, 9, "me", "seed swap on saturday?", Delivery::Delivered { to: 2, of: 4 }),
        message(6, 9, "me", "or sunday", Delivery::Pending),
    ];
    app_with(messages, true)
}

/// Answers the question that was asked last.
fn answer(app: &mut App, reply: Reply) {
    let asked = std::mem::take(&mut app.effects);
    let pending = asked.into_iter().rev().find_map(|effect| match effect {
        Effect::Ask(_, pending) => Some(pending),
        _ => None,
    });
    app.asked(77, pending.expect("something was asked"));
    app.event(Event::Reply { id: 77, result: Ok(reply) });
}

fn draw(app: &mut App, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buf = Buffer::empty(area);
    let (drawn, _) = ui::render(app, area, &mut buf);
    app.after_drawing(drawn);
    let mut text = String::new();
    for y in 0..height {
        let mut skip = 0;
        let mut row = String::new();
        for x in 0..width {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            let symbol = buf[(x, y)].symbol();
            skip = ui::wrap::width(symbol).saturating_sub(1);
            row.push_str(symbol);
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

fn press(app: &mut App, code: KeyCode) {
    app.terminal(Term::Key(KeyEvent::new(code, KeyModifiers::NONE)));
}

fn type_text(app: &mut App, text: &str) {
    for c in text.chars() {
        press(app, KeyCode::Char(c));
    }
}

fn commands(app: &mut App) -> Vec<Command> {
    let effects = std::mem::take(&mut app.effects).into_iter();
    effects
        .filter_map(|effect| match effect {
            Effect::Ask(command, _) => Some(command),
            _ => None,
        })
        .collect()
}

fn commands_kept(app: &App) -> Vec<Command> {
    app.effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Ask(command, _) => Some(command.clone()),
            _ => None,
        })
        .collect()
}
