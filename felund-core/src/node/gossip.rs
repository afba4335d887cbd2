//! Anti-entropy between two nodes: what a frame means for a circle's log.

use std::collections::VecDeque;

use super::{
    Node,
    ephemeral::Way,
    ingest::{Source, Taken},
    records,
    startup::Asked,
};
use crate::{
    circle::{Received, joined, parted},
    config::{FEW, MAX_BATCH, MAX_BATCH_BYTES, SUMMARY_INTERVAL_MS},
    ids::{CircleId, NodeId},
    io::{ConnId, Event},
    sorted::SortedSet,
    store::{Op, Query},
    sync::{
        Decoder, Entry, MAX_SYMBOLS, ShortId, encode, first_symbols, read_symbols, short_id, summarise,
        write_symbols,
    },
    view::Key,
    wire::{Have, PeerFrame, Sealed, Window},
};

/// Confirmations are gathered this long before they are written, in milliseconds.
const SAVE_MS: u64 = 2_000;

/// A reconciliation under way, at the side that decodes.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Of the log: symbols of different sets do not add up.
    version: u64,
    window: Window,
    decoder: Decoder,
}

/// A stream of symbols under way, at the side that sends it.
#[derive(Debug)]
pub(super) struct Stream {
    version: u64,
    window: Window,
    end: usize,
    offered: Offered,
}

/// What every stream of a session has covered: which of them a `MSGS_REQ` answers cannot be told, but it holds for this.
#[derive(Debug)]
struct Offered {
    /// The newest own envelope when the first was sent: own clocks only grow.
    newest: Option<Key>,
    /// What all their windows have in common.
    window: Window,
}

/// Summaries that have not been answered, oldest first: the newest own envelope that each covered. An answer says
/// nothing about what came after its question.
#[derive(Debug, Default)]
pub(super) struct Summaries {
    newest: VecDeque<Option<Key>>,
    /// Too many were left unanswered: which answer belongs to which is not known any more in this session.
    lost: bool,
}

/// Unanswered summaries that are remembered.
const MAX_SUMMARIES: usize = 16;

impl Summaries {
    fn asked(&mut self, newest: Option<Key>) {
        self.lost |= self.newest.len() >= MAX_SUMMARIES;
        if self.lost {
            self.newest.clear();
        } else {
            self.newest.push_back(newest);
        }
    }

    pub(super) fn cover_nothing(&mut self) {
        self.newest.iter_mut().for_each(|newest| *newest = None);
    }
}

impl Stream {
    pub(super) const fn cover_nothing(&mut self) {
        self.offered.newest = None;
    }
}

impl Node {
    fn salt(&self, conn: ConnId) -> Option<[u8; 16]> {
        Some(*self.direct.session(conn)?.salt())
    }

    /// A session's circle by its place.
    fn circle_of(&self, conn: ConnId, place: u32) -> Option<CircleId> {
        let id = *self.direct.session(conn)?.circles().get(usize::try_from(place).ok()?)?;
        self.circles.contains_key(&id).then_some(id)
    }

