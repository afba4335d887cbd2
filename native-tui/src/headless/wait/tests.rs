//! What becomes of questions when owners end, records are damaged and processes are asked to end.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use felund_core::view::{Access, LinkView, Membership, Reach};

use super::{
    caught_up::DIRECT_PATIENCE,
    passphrase::{given, type_hidden},
    *,
};

fn owner(dir: &DataDir) -> (Session, Receiver<Signal>) {
    let (sender, signals) = mpsc::sync_channel(1_024);
    let session = Session::open(dir, Setup::default(), &sender).expect("opens");
    assert!(!session.is_mirror());
    (session, signals)
}

#[test]
fn the_end_of_an_earlier_owner_is_not_taken_for_that_of_the_next() {
    let temp = tempfile::tempdir().expect("tempdir");
    let options = Options { data_dir: Some(temp.path().to_owned()), ..Options::default() };
    let dir = DataDir::open(options.data_dir.clone()).expect("data directory");
    let first = owner(&dir);
    let mut client = Client::open(options, Setup::default()).expect("opens");
    assert!(client.is_mirror());
    drop(first);
    let _second = owner(&dir);
    let reply = client.ask(&Command::Doctor);
    assert!(matches!(reply, Ok(Reply::Doctor { .. })), "{reply:?}");
    assert_eq!(client.generation(), 1, "there were two owners");
}

#[test]
fn whoever_was_paused_is_not_told_that_something_ended() {
    let temp = tempfile::tempdir().expect("tempdir");
    let options = Options { data_dir: Some(temp.path().to_owned()), ..Options::default() };
    let mut client = Client::open(options.clone(), Setup::default()).expect("opens");
    let this = (0..1_000).find(|number| client.session.is(*number)).expect("a number");
    // What is known comes once more, as far as this test has it.
    for signal in [Signal::Anew(this), Signal::Event(this, Box::new(Event::Ready))] {
        client.sender.send(signal).expect("it listens");
    }
    let error = client.ask(&Command::SetAnchor { on: true }).expect_err("it is not known");
    assert!(error.contains("paused") && !error.contains("ended"), "{error}");
}

/// A data directory with a circle in it.
fn with_circle(dir: &std::path::Path) -> (Options, CircleId) {
    let options = Options { data_dir: Some(dir.to_owned()), ..Options::default() };
    let mut client = Client::open(options.clone(), Setup::default()).expect("opens");
    let made = client.ask(&Command::CreateCircle { name: "garden club".into(), relay: None });
    let Ok(Reply::Circle { circle_id, .. }) = made else { panic!("{made:?}") };
    (options, circle_id)
}

fn damage(dir: &std::path::Path, record: &str) {
    let mut store = crate::storage::Sqlite::open(&dir.join("felund.db")).expect("opens");
    let op = felund_core::store::Op::PutRecord(record.to_owned(), vec![0]);
    store.write(&[felund_core::store::Batch { ops: vec![op], strict: true }]).expect("writes");
}

#[test]
fn who_is_not_in_a_channel_is_told_how_to_join_it_and_waits_for_nothing() {
    let temp = tempfile::tempdir().expect("tempdir");
    let (options, circle) = with_circle(temp.path());
    let mut client = Client::open(options, Setup::default()).expect("opens");
    let made = client.ask(&Command::CreateChannel {
        circle,
        name: "seed vault".into(),
        access: Access::Key,
        passphrase: Some("nine tulip bulbs".into()),
    });
    let Ok(Reply::Channel { channel_id: channel }) = made else { panic!("{made:?}") };
    client.ask(&Command::LeaveChannel { circle, channel }).expect("leaves");
    let (wanted, text) = ("garden club/seed vault", ["hello".to_owned()]);
    let is_in = |client: &Client| {
        let known = client.circle(circle).expect("there").channel(channel);
        known.is_some_and(|channel| channel.membership == Membership::Joined)
    };
    while is_in(&client) {
        assert_eq!(client.step(Instant::now() + ANSWER), Ok(true));
    }
    let told = [
        super::super::send(&mut client, wanted, &text, false).err(),
        super::super::history(&mut client, wanted, 1).err(),
        {
            let printer = client.printer().expect("prints");
            client.sender.send(Signal::Stop).expect("it listens");
            super::super::tail(&mut client, &printer, Some(wanted)).err()
        },
    ];
    for why in told {
        let why = why.expect("is not in it");
        assert!(why.ends_with("/channel join \"seed vault\" PASSPHRASE"), "{why}");
    }
}

