//! Felund without a screen: what scripts and servers do, through a real relay.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    process::{self, Stdio},
    thread,
    time::Duration,
};

use felund_core::{io::Command, view::Access, view::Membership};
use felund_tests::{
    felund::Felund,
    process::{clean_command, program},
    relay::Relay,
    wait,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A command whose pipes a test holds itself.
fn command(device: &Felund, args: &[&str]) -> process::Command {
    let mut command = clean_command(program("FELUND_BIN", "felund"));
    command.args(device.options()).args(args).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// How a command ended that had to end by now.
fn ended(child: &mut process::Child) -> Option<process::ExitStatus> {
    let ended = wait::within(wait::PATIENCE, || child.try_wait().expect("a child"));
    // It must not outlive the test.
    let _ = child.kill();
    ended
}

/// A pipe that nobody reads any more.
fn broken() -> io::PipeWriter {
    io::pipe().expect("a pipe").1
}

#[test]
fn two_devices_chat_and_a_third_that_was_away_catches_up() {
    let relay = Relay::start();
    let device = |name| Felund::new(name, Some(&relay.url()));
    let (alice, bob, cleo) = (device("alice"), device("bob"), device("cleo"));
    let circle = alice.create("garden club");
    assert_eq!(circle.name, "garden club");
    assert!(circle.invite.starts_with("felund1."), "{circle:?}");
    for other in [&bob, &cleo] {
        let joined = other.join(&circle.invite);
        assert_eq!((joined.id, joined.name), (circle.id.clone(), circle.name.clone()));
    }

    let following = bob.tail(None);
    alice.send("garden club", "hey everyone");
    following.wait_for("hey everyone");
    bob.send("garden club", "yo");
    alice.until_texts("garden club", &["hey everyone", "yo"]);
    assert_eq!(bob.texts("garden club"), ["hey everyone", "yo"]);
    // Cleo ran nothing since joining, and the relay alone is there to tell.
    drop(following);
    assert_eq!(cleo.texts("garden club"), ["hey everyone", "yo"]);

    let names =
        |who: Vec<Value>| who.iter().map(|m| m["name"].as_str().expect("a name").to_owned()).collect();
    let names: BTreeSet<String> = names(cleo.ok(&["who", "garden club"]));
    assert_eq!(names, ["alice", "bob", "cleo"].map(str::to_owned).into());
}

#[test]
fn messages_are_printed_in_one_shape() {
    let relay = Relay::start();
    let device = |name| Felund::new(name, Some(&relay.url()));
    let (alice, bob) = (device("alice"), device("bob"));
    let circle = alice.create("family");
    bob.join(&circle.invite);
    let following = bob.tail(Some("family"));
    alice.send("family", "Grüße 👋 \"quoted\"\n\tsecond line");
    let tailed = following.wait_for("Grüße 👋 \"quoted\"\n\tsecond line");
    let history = alice.history(&circle.id[..8]);
    assert_eq!(history, std::slice::from_ref(&tailed), "history and tail print the same");
    let keys: BTreeSet<&str> = tailed.as_object().expect("an object").keys().map(String::as_str).collect();
    let expected = ["circle_id", "channel", "channel_id", "msg_id", "author", "name", "created_ts", "text"];
    assert_eq!(keys, expected.into());
    assert_eq!(tailed["circle_id"], circle.id.as_str());
    assert_eq!((tailed["channel"].as_str(), tailed["name"].as_str()), (Some("general"), Some("alice")));
    let hex = |key: &str, digits| {
        let id = tailed[key].as_str().expect("text");
        id.len() == digits && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    assert!(hex("msg_id", 32) && hex("author", 64) && hex("circle_id", 32), "{tailed}");
    assert!(tailed["created_ts"].as_u64().is_some_and(|ts| ts > 1_700_000_000_000), "{tailed}");
}

#[test]
fn channels_are_as_open_as_they_were_made() {
    let relay = Relay::start();
    let device = |name| Felund::new(name, Some(&relay.url()));
    let (alice, bob) = (device("alice"), device("bob"));
    let circle = alice.create("garden club");
    bob.join(&circle.invite);
    let (_alice_runs, _bob_runs) = (alice.tail(None), bob.tail(None));
    let (mut at_alice, mut at_bob) = (alice.control(), bob.control());
    at_bob.until_live(&circle.id);

    let seeds = at_alice.create_channel(&circle.id, "seeds", Access::Public, None);
    let tools = at_alice.create_channel(&circle.id, "tools", Access::Key, Some("rake and spade"));
    let board = at_alice.create_channel(&circle.id, "board", Access::Invite, None);
    for (target, text) in [("seeds", "beans"), ("tools", "a spade"), ("board", "we need a chair")] {
        alice.send(&format!("garden club/{target}"), text);
    }

    at_bob.until_channel(&circle.id, "seeds", "known", |c| c.access == Access::Public);
    at_bob.join_channel(&circle.id, seeds, None).expect("public");
    bob.until_texts("garden club/seeds", &["beans"]);

    at_bob.until_channel(&circle.id, "tools", "outside", |c| c.membership == Membership::Outside);
    let error =
        at_bob.join_channel(&circle.id, tools, Some("rake and shovel")).expect_err("wrong passphrase");
    assert!(error.contains("not the passphrase"), "{error}");
    at_bob.join_channel(&circle.id, tools, Some("rake and spade")).expect("right passphrase");
    bob.until_texts("garden club/tools", &["a spade"]);

    at_bob.until_channel(&circle.id, "board", "known", |c| c.access == Access::Invite);
    at_bob.join_channel(&circle.id, board, None).expect("asking is possible");
    let asked = at_alice.until_channel(&circle.id, "board", "asked for", |c| !c.requests.is_empty());
    let bob_id = asked.requests[0];
    let before = bob.ok(&["channels", "garden club"]);
    let board_line = before.iter().find(|line| line["channel"] == "board").expect("listed");
    assert_eq!(board_line["membership"], "requested", "{board_line}");
    at_alice.ask(Command::ApproveMember {
        circle: circle.id.parse().expect("an id"),
        channel: board,
        member: bob_id,
    });
    at_bob.until_channel(&circle.id, "board", "joined", |c| c.membership == Membership::Joined);
    bob.until_texts("garden club/board", &["we need a chair"]);
    bob.send("garden club/board", "take mine");
    alice.until_texts("garden club/board", &["we need a chair", "take mine"]);
    assert!(alice.texts("garden club").is_empty(), "what is said in a channel stays there");
}

#[test]
fn a_member_without_the_key_sees_nothing_of_a_closed_channel() {
    let relay = Relay::start();
    let device = |name| Felund::new(name, Some(&relay.url()));
    let (alice, bob) = (device("alice"), device("bob"));
    let circle = alice.create("garden club");
    bob.join(&circle.invite);
    {
        let _runs = alice.tail(None);
        let mut at_alice = alice.control();
        at_alice.create_channel(&circle.id, "tools", Access::Key, Some("rake and spade"));
        at_alice.create_channel(&circle.id, "board", Access::Invite, None);
        alice.send("garden club/tools", "a spade");
        alice.send("garden club/board", "we need a chair");
        alice.send("garden club", "done");
    }
    bob.until_texts("garden club", &["done"]);
    for closed in ["tools", "board"] {
        let done = bob.run(&["history", &format!("garden club/{closed}")]);
        assert!(!done.stdout.contains("spade") && !done.stdout.contains("chair"), "{done:?}");
        assert!(done.code == 1 && done.stderr.contains("you are not in #"), "{done:?}");
    }
}

#[test]
fn what_is_wrong_is_named_and_nothing_happens() {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    let mut typo = circle.invite.clone().into_bytes();
    let at = typo.len() - 9;
    typo[at] = if typo[at] == b'A' { b'B' } else { b'A' };
    let typo = String::from_utf8(typo).expect("ASCII");
    for (invite, says) in [
        (typo.as_str(), "damaged"),
        (&circle.invite[..circle.invite.len() - 5], "damaged"),
        ("https://chat.example/#nothing", "not an invite"),
        ("felund1.", "damaged"),
        ("felund1.!!!!", "damaged"),
        ("", "not an invite"),
    ] {
        let error = alice.refused(&["join", invite]);
        assert!(error.to_lowercase().contains(says), "{invite:?}: {error}");
    }
    let error = alice.refused(&["send", "garage club", "hi"]);
    assert!(error.contains("garage club") && error.contains("garden club"), "{error}");
    let error = alice.refused(&["history", "garden club/nowhere"]);
    assert!(error.contains("nowhere") && error.contains("general"), "{error}");
    let error = alice.refused(&["send", "garden club", ""]);
    assert!(!error.is_empty());
    let long = "x".repeat(17 * 1024);
    let error = alice.refused(&["send", "garden club", &long]);
    assert!(error.contains("16384") || error.contains("16 KiB"), "{error}");
    assert_eq!(alice.ok(&["circles"]).len(), 1, "nothing was joined");
    assert!(alice.texts("garden club").is_empty(), "nothing was sent");
}

#[test]
fn commands_go_through_the_client_that_runs() {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    let following = alice.tail(None);
    alice.send("garden club", "said beside the running client");
    following.wait_for("said beside the running client");
    assert_eq!(alice.texts("garden club"), ["said beside the running client"]);
    assert_eq!(alice.ok(&["invite"])[0]["circle_id"], circle.id.as_str());
    let second = alice.tail(None);
    alice.send("garden club", "both hear this");
    following.wait_for("both hear this");
    second.wait_for("both hear this");
    // The owner goes; the follower takes over by itself.
    drop(following);
    drop(alice.control());
    alice.send("garden club", "still here");
    second.wait_for("still here");
}

#[test]
fn leaving_a_circle_deletes_it_here_and_nowhere_else() {
    let relay = Relay::start();
    let device = |name| Felund::new(name, Some(&relay.url()));
    let (alice, bob) = (device("alice"), device("bob"));
    let circle = alice.create("garden club");
    bob.join(&circle.invite);
    alice.send("garden club", "hello");
    bob.until_texts("garden club", &["hello"]);
    bob.ok(&["leave", "garden club"]);
    assert!(bob.ok(&["circles"]).is_empty());
    assert_eq!(alice.texts("garden club"), ["hello"]);
    // The same invite leads back, and the history comes with it.
    bob.join(&circle.invite);
    bob.until_texts("garden club", &["hello"]);
}

#[test]
fn a_reader_that_is_gone_is_no_failure_and_a_full_disk_is_said() {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let _ = alice.create("garden club");
    for args in [
        &["create", "family"][..],
        &["circles"],
        &["who", "garden club"],
        &["channels", "garden club", "--json"],
        &["invite", "garden club"],
        &["send", "garden club", "hello"],
        &["history", "garden club"],
    ] {
        let unread = command(&alice, args).stdout(broken()).stderr(broken()).status().expect("felund starts");
        assert_eq!(unread.code(), Some(0), "{args:?}");
    }
    assert_eq!(alice.texts("garden club"), ["hello"]);
    let full = || File::options().write(true).open("/dev/full").expect("Linux has one");
    let said =
        command(&alice, &["circles"]).stdout(full()).stderr(Stdio::piped()).output().expect("felund starts");
    let error = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.code() == Some(1) && error.contains("cannot print"), "{said:?}");

    // What runs on ends as if it were asked to.
    let anchors =
        command(&alice, &["anchor"]).stdout(broken()).stderr(broken()).status().expect("felund starts");
    assert_eq!(anchors.code(), Some(0));
    let mut follows = command(&alice, &["tail"]).stdout(broken()).spawn().expect("felund starts");
    drop(alice.control());
    alice.send("garden club", "one more");
    let ended = ended(&mut follows);
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "a tail that nobody reads");
}

#[test]
fn a_text_that_took_its_time_goes_through_whoever_runs_by_then() {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let _ = alice.create("garden club");
    let first = alice.tail(None);
    let mut send =
        command(&alice, &["send", "garden club", "-"]).stdin(Stdio::piped()).spawn().expect("felund starts");
    let is_socket = |fd: io::Result<fs::DirEntry>| {
        fd.and_then(|fd| fs::read_link(fd.path())).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
    };
    wait::until_true("a command that goes through the first", || {
        fs::read_dir(format!("/proc/{}/fd", send.id())).is_ok_and(|mut fds| fds.any(is_socket))
    });
    // Now it reads its input, as far as can be told from here.
    thread::sleep(Duration::from_millis(500));
    drop(first);
    let second = alice.tail(None);
    send.stdin.take().expect("was piped").write_all(b"hello\n").expect("it reads");
    let ended = ended(&mut send);
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    second.wait_for("hello");
    assert_eq!(alice.texts("garden club"), ["hello"], "once");
}

#[test]
fn who_does_not_read_stops_nobody() {
    let alice = Felund::new("alice", None);
    let circle = alice.create("garden club");
    let (unread, writer) = io::pipe().expect("a pipe");
    let mut owner = command(&alice, &["tail"]).stdout(writer).spawn().expect("felund starts");
    let mut control = alice.control();
    let id = circle.id.parse().expect("an id");
    let channel = control.circle(&circle.id).expect("was made").channels[0].id;
    // More than the pipe takes, and than may wait inside.
    for n in 0..900 {
        control.ask(Command::Send { circle: id, channel, text: format!("{n} {}", "x".repeat(400)) });
    }
    assert_eq!(alice.ok(&["circles"]).len(), 1);
    assert_eq!(alice.history("garden club").len(), 900);
    let id = i32::try_from(owner.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(id, Signal::TERM).expect("it runs");
    assert_eq!(ended(&mut owner).and_then(|status| status.code()), Some(0), "although nobody reads");
    drop((control, unread));
    // Nor do commands hold the place of an owner while somebody reads.
    let (unread, writer) = io::pipe().expect("a pipe");
    let mut history = command(&alice, &["history", "garden club", "--limit", "1000"])
        .stdout(writer)
        .spawn()
        .expect("felund starts");
    wait::until_true("a command that is read later", || {
        alice.run(&["circles"]).code == 0 && history.try_wait().expect("a child").is_none()
    });
    drop(unread);
    assert_eq!(ended(&mut history).and_then(|status| status.code()), Some(0));
}

#[test]
fn a_doctor_that_is_asked_to_end_does_so_and_empty_variables_say_nothing() {
    let alice = Felund::new("alice", None);
    let _ = alice.create("garden club");
    let mut doctor = alice.start(&["doctor"]);
    // It waits for members of a circle without a relay now.
    drop(alice.control());
    assert_eq!(doctor.terminate().code(), Some(1));
    assert!(doctor.stdout().all().is_empty(), "{:?}", doctor.stdout());
    for variable in
        ["FELUND_LISTEN", "FELUND_DATA_DIR", "FELUND_RELAY", "FELUND_ICE_SERVERS", "FELUND_NO_MDNS"]
    {
        let done = alice.run_with(variable, "", &["circles"]);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{variable}");
    }
}