    pub(super) fn frame(&mut self, conn: ConnId, node: NodeId, frame: PeerFrame) {
        let place = match &frame {
            PeerFrame::Peers { circle, .. }
            | PeerFrame::MsgsHave { circle, .. }
            | PeerFrame::MsgsReq { circle, .. }
            | PeerFrame::MsgsSend { circle, .. }
            | PeerFrame::MsgNew { circle, .. }
            | PeerFrame::Confirm { circle, .. }
            | PeerFrame::Ephemeral { circle, .. }
            | PeerFrame::Signal { circle, .. } => *circle,
            PeerFrame::Ping | PeerFrame::Pong => return,
        };
        // A circle this node has left meanwhile: nothing is said about it any more.
        let Some(id) = self.circle_of(conn, place) else { return };
        match frame {
            PeerFrame::Peers { peers, observed, .. } => {
                self.told_peers(conn, id, peers);
                if let Some(address) = observed {
                    self.seen_by(conn, node, &address);
                }
            }
            PeerFrame::MsgsHave { have, .. } => self.have(conn, node, id, place, have),
            PeerFrame::MsgsReq { ids, .. } => self.requested(conn, node, id, &ids),
            PeerFrame::MsgsSend { envelopes, more, .. } => self.sent(conn, id, place, &envelopes, more),
            PeerFrame::MsgNew { envelope, .. } => {
                let taken = self.ingest(id, &envelope.0, Some(Source { conn, bulk: false }));
                self.confirm(conn, place, taken.held().as_slice());
            }
            PeerFrame::Confirm { ids, authors, .. } => {
                let Some(held) = joined(ids, authors.as_deref()) else { return };
                let Some(circle) = self.circles.get(&id) else { return };
                let keys = circle.own_among(&held.into_iter().collect(), &node);
                self.confirmed_by(id, node, &keys);
            }
            PeerFrame::Ephemeral { envelope, .. } => self.ephemeral(id, &envelope.0, Way::Session(conn)),
            PeerFrame::Signal { to, payload, .. } => self.carry_signal(conn, id, to, payload),
            PeerFrame::Ping | PeerFrame::Pong => {}
        }
    }

    /// The newest own envelope that the oldest unanswered summary covered.
    fn summary_answered(&mut self, conn: ConnId, id: CircleId) -> Option<Option<Key>> {
        self.summaries.get_mut(&(conn, id))?.newest.pop_front()
    }

    /// The newest own envelope, but for those from before the clock began again: what is written next is newer.
    fn newest_own(&self, circle: &super::Circle) -> Option<Key> {
        circle.confirms.keys().rev().find(|key| key.ts <= self.clock.last()).copied()
    }

    /// Begins a reconciliation.
    pub(super) fn summarise(&mut self, conn: ConnId, id: CircleId, place: u32) {
        let (Some(circle), Some(salt)) = (self.circles.get(&id), self.salt(conn)) else { return };
        let window = circle.log.window(self.ages_by(id));
        let summary = summarise(&salt, circle.log.within(&window));
        let have = Have::Summary { count: summary.count, fingerprint: summary.fingerprint, window };
        let newest = self.newest_own(circle);
        // A peer that lacks everything is answered with all of it.
        if summary.count > 0 {
            self.summaries.entry((conn, id)).or_default().asked(newest);
        }
        self.claim(conn, PeerFrame::MsgsHave { circle: place, have });
    }

    fn have(&mut self, conn: ConnId, node: NodeId, id: CircleId, place: u32, have: Have) {
        match have {
            Have::Summary { count, fingerprint, window } => {
                let (Some(circle), Some(salt)) = (self.circles.get(&id), self.salt(conn)) else { return };
                let window = circle.log.window(self.ages_by(id)).and(&window);
                let ours = summarise(&salt, circle.log.within(&window));
                if (ours.count, ours.fingerprint) == (count, fingerprint) {
                    self.claim(conn, PeerFrame::MsgsHave { circle: place, have: Have::Same });
                    self.all_confirmed(id, node, &window, |_| true);
                } else if count == 0 {
                    // A newcomer lacks everything: no need to find out what. Asked again before it has got it, it gets no
                    // more.
                    if self.is_sending(conn, id) {
                        return;
                    }
                    let keys = circle.log.within(&window).map(|entry| entry.key).collect();
                    self.send_keys(conn, id, keys);
                } else {
                    let end = first_symbols(ours.count, count);
                    self.send_symbols(conn, id, place, 0, end, window);
                }
            }
            Have::Same => {
                let Some(newest) = self.summary_answered(conn, id) else { return };
                let Some(circle) = self.circles.get(&id) else { return };
                let window = circle.log.window(self.ages_by(id));
                // It answers for what was there when it was asked; own clocks only grow.
                self.all_confirmed(id, node, &window, |key| Some(*key) <= newest);
            }
            Have::Symbols { count, start, symbols, window } => {
                if start == 0 && !self.exchanges.contains_key(&(conn, id)) {
                    self.summary_answered(conn, id);
                }
                self.decode(conn, node, id, place, (count, start, symbols), &window);
            }
            Have::More { end } => {
                let (Some(stream), Some(circle)) = (self.streams.get(&(conn, id)), self.circles.get(&id))
                else {
                    return;
                };
                let end = usize::try_from(end).unwrap_or(usize::MAX);
                // Symbols of a set that has changed meanwhile would not add up: those begin anew.
                let start = if circle.log.version() == stream.version { stream.end } else { 0 };
                if end > MAX_SYMBOLS && stream.end == MAX_SYMBOLS {
                    let Some((window, count)) = circle.log.newer_half(&stream.window) else { return };
                    self.send_symbols(conn, id, place, 0, first_symbols(count, 0), window);
                } else if start < end.min(MAX_SYMBOLS) {
                    let window = stream.window.clone();
                    self.send_symbols(conn, id, place, start, end.min(MAX_SYMBOLS), window);
                }
            }
        }
    }

