//! What is drawn: sizes, colours, and texts that mean harm.

use super::*;

#[test]
fn what_keeps_felund_from_starting_stays_on_the_screen() {
    let mut app = empty_app();
    let fault = "The identity in the storage is damaged. Restore it from a backup.";
    app.event(Event::Notice { error: true, text: fault.into() });
    for key in [KeyCode::Char('h'), KeyCode::Enter, KeyCode::F(2), KeyCode::F(3), KeyCode::Esc] {
        press(&mut app, key);
        let screen = draw(&mut app, 100, 20);
        assert!(screen.contains(fault) && !screen.contains("settings ─"), "{screen}");
    }
    assert_eq!(app.editor.text(), "h");

    let mut app = empty_app();
    app.event(Event::Notice { error: true, text: "A record is damaged.".into() });
    for event in [identity("me"), Event::Circle(garden()), Event::Ready] {
        app.event(event);
    }
    assert!(draw(&mut app, 100, 20).contains("! A record is damaged."));
    press(&mut app, KeyCode::Char('h'));
    assert!(!draw(&mut app, 100, 20).contains("damaged"));
}

#[test]
fn circles_of_one_name_are_told_apart_wherever_they_are_shown() {
    let mut app = chat();
    app.event(Event::Circle(CircleView { name: "garden club".into(), ..family() }));
    let screen = draw(&mut app, 100, 20);
    assert!(screen.contains("─ garden club#01010101 ▸ #general"), "{screen}");
    assert!(screen.contains("● gard…#01010101") && screen.contains("○ gard…#02020202"), "{screen}");
    type_text(&mut app, "/circle switch garden club#02020202");
    press(&mut app, KeyCode::Enter);
    type_text(&mut app, "/circles");
    press(&mut app, KeyCode::Enter);
    assert!(draw(&mut app, 100, 20).contains("garden club#01010101  ("));
    press(&mut app, KeyCode::Esc);
    type_text(&mut app, "/circle switch 0101");
    press(&mut app, KeyCode::Enter);
    assert_eq!(app.open.map(|(circle, _)| circle), Some(FAMILY), "half an id may be another's");
}

#[test]
fn members_of_one_name_are_told_apart_at_any_size() {
    let (one, other) = ("Christine#15f7f2dd", "Christine#1f653320");
    let messages = [(1, one), (2, other)]
        .map(|(n, who)| message(n, u8::try_from(n).unwrap_or(0), who, "hello", Delivery::Received));
    let mut app = app_with(messages.to_vec(), true);
    let mut circle = garden();
    circle.members[1] = member(1, one, Reach::Direct);
    circle.members[2] = member(2, other, Reach::Offline { last_seen: Some(NOW - 59 * 60_000) });
    app.event(Event::Circle(circle));
    for (width, drawer) in [(24, false), (24, true), (40, false), (40, true), (80, false), (120, false)] {
        app.drawer = drawer;
        let screen = draw(&mut app, width, 20);
        let lists = if width < 60 { 1 } else { 2 };
        for id in ["#15f7f2dd", "#1f653320"] {
            assert_eq!(screen.matches(id).count(), lists, "{screen}");
        }
    }
    assert!(draw(&mut app, 120, 20).contains("10:31 Christ…#15f7f2dd hello"));
    assert!(draw(&mut app, 80, 20).contains("10:31 Ch…#15f7f2dd hello"));
}

#[test]
fn how_far_a_message_got_is_shown_whole_in_large_circles() {
    for (to, of) in [(3, 9), (10, 13), (13, 13), (99, 100), (100, 100)] {
        let sent = message(1, 9, "me", "x".repeat(200).as_str(), Delivery::Delivered { to, of });
        let mut app = app_with(vec![sent], true);
        let others = (0..of).map(|_| member(1, "alice", Reach::Relay));
        let members = std::iter::once(member(9, "me", Reach::You)).chain(others).collect();
        app.event(Event::Circle(CircleView { members, ..garden() }));
        for width in [30, 40, 80, 120] {
            let screen = draw(&mut app, width, 20);
            assert!(screen.contains(&format!(" {to}/{of} ")), "{screen}");
        }
    }
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
    circle.held = Some(evil.into());
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
fn why_messages_wait_stands_above_them() {
    let mut app = chat();
    app.event(Event::Circle(CircleView { unsent: 2, held: Some("the disk is full".into()), ..garden() }));
    let screen = draw(&mut app, 120, 20);
    assert!(screen.contains("2 unsent · the relay takes no messages: the disk is full"), "{screen}");
    app.event(Event::Circle(CircleView { unsent: 2, ..garden() }));
    assert!(!draw(&mut app, 120, 20).contains("unsent"), "on their way");
}

#[test]
fn letters_that_are_one_cluster_are_seen_while_they_are_typed() {
    let mut app = chat();
    app.editor.set("स्त्री".repeat(12));
    let screen = draw(&mut app, 30, 20);
    assert_eq!(screen.matches("री").count(), 12, "{screen}");
}

#[test]
fn without_colours_nothing_is_lost() {
    let mut app = chat();
    let coloured = draw(&mut app, 80, 20);
    app.theme = Theme::new(false);
    assert_eq!(draw(&mut app, 80, 20), coloured);
}
