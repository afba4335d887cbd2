//! What nodes want done, and what comes of it.

use super::{Happening, World};
use crate::{
    config::CONNECT_TIMEOUT_MS,
    io::{BatchId, ConnId, HttpId, HttpRequest, Input, Origin, Output},
    sim::{
        Block, End, Proxy,
        device::{Pipe, Stream},
        network::Fate,
        relay::Answer,
    },
    store::Batch,
};

/// Set in the names that drivers give to accepted connections.
const ACCEPTED: u64 = 1 << 63;
/// A write that need not survive a power cut is durable by then, in milliseconds.
const RELAXED_MS: u64 = 1_000;

/// How long a socket lives that a relay ends once it has answered, in milliseconds.
const CUT_OFF_MS: u64 = 300;

impl World {
    pub(super) fn output(&mut self, at: usize, output: Output) {
        let life = self.devices[at].life;
        match output {
            Output::Store(id, batch) => self.write(at, id, batch),
            Output::Load(id, query) => {
                let answer = self.devices[at].disk.read(query);
                self.later(
                    self.devices[at].read_ms,
                    Happening::Input(at, life, Input::Loaded(id, Ok(answer))),
                );
            }
            Output::Http(id, request) => self.request(at, id, request),
            Output::Dial { conn, protocols, .. } => {
                self.devices[at].dialing.insert(conn);
                let delay = self.network.delay(self.network.relay);
                self.later(delay, Happening::Dial(self.end(at, conn), protocols));
            }
            Output::Connect(conn, address) => {
                self.devices[at].dialing.insert(conn);
                self.devices[at].dialed.push(address.clone());
                let delay = self.network.delay(self.network.path);
                self.later(delay, Happening::Connect(self.end(at, conn), address));
            }
            Output::Rtc(conn, command) => self.peer_connection(at, conn, command),
            Output::Transmit(conn, bytes) => self.transmit(at, conn, bytes),
            Output::Close(conn, reason) => {
                self.trace.remark(self.now, || format!("{at}  closes {conn:?}: {reason}"));
                self.close(at, conn);
            }
            Output::Probe(id, probe) => {
                self.devices[at].probed.push(probe);
                if let Some(report) = self.devices[at].ice.clone() {
                    self.later(100, Happening::Input(at, life, Input::Probed(id, report)));
                }
            }
            Output::Reachable(reachable) => self.devices[at].reachable = reachable,
            Output::Announce(announcement) => self.devices[at].announced.push(announcement),
            Output::Event(event) => self.tell_screen(at, event),
            Output::Timeout(_) => {}
        }
    }

    fn write(&mut self, at: usize, id: BatchId, batch: Batch) {
        let (now, device) = (self.now, &mut self.devices[at]);
        let life = device.life;
        if device.disk.held {
            return;
        }
        if let Some(cause) = device.disk.full.clone() {
            device.confirmed_at = device.confirmed_at.max(now + 1);
            return self.at(
                self.devices[at].confirmed_at,
                Happening::Input(at, life, Input::StoreFailed(id, cause)),
            );
        }
        let strict = batch.strict;
        device.disk.write(id, batch);
        if device.disk.is_instant() {
            return self.later(1, Happening::Input(at, life, Input::Committed(id)));
        }
        let longest = if strict { device.write_ms } else { RELAXED_MS };
        let durable = (now + self.dice.between(1, longest.max(1))).max(device.durable_at);
        // Only what is strict waits for the disk before it is confirmed, and never is it confirmed out of order.
        let confirmed = if strict { durable } else { now + 1 }.max(device.confirmed_at);
        (device.durable_at, device.confirmed_at) = (durable, confirmed);
        self.at(durable, Happening::Settled(at, life, id, false));
        self.at(confirmed, Happening::Settled(at, life, id, true));
    }

    fn request(&mut self, at: usize, id: HttpId, request: HttpRequest) {
        let life = self.devices[at].life;
        self.devices[at].traffic.requests += 1;
        let path = self.network.relay;
        let failed = |why: &str| Happening::Input(at, life, Input::Http(id, Err(why.into())));
        if !self.network.reaches_relay(at) {
            let (why, wait) = if self.network.dice().chance(500) {
                ("the network is unreachable", 1)
            } else {
                ("no answer in time", request.within_ms)
            };
            return self.later(wait, failed(why));
        }
        if let Some(left) = self.devices[at].kept.checked_sub(1) {
            self.devices[at].kept = left;
            return self.later(request.within_ms, failed("no answer in time"));
        }
        let delay = self.network.delay(path);
        let arrives = |request: HttpRequest, answered: bool| Happening::Request {
            device: at,
            life,
            id,
            request,
            answered,
        };
        match self.network.fate(path) {
            Fate::Answered => self.later(delay, arrives(request, true)),
            Fate::RequestLost => {
                let wait = self.network.dice().between(delay, request.within_ms);
                self.later(wait, failed("connection reset"));
            }
            Fate::AnswerLost => {
                let wait = self.network.dice().between(2 * delay, request.within_ms);
                self.later(delay, arrives(request, false));
                self.later(wait, failed("connection reset before the answer"));
            }
            Fate::Twice => {
                let again = self.network.delay(path);
                let first = self.network.dice().chance(500);
                self.later(delay, arrives(request.clone(), first));
                self.later(again, arrives(request, !first));
            }
        }
    }

