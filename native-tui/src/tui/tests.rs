//! The screen as people see it, at several sizes and with hostile texts, and what keys do to it.

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

#[test]
fn the_screen() {
    let expected = "\
┌ felund ─ garden club ▸ #general ─────────────────── 2 direct · 1 via relay ─┐
│ Circles          │ ── Tue 24 Feb ──                                         │
│ ● garden club    │ 10:32 alice hey everyone                                 │
│    # general     │ 10:33 you   yo                                   ✓✓ 4/4  │
│    # seeds   (2) │ 10:35 you   seed swap on saturday?               ✓  2/4  │
│ ○ family         │ 10:36 you   or sunday                            …       │
│ Members          │                                                          │
│ ● me         you │                                                          │
│ ● alice   direct │                                                          │
│ ● bob     direct │                                                          │
│ ◐ cleo     relay │                                                          │
│ ○ dan    2 h ago │                                                          │
├──────────────────┴──────────────────────────────────────────────────────────┤
│ >                                                                           │
└ F1 help  F2 invite  F3 settings  Tab switch  Esc back to input ─────────────┘
";
    assert_eq!(draw(&mut chat(), 79, 15), expected);
}

#[test]
fn a_narrow_screen_has_a_drawer() {
    let mut app = chat();
    let expected = "\
┌ felund ─ garden club ▸ #general ─────┐
│── Tue 24 Feb ──                      │
│10:32 alice hey everyone              │
│10:33 you   yo                 ✓✓ 4/4 │
│10:35 you   seed swap on              │
│            saturday?          ✓  2/4 │
│10:36 you   or sunday          …      │
├──────────────────────────────────────┤
│ >                                    │
└ F1 help  F2 invite  F3 settings ─────┘
";
    assert_eq!(draw(&mut app, 40, 10), expected);
    press(&mut app, KeyCode::Tab);
    let drawer = draw(&mut app, 40, 16);
    let has = |left: &str, right: &str| drawer.lines().any(|row| row.contains(left) && row.contains(right));
    assert!(has("# seeds", "(2)") && has("○ dan", "2 h ago"), "{drawer}");
    press(&mut app, KeyCode::Esc);
    assert!(draw(&mut app, 40, 10).contains("hey everyone"));
}

#[test]
fn every_size_draws_without_a_panic() {
    for overlay in 0..4 {
        let mut app = chat();
        app.editor.set("漢字 👩\u{200d}👩\u{200d}👧\nsecond line /x");
        app.fail("something went wrong, nothing was lost, try again in a moment");
        match overlay {
            1 => app.show_help(None),
            2 => app.show_settings(),
            3 => app.show_invite(GARDEN, "garden club".into(), format!("felund1.{}", "x".repeat(900))),
            _ => {}
        }
        let step = if overlay == 3 { 13 } else { 1 };
        for width in (0..100).step_by(step) {
            for height in [0, 5, 6, 7, 9, 24, 60] {
                draw(&mut app, width, height);
            }
        }
    }
}

#[test]
fn texts_of_others_cannot_steer_the_terminal() {
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}txet\r\u{8}\u{0}\tend\nnext";
    let mut app = app_with(vec![message(1, 1, evil, evil, Delivery::Received)], true);
    let mut circle = garden();
    circle.name = evil.into();
    circle.channels[1].name = evil.into();
    circle.members[1].name = evil.into();
    circle.link = LinkView::Down { reason: evil.into(), retry_in_s: 3 };
    app.event(Event::Circle(circle));
    app.event(Event::Notice { error: true, text: evil.into() });
    for page in 0..5 {
        match page {
            1 => app.command(felund_core::slash::Slash::Who(None)).expect("shows"),
            2 => app.command(felund_core::slash::Slash::Channels).expect("shows"),
            3 => app.command(felund_core::slash::Slash::Debug).expect("shows"),
            4 => app.show_invite(GARDEN, evil.into(), evil.into()),
            _ => {}
        }
        for (width, height) in [(40, 20), (80, 24), (200, 60)] {
            let screen = draw(&mut app, width, height).replace('\n', "");
            let bad = screen.chars().find(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}'));
            assert_eq!(bad, None, "page {page} at {width}: {screen}");
        }
    }
}

