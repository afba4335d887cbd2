//! What goes wrong: cut connections, partitions, crashes, sleep, a relay that stops.

use super::{Happening, World};
use crate::{
    ids::{CircleHint, Cursor},
    io::{ConnId, Input},
    model::Model,
    relay_api::Stored,
    sim::{Block, End, Proxy},
};

/// When a relay notices a socket whose device vanished without a word, in milliseconds.
const RELAY_NOTICES_MS: u64 = 60_000;

impl World {
    /// A stream breaks; both sides are told.
    pub(super) fn cut(&mut self, end: End) {
        let Some(stream) = self.devices[end.device].streams.get_mut(&end.conn) else { return };
        stream.dead = true;
        let other = stream.other;
        if let Some(theirs) = self.devices[other.device].streams.get_mut(&other.conn) {
            theirs.dead = true;
        }
        for end in [end, other] {
            let delay = self.network.delay(self.network.path);
            self.later(delay, Happening::Hangup(end));
        }
    }

    /// A socket breaks; both sides are told.
    pub(super) fn cut_socket(&mut self, end: End, why: &'static str) {
        if let Some(pipe) = self.devices[end.device].sockets.get_mut(&end.conn) {
            pipe.dead = true;
        }
        let delay = self.network.delay(self.network.relay);
        self.later(delay, Happening::SocketLost(end, why));
        self.later(delay, Happening::Detached(end));
    }

    /// Keeps two devices from each other, or lets them through again. What is open between them breaks, with or without
    /// a word.
    pub fn block(&mut self, a: usize, b: usize, block: Option<Block>) {
        self.network.block(a, b, block);
        let Some(block) = block else { return };
        let between: Vec<ConnId> = self.devices[a]
            .streams
            .iter()
            .filter(|(_, stream)| stream.other.device == b)
            .map(|(conn, _)| *conn)
            .collect();
        for conn in between {
            let end = self.end(a, conn);
            match block {
                Block::Refused => self.cut(end),
                Block::Silent => self.silence(end),
            }
        }
    }

    /// Nothing passes on a stream any more, and nobody is told.
    fn silence(&mut self, end: End) {
        let Some(stream) = self.devices[end.device].streams.get_mut(&end.conn) else { return };
        stream.dead = true;
        let other = stream.other;
        if let Some(theirs) = self.devices[other.device].streams.get_mut(&other.conn) {
            theirs.dead = true;
        }
    }

    /// As [`World::block`], refusing, or no more.
    pub fn set_reachable(&mut self, a: usize, b: usize, reachable: bool) {
        self.block(a, b, (!reachable).then_some(Block::Refused));
    }

    /// A device's way to the relay is gone, or back. Its sockets die without a word.
    pub fn set_relay_reachable(&mut self, at: usize, reachable: bool) {
        self.network.set_relay_reachable(at, reachable);
        if !reachable {
            let life = self.devices[at].life;
            for (conn, pipe) in &mut self.devices[at].sockets {
                pipe.dead = true;
                let end = End { device: at, life, conn: *conn };
                self.next += 1;
                self.queue.insert((self.now + RELAY_NOTICES_MS, self.next), Happening::Detached(end));
            }
        }
    }

    /// Everything that keeps devices apart ends, every disk has room, and the relay runs. NATs, latencies and clocks
    /// stay as they are.
    pub fn heal(&mut self) {
        self.network.heal();
        self.set_relay_up(true);
        self.relay.sockets_allowed = true;
        (self.relay.proxy, self.relay.full, self.relay.room) = (Proxy::Passes, false, usize::MAX);
        (self.relay.disk_full, self.relay.closed) = (false, false);
        for device in &mut self.devices {
            device.disk.full = None;
            device.disk.held = false;
        }
    }

    /// The process ends: by itself, or with the power if `silent`, so that nobody it was connected to is told. A prefix
    /// of the batches that were not durable yet survives, chance says which. Answers how many are lost.
    pub fn crash(&mut self, at: usize, silent: bool) -> usize {
        self.trace.note(self.now, "crashes", at, &[]);
        self.set_deadline(at, None);
        self.rtc.crash(at);
        let dice = &mut self.dice;
        let device = &mut self.devices[at];
        let life = device.life;
        device.up = false;
        device.life += 1;
        device.asleep_until = 0;
        device.disk.held = false;
        (device.durable_at, device.confirmed_at) = (0, 0);
        device.dialing.clear();
        device.model = Model::default();
        let lost = device.disk.lose_power(|waiting| dice.index(waiting + 1));
        for (_, mut stream) in std::mem::take(&mut device.streams) {
            let other = stream.other;
            if silent {
                if let Some(theirs) = self.devices[other.device].streams.get_mut(&other.conn) {
                    theirs.dead = true;
                }
            } else if !stream.dead {
                let path = self.network.between(at, other.device);
                let arrives = self.network.in_order(self.now, path, &mut stream.tail);
                self.at(arrives, Happening::Hangup(other));
            }
        }
        for (conn, pipe) in std::mem::take(&mut self.devices[at].sockets) {
            let notices = if silent { self.now + RELAY_NOTICES_MS } else { pipe.up };
            self.at(notices, Happening::Detached(End { device: at, life, conn }));
        }
        lost
    }