    fn transmit(&mut self, at: usize, conn: ConnId, bytes: Vec<u8>) {
        let (now, end) = (self.now, self.end(at, conn));
        let device = &mut self.devices[at];
        if let Some(stream) = device.streams.get_mut(&conn) {
            device.traffic.direct(&bytes, device.large);
            if stream.dead {
                return;
            }
            let (other, path) = (stream.other, self.network.between(at, stream.other.device));
            if self.network.cuts(path) {
                return self.cut(end);
            }
            let arrives = self.network.in_order(now, path, &mut stream.tail);
            self.at(arrives, Happening::Bytes(other, at, bytes));
        } else if let Some(pipe) = device.sockets.get_mut(&conn) {
            device.traffic.frame(&bytes);
            if pipe.dead || !self.network.reaches_relay(at) {
                return;
            }
            let path = self.network.relay;
            if self.network.cuts(path) {
                return self.cut_socket(end, "connection reset");
            }
            let arrives = self.network.in_order(now, path, &mut pipe.up);
            self.at(arrives, Happening::Frame(end, bytes));
        }
    }

    fn close(&mut self, at: usize, conn: ConnId) {
        let (now, end) = (self.now, self.end(at, conn));
        self.rtc.close(end);
        let device = &mut self.devices[at];
        device.dialing.remove(&conn);
        if let Some(mut stream) = device.streams.remove(&conn) {
            if !stream.dead {
                let path = self.network.between(at, stream.other.device);
                let arrives = self.network.in_order(now, path, &mut stream.tail);
                self.at(arrives, Happening::Hangup(stream.other));
            }
        } else if let Some(mut pipe) = device.sockets.remove(&conn) {
            let arrives = self.network.in_order(now, self.network.relay, &mut pipe.up);
            self.at(arrives, Happening::Detached(end));
        }
    }

    pub(super) fn happen(&mut self, what: Happening) {
        let (name, device, bytes) = what.traced();
        if let Some(until) = self.sleeps(&what) {
            return self.at(until, what);
        }
        self.trace.note(self.now, name, device, bytes);
        match what {
            Happening::Input(at, life, input) => {
                if self.devices[at].is_in(life) {
                    self.input(at, input);
                }
            }
            Happening::Settled(at, life, id, tell) => {
                if !self.devices[at].is_in(life) {
                } else if tell {
                    self.input(at, Input::Committed(id));
                } else {
                    self.devices[at].disk.settle(id);
                }
            }
            Happening::Wake(at, life) => {
                if self.devices[at].is_in(life) {
                    self.devices[at].asleep_until = 0;
                    self.input(at, Input::Wake);
                }
            }
            Happening::Request { device, life, id, request, answered } => {
                self.serve((device, life, id), &request, answered);
            }
            Happening::Written(life, cursor) => {
                if self.relay.up && self.relay.life == life {
                    self.answer_settled(cursor);
                }
            }
            Happening::Dial(end, protocols) => self.dialed(end, &protocols),
            Happening::Frame(end, bytes) => {
                if self.open.contains(&end) && self.relay.proxy == Proxy::HangsUp {
                    self.cut_socket(end, "connection reset");
                } else if self.open.contains(&end) && self.relay.proxy != Proxy::Swallows {
                    self.relay.frame(end, &bytes, self.now);
                    self.flush_relay();
                    if self.relay.proxy == Proxy::CutsOff {
                        self.later(CUT_OFF_MS, Happening::SocketLost(end, "come back later"));
                        self.later(CUT_OFF_MS, Happening::Detached(end));
                    }
                }
            }
            Happening::Detached(end) => {
                if self.open.remove(&end) {
                    self.relay.detach(end, self.now);
                    self.flush_relay();
                }
            }
            Happening::Push(end, bytes) => {
                let device = &self.devices[end.device];
                let alive = device.sockets.get(&end.conn).is_some_and(|pipe| !pipe.dead);
                if device.is_in(end.life) && alive {
                    self.input(end.device, Input::Received(end.conn, bytes));
                }
            }
            Happening::SocketLost(end, why) => {
                let device = &mut self.devices[end.device];
                if device.is_in(end.life) && device.sockets.remove(&end.conn).is_some() {
                    self.input(end.device, Input::Disconnected(end.conn, why.into()));
                }
            }
            Happening::Connect(end, address) => self.connected(end, &address),
            Happening::Bytes(end, from, bytes) => {
                let device = &self.devices[end.device];
                let alive = device.streams.get(&end.conn).is_some_and(|stream| !stream.dead);
                if device.is_in(end.life) && alive && !self.rtc.swallows() {
                    self.via = Some(from);
                    self.input(end.device, Input::Received(end.conn, bytes));
                    self.via = None;
                }
            }
            Happening::Hangup(end) => {
                let device = &mut self.devices[end.device];
                if device.is_in(end.life) && device.streams.remove(&end.conn).is_some() {
                    self.input(end.device, Input::Disconnected(end.conn, "hung up".into()));
                }
            }
        }
    }