#[test]
fn the_first_minute_asks_for_a_name_and_where_to_begin() {
    let mut app = empty_app();
    app.event(identity(""));
    app.event(Event::Ready);
    assert!(draw(&mut app, 80, 20).contains("What should others call you?"));
    type_text(&mut app, "cleo");
    press(&mut app, KeyCode::Enter);
    assert_eq!(commands_kept(&app), [Command::SetName { name: "cleo".into() }]);
    answer(&mut app, Reply::Done);
    assert!(draw(&mut app, 80, 20).contains("▸ Create a circle"));
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Enter);
    app.terminal(Term::Paste(" felund1.abc\n".into()));
    press(&mut app, KeyCode::Enter);
    let expected = Command::JoinCircle { invite: "felund1.abc".into(), relay: None };
    assert_eq!(commands_kept(&app), [expected]);
    let asked = std::mem::take(&mut app.effects);
    assert!(matches!(&asked[..], [Effect::Ask(_, Pending::Circle { made: false })]));
    app.asked(5, Pending::Circle { made: false });
    app.event(Event::Reply { id: 5, result: Err("The invite is damaged.".into()) });
    assert!(draw(&mut app, 80, 20).contains("! The invite is damaged."));
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

#[test]
fn who_types_on_over_an_invite_or_a_help_loses_no_letter() {
    let mut app = app_with(vec![], true);
    app.show_invite(GARDEN, "garden club".into(), "felund1.code".into());
    type_text(&mut app, "hello");
    assert!(app.overlay.is_none());
    press(&mut app, KeyCode::F(1));
    type_text(&mut app, ", all");
    press(&mut app, KeyCode::F(1));
    app.terminal(Term::Paste(" of you".into()));
    assert_eq!(app.editor.text(), "hello, all of you");
    app.show_invite(GARDEN, "garden club".into(), "felund1.code".into());
    press(&mut app, KeyCode::Esc);
    assert_eq!(app.editor.text(), "hello, all of you");
}

#[test]
fn a_passphrase_is_asked_for_and_never_shown() {
    let mut app = empty_app();
    app.event(Event::Locked);
    type_text(&mut app, "secret");
    let screen = draw(&mut app, 80, 20);
    assert!(screen.contains("> ••••••") && !screen.contains("secret"), "{screen}");
    press(&mut app, KeyCode::Enter);
    assert_eq!(commands(&mut app), [Command::Unlock { passphrase: "secret".into() }]);
}

#[test]
fn a_message_that_was_refused_comes_back_to_the_input() {
    let mut app = chat();
    type_text(&mut app, "hello");
    press(&mut app, KeyCode::Enter);
    assert!(app.editor.is_empty());
    let Some(Effect::Ask(Command::Send { text, .. }, pending)) = app.effects.pop() else { panic!("sends") };
    assert_eq!(text, "hello");
    app.asked(3, pending);
    app.event(Event::Reply { id: 3, result: Err("The disk is full.".into()) });
    assert_eq!(app.editor.text(), "hello");
    assert!(draw(&mut app, 80, 20).contains("! The disk is full."));
}

#[test]
fn what_an_owner_did_not_answer_before_it_ended_comes_back() {
    let mut app = chat();
    for (id, text) in [(3, "hello"), (4, "all of you")] {
        type_text(&mut app, text);
        press(&mut app, KeyCode::Enter);
        let Some(Effect::Ask(Command::Send { .. }, pending)) = app.effects.pop() else { panic!("sends") };
        app.asked(id, pending);
    }
    type_text(&mut app, "half a th");
    app.reconnect();
    assert_eq!(app.editor.text(), "hello\nall of you\nhalf a th");
    assert!(app.notice.is_some_and(|notice| notice.error && notice.text.contains("look whether")));

    let mut app = empty_app();
    for event in [identity("me"), Event::Ready] {
        app.event(event);
    }
    press(&mut app, KeyCode::Enter);
    type_text(&mut app, "garden club");
    press(&mut app, KeyCode::Enter);
    press(&mut app, KeyCode::Enter);
    let Some(Effect::Ask(Command::CreateCircle { .. }, pending)) = app.effects.pop() else { panic!("makes") };
    app.asked(5, pending);
    app.reconnect();
    let wizard = app.wizard.expect("still asks");
    assert!(!wizard.busy && wizard.error.is_some_and(|error| error.contains("look whether")));
}

