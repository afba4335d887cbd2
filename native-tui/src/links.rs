//! The driver's connections to members without a node, for whoever measures them or looks for leaks: the queues, the
//! bounds and the tasks are the client's own, and the caller says what the node would.

use std::time::Instant;

use felund_core::io::{ConnId, Input, RtcCommand};
use tokio::{net::TcpStream, sync::mpsc};

use crate::{
    driver::{Inbox, QUEUE},
    gate::Gate,
    net::Net,
};

/// Connections of one process; must be made and used inside one runtime.
pub struct Links {
    net: Net,
    gate: Gate,
    inbox: mpsc::Receiver<Inbox>,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").finish_non_exhaustive()
    }
}

impl Default for Links {
    fn default() -> Self {
        Self::new()
    }
}

impl Links {
    /// None so far.
    #[must_use]
    pub fn new() -> Self {
        let (sender, inbox) = mpsc::channel(QUEUE);
        Self { net: Net::new(sender), gate: Gate::new(false, Instant::now()), inbox }
    }

    /// Carries out a command of the node for a peer connection.
    ///
    /// # Errors
    /// What the node would be told when that is not possible.
    pub fn rtc(&mut self, conn: ConnId, command: RtcCommand) -> Result<(), Input> {
        self.net.rtc(conn, command).map_or(Ok(()), Err)
    }

    /// Dials a member's listener, `host:port`.
    pub fn connect(&mut self, conn: ConnId, address: String) {
        self.net.connect(conn, address);
    }

    /// Takes a stream that somebody opened; `None` when its address has too many.
    pub fn accept(&mut self, stream: TcpStream) -> Option<ConnId> {
        let from = stream.peer_addr().ok()?.ip();
        let place = self.gate.admit(from, Instant::now())?;
        Some(self.net.accept(stream, place))
    }

    /// Where messages for a connection wait. The node finds it full where a caller can wait for room.
    #[must_use]
    pub fn queue(&self, conn: ConnId) -> Option<mpsc::Sender<Vec<u8>>> {
        self.net.queue(conn)
    }

    /// Ends a connection; nothing more is heard of it.
    pub fn close(&mut self, conn: ConnId) {
        self.net.close(conn);
    }

    /// What the node would be told next.
    pub async fn next(&mut self) -> Option<Input> {
        loop {
            match self.inbox.recv().await? {
                Inbox::Node(input) if self.net.admits(&input) => return Some(input),
                _ => {}
            }
        }
    }
}