    fn send_symbols(
        &mut self,
        conn: ConnId,
        id: CircleId,
        place: u32,
        start: usize,
        end: usize,
        window: Window,
    ) {
        let (Some(circle), Some(salt)) = (self.circles.get(&id), self.salt(conn)) else { return };
        let ids = circle.log.within(&window).map(|entry| short_id(&salt, entry));
        let symbols = encode(ids, start..end);
        let count = circle.log.within(&window).count() as u64;
        let symbols = write_symbols(&symbols, count, start as u64);
        let version = circle.log.version();
        let offered = match self.streams.remove(&(conn, id)) {
            Some(Stream { offered, .. }) => {
                Offered { newest: offered.newest, window: offered.window.and(&window) }
            }
            None => Offered { newest: self.newest_own(circle), window: window.clone() },
        };
        self.streams.insert((conn, id), Stream { version, window: window.clone(), end, offered });
        let have = Have::Symbols { count, start: start as u64, symbols, window };
        self.claim(conn, PeerFrame::MsgsHave { circle: place, have });
    }

    fn decode(
        &mut self,
        conn: ConnId,
        node: NodeId,
        id: CircleId,
        place: u32,
        (count, start, symbols): (u64, u64, Vec<u8>),
        window: &Window,
    ) {
        let (Some(circle), Some(salt)) = (self.circles.get(&id), self.salt(conn)) else { return };
        let version = circle.log.version();
        let mut exchange = match self.exchanges.remove(&(conn, id)) {
            Some(exchange) if start > 0 && exchange.version == version => exchange,
            // This side's set has changed meanwhile: what both have now is compared afresh.
            _ if start > 0 => return self.summarise(conn, id, place),
            _ => Exchange {
                version,
                window: circle.log.window(self.ages_by(id)).and(window),
                decoder: Decoder::default(),
            },
        };
        let from = exchange.decoder.len();
        let Some(theirs) = read_symbols(&symbols, count, start) else { return };
        if start != from as u64 || theirs.is_empty() || from + theirs.len() > MAX_SYMBOLS {
            return;
        }
        let ids = circle.log.within(&exchange.window).map(|entry| short_id(&salt, entry));
        let end = from + theirs.len();
        let ours = encode(ids, from..end);
        let Some(difference) = exchange.decoder.extend(&theirs, &ours) else {
            self.exchanges.insert((conn, id), exchange);
            // Beyond the limit what is newer comes first, and the rest by later exchanges.
            let end = if end < MAX_SYMBOLS { (end * 2).min(MAX_SYMBOLS) } else { 2 * MAX_SYMBOLS };
            let more = Have::More { end: end as u64 };
            self.send_frame(conn, &PeerFrame::MsgsHave { circle: place, have: more });
            return;
        };
        let lacks = |entry: &Entry| difference.ours.binary_search(&short_id(&salt, *entry)).is_ok();
        let lacking = circle.log.within(&exchange.window).filter(lacks);
        let keys: SortedSet<Key> = lacking.map(|entry| entry.key).collect();
        let window = exchange.window;
        self.all_confirmed(id, node, &window, |key| !keys.contains(key));
        // Also when nothing is lacking: it tells the other side that everything else is here.
        let ids = difference.theirs.iter().flat_map(|id| id.to_be_bytes()).collect();
        self.claim(conn, PeerFrame::MsgsReq { circle: place, ids });
        self.send_keys(conn, id, keys);
    }

