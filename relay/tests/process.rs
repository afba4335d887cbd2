//! The program itself: its options, its end, its refusals to start, and `kill -9`.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    net::TcpListener,
    path::Path,
    process::{Command, Output},
};

use common::{Circle, Http, Member, Message, TestRelay, crash};

const PROGRAM: &str = env!("CARGO_BIN_EXE_felund-relay");

fn fails(listen: &str, dir: &Path, options: &[&str]) -> String {
    let Output { status, stderr, .. } = Command::new(PROGRAM)
        .args(["--listen", listen, "--data-dir"])
        .arg(dir)
        .args(options)
        .output()
        .unwrap();
    assert!(!status.success());
    String::from_utf8(stderr).unwrap()
}

#[test]
fn kill_9_under_load_loses_no_acknowledged_message() {
    let dir = tempfile::tempdir().unwrap();
    let (acknowledged, lost) = crash::rounds(PROGRAM, dir.path(), 20);
    assert!(acknowledged > 50, "only {acknowledged} messages were acknowledged");
    assert_eq!(lost, 0, "of {acknowledged}");
}

#[cfg(unix)]
#[test]
fn what_it_makes_in_a_folder_that_others_may_read_they_may_not() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let relay = crash::RelayProcess::start(PROGRAM, dir.path(), &[]);
    let mut member = Member::registered(relay.address, &Circle::new());
    let envelope = member.envelope(100);
    assert_eq!(member.post(&[envelope]).status, 200);
    let mut modes = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        modes.insert(entry.file_name().into_string().unwrap(), mode);
    }
    for name in ["relay.sqlite", "relay.sqlite-wal", "journal", "nonces"] {
        assert!(modes.contains_key(name), "{name} is missing of {modes:?}");
    }
    assert!(modes.values().all(|mode| mode & 0o077 == 0), "{modes:?}");
    relay.kill();
}

#[test]
fn a_nonce_is_refused_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let relay = crash::RelayProcess::start(PROGRAM, dir.path(), &[]);
    let mut member = Member::registered(relay.address, &Circle::new());
    let request = member.request("GET", "/v1/peers", b"");
    let headers = member.sign(&request);
    assert_eq!(member.call_with(&request, &headers).status, 200);
    relay.kill();
    let relay = crash::RelayProcess::start(PROGRAM, dir.path(), &[]);
    let answer = Http::connect(relay.address).call("GET", "/v1/peers", &headers, b"");
    assert_eq!(answer.status, 409);
    let mut member = Member::new(relay.address, &member.circle);
    assert_eq!(member.get("/v1/peers").status, 200, "the circle is still known, fresh requests pass at once");
}

#[test]
fn a_relay_whose_nonces_are_gone_takes_nothing_from_before_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let relay = TestRelay::start(dir.path(), &[]);
    let mut member = Member::registered(relay.address, &Circle::new());
    let request = member.request("GET", "/v1/peers", b"");
    let headers = member.sign(&request);
    assert_eq!(member.call_with(&request, &headers).status, 200);
    relay.stop();
    std::fs::remove_dir_all(dir.path().join("nonces")).unwrap();
    let relay = TestRelay::start(dir.path(), &[]);
    let answer = Http::connect(relay.address).call("GET", "/v1/peers", &headers, b"");
    assert_eq!((answer.status, answer.code().as_str()), (400, "EXPIRED_TIMESTAMP"));
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = fails(&taken.local_addr().unwrap().to_string(), &dir.path().join("data"), &[]);
    assert!(error.contains("another program uses it") && error.contains("--listen"), "{error}");
    assert!(!dir.path().join("data").exists());
}

#[test]
fn a_second_relay_on_the_same_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = TestRelay::start(dir.path(), &[]);
    let error = fails("127.0.0.1:0", dir.path(), &[]);
    assert!(error.contains("another relay is running") && error.contains("--data-dir"), "{error}");
}

#[test]
fn a_damaged_database_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("relay.sqlite");
    std::fs::write(&path, [b'x'; 5000]).unwrap();
    let error = fails("127.0.0.1:0", dir.path(), &[]);
    assert!(error.contains("damaged or not a relay database") && error.contains("left as it is"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), [b'x'; 5000]);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), b"").unwrap();
    let error = fails("127.0.0.1:0", &dir.path().join("file/data"), &[]);
    assert!(error.contains("cannot write to the data folder") && error.contains("--data-dir"), "{error}");
}

#[test]
fn every_option_has_an_environment_variable() {
    let help = Command::new(PROGRAM).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let options = help.lines().filter_map(|line| line.trim().strip_prefix("--"));
    let mut count = 0;
    for option in options.filter(|option| !option.starts_with("help") && !option.starts_with("version")) {
        let name = option.split([' ', '=', '[']).next().unwrap();
        let variable = format!("FELUND_RELAY_{}", name.to_uppercase().replace('-', "_"));
        assert!(help.contains(&variable), "{name} has no {variable}");
        count += 1;
    }
    assert!(count >= 15, "{help}");
}

