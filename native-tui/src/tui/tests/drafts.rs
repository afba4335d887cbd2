//! What was typed and not sent, and what could not be sent.

use std::time::{Duration, Instant};

use super::{super::drafts::KEEP_AFTER, *};

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
fn line_breaks_at_the_end_of_what_is_pasted_are_not_sent() {
    let mut app = chat();
    app.effects.clear();
    app.terminal(Term::Paste("two\r\nlines\r\n".into()));
    press(&mut app, KeyCode::Enter);
    let sent = Command::Send { circle: GARDEN, channel: GENERAL, text: "two\nlines".into() };
    assert_eq!(commands(&mut app), [sent]);
    app.terminal(Term::Paste(" \n\n".into()));
    press(&mut app, KeyCode::Enter);
    assert_eq!(commands(&mut app), []);
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
fn who_was_paused_is_not_told_that_something_ended() {
    let mut app = chat();
    type_text(&mut app, "hello");
    press(&mut app, KeyCode::Enter);
    let Some(Effect::Ask(Command::Send { .. }, pending)) = app.effects.pop() else { panic!("sends") };
    app.asked(3, pending);
    app.resume();
    assert_eq!(app.editor.text(), "hello");
    let said = app.notice.expect("a word").text;
    assert!(said.contains("this terminal was paused") && !said.contains("ended"), "{said}");
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
fn what_is_typed_is_kept_while_one_types_on_and_once_only() {
    let mut app = chat();
    draw(&mut app, 80, 20);
    app.effects.clear();
    let begun = Instant::now();
    assert_eq!(app.tend_draft(begun), None, "nothing was typed");
    type_text(&mut app, "half");
    let due = begun + KEEP_AFTER;
    assert_eq!(app.tend_draft(begun), Some(due));
    type_text(&mut app, " a th");
    assert_eq!(app.tend_draft(due - Duration::from_millis(1)), Some(due), "who types on is not waited for");
    assert_eq!(last_saved(&app, GENERAL), None);
    assert_eq!(app.tend_draft(due), None);
    assert_eq!(last_saved(&app, GENERAL).as_deref(), Some("half a th"));
    app.event(with_draft("half a th"));
    app.effects.clear();
    assert_eq!(app.tend_draft(due + KEEP_AFTER), None);
    assert_eq!(last_saved(&app, GENERAL), None, "it has not changed");
    press(&mut app, KeyCode::Backspace);
    assert_eq!(app.tend_draft(due + KEEP_AFTER), Some(due + 2 * KEEP_AFTER));
}

#[test]
fn what_another_window_typed_or_no_session_can_keep_is_not_waited_for() {
    let mut app = chat();
    draw(&mut app, 80, 20);
    let begun = Instant::now();
    app.event(with_draft("typed in another window"));
    assert_eq!(app.tend_draft(begun), None);
    type_text(&mut app, "half a th");
    assert!(app.tend_draft(begun).is_some());
    app.reconnect();
    assert_eq!(app.tend_draft(begun), None);
}

fn get_ready(app: &mut App, garden: Event) {
    for event in [identity("me"), garden, Event::Circle(family()), Event::Ready] {
        app.event(event);
    }
}

#[test]
fn what_is_typed_while_felund_starts_stays() {
    for (draft, shown) in [("", "hello"), ("half a th", "half a th\nhello")] {
        let mut app = empty_app();
        type_text(&mut app, "hello");
        press(&mut app, KeyCode::Enter);
        assert!(draw(&mut app, 80, 20).contains("! Felund is still starting; nothing was sent"));
        get_ready(&mut app, with_draft(draft));
        assert_eq!(app.editor.text(), shown);
        app.quit();
        assert_eq!(last_saved(&app, GENERAL).as_deref(), Some(shown));
    }
}

#[test]
fn a_command_typed_while_felund_starts_becomes_part_of_no_message_and_takes_no_draft_away() {
    let mut app = empty_app();
    for line in ["/who", "/circle switch family"] {
        app.editor.take();
        type_text(&mut app, line);
        press(&mut app, KeyCode::Enter);
        assert!(draw(&mut app, 80, 20).contains("! Felund is still starting; nothing was done"));
    }
    get_ready(&mut app, with_draft("half a th"));
    assert_eq!(app.editor.text(), "/circle switch family");
    press(&mut app, KeyCode::Enter);
    assert_eq!(app.open.map(|(circle, _)| circle), Some(FAMILY));
    assert_eq!(last_saved(&app, GENERAL), None);
}

#[test]
fn a_passphrase_begun_before_it_was_asked_for_is_no_message() {
    let mut app = empty_app();
    type_text(&mut app, "sec");
    app.event(Event::Locked);
    get_ready(&mut app, Event::Circle(garden()));
    press(&mut app, KeyCode::Enter);
    assert!(app.wizard.is_none() && app.editor.is_empty());
}