    /// A sleeping device takes in nothing before it wakes.
    fn sleeps(&self, what: &Happening) -> Option<u64> {
        let at = match what {
            Happening::Input(at, ..) | Happening::Settled(at, ..) => *at,
            Happening::Push(end, _)
            | Happening::SocketLost(end, _)
            | Happening::Bytes(end, ..)
            | Happening::Hangup(end) => end.device,
            _ => return None,
        };
        let device = &self.devices[at];
        (device.up && device.asleep_until > self.now).then_some(device.asleep_until)
    }

    fn serve(&mut self, (device, life, id): (usize, u32, HttpId), request: &HttpRequest, answered: bool) {
        if !self.relay.up || !self.network.reaches_relay(device) {
            if answered {
                let delay = self.network.delay(self.network.relay);
                let refused = Input::Http(id, Err("connection refused".into()));
                self.later(delay, Happening::Input(device, life, refused));
            }
            return;
        }
        let (response, until) = self.relay.serve(request, self.now);
        if answered {
            self.relay.answer_once_durable(until, Answer::Http { device, life, id, response });
        }
        self.flush_relay();
    }

    fn dialed(&mut self, end: End, protocols: &[String]) {
        let reaches = self.network.reaches_relay(end.device);
        let device = &mut self.devices[end.device];
        if !device.is_in(end.life) || !device.dialing.remove(&end.conn) {
            return;
        }
        let answer = |input| Happening::Input(end.device, end.life, input);
        if !reaches {
            let lost = Input::Disconnected(end.conn, "no answer in time".into());
            return self.later(CONNECT_TIMEOUT_MS, answer(lost));
        }
        let known = protocols.get(1).is_some_and(|token| self.relay.admits(token, self.now));
        let delay = self.network.delay(self.network.relay);
        if self.relay.up && self.relay.sockets_allowed && known {
            device.sockets.insert(end.conn, Pipe { down: self.now + delay, ..Pipe::default() });
            self.open.insert(end);
            self.later(delay, answer(Input::Connected(end.conn)));
        } else {
            self.later(delay, answer(Input::Disconnected(end.conn, "403".into())));
        }
    }

    fn connected(&mut self, from: End, address: &str) {
        let dialer = &mut self.devices[from.device];
        if !dialer.is_in(from.life) || !dialer.dialing.remove(&from.conn) {
            return;
        }
        let answer = |input| Happening::Input(from.device, from.life, input);
        let lost = |why: &str| answer(Input::Disconnected(from.conn, why.into()));
        let (now, to) = (self.now, self.device_at(address));
        let path = to.map_or(self.network.path, |to| self.network.between(from.device, to));
        let delay = self.network.delay(path);
        let silent = |to: usize| {
            self.devices[to].asleep_until > now
                || !self.network.may_dial(from.device, to)
                || self.network.blocked(from.device, to) == Some(Block::Silent)
        };
        match to {
            Some(to) if silent(to) => self.later(CONNECT_TIMEOUT_MS, lost("no answer in time")),
            Some(to) if self.devices[to].up && self.network.blocked(from.device, to).is_none() => {
                self.next += 1;
                let accepted = self.end(to, ConnId(ACCEPTED | self.next));
                let stream = |other, tail| Stream { other, tail, dead: false };
                // Nothing arrives at the dialer before it knows that the connection stands.
                self.devices[to].streams.insert(accepted.conn, stream(from, now + delay));
                self.devices[from.device].streams.insert(from.conn, stream(accepted, now));
                let origin = Origin::Outside(self.ip(from.device));
                self.input(to, Input::Accepted(accepted.conn, origin));
                self.later(delay, answer(Input::Connected(from.conn)));
            }
            _ => self.later(delay, lost("connection refused")),
        }
    }
}