#[test]
fn variables_that_are_empty_count_as_not_set() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), b"").unwrap();
    let mut relay = Command::new(PROGRAM);
    for name in ["RATE_NODE", "MESSAGE_TTL", "PUBLIC_URL", "STUN", "TURN", "METRICS", "STUN_LISTEN", "LOG"] {
        relay.env(format!("FELUND_RELAY_{name}"), "");
    }
    // It gets as far as the data folder: wrong usage would end it with 2.
    let Output { status, stderr, .. } = relay
        .arg("--data-dir")
        .arg(dir.path().join("file/data"))
        .args(["--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    let error = String::from_utf8(stderr).unwrap();
    assert!(status.code() == Some(1) && error.contains("cannot write to the data folder"), "{error}");
}

#[test]
fn an_address_that_nobody_could_use_is_wrong_usage() {
    let dir = tempfile::tempdir().unwrap();
    for (option, value) in [("--public-url", "chat.example"), ("--stun", "chat.example:3478")] {
        let Output { status, stderr, .. } =
            Command::new(PROGRAM).arg("--data-dir").arg(dir.path()).args([option, value]).output().unwrap();
        let error = String::from_utf8(stderr).unwrap();
        assert!(status.code() == Some(2) && error.contains(option), "{error}");
    }
}

#[test]
fn a_limit_that_lets_nothing_in_is_wrong_usage() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["max-circles", "circle-messages", "circle-bytes", "max-connections"] {
        let variable = format!("FELUND_RELAY_{}", name.to_uppercase().replace('-', "_"));
        for by_variable in [false, true] {
            let mut relay = Command::new(PROGRAM);
            // Were it taken, the relay would end with 1 for the folder.
            relay.arg("--data-dir").arg("/dev/null/data").args(["--listen", "127.0.0.1:0"]);
            if by_variable {
                relay.env(&variable, "0");
            } else {
                relay.args([&format!("--{name}"), "0"]);
            }
            let Output { status, stderr, .. } = relay.current_dir(dir.path()).output().unwrap();
            let error = String::from_utf8(stderr).unwrap();
            assert!(status.code() == Some(2) && error.contains(name), "{error}");
            assert!(error.contains("at least 1"), "{error}");
        }
    }
}

#[test]
fn any_number_of_connections_may_be_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let relay = TestRelay::start(dir.path(), &["--max-connections", &usize::MAX.to_string()]);
    assert_eq!(Http::connect(relay.address).call("GET", "/v1/health", &[], b"").status, 200);
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    use std::{
        io::{BufRead as _, BufReader},
        process::Stdio,
    };
    let dir = tempfile::tempdir().unwrap();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut child = Command::new(PROGRAM)
        .args(["--listen", "127.0.0.1:0", "--log", "debug", "--data-dir"])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .stderr(full)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap().parse().unwrap();
    let mut member = Member::registered(address, &Circle::new());
    assert_eq!(member.post(&[member.envelope(100)]).status, 200);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

#[cfg(target_os = "linux")]
#[test]
fn the_end_of_its_terminal_is_an_orderly_one() {
    use rustix::process::Signal;
    for signal in [Signal::HUP, Signal::TERM, Signal::INT] {
        let dir = tempfile::tempdir().unwrap();
        // Whoever runs the tests by `nohup` has them ignore it, and what they start as well.
        let mut as_started = Command::new("env");
        as_started.args(["--default-signal=HUP", PROGRAM]);
        let relay = crash::RelayProcess::start_by(as_started, dir.path(), &[]);
        let mut socket = Member::registered(relay.address, &Circle::new()).live_socket();
        relay.signal(signal);
        assert_eq!(socket.message(), Message::Close(1001), "{signal:?}");
        assert!(relay.ended_well(), "{signal:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_relay_that_was_told_to_outlive_its_terminal_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", PROGRAM]);
    let relay = crash::RelayProcess::start_by(nohup, dir.path(), &[]);
    relay.signal(rustix::process::Signal::HUP);
    // Had it ended, so would the socket.
    let mut socket = Member::registered(relay.address, &Circle::new()).live_socket();
    socket.tcp().set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    assert!(socket.try_message().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    relay.signal(rustix::process::Signal::TERM);
    assert!(relay.ended_well());
}

#[cfg(unix)]
#[test]
fn nobody_else_on_the_machine_reads_the_folder_that_it_makes() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let _relay = TestRelay::start(&data, &[]);
    assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
}
