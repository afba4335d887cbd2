//! A running client seen from inside: commands and events through the socket that a second process would use.
//!
//! The tests watch connection states and make channels by it, which no headless command prints or does.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use felund_core::{
    ids::{ChannelId, CircleId},
    io::{Command, Event, Request},
    model::Model,
    view::{Access, ChannelView, CircleView, LinkView, Reply},
};

use crate::wait;

#[derive(Debug, Default)]
struct Seen {
    model: Model,
    replies: HashMap<u64, Result<Reply, String>>,
    events: Vec<Event>,
    /// The client has ended or hung up.
    ended: bool,
}

/// A connection to a running client.
#[derive(Debug)]
pub struct Control {
    stream: UnixStream,
    seen: Arc<Mutex<Seen>>,
    next: u64,
}

impl Control {
    /// Connects, and waits until everything known has been told.
    ///
    /// # Panics
    /// When nobody answers.
    #[must_use]
    pub fn connect(socket: &Path) -> Self {
        let stream = wait::until("a running felund", || UnixStream::connect(socket).ok());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (reader, kept) = (stream.try_clone().expect("a socket can be cloned"), Arc::clone(&seen));
        thread::spawn(move || {
            let (mut reader, mut line) = (BufReader::new(reader), String::new());
            // Who is killed may leave half a line behind.
            while reader.read_line(&mut line).is_ok() && line.ends_with('\n') {
                let event: Event = serde_json::from_str(&line).expect("felund speaks the core's events");
                let mut seen = kept.lock().unwrap_or_else(PoisonError::into_inner);
                seen.model.apply(&event);
                if let Event::Reply { id, result } = &event {
                    seen.replies.insert(*id, result.clone());
                }
                seen.events.push(event);
                drop(seen);
                line.clear();
            }
            kept.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        });
        let control = Self { stream, seen, next: 0 };
        wait::until_true("a ready felund", || control.look(|seen| seen.model.ready));
        control
    }

    fn look<T>(&self, at: impl FnOnce(&Seen) -> T) -> T {
        at(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks, and answers what it said.
    ///
    /// # Errors
    /// The text for people.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn try_ask(&mut self, command: Command) -> Result<Reply, String> {
        self.next += 1;
        let id = self.next;
        let mut line = serde_json::to_vec(&Request { id, command }).expect("commands are JSON");
        line.push(b'\n');
        self.stream.write_all(&line).expect("felund listens");
        let seen = &self.seen;
        wait::until("an answer of the running felund", || {
            seen.lock().unwrap_or_else(PoisonError::into_inner).replies.remove(&id)
        })
    }

    /// Asks a client that may die meanwhile; `None` if it did so without an answer.
    ///
    /// # Panics
    /// When it lives and does not answer.
    pub fn ask_mortal(&mut self, command: Command) -> Option<Result<Reply, String>> {
        self.next += 1;
        let id = self.next;
        let mut line = serde_json::to_vec(&Request { id, command }).expect("commands are JSON");
        line.push(b'\n');
        // A client that is gone already takes nothing; the reader has seen its end then, or will.
        let _ = self.stream.write_all(&line);
        let seen = &self.seen;
        wait::until("an answer of the running felund, or its end", || {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let reply = seen.replies.remove(&id);
            (reply.is_some() || seen.ended).then_some(reply)
        })
    }

    /// Asks for something that must work.
    ///
    /// # Panics
    /// When it does not.
    pub fn ask(&mut self, command: Command) -> Reply {
        let what = format!("{command:?}");
        self.try_ask(command).unwrap_or_else(|e| panic!("{what}: {e}"))
    }

    /// The circle of this hex id, as the client knows it.
    #[must_use]
    pub fn circle(&self, id: &str) -> Option<CircleView> {
        let id: CircleId = id.parse().expect("a circle's id");
        self.look(|seen| seen.model.circle(id).cloned())
    }

    /// Waits for a circle to be in a certain way.
    ///
    /// # Panics
    /// When it does not get there.
    pub fn until_circle(&self, id: &str, what: &str, is: impl Fn(&CircleView) -> bool) -> CircleView {
        let found = wait::within(wait::PATIENCE, || self.circle(id).filter(&is));
        found.unwrap_or_else(|| panic!("the circle did not become: {what}; it is {:#?}", self.circle(id)))
    }

    /// Waits until so many members of a circle are reached directly.
    pub fn until_direct(&self, id: &str, count: usize) -> CircleView {
        let reached = |view: &CircleView| Model::reach_counts(view).0 == count;
        self.until_circle(id, &format!("{count} direct"), reached)
    }

    /// Waits for a channel to be known and in a certain way.
    pub fn until_channel(
        &self,
        circle: &str,
        name: &str,
        what: &str,
        is: impl Fn(&ChannelView) -> bool,
    ) -> ChannelView {
        let find = |view: &CircleView| view.channels.iter().find(|c| c.name == name && is(c)).cloned();
        let view = self.until_circle(circle, &format!("#{name}: {what}"), |view| find(view).is_some());
        find(&view).expect("was just seen")
    }

    /// Waits until the circle is live through the relay's WebSocket.
    pub fn until_live(&self, circle: &str) {
        self.until_circle(circle, "live", |view| view.link == LinkView::Live);
    }

    /// Makes a channel.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn create_channel(
        &mut self,
        circle: &str,
        name: &str,
        access: Access,
        passphrase: Option<&str>,
    ) -> ChannelId {
        let reply = self.ask(Command::CreateChannel {
            circle: circle.parse().expect("a circle's id"),
            name: name.to_owned(),
            access,
            passphrase: passphrase.map(str::to_owned),
        });
        let Reply::Channel { channel_id } = reply else { panic!("{reply:?}") };
        channel_id
    }

    /// Joins a channel, or asks to be let in.
    ///
    /// # Errors
    /// The text for people.
    pub fn join_channel(
        &mut self,
        circle: &str,
        channel: ChannelId,
        passphrase: Option<&str>,
    ) -> Result<Reply, String> {
        self.try_ask(Command::JoinChannel {
            circle: circle.parse().expect("a circle's id"),
            channel,
            passphrase: passphrase.map(str::to_owned),
        })
    }

    /// Every event since the connection was made.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.look(|seen| seen.events.clone())
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}