    /// A peer has decoded a stream: it lacks these, and holds everything else that the stream was of.
    fn requested(&mut self, conn: ConnId, node: NodeId, id: CircleId, ids: &[u8]) {
        let (Some(circle), Some(salt)) = (self.circles.get(&id), self.salt(conn)) else { return };
        let (chunks, _) = ids.as_chunks::<8>();
        let mut wanted: Vec<ShortId> =
            chunks.iter().take(MAX_SYMBOLS).map(|id| ShortId::from_be_bytes(*id)).collect();
        wanted.sort_unstable();
        let everything = Window::default();
        let asked = |entry: &Entry| wanted.binary_search(&short_id(&salt, *entry)).is_ok();
        let keys: SortedSet<Key> =
            circle.log.within(&everything).filter(asked).map(|entry| entry.key).collect();
        if let Some(Stream { offered: Offered { newest, window }, .. }) = self.streams.get(&(conn, id)) {
            let (newest, window) = (*newest, window.clone());
            self.all_confirmed(id, node, &window, |key| Some(*key) <= newest && !keys.contains(key));
        }
        self.send_keys(conn, id, keys);
    }

    /// Whether envelopes of a circle are being read for a connection.
    fn is_sending(&self, conn: ConnId, id: CircleId) -> bool {
        let same = |asked: &Asked| matches!(asked, Asked::Gossip { conn: to, circle, .. } if (*to, *circle) == (conn, id));
        self.queries.values().any(same)
    }

    /// Loads envelopes and sends them, oldest first and in batches.
    fn send_keys(&mut self, conn: ConnId, circle: CircleId, keys: SortedSet<Key>) {
        let keys: Vec<Key> = keys.into_iter().collect();
        // Reads see what was handed out for writing before them.
        self.flush_staged_now();
        let mut batches = keys.chunks(MAX_BATCH).peekable();
        while let Some(batch) = batches.next() {
            let more = batches.peek().is_some();
            self.load(Query::Envelopes(circle, batch.to_vec()), Asked::Gossip { conn, circle, more });
        }
    }

    pub(super) fn send_rows(&mut self, conn: ConnId, id: CircleId, rows: Vec<(Key, Vec<u8>)>, more: bool) {
        let sharing = self.direct.sharing(id);
        let Some((_, _, place)) = sharing.into_iter().find(|(other, ..)| *other == conn) else { return };
        let mut frames: Vec<Vec<Sealed>> = vec![Vec::new()];
        let mut bytes = 0;
        for (_, sealed) in rows {
            bytes += sealed.len();
            if bytes > MAX_BATCH_BYTES {
                frames.push(Vec::new());
                bytes = sealed.len();
            }
            frames.last_mut().expect("there is always one").push(Sealed(sealed));
        }
        let last = frames.len() - 1;
        for (at, envelopes) in frames.into_iter().enumerate() {
            let more = more || at < last;
            self.send_frame(conn, &PeerFrame::MsgsSend { circle: place, envelopes, more });
        }
    }

    fn sent(&mut self, conn: ConnId, id: CircleId, place: u32, envelopes: &[Sealed], more: bool) {
        let source = Source { conn, bulk: true };
        let (mut held, mut news): (Vec<Received>, Vec<&Sealed>) = (Vec::new(), Vec::new());
        for envelope in envelopes {
            let taken = self.ingest(id, &envelope.0, Some(source));
            held.extend(taken.held());
            if matches!(taken, Taken::New(_)) {
                news.push(envelope);
            }
        }
        self.confirm(conn, place, &held);
        let now = self.now.mono;
        let Some(circle) = self.circles.get_mut(&id) else { return };
        if news.is_empty() {
            return;
        }
        if more {
            // Told on once no more comes for a while: the connection may end before the last frame does.
            (circle.brought, circle.tell_at) = (true, now + SUMMARY_INTERVAL_MS);
            return;
        }
        circle.brought |= news.len() > FEW || now < circle.tell_at;
        if !circle.brought {
            circle.tell_at = now + SUMMARY_INTERVAL_MS;
            for envelope in news {
                self.push_new(id, &envelope.0, Some(conn));
            }
        }
    }

