//! The terminal client as a person meets it: real keys into a pseudo-terminal, and what then stands on the screen.

use felund_core::{circle::Body, invite::Invite};
use felund_tests::{
    felund::Felund,
    leak,
    member::Member,
    relay::Relay,
    terminal::{Terminal, key},
};
use rustix::process::{Pid, Signal, kill_process};

const COLS: u16 = 100;
const ROWS: u16 = 30;

/// A device as it is before anything was set up.
fn bare(device: &Felund) -> Vec<String> {
    vec!["--data-dir".to_owned(), device.data_dir().display().to_string(), "--no-mdns".to_owned()]
}

/// Alice at a terminal in a circle that Bob has joined without a screen.
fn chat() -> (Relay, Felund, Felund, Terminal) {
    let relay = Relay::start();
    let device = |name| Felund::relayed(name, &relay.url());
    let (alice, bob) = (device("alice"), device("bob"));
    let circle = alice.create("garden club");
    bob.join(&circle.invite);
    let terminal = Terminal::open(&alice, COLS, ROWS);
    terminal.wait_for("garden club ▸ #general");
    (relay, alice, bob, terminal)
}

/// The invite on the screen, which breaks it over several rows.
fn invite_on(terminal: &Terminal) -> String {
    let starts = |part: &str| part.starts_with("http://") || part.starts_with("felund1.");
    let of_code = |part: &str| {
        part.len() > 8 && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:#".contains(&b))
    };
    let whole = || {
        let screen = terminal.screen();
        let rows = screen.lines().map(|row| row.split('│').map(str::trim).find(|part| of_code(part)));
        let rows = rows.skip_while(|part| !part.is_some_and(starts));
        let code: String = rows.map_while(|part| part).collect();
        // What is drawn so far may be no more than a part of it.
        Invite::parse(&code).is_ok().then_some(code)
    };
    felund_tests::wait::until("an invite on the screen", whole)
}

#[test]
fn the_first_minute_creates_a_circle_and_another_terminal_joins_it() {
    let relay = Relay::start();
    let (alice, bob) = (Felund::new("", None), Felund::new("", None));
    let at_alice = Terminal::run(&bare(&alice), COLS, 40);
    at_alice.wait_for("What should others call you?");
    at_alice.line("alice");
    at_alice.wait_for("Create a circle");
    at_alice.keys(key::ENTER);
    at_alice.wait_for("What is the circle called?");
    at_alice.line("garden club");
    at_alice.wait_for("Which relay carries its messages?");
    at_alice.line(&relay.url());
    at_alice.wait_for("invite to garden club");
    let invite = invite_on(&at_alice);
    assert!(invite.starts_with(&format!("{}/#felund1.", relay.url())), "{invite}");
    // Whatever is typed next must not follow the Escape so closely that both are taken for one key.
    at_alice.keys(key::ESC);
    at_alice.wait_for("No messages yet.");

    let at_bob = Terminal::run(&bare(&bob), COLS, 40);
    at_bob.wait_for("What should others call you?");
    at_bob.line("bob");
    at_bob.wait_for("Join a circle");
    at_bob.keys(key::DOWN);
    at_bob.wait_for("▸ Join a circle");
    at_bob.keys(key::ENTER);
    at_bob.wait_for("Paste the invite");
    // A code with a typo is named as such, and nothing is lost.
    at_bob.paste(&invite[..invite.len() - 3]);
    at_bob.keys(key::ENTER);
    at_bob.wait_for("damaged");
    at_bob.keys("\x15");
    at_bob.paste(&invite);
    at_bob.keys(key::ENTER);
    at_bob.wait_for("garden club ▸ #general");

    at_bob.line("hello from bob");
    at_alice.wait_for("hello from bob");
    at_alice.line("hello bob");
    at_bob.wait_for("hello bob");
    at_alice.wait_for("1 direct");
    at_bob.wait_until("the sender's name", |screen| screen.contents().contains("alice"));
}

