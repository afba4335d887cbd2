//! Slash commands, clicks, and going from place to place.

use super::*;

#[test]
fn a_command_whose_names_are_wrong_stays_in_the_input() {
    let mut app = chat();
    type_text(&mut app, "/channel join seedz the passphrase");
    press(&mut app, KeyCode::Enter);
    assert_eq!(app.editor.text(), "/channel join seedz the passphrase");
    assert!(app.notice.is_some_and(|notice| notice.error && notice.text.contains("seedz")));
}

#[test]
fn who_joins_a_channel_with_a_space_in_its_name_is_told_of_quotes() {
    let mut app = chat();
    let mut circle = garden();
    circle.channels.push(channel(ChannelId([8; 16]), "seed swap", 0));
    app.event(Event::Circle(circle));
    app.effects.clear();
    type_text(&mut app, "/channel join seed swap");
    press(&mut app, KeyCode::Enter);
    assert!(draw(&mut app, 90, 20).contains("wants quotes: /channel join \"seed swap\""));
    app.editor.take();
    type_text(&mut app, "/channel join \"seed swap\"");
    press(&mut app, KeyCode::Enter);
    assert!(commands(&mut app).iter().any(|command| matches!(command, Command::JoinChannel { .. })));
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