#[test]
fn what_is_typed_stays_with_its_channel() {
    let mut app = chat();
    draw(&mut app, 80, 20);
    app.effects.clear();
    type_text(&mut app, "half a th");
    press(&mut app, KeyCode::Tab);
    assert_eq!(app.open, Some((GARDEN, SEEDS)));
    assert!(app.editor.is_empty());
    let draft = Command::SaveDraft { circle: GARDEN, channel: GENERAL, text: "half a th".into() };
    assert!(commands(&mut app).contains(&draft));
    let mut circle = garden();
    circle.channels[0].draft = "half a th".into();
    app.event(Event::Circle(circle));
    press(&mut app, KeyCode::BackTab);
    assert_eq!(app.editor.text(), "half a th");
}

/// What the node was last asked to keep of a channel.
fn last_saved(app: &App, wanted: ChannelId) -> Option<String> {
    let saved = commands_kept(app).into_iter().rev();
    saved.into_iter().find_map(|command| match command {
        Command::SaveDraft { channel, text, .. } if channel == wanted => Some(text),
        _ => None,
    })
}

fn with_draft(text: &str) -> Event {
    let mut circle = garden();
    circle.channels[0].draft = text.into();
    Event::Circle(circle)
}

#[test]
fn what_is_typed_is_there_before_the_node_says_that_it_is_kept() {
    let mut app = chat();
    draw(&mut app, 80, 20);
    type_text(&mut app, "half a th");
    for key in [KeyCode::Tab, KeyCode::BackTab, KeyCode::Tab, KeyCode::BackTab] {
        press(&mut app, key);
    }
    assert_eq!(app.editor.text(), "half a th");
    assert_eq!(last_saved(&app, GENERAL).as_deref(), Some("half a th"));

    app.event(with_draft("half a th"));
    press(&mut app, KeyCode::Enter);
    press(&mut app, KeyCode::Tab);
    press(&mut app, KeyCode::BackTab);
    assert_eq!(app.editor.text(), "", "what was sent is no draft any more");
    assert_eq!(last_saved(&app, GENERAL).as_deref(), Some(""));
}

#[test]
fn a_draft_that_was_kept_and_dropped_before_it_was_seen_hides_none_of_another_window() {
    let mut app = chat();
    draw(&mut app, 80, 20);
    app.effects.clear();
    type_text(&mut app, "a");
    press(&mut app, KeyCode::Tab);
    press(&mut app, KeyCode::BackTab);
    press(&mut app, KeyCode::Backspace);
    press(&mut app, KeyCode::Tab);
    let asked = std::mem::take(&mut app.effects).into_iter().filter_map(|effect| match effect {
        Effect::Ask(Command::SaveDraft { .. }, pending) => Some(pending),
        _ => None,
    });
    for (id, pending) in (10..).zip(asked.collect::<Vec<_>>()) {
        app.asked(id, pending);
        app.event(Event::Reply { id, result: Ok(Reply::Done) });
    }
    app.event(with_draft("typed in another window"));
    press(&mut app, KeyCode::BackTab);
    assert_eq!(app.editor.text(), "typed in another window");
}

#[test]
fn a_draft_that_was_not_touched_here_is_left_to_who_typed_it() {
    let mut app = chat();
    draw(&mut app, 80, 20);
    app.effects.clear();
    app.event(with_draft("typed in another window"));
    press(&mut app, KeyCode::Tab);
    assert_eq!(last_saved(&app, GENERAL), None);
    press(&mut app, KeyCode::BackTab);
    assert_eq!(app.editor.text(), "typed in another window");
    app.event(with_draft("and typed on"));
    app.quit();
    assert_eq!(last_saved(&app, GENERAL), None);
}

#[test]
fn what_an_owner_did_not_keep_before_it_ended_is_kept_by_the_next() {
    let mut app = chat();
    draw(&mut app, 80, 20);
    type_text(&mut app, "half a th");
    press(&mut app, KeyCode::Tab);
    app.effects.clear();
    app.reconnect();
    for event in [identity("me"), Event::Circle(garden()), Event::Circle(family()), Event::Ready] {
        app.event(event);
    }
    assert_eq!(last_saved(&app, GENERAL).as_deref(), Some("half a th"));
}

