//! What lies over the chat: the first minute's questions, settings, invites and pages.

use ratatui::{buffer::Cell, layout::Position};

use super::{
    super::overlay::{Overlay, Setting, Step, Wizard},
    *,
};

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
fn an_answer_that_comes_late_takes_no_setting_away_that_is_being_typed() {
    let mut app = chat();
    app.asked(5, Pending::Doctor);
    app.show_settings();
    app.event(Event::Reply { id: 5, result: Ok(Reply::Doctor { findings: Vec::new() }) });
    assert!(matches!(app.overlay, Some(Overlay::Settings(_))));
    type_text(&mut app, "x");
    assert!(app.editor.is_empty());
    assert!(draw(&mut app, 80, 20).contains("ask again"));
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
fn the_rest_of_a_passphrase_is_no_message_when_another_command_unlocks() {
    let mut app = empty_app();
    app.event(Event::Locked);
    type_text(&mut app, "sec");
    app.wizard_refused("That is not the passphrase.".into());
    for event in [identity("me"), Event::Circle(garden()), Event::Ready] {
        app.event(event);
    }
    type_text(&mut app, "ret");
    app.terminal(Term::Paste("ret".into()));
    let screen = draw(&mut app, 80, 20);
    assert!(screen.contains("Another command unlocked Felund: press Enter."), "{screen}");
    assert!(!screen.contains("That is not the passphrase"), "{screen}");
    press(&mut app, KeyCode::Enter);
    assert!(app.wizard.is_none() && app.editor.is_empty() && app.open == Some((GARDEN, GENERAL)));
    type_text(&mut app, "hi");
    press(&mut app, KeyCode::Enter);
    let sent = Command::Send { circle: GARDEN, channel: GENERAL, text: "hi".into() };
    let asked = commands(&mut app);
    assert!(asked.contains(&sent) && !asked.iter().any(|command| matches!(command, Command::Unlock { .. })));
}

#[test]
fn the_rest_of_a_passphrase_is_no_name_either() {
    let mut app = empty_app();
    app.event(Event::Locked);
    type_text(&mut app, "sec");
    app.event(identity(""));
    app.event(Event::Ready);
    type_text(&mut app, "ret");
    press(&mut app, KeyCode::Enter);
    assert!(draw(&mut app, 80, 20).contains("What should others call you?"));
    assert_eq!((commands(&mut app), app.wizard.map(|wizard| wizard.field.is_empty())), (vec![], Some(true)));
}

#[test]
fn the_rest_of_an_answer_is_no_message_when_another_command_joins() {
    for step in [Step::Name, Step::Code, Step::CircleName, Step::Relay("garden club".into())] {
        let mut app = empty_app();
        app.event(identity(""));
        app.event(Event::Ready);
        app.wizard = Some(Wizard::new(step));
        type_text(&mut app, "fel");
        app.event(Event::Circle(garden()));
        type_text(&mut app, "und1");
        assert!(draw(&mut app, 80, 20).contains("took this device into a circle: press Enter."));
        press(&mut app, KeyCode::Esc);
        assert!(app.wizard.is_none() && app.editor.is_empty());
        assert!(commands(&mut app).iter().all(|command| matches!(command, Command::History { .. })));
    }
}

#[test]
fn who_unlocks_here_is_asked_nothing_more() {
    let reply = || Event::Reply { id: 5, result: Ok(Reply::Done) };
    let opened = || vec![identity("me"), Event::Circle(garden()), Event::Ready];
    for (first, then) in [(vec![reply()], opened()), (opened(), vec![reply()])] {
        let mut app = empty_app();
        app.event(Event::Locked);
        type_text(&mut app, "secret");
        press(&mut app, KeyCode::Enter);
        app.asked(5, Pending::Wizard);
        first.into_iter().for_each(|event| app.event(event));
        type_text(&mut app, "secret");
        then.into_iter().for_each(|event| app.event(event));
        assert!(app.wizard.is_none());
    }
}

#[test]
fn who_unlocked_a_session_that_ended_can_unlock_the_next() {
    let mut app = empty_app();
    app.event(Event::Locked);
    type_text(&mut app, "secret");
    press(&mut app, KeyCode::Enter);
    app.asked(5, Pending::Wizard);
    app.event(Event::Reply { id: 5, result: Ok(Reply::Done) });
    app.reconnect();
    app.event(Event::Locked);
    commands(&mut app);
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

#[test]
fn who_moves_a_circle_to_another_relay_is_told_that_the_others_have_to_as_well() {
    let mut app = chat();
    app.show_settings();
    while !matches!(&app.overlay, Some(Overlay::Settings(settings)) if settings.setting() == Setting::Relay) {
        press(&mut app, KeyCode::Down);
    }
    let screen = draw(&mut app, 100, 40);
    assert!(screen.contains("this device only: every member"), "{screen}");
    press(&mut app, KeyCode::Enter);
    commands(&mut app);
    press(&mut app, KeyCode::Enter);
    answer(&mut app, Reply::Done);
    let screen = draw(&mut app, 100, 40);
    assert!(screen.contains("changed on this device; tell the others"), "{screen}");
}

/// Every question and every setting, with a Z typed where there is something to type.
fn questions() -> Vec<App> {
    let steps = [
        Step::Passphrase,
        Step::Name,
        Step::Code,
        Step::CircleName,
        Step::Relay("garden club".into()),
        Step::Choice(true),
    ];
    let wizards = steps.map(|step| {
        let mut app = empty_app();
        let mut wizard = Wizard::new(step);
        wizard.error = Some("The invite is damaged. Nothing was changed: ask for it once more.".into());
        app.wizard = Some(wizard);
        app
    });
    let settings = (0..Setting::ALL.len()).map(|at| {
        let mut app = chat();
        app.show_settings();
        (0..at).for_each(|_| press(&mut app, KeyCode::Down));
        press(&mut app, KeyCode::Enter);
        app.setting_done(Err("that is no number; nothing was changed".into()));
        app
    });
    let mut apps: Vec<App> = wizards.into_iter().chain(settings).collect();
    apps.iter_mut().for_each(|app| type_text(app, "Z"));
    apps
}

#[test]
fn where_one_types_is_on_the_screen_at_any_size_and_nothing_is_beside_it() {
    for app in &questions() {
        let chooses = matches!(&app.wizard, Some(Wizard { step: Step::Choice(_), .. }));
        let widths = (1..30).chain([40, 59, 60, 66, 80]);
        for (width, height) in widths.flat_map(|width| (1..20).map(move |height| (width, height))) {
            let area = Rect::new(2, 1, width, height);
            let mut buf = Buffer::filled(Rect::new(0, 0, width + 4, height + 2), Cell::new("#"));
            let (_, cursor) = ui::render(app, area, &mut buf);
            let outside = buf.area.positions().filter(|at| !area.contains(*at));
            assert!(outside.into_iter().all(|at| buf[at].symbol() == "#"), "{buf:?}");
            if width < 3 {
                continue;
            }
            let focus = if chooses {
                buf.area.positions().find(|at| buf[*at].symbol() == "▸")
            } else {
                cursor
                    .map(|at| Position { x: at.x - 1, ..at })
                    .filter(|at| ["Z", "•"].contains(&buf[*at].symbol()))
            };
            assert!(focus.is_some_and(|at| area.contains(at)), "{buf:?}");
            for y in area.top()..area.bottom() {
                let row: String = (area.left()..area.right()).map(|x| buf[(x, y)].symbol()).collect();
                let corner = row.rfind('└').map(|at| &row[at..]);
                assert!(corner.is_none_or(|edge| edge.contains('┘')), "{buf:?}");
                let framed = row.starts_with(['┌', '│', '├', '└']) && row.ends_with(['┐', '│', '┤', '┘']);
                assert!(framed || width < 20 || height < 6, "{buf:?}");
            }
        }
    }
}

#[test]
fn a_small_screen_shows_the_setting_that_is_chosen_and_what_came_of_it() {
    let mut app = chat();
    app.show_settings();
    for setting in Setting::ALL {
        for (width, height) in [(40, 10), (20, 5), (20, 1)] {
            let screen = draw(&mut app, width, height);
            let label: String = setting.label().chars().take(12).collect();
            assert!(screen.contains(&format!("▸ {label}")), "{screen}");
        }
        press(&mut app, KeyCode::Down);
    }
    app.setting_done(Ok("saved".into()));
    for (width, height) in [(40, 10), (20, 5)] {
        assert!(draw(&mut app, width, height).contains("saved"));
    }
}