/// What a client is still to hear: the circle as it stands now, and then that it is to end.
fn is_to_hear(client: &Client, circle: CircleView) {
    let this = (0..1_000).find(|number| client.session.is(*number)).expect("a number");
    for signal in [Signal::Event(this, Box::new(Event::Circle(circle))), Signal::Stop] {
        client.sender.send(signal).expect("it listens");
    }
}

#[test]
fn who_was_let_in_while_away_waits_to_hear_of_it() {
    let temp = tempfile::tempdir().expect("tempdir");
    let (options, id) = with_circle(temp.path());
    let mut client = Client::open(options, Setup::default()).expect("opens");
    let mut circle = client.circle(id).expect("there").clone();
    let channel = circle.channels[0].id;
    circle.channels[0].access = Access::Invite;
    for before in [Membership::Outside, Membership::Requested] {
        client.stopped = false;
        circle.channels[0].membership = before;
        client.model.apply(&Event::Circle(circle.clone()));
        circle.channels[0].membership = Membership::Joined;
        is_to_hear(&client, circle.clone());
        client.until_let_in(id, channel);
        assert_eq!(client.circle(id).expect("there").channels[0].membership, Membership::Joined);
        assert!(client.is_stopped());
    }
}

#[test]
fn tail_waits_for_a_channel_that_was_made_while_one_was_away() {
    let temp = tempfile::tempdir().expect("tempdir");
    let (options, id) = with_circle(temp.path());
    let mut client = Client::open(options, Setup::default()).expect("opens");
    let mut circle = client.circle(id).expect("there").clone();
    let mut made = circle.channels[0].clone();
    (made.id, made.name) = (ChannelId([7; 16]), "seed swap".into());
    circle.channels.push(made);
    is_to_hear(&client, circle);
    let printer = client.printer().expect("prints");
    let error = super::super::tail(&mut client, &printer, Some("garden club/seed swap")).err();
    assert_eq!(error.as_deref(), Some(INTERRUPTED));
}

#[test]
fn a_record_that_was_left_out_stops_no_command() {
    let temp = tempfile::tempdir().expect("tempdir");
    let (options, circle) = with_circle(temp.path());
    damage(temp.path(), &format!("cursor/{circle}"));
    let mut client = Client::open(options, Setup::default()).expect("opens");
    assert!(client.circle(circle).is_ok());
    let reply = client.ask(&Command::Invite { circle });
    assert!(matches!(reply, Ok(Reply::Invite { .. })), "{reply:?}");
}

#[test]
fn a_node_that_is_broken_is_waited_for_by_nobody() {
    let temp = tempfile::tempdir().expect("tempdir");
    let (options, _) = with_circle(temp.path());
    damage(temp.path(), felund_core::store::IDENTITY);
    let broken = owner(&DataDir::open(options.data_dir.clone()).expect("data directory"));
    let begun = Instant::now();
    let mirror = Client::open(options.clone(), Setup::default()).err();
    drop(broken);
    let alone = Client::open(options, Setup::default()).err();
    for error in [mirror, alone] {
        assert!(error.as_ref().is_some_and(|error| error.contains("identity")), "{error:?}");
    }
    assert!(begun.elapsed() < ANSWER / 2);
}

#[test]
fn a_relay_that_never_answers_is_missed_like_one_that_cannot_be_reached() {
    let temp = tempfile::tempdir().expect("tempdir");
    let (options, id) = with_circle(temp.path());
    let client = Client::open(options, Setup::default()).expect("opens");
    let mut circle = client.circle(id).expect("there").clone();
    assert_eq!(trouble(&circle), None, "it has no relay");
    assert!(is_alone(&circle), "nor anybody else");
    circle.link = LinkView::Connecting;
    assert!(!is_alone(&circle));
    assert!(trouble(&circle).is_some_and(|trouble| trouble.contains("not answered")));
    circle.members[0].reach = Reach::Direct;
    assert_eq!(trouble(&circle), None, "somebody is there all the same");
    circle.link = LinkView::None;
    assert!(!is_alone(&circle));
}