#[test]
fn a_message_that_was_refused_after_its_channel_was_left_becomes_its_draft() {
    let mut app = chat();
    draw(&mut app, 80, 20);
    for (id, text) in [(3, "hello"), (4, "all of you")] {
        type_text(&mut app, text);
        press(&mut app, KeyCode::Enter);
        let Some(Effect::Ask(Command::Send { .. }, pending)) = app.effects.pop() else { panic!("sends") };
        app.asked(id, pending);
    }
    type_text(&mut app, "half a th");
    press(&mut app, KeyCode::Tab);
    app.effects.clear();
    app.reconnect();
    assert_eq!(last_saved(&app, GENERAL), None, "the new session does not know the channel yet");
    for event in [identity("me"), with_draft("half a th"), Event::Circle(family()), Event::Ready] {
        app.event(event);
    }
    let all = "hello\nall of you\nhalf a th";
    assert_eq!(last_saved(&app, GENERAL).as_deref(), Some(all));
    press(&mut app, KeyCode::BackTab);
    assert_eq!(app.editor.text(), all);
}

#[test]
fn a_command_that_was_not_carried_out_is_no_draft() {
    let mut app = chat();
    draw(&mut app, 80, 20);
    app.effects.clear();
    type_text(&mut app, "/channel join seeds the passphrase");
    app.quit();
    assert!(!commands(&mut app).iter().any(|command| matches!(command, Command::SaveDraft { .. })));
}

#[test]
fn scrolling_back_loads_older_pages_and_stays_in_place() {
    let text = |n: u64| format!("number {n}");
    let page = |from: u64| -> Vec<_> {
        (from..from + 100).map(|n| message(n, 1, "alice", &text(n), Delivery::Received)).collect()
    };
    let mut app = app_with(page(100), false);
    assert!(draw(&mut app, 80, 20).contains("number 199"));
    commands(&mut app);
    for _ in 0..20 {
        press(&mut app, KeyCode::PageUp);
        draw(&mut app, 80, 20);
    }
    let asked = commands_kept(&app);
    assert!(matches!(asked[..], [Command::History { before: Some(_), .. }]), "{asked:?}");
    let before = draw(&mut app, 80, 20);
    assert!(before.contains("number 100"));
    answer(&mut app, page_of(page(0), true));
    // What stood at the bottom still does.
    let last = |screen: &str| screen.lines().rev().find(|row| row.contains("number")).map(str::to_owned);
    assert_eq!(last(&draw(&mut app, 80, 20)), last(&before));
    app.event(Event::Message(message(300, 1, "alice", "newest", Delivery::Received)));
    assert_eq!(last(&draw(&mut app, 80, 20)), last(&before));
    press(&mut app, KeyCode::Esc);
    assert_eq!(app.scroll, Scroll::Follow);
    assert!(draw(&mut app, 80, 20).contains("newest"));
}

#[test]
fn a_page_of_which_nothing_opens_is_asked_for_once() {
    let from = |place| Some(message(place, 1, "", "", Delivery::Received).key());
    let mut app = empty_app();
    for event in [identity("me"), Event::Circle(garden()), Event::Ready] {
        app.event(event);
    }
    answer(&mut app, Reply::History { messages: vec![], start_reached: false, from: from(400) });
    let mut asked = Vec::new();
    for place in [300, 200, 100] {
        let from = from(place);
        draw(&mut app, 80, 20);
        asked.push(match &commands(&mut app)[..] {
            [Command::History { before, .. }] => *before,
            other => panic!("{other:?}"),
        });
        app.asked(8, Pending::History((GARDEN, GENERAL)));
        let result = Ok(Reply::History { messages: vec![], start_reached: false, from });
        app.event(Event::Reply { id: 8, result });
    }
    asked.dedup();
    assert_eq!(asked.len(), 3, "the same page is asked for again: {asked:?}");
    assert!(!draw(&mut app, 80, 20).contains("No messages yet"));
}

#[test]
fn only_what_was_seen_counts_as_read() {
    let mut app = chat();
    draw(&mut app, 80, 20);
    let read = |commands: &[Command]| commands.iter().any(|c| matches!(c, Command::MarkRead { .. }));
    assert!(read(&commands(&mut app)));
    app.terminal(Term::FocusLost);
    app.event(Event::Message(message(7, 1, "alice", "while away", Delivery::Received)));
    let screen = draw(&mut app, 80, 20);
    assert!(screen.contains("── new messages ──"), "{screen}");
    assert!(app.effects.contains(&Effect::Bell));
    assert!(!read(&commands(&mut app)));
    app.terminal(Term::FocusGained);
    draw(&mut app, 80, 20);
    assert!(read(&commands(&mut app)));
}