#[test]
fn a_conversation_goes_both_ways_and_says_how_far_each_message_got() {
    let (relay, _alice, bob, terminal) = chat();
    terminal.wait_for("No messages yet.");
    let bob_hears = bob.tail(None);
    terminal.line("seed swap on saturday?");
    bob_hears.wait_for("seed swap on saturday?");
    terminal.wait_until("a check mark on one's own message", |screen| {
        screen.contents().lines().any(|row| row.contains("seed swap on saturday?") && row.contains('✓'))
    });
    bob.send("garden club", "I bring beans");
    terminal.wait_until("bob's message under his name", |screen| {
        screen.contents().lines().any(|row| row.contains("bob") && row.contains("I bring beans"))
    });
    // What the header says of the connection follows what happens to it.
    let mut relay = relay;
    relay.kill();
    terminal.wait_for("relay unavailable");
    terminal.line("written in the dark");
    terminal.wait_until("a mark that it is only here", |screen| {
        screen.contents().lines().any(|row| row.contains("written in the dark") && row.contains('…'))
    });
    relay.resume();
    bob_hears.wait_for("written in the dark");
    terminal.wait_until("a check mark", |screen| {
        screen.contents().lines().any(|row| row.contains("written in the dark") && row.contains('✓'))
    });
}

#[test]
fn keys_open_help_and_invite_and_commands_make_channels() {
    let (_relay, alice, bob, terminal) = chat();
    terminal.keys(key::F1);
    terminal.wait_for("this help");
    terminal.keys(key::PAGE_DOWN);
    terminal.wait_for("/channel create");
    terminal.keys(key::ESC);
    terminal.wait_until("a closed help", |screen| !screen.contents().contains("Esc closes"));
    terminal.keys(key::F2);
    terminal.wait_for("invite to garden club");
    let invite = invite_on(&terminal);
    assert!(invite.contains("/#felund1."), "{invite}");
    terminal.keys(key::ESC);
    terminal.wait_until("a closed invite", |screen| !screen.contents().contains("Esc closes"));
    terminal.keys(key::F3);
    terminal.wait_for("Messages kept per channel");
    terminal.keys(key::ESC);
    terminal.wait_until("closed settings", |screen| !screen.contents().contains("Esc closes"));

    terminal.line("/channel create seeds public");
    terminal.wait_for("garden club ▸ #seeds");
    terminal.line("beans and peas");
    bob.until_texts("garden club/seeds", &["beans and peas"]);
    terminal.line("/channel switch general");
    terminal.wait_for("garden club ▸ #general");
    bob.send("garden club/seeds", "and lentils");
    terminal.wait_until("an unread count", |screen| screen.contents().contains("(1)"));
    terminal.line("/doctor");
    terminal.wait_for("✓ ok");
    terminal.keys(key::ESC);
    terminal.wait_until("a closed report", |screen| !screen.contents().contains("Esc closes"));
    terminal.line("/nonsense");
    terminal.wait_for("! ");
    assert!(alice.texts("garden club").is_empty(), "a command is never sent as a message");
}

#[test]
fn the_window_changes_its_size_and_everything_stays_readable() {
    let (_relay, _alice, bob, terminal) = chat();
    let bob_hears = bob.tail(None);
    bob.send("garden club", "a message that is there before the window changes");
    terminal.wait_for("before the window changes");
    for (cols, rows) in [(60, 20), (32, 12), (140, 45), (20, 8), (10, 3), (COLS, ROWS)] {
        terminal.resize(cols, rows);
        terminal.wait_until(&format!("a frame that fills {cols} × {rows}"), |screen| {
            let bottom = screen.contents().lines().nth(usize::from(rows) - 1).unwrap_or_default().to_owned();
            screen.size() == (rows, cols) && (rows < 8 || bottom.starts_with('└') && bottom.ends_with('┘'))
        });
    }
    terminal.wait_for("before the window changes");
    terminal.line("typed after all that");
    bob_hears.wait_for("typed after all that");
}

#[test]
fn what_is_typed_while_the_window_changes_is_there_at_once() {
    let (_relay, _alice, _bob, terminal) = chat();
    let mut typed = String::from("> ");
    for (letter, narrower) in ('a'..='z').cycle().zip([1, 0].into_iter().cycle()).take(60) {
        terminal.resize(COLS - narrower, ROWS);
        terminal.keys(&letter.to_string());
        typed.push(letter);
        terminal.wait_for(&typed);
    }
}

#[test]
fn pasted_lines_wait_in_the_input_and_are_sent_as_one_message() {
    let (_relay, _alice, bob, terminal) = chat();
    let bob_hears = bob.tail(None);
    terminal.paste("first line\nsecond line\n/quit");
    terminal.wait_for("second line");
    assert!(bob_hears.messages().is_empty(), "a paste sends nothing by itself");
    terminal.keys(key::ENTER);
    bob_hears.wait_for("first line\nsecond line\n/quit");
    terminal.wait_until("all lines among the messages", |screen| {
        let text = screen.contents();
        text.contains("first line") && text.contains("second line") && text.contains("/quit")
    });
}

