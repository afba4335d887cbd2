//! Other processes of the same user on the same data directory: they mirror the one that owns it.
//!
//! The owner listens on a Unix socket that only the user can open and speaks lines of JSON: [`Request`]s in,
//! [`Event`]s out, a snapshot first. Where there are no Unix sockets a second process is refused.

use felund_core::io::Event;
use tokio::sync::mpsc;

use crate::{
    datadir::DataDir,
    driver::{ClientId, Inbox},
};

/// Longest line of a request, in bytes: a message of the largest size with every character escaped.
#[cfg(unix)]
const MAX_LINE: usize = 256 * 1024;
/// Lines that may wait for a mirror before it counts as stuck and is dropped.
#[cfg(unix)]
const MIRROR_QUEUE: usize = 4_096;

#[cfg(unix)]
pub(crate) use unix::Mirrors;

#[cfg(unix)]
mod unix {
    use std::{collections::HashMap, fs, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc};

    use felund_core::io::Request;
    use tokio::{
        io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
        net::{UnixListener, UnixStream},
        task::JoinHandle,
    };

    use super::{ClientId, DataDir, Event, Inbox, MAX_LINE, MIRROR_QUEUE, mpsc};
    use crate::driver::LOCAL;

    /// Every mirror, and the door they come through.
    #[derive(Debug)]
    pub(crate) struct Mirrors {
        clients: HashMap<ClientId, mpsc::Sender<Arc<str>>>,
        door: Option<JoinHandle<()>>,
        path: PathBuf,
    }

    impl Mirrors {
        /// Opens the door. Without one the client works all the same; others then say that it is closed.
        pub(crate) fn listen(dir: &DataDir, inbox: mpsc::Sender<Inbox>) -> Self {
            let path = dir.socket();
            // The lock is ours, so that a socket that is still there belongs to nobody.
            let _ = fs::remove_file(&path);
            let door = dir.at_socket(|path| UnixListener::bind(path)).ok().and_then(|listener| {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).ok()?;
                Some(tokio::spawn(accept(listener, inbox)))
            });
            Self { clients: HashMap::new(), door, path }
        }

        pub(crate) fn close_door(&mut self) {
            if let Some(door) = self.door.take() {
                door.abort();
                let _ = fs::remove_file(&self.path);
            }
        }

        pub(crate) fn add(&mut self, client: ClientId, out: mpsc::Sender<Arc<str>>) {
            self.clients.insert(client, out);
        }

        pub(crate) fn remove(&mut self, client: ClientId) {
            self.clients.remove(&client);
        }

        pub(crate) fn tell(&mut self, client: ClientId, event: &Event) {
            let Some(line) = line(event) else { return };
            if let Some(out) = self.clients.get(&client)
                && out.try_send(line).is_err()
            {
                self.clients.remove(&client);
            }
        }

        pub(crate) fn tell_all(&mut self, event: &Event) {
            if self.clients.is_empty() {
                return;
            }
            let Some(line) = line(event) else { return };
            self.clients.retain(|_, out| out.try_send(Arc::clone(&line)).is_ok());
        }
    }

    impl Drop for Mirrors {
        fn drop(&mut self) {
            self.close_door();
        }
    }

    fn line(event: &Event) -> Option<Arc<str>> {
        let mut line = serde_json::to_string(event).ok()?;
        line.push('\n');
        Some(line.into())
    }

    async fn accept(listener: UnixListener, inbox: mpsc::Sender<Inbox>) {
        let mut client = LOCAL;
        while let Ok((stream, _)) = listener.accept().await {
            client += 1;
            tokio::spawn(serve(client, stream, inbox.clone()));
        }
    }

    async fn serve(client: ClientId, stream: UnixStream, inbox: mpsc::Sender<Inbox>) {
        let (out, mut lines) = mpsc::channel::<Arc<str>>(MIRROR_QUEUE);
        if inbox.send(Inbox::Joined(client, out)).await.is_err() {
            return;
        }
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let writing = async move {
            while let Some(line) = lines.recv().await {
                if writer.write_all(line.as_bytes()).await.is_err() {
                    break;
                }
            }
        };
        let asking = async {
            let mut line = Vec::new();
            loop {
                line.clear();
                let read = (&mut reader).take(MAX_LINE as u64).read_until(b'\n', &mut line).await;
                if !matches!(read, Ok(n) if n > 0) || line.last() != Some(&b'\n') {
                    break;
                }
                let Ok(request) = serde_json::from_slice::<Request>(&line) else { break };
                if inbox.send(Inbox::Ask(client, request)).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = writing => {}
            () = asking => {}
        }
        let _ = inbox.send(Inbox::Left(client)).await;
    }
}

#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) struct Mirrors;

#[cfg(not(unix))]
impl Mirrors {
    pub(crate) fn listen(_: &DataDir, _: mpsc::Sender<Inbox>) -> Self {
        Self
    }

    pub(crate) fn close_door(&mut self) {}

    pub(crate) fn remove(&mut self, _: ClientId) {}

    pub(crate) fn tell(&mut self, _: ClientId, _: &Event) {}

    pub(crate) fn tell_all(&mut self, _: &Event) {}
}