#[test]
fn letters_that_are_one_cluster_are_seen_while_they_are_typed() {
    let mut app = chat();
    app.editor.set("स्त्री".repeat(12));
    let screen = draw(&mut app, 30, 20);
    assert_eq!(screen.matches("री").count(), 12, "{screen}");
}

#[test]
fn the_line_above_what_is_new_stays_where_reading_stopped() {
    let page = (0..60).map(|n| message(n, 1, "alice", &format!("number {n}"), Delivery::Received)).collect();
    let mut app = app_with(page, true);
    draw(&mut app, 80, 20);
    app.terminal(Term::FocusLost);
    app.event(Event::Message(message(60, 1, "alice", "while away", Delivery::Received)));
    app.terminal(Term::FocusGained);
    draw(&mut app, 80, 20);
    press(&mut app, KeyCode::PageUp);
    draw(&mut app, 80, 20);
    let line = app.new_after;
    assert!(line.is_some());
    app.event(Event::Message(message(61, 1, "alice", "below the screen", Delivery::Received)));
    draw(&mut app, 80, 20);
    app.terminal(Term::FocusLost);
    assert_eq!(app.new_after, line);
}

#[test]
fn the_bell_rings_once_for_what_comes_at_once_and_not_for_what_is_caught_up_with() {
    let mut app = chat();
    draw(&mut app, 80, 20);
    app.terminal(Term::FocusLost);
    let rings = |app: &mut App| {
        draw(app, 80, 20);
        std::mem::take(&mut app.effects).iter().filter(|effect| **effect == Effect::Bell).count()
    };
    app.now = NOW + 1_000 * 60_000;
    let come = |app: &mut App, numbers: std::ops::Range<u64>| {
        for n in numbers {
            app.event(Event::Message(message(n, 1, "alice", "hello", Delivery::Received)));
        }
    };
    come(&mut app, 10..900);
    assert_eq!(rings(&mut app), 0);
    come(&mut app, 990..1_000);
    assert_eq!(rings(&mut app), 1);
    come(&mut app, 1_000..1_001);
    assert_eq!(rings(&mut app), 1);
    app.reconnect();
    come(&mut app, 1_000..1_001);
    assert_eq!(rings(&mut app), 0, "the past is told again");
}

#[test]
fn a_page_does_not_scroll_beyond_its_end() {
    let mut app = chat();
    press(&mut app, KeyCode::F(1));
    draw(&mut app, 80, 20);
    for _ in 0..100 {
        press(&mut app, KeyCode::PageDown);
        draw(&mut app, 80, 20);
    }
    let end = draw(&mut app, 80, 20);
    press(&mut app, KeyCode::Up);
    assert_ne!(draw(&mut app, 80, 20), end);
}

#[test]
fn a_command_whose_names_are_wrong_stays_in_the_input() {
    let mut app = chat();
    type_text(&mut app, "/channel join seedz the passphrase");
    press(&mut app, KeyCode::Enter);
    assert_eq!(app.editor.text(), "/channel join seedz the passphrase");
    assert!(app.notice.is_some_and(|notice| notice.error && notice.text.contains("seedz")));
}

#[test]
fn an_invite_pasted_where_one_chooses_is_what_one_joins_by() {
    let mut app = empty_app();
    app.event(identity("me"));
    app.event(Event::Ready);
    app.terminal(Term::Paste("felund1.abc\n".into()));
    assert!(draw(&mut app, 80, 20).contains("> felund1.abc"));
    press(&mut app, KeyCode::Enter);
    let expected = Command::JoinCircle { invite: "felund1.abc".into(), relay: None };
    assert_eq!(commands_kept(&app), [expected]);
}

#[test]
fn what_is_pasted_into_a_question_is_bounded_and_drawn_at_once() {
    let mut app = empty_app();
    app.event(identity(""));
    app.event(Event::Ready);
    let begun = std::time::Instant::now();
    app.terminal(Term::Paste("ü".repeat(8_000)));
    app.terminal(Term::Paste("end".into()));
    assert!(draw(&mut app, 80, 20).contains("üend"));
    assert!(begun.elapsed() < std::time::Duration::from_secs(2));
    app.terminal(Term::Paste("ü".repeat(8_000)));
    assert!(draw(&mut app, 80, 20).contains("! That is too long for this"));
    assert_eq!(app.wizard.map(|wizard| wizard.field.text().len()), Some(16_003));
}

