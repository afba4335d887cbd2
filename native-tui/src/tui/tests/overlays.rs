//! What lies over the chat: the first minute's questions, settings, invites and pages.

use super::*;

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
