//! `kill -9` under load: whatever was acknowledged must be there afterwards.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use felund_core::{
    ids::{Cursor, MsgId},
    wire::{ClientFrame, Sealed, ServerFrame},
};

use super::{Circle, Member, Message};

/// The relay's program in a process of its own.
pub struct RelayProcess {
    child: Child,
    pub address: SocketAddr,
}

impl RelayProcess {
    pub fn start(program: &str, dir: &Path, options: &[&str]) -> Self {
        Self::start_by(Command::new(program), dir, options)
    }

    /// Starts it by a command that takes the relay's options.
    pub fn start_by(mut command: Command, dir: &Path, options: &[&str]) -> Self {
        let mut child = command
            .args(["--listen", "127.0.0.1:0", "--log", "warn", "--rate-address", "0", "--rate-node", "0"])
            .arg("--data-dir")
            .arg(dir)
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap().parse().unwrap();
        Self { child, address }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    #[cfg(unix)]
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Whether it ended well, once it has.
    pub fn ended_well(mut self) -> bool {
        self.child.wait().unwrap().success()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kills the relay `rounds` times under load from four clients; answers how many messages were acknowledged and
/// how many of them are missing or have another cursor afterwards.
pub fn rounds(program: &str, dir: &Path, rounds: u64) -> (usize, usize) {
    let circle = Circle::new();
    let acknowledged: Arc<Mutex<HashMap<MsgId, Cursor>>> = Arc::default();
    for round in 0..rounds {
        let relay = RelayProcess::start(program, dir, &[]);
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let (address, circle, acknowledged) = (relay.address, circle.clone(), acknowledged.clone());
                std::thread::spawn(move || {
                    // The relay dies at any moment: a client that fails has just finished.
                    let _ = std::panic::catch_unwind(|| load(address, &circle, &acknowledged));
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(30 + round * 37 % 90));
        relay.kill();
        for client in clients {
            client.join().unwrap();
        }
    }
    let relay = RelayProcess::start(program, dir, &[]);
    let mut reader = Member::registered(relay.address, &circle);
    let mut stored = HashMap::new();
    let mut after = Cursor(0);
    loop {
        let page = reader.get(&format!("/v1/messages?after={after}&limit=256")).json();
        for message in page["messages"].as_array().unwrap() {
            let cursor: Cursor = message["cursor"].as_str().unwrap().parse().unwrap();
            assert!(cursor > after, "cursors only grow");
            after = cursor;
            let id: MsgId = message["envelope"]["msg_id"].as_str().unwrap().parse().unwrap();
            assert!(stored.insert(id, cursor).is_none(), "nothing is there twice");
        }
        if page["more"] == false {
            break;
        }
    }
    let acknowledged = acknowledged.lock().unwrap();
    let lost = acknowledged.iter().filter(|(id, cursor)| stored.get(id) != Some(cursor)).count();
    (acknowledged.len(), lost)
}

fn load(address: SocketAddr, circle: &Circle, acknowledged: &Mutex<HashMap<MsgId, Cursor>>) {
    let mut member = Member::registered(address, circle);
    let mut socket = member.live_socket();
    for seq in 0.. {
        let envelopes = (0..1 + seq % 3).map(|_| Sealed(member.envelope(300).to_cbor())).collect();
        socket.send(&ClientFrame::Post { hint: circle.hint(), seq, envelopes });
        loop {
            let Ok(Message::Binary(bytes)) = socket.try_message() else { return };
            if let Ok(ServerFrame::Stored { stored, .. }) = ServerFrame::from_bytes(&bytes) {
                acknowledged.lock().unwrap().extend(stored.iter().map(|s| (s.msg_id, s.cursor)));
                break;
            }
        }
    }
}