#[test]
fn what_came_late_is_read_once_it_can_be_seen() {
    let mut app = chat();
    draw(&mut app, 80, 20);
    let unread = |count| {
        let mut circle = garden();
        circle.channels[0].read_up_to = Some(message(6, 9, "me", "", Delivery::Pending).key());
        circle.channels[0].unread = count;
        Event::Circle(circle)
    };
    let read = |app: &mut App| {
        draw(app, 80, 20);
        draw(app, 80, 20);
        commands(app).iter().filter(|c| matches!(c, Command::MarkRead { .. })).count()
    };
    app.event(unread(0));
    read(&mut app);
    for _ in 0..2 {
        app.event(unread(1));
        assert_eq!(read(&mut app), 1);
        app.event(unread(0));
        assert_eq!(read(&mut app), 0);
    }
}

#[test]
fn commands_are_completed_and_explained() {
    let mut app = chat();
    type_text(&mut app, "/channel sw");
    assert!(draw(&mut app, 80, 20).contains("Goes to a channel"));
    press(&mut app, KeyCode::Tab);
    type_text(&mut app, "se");
    press(&mut app, KeyCode::Tab);
    assert_eq!(app.editor.text(), "/channel switch seeds");
    press(&mut app, KeyCode::Enter);
    assert_eq!(app.open, Some((GARDEN, SEEDS)));
}

#[test]
fn a_click_goes_to_a_channel_and_the_wheel_scrolls() {
    let mut app = chat();
    draw(&mut app, 80, 20);
    let mouse =
        |kind, column, row| Term::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE });
    app.terminal(mouse(MouseEventKind::Down(MouseButton::Left), 6, 4));
    assert_eq!(app.open, Some((GARDEN, SEEDS)));
    app.terminal(mouse(MouseEventKind::Down(MouseButton::Left), 4, 5));
    assert_eq!(app.open, Some((FAMILY, ChannelId([5; 16]))));
    app.terminal(mouse(MouseEventKind::ScrollUp, 40, 5));
    app.terminal(mouse(MouseEventKind::ScrollDown, 40, 5));
}

#[test]
fn a_circle_that_is_left_makes_room_for_another() {
    let mut app = chat();
    app.event(Event::CircleGone { circle_id: GARDEN });
    assert_eq!(app.open.map(|(circle, _)| circle), Some(FAMILY));
    app.event(Event::CircleGone { circle_id: FAMILY });
    assert!(draw(&mut app, 80, 20).contains("Where do you want to begin?"));
}

#[test]
fn without_colours_nothing_is_lost() {
    let mut app = chat();
    let coloured = draw(&mut app, 80, 20);
    app.theme = Theme::new(false);
    assert_eq!(draw(&mut app, 80, 20), coloured);
}

#[test]
fn leaving_a_circle_takes_saying_so_twice() {
    let mut app = chat();
    commands(&mut app);
    for wanted in [0, 1] {
        type_text(&mut app, "/circle leave");
        press(&mut app, KeyCode::Enter);
        let left =
            commands(&mut app).into_iter().filter(|c| matches!(c, Command::LeaveCircle { .. })).count();
        assert_eq!(left, wanted);
    }
}

#[test]
fn a_new_passphrase_is_typed_twice() {
    let mut app = chat();
    commands(&mut app);
    app.show_settings();
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Enter);
    for (text, said) in [("secret", "once more"), ("other", "not the same"), ("secret", "once more")] {
        type_text(&mut app, text);
        press(&mut app, KeyCode::Enter);
        let screen = draw(&mut app, 90, 30);
        assert!(screen.contains(said) && !screen.contains("secret"), "{screen}");
        assert!(!commands(&mut app).iter().any(|c| matches!(c, Command::SetPassphrase { .. })));
    }
    type_text(&mut app, "secret");
    press(&mut app, KeyCode::Enter);
    assert_eq!(commands(&mut app), [Command::SetPassphrase { passphrase: Some("secret".into()) }]);
}
