//! How far one has scrolled and read, and what rings.

use super::*;

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
fn the_way_to_the_first_message_goes_on_until_it_is_there_or_a_key_is_pressed() {
    let page = |from: u64| -> Vec<_> {
        let text = |n: u64| format!("number {n}.");
        (from..from + 100).map(|n| message(n, 1, "alice", &text(n), Delivery::Received)).collect()
    };
    let home = KeyEvent::new(KeyCode::Home, KeyModifiers::CONTROL);
    for stopped in [false, true] {
        let mut app = app_with(page(201), false);
        draw(&mut app, 80, 20);
        app.terminal(Term::Key(home));
        draw(&mut app, 80, 20);
        answer(&mut app, page_of(page(101), false));
        assert!(draw(&mut app, 80, 20).contains("number 101."));
        if stopped {
            press(&mut app, KeyCode::Down);
        }
        answer(&mut app, page_of(page(1), true));
        let screen = draw(&mut app, 80, 20);
        assert_eq!(screen.contains("number 1."), !stopped, "{screen}");
    }
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
