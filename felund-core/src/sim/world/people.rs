//! What people at the devices do.

use super::World;
use crate::{
    ids::CircleId,
    io::{Command, Event, Input, Request},
    sim::RELAY,
    view::{MessageView, Reply},
};

impl World {
    /// A command whose reply nobody waits for; the request's number.
    pub fn tell(&mut self, at: usize, command: Command) -> u64 {
        self.devices[at].next_request += 1;
        let id = self.devices[at].next_request;
        self.trace.note(self.now, "asks", at, &[]);
        self.input(at, Input::Command(Request { id, command }));
        id
    }

    /// A command, and its reply once it has come.
    ///
    /// # Errors
    /// The node's, for people.
    ///
    /// # Panics
    /// When no reply comes within ten virtual minutes.
    pub fn ask(&mut self, at: usize, command: Command) -> Result<Reply, String> {
        let (mut seen, mut answer) = (self.told.len(), None);
        let id = self.tell(at, command);
        self.run_until("a reply", |world| {
            answer = world.told[seen..].iter().find_map(|told| match &told.event {
                Event::Reply { id: of, result } if *of == id && told.device == at => Some(result.clone()),
                _ => None,
            });
            seen = world.told.len();
            answer.is_some()
        });
        answer.unwrap_or_else(|| Err("no reply".into()))
    }

    /// Makes a circle on the first device and joins it on the others.
    ///
    /// # Panics
    /// When that does not work.
    pub fn circle(&mut self, name: &str) -> CircleId {
        self.circle_at(name, Some(RELAY.into()))
    }

    /// As [`World::circle`], with this relay or none.
    ///
    /// # Panics
    /// When that does not work.
    pub fn circle_at(&mut self, name: &str, relay: Option<String>) -> CircleId {
        for at in 0..self.devices.len() {
            self.ask(at, Command::SetName { name: format!("member {at}") }).expect("a name of a few letters");
        }
        let made = self.ask(0, Command::CreateCircle { name: name.into(), relay });
        let Ok(Reply::Circle { circle_id, invite, .. }) = made else { panic!("{made:?}") };
        for at in 1..self.devices.len() {
            let join = Command::JoinCircle { invite: invite.clone(), relay: None };
            self.ask(at, join).expect("an invite just made");
        }
        circle_id
    }

    /// The messages of a channel as storage has them, oldest first.
    ///
    /// # Panics
    /// When storage cannot be read.
    pub fn history(&mut self, at: usize, circle: CircleId, channel: &str) -> Vec<MessageView> {
        let Some(view) = self.devices[at].model.circle(circle) else { return Vec::new() };
        let Some(channel) = view.channels.iter().find(|c| c.name == channel).map(|c| c.id) else {
            return Vec::new();
        };
        match self.ask(at, Command::History { circle, channel, before: None, limit: 10_000 }) {
            Ok(Reply::History { messages, .. }) => messages,
            other => panic!("{other:?}"),
        }
    }

    /// As [`World::history`], the texts alone.
    ///
    /// # Panics
    /// When storage cannot be read.
    pub fn texts(&mut self, at: usize, circle: CircleId, channel: &str) -> Vec<String> {
        self.history(at, circle, channel).into_iter().map(|message| message.text).collect()
    }

    /// What one device's screen was told, oldest first.
    pub fn events(&self, at: usize) -> impl Iterator<Item = &Event> {
        self.told.iter().filter(move |told| told.device == at).map(|told| &told.event)
    }

    /// Bytes that devices have sent each other directly.
    #[must_use]
    pub fn direct_bytes(&self) -> u64 {
        self.devices.iter().map(|device| device.traffic.direct_bytes).sum()
    }
}