    /// Tells a member what of its frame is held here.
    fn confirm(&mut self, conn: ConnId, circle: u32, held: &[Received]) {
        let (ids, authors) = parted(held);
        if !ids.is_empty() {
            self.claim(conn, PeerFrame::Confirm { circle, ids, authors: Some(authors) });
        }
    }

    /// Tells every session what came in bulk, those it came from included: their answer tells both sides that the other has
    /// everything.
    pub(super) fn tell_brought(&mut self) {
        let now = self.now.mono;
        let due = |circle: &&super::Circle| circle.brought && circle.tell_at <= now;
        let ids: Vec<CircleId> = self.circles.values().filter(due).map(|circle| circle.id).collect();
        for id in ids {
            if let Some(circle) = self.circles.get_mut(&id) {
                (circle.brought, circle.tell_at) = (false, now + SUMMARY_INTERVAL_MS);
            }
            for (conn, _, place) in self.direct.sharing(id) {
                self.summarise(conn, id, place);
            }
        }
    }

    pub(super) fn brought_deadline(&self) -> Option<u64> {
        self.circles.values().filter(|circle| circle.brought).map(|circle| circle.tell_at).min()
    }

    /// Pushes an envelope that is new here to everyone connected, but to whom it came from.
    pub(super) fn push_new(&mut self, id: CircleId, sealed: &[u8], from: Option<ConnId>) {
        for (conn, _, place) in self.direct.sharing(id) {
            if Some(conn) != from {
                self.send_frame(
                    conn,
                    &PeerFrame::MsgNew { circle: place, envelope: Sealed(sealed.to_vec()) },
                );
            }
        }
    }

    /// A member holds everything of a window but some.
    fn all_confirmed(&mut self, id: CircleId, node: NodeId, window: &Window, holds: impl Fn(&Key) -> bool) {
        let Some(circle) = self.circles.get(&id) else { return };
        if circle.confirms.is_empty() {
            return;
        }
        let keys = circle.log.within(window).map(|entry| entry.key);
        let keys: Vec<Key> = keys.filter(|key| circle.confirms.contains_key(key) && holds(key)).collect();
        self.confirmed_by(id, node, &keys);
    }

    /// Keeps who has confirmed what, gathered: after a restart a message shows as delivered as before.
    pub(super) fn save_confirmations(&mut self) {
        if self.unsaved.is_empty() || self.now.mono < self.save_at {
            return;
        }
        for id in std::mem::take(&mut self.unsaved) {
            let Some(circle) = self.circles.get(&id) else { continue };
            let (name, record) = (records::delivered(&id), records::cbor(&circle.delivered()));
            // Only the last of several in one batch counts.
            self.staged.retain(|op| !matches!(op, Op::PutRecord(other, _) if *other == name));
            self.stage_record(name, &record);
        }
    }

    /// A member confirmed own messages: the user sees how many have them, and the relay is spared what all have.
    pub(super) fn confirmed_by(&mut self, id: CircleId, node: NodeId, keys: &[Key]) {
        for key in keys {
            let Some(circle) = self.circles.get_mut(&id) else { return };
            if !circle.confirm(*key, node) {
                continue;
            }
            let Some(channel_id) = circle.log.channel_of(key) else { continue };
            let delivery = circle.delivery(key);
            if circle.relay.is_none() && circle.outbox.remove(key) {
                self.staged.push(Op::DeleteRecord(records::outbox(&id, key)));
            }
            self.climb(id, key);
            self.dirty.insert(id);
            if self.unsaved.is_empty() {
                self.save_at = self.now.mono + SAVE_MS;
            }
            self.unsaved.insert(id);
            self.event(Event::Delivery { circle_id: id, channel_id, msg_id: key.id, delivery });
        }
    }
}