#[test]
fn wide_characters_keep_their_columns() {
    let (_relay, _alice, bob, terminal) = chat();
    let texts = ["漢字かな交じり文", "family 👨‍👩‍👧 and 🌱🌻", "e\u{301}a\u{308} combine", "عربي right to left"];
    for text in texts {
        bob.send("garden club", text);
    }
    for start in ["漢字かな交じり文", "family", "combine", "right to left"] {
        terminal.wait_for(start);
    }
    // Whatever the widths, the frame's right edge stays in its column.
    let rows: Vec<String> = terminal.with_screen(|screen| screen.rows(COLS - 1, 1).collect());
    for (at, edge) in rows.iter().enumerate() {
        assert!(
            ["│", "┐", "┤", "┘"].contains(&edge.as_str()),
            "row {at} ends in {edge:?}\n{}",
            terminal.screen()
        );
    }
    let bob_hears = bob.tail(None);
    terminal.keys("漢字x");
    terminal.keys(key::BACKSPACE);
    terminal.keys("と🌱");
    terminal.wait_for("漢字と🌱");
    terminal.keys(key::ENTER);
    bob_hears.wait_for("漢字と🌱");
}

#[test]
fn nothing_that_others_write_steers_the_terminal() {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    let mallory = Member::join(&circle.invite, &relay.url());
    mallory.hello("mallory");
    let terminal = Terminal::open(&alice, COLS, ROWS);
    terminal.wait_for("garden club ▸ #general");
    let attacks = [
        "title \x1b]0;owned\x07 end1",
        "clip \x1b]52;c;b3duZWQ=\x07 end2",
        "clear \x1b[2J\x1b[1;1H end3",
        "c1 \u{9b}31m \u{9d}0;owned\u{9c} end4",
        "back \x08\x08\x08\x08 \r over end5",
        "answer \x1b[6n\x1b[c\x1bZ end6",
        "order \u{202e}drow\u{202c} end7",
    ];
    for attack in attacks {
        mallory.say(mallory.circle.general(), &[Body::Text(attack.to_owned())]);
    }
    for n in 1..=7 {
        terminal.wait_for(&format!("end{n}"));
    }
    let raw = terminal.raw();
    for attack in ["\x1b]0;owned", "\x1b]52;c;b3du", "\u{9b}31m", "\u{9d}0;", "\x08\x08", "\x1bZ", "\u{202e}"]
    {
        assert!(!leak::contains(&raw, attack.as_bytes()), "{attack:?} reached the terminal");
    }
    // Shown as what it is, and the rest of the screen stands.
    terminal.wait_for("^[]0;owned");
    terminal.wait_for("garden club ▸ #general");
    // Nor do commands without a screen pass it on to the terminal they run in.
    let who = alice.run(&["history", "garden club"]);
    assert!(!who.stdout.contains('\x1b') && !who.stdout.contains('\u{9b}'), "{who:?}");
}

#[test]
fn quitting_puts_the_terminal_back_and_drafts_are_kept() {
    let (_relay, alice, _bob, mut terminal) = chat();
    terminal.keys("half a thought");
    terminal.wait_for("half a thought");
    terminal.keys(key::CTRL_C);
    assert_eq!(terminal.wait_end(), 0);
    terminal.assert_restored();

    let mut again = Terminal::open(&alice, COLS, ROWS);
    again.wait_for("half a thought");
    again.keys("\x15");
    again.line("/quit");
    assert_eq!(again.wait_end(), 0);
    again.assert_restored();

    // Asked to end from outside, as when a session is closed.
    let mut third = Terminal::open(&alice, COLS, ROWS);
    third.wait_for("garden club ▸ #general");
    let id = i32::try_from(third.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(id, Signal::TERM).expect("it runs");
    third.wait_end();
    third.assert_restored();
}

#[test]
fn a_second_screen_on_the_same_data_mirrors_the_first() {
    let (_relay, alice, bob, first) = chat();
    let second = Terminal::open(&alice, 80, 24);
    second.wait_for("garden club ▸ #general");
    bob.send("garden club", "seen on both");
    first.wait_for("seen on both");
    second.wait_for("seen on both");
    second.line("typed on the second");
    first.wait_for("typed on the second");
    bob.until_texts("garden club", &["seen on both", "typed on the second"]);
}