    /// Starts a device's process on the disk it had.
    pub fn start(&mut self, at: usize) {
        if self.devices[at].up {
            return;
        }
        self.trace.note(self.now, "starts", at, &[]);
        self.devices[at].node = self.fresh_node(self.devices[at].platform);
        self.devices[at].up = true;
        self.input(at, Input::Timeout);
        if self.devices[at].listens {
            self.listen(at);
        }
    }

    /// The process is killed and started again on the same disk.
    pub fn restart(&mut self, at: usize) {
        self.crash(at, false);
        self.start(at);
    }

    /// A device sleeps for a while: no timers, nothing comes in. Then it wakes, and notices.
    pub fn sleep(&mut self, at: usize, ms: u64) {
        if !self.devices[at].up || self.devices[at].asleep_until > self.now {
            return;
        }
        self.trace.note(self.now, "sleeps", at, &[]);
        self.set_deadline(at, None);
        self.devices[at].asleep_until = self.now + ms;
        self.later(ms, Happening::Wake(at, self.devices[at].life));
    }

    /// Whether a device's process runs and the device does not sleep.
    #[must_use]
    pub fn is_awake(&self, at: usize) -> bool {
        self.devices[at].up && self.devices[at].asleep_until <= self.now
    }

    /// The relay's process ends or starts; its log survives, sockets and tokens do not.
    pub fn set_relay_up(&mut self, up: bool) {
        if up {
            self.relay.start(self.now);
        } else {
            self.stop_relay(false);
        }
    }

    /// The relay's process ends, with the power or without. With it, posts that were not durable are gone.
    pub fn stop_relay(&mut self, power: bool) {
        self.trace.note(self.now, "relay stops", 0, &[]);
        self.relay.stop(power);
        self.drop_sockets();
    }

    /// The relay begins anew with nothing, not even its cursors.
    pub fn replace_relay(&mut self) {
        self.stop_relay(true);
        self.relay.lose_disk();
        self.writing = Cursor(0);
        self.set_relay_up(true);
    }

    /// Cuts every socket, as a proxy or a network change would.
    pub fn drop_sockets(&mut self) {
        self.relay.drop_sockets();
        self.open.clear();
        for at in 0..self.devices.len() {
            let ends: Vec<End> = self.devices[at].sockets.keys().map(|conn| self.end(at, *conn)).collect();
            for end in ends {
                self.cut_socket(end, "connection reset");
            }
        }
    }

    /// A device's sockets are dead without either side being told, and so are two connections that it kept for requests.
    pub fn forget_sockets(&mut self, at: usize) {
        self.devices[at].kept = 2;
        for pipe in self.devices[at].sockets.values_mut() {
            pipe.dead = true;
        }
        self.open.retain(|end| end.device != at);
        self.relay.forget(at);
    }

    /// A device's byte streams are dead without either side being told.
    pub fn deafen(&mut self, at: usize) {
        let ends: Vec<End> = self.devices[at].streams.keys().map(|conn| self.end(at, *conn)).collect();
        for end in ends {
            self.silence(end);
        }
    }

    /// Byte streams that are open at both ends.
    #[must_use]
    pub fn streams(&self) -> usize {
        let ends = self.devices.iter().flat_map(|device| device.streams.values());
        let open = ends.filter(|stream| {
            let other = &self.devices[stream.other.device];
            !stream.dead && other.is_in(stream.other.life) && other.streams.contains_key(&stream.other.conn)
        });
        open.count() / 2
    }

    /// Posts envelopes to the relay as a member with a client of its own would.
    ///
    /// # Errors
    /// When one of them does not verify; then none is stored.
    pub fn post(&mut self, hint: CircleHint, sealed: Vec<Vec<u8>>) -> Result<Vec<Stored>, String> {
        let (stored, _) = self.relay.accept(hint, sealed)?;
        self.flush_relay();
        Ok(stored)
    }

    /// The relay says again every signal it was ever given.
    pub fn repeat_signals(&mut self) {
        self.relay.repeat_signals();
        self.flush_relay();
    }

    /// A lying relay: passes bytes on as if they were in its log.
    pub fn push_to_all(&mut self, hint: CircleHint, bytes: &[u8]) {
        self.relay.push_to_all(hint, bytes);
        self.flush_relay();
    }

    /// As [`World::push_to_all`], for what is not stored.
    pub fn fan_out(&mut self, hint: CircleHint, bytes: &[u8]) {
        self.relay.fan_out(hint, bytes);
        self.flush_relay();
    }
}