#[test]
fn a_message_that_the_relay_refuses_is_neither_called_sent_nor_waited_for() {
    let temp = tempfile::tempdir().expect("tempdir");
    let (options, circle_id) = with_circle(temp.path());
    let mut client = Client::open(options, Setup::default()).expect("opens");
    let (circle, channel) = client.channel("garden club").expect("there");
    let msg_id = super::super::submit(&mut client, circle, channel, "hello").expect("is kept");
    let this = (0..1_000).find(|number| client.session.is(*number)).expect("a number");
    let told = Event::Delivery { circle_id, channel_id: channel, msg_id, delivery: Delivery::Pending };
    client.sender.send(Signal::Event(this, Box::new(told))).expect("it listens");
    let begun = Instant::now();
    let done = super::super::confirmed(&mut client, circle, channel, msg_id, true).expect("is told");
    assert!(begun.elapsed() < super::super::SEND_PATIENCE / 2);
    let failed = std::process::ExitCode::from(crate::args::EXIT_FAILED);
    assert_eq!(format!("{:?}", done.code), format!("{failed:?}"));
    assert!(done.text.contains("refused"), "{}", done.text);
}

#[test]
fn whoever_is_asked_to_end_waits_for_nothing_any_more() {
    let temp = tempfile::tempdir().expect("tempdir");
    let options = Options { data_dir: Some(temp.path().to_owned()), ..Options::default() };
    let mut client = Client::open(options, Setup::default()).expect("opens");
    client.ask(&Command::CreateCircle { name: "garden club".into(), relay: None }).expect("is made");
    client.sender.send(Signal::Stop).expect("it listens");
    let begun = Instant::now();
    client.until_all_caught_up(Duration::from_secs(60));
    assert!(begun.elapsed() < DIRECT_PATIENCE && client.is_stopped());
    assert!(client.ask(&Command::Doctor).is_err());
}

#[test]
fn whoever_is_asked_to_end_waits_for_no_passphrase() {
    let temp = tempfile::tempdir().expect("tempdir");
    let options = Options { data_dir: Some(temp.path().to_owned()), ..Options::default() };
    let mut client = Client::open(options, Setup::default()).expect("opens");
    client.model = Model::default();
    client.sender.send(Signal::Stop).expect("it listens");
    assert_eq!(client.read_hidden(), Err(INTERRUPTED.to_owned()));
    assert!(client.is_stopped());
}

#[test]
fn a_passphrase_that_is_no_text_is_not_said_to_be_missing() {
    use std::os::unix::ffi::OsStringExt;
    assert_eq!(given(None), Ok(None));
    assert_eq!(given(Some("".into())), Ok(None));
    assert_eq!(given(Some("secret".into())), Ok(Some("secret".into())));
    let latin1 = std::ffi::OsString::from_vec(vec![b'g', 0xfc]);
    assert!(given(Some(latin1)).is_err_and(|why| why.contains("UTF-8")));
}

#[test]
fn what_is_typed_unseen_is_edited_as_in_a_shell() {
    let press = |typed: &mut String, code, modifiers| type_hidden(typed, KeyEvent::new(code, modifiers));
    let mut typed = String::new();
    for c in "tulip Rose".chars() {
        assert_eq!(press(&mut typed, KeyCode::Char(c), KeyModifiers::NONE), Ok(false));
    }
    for (c, left) in [('w', "tulip "), ('x', "tulip "), ('w', ""), ('u', "")] {
        assert_eq!(press(&mut typed, KeyCode::Char(c), KeyModifiers::CONTROL), Ok(false));
        assert_eq!(typed, left);
    }
    typed.push_str("tulips");
    assert_eq!(press(&mut typed, KeyCode::Backspace, KeyModifiers::NONE), Ok(false));
    assert_eq!(press(&mut typed, KeyCode::Enter, KeyModifiers::NONE), Ok(true));
    assert_eq!(typed, "tulip");
    assert!(press(&mut typed, KeyCode::Char('c'), KeyModifiers::CONTROL).is_err());
}
