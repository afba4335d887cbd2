//! A socket's task: reads the client's frames, sends pages of the log while the socket is behind, flushes what the
//! kernel did not take at once. Live messages do not pass through here.

use std::{collections::VecDeque, future::Future, io, sync::Arc, time::Duration};

use bytes::Bytes;
use felund_core::{
    config::MAX_BATCH,
    envelope::{Envelope, EnvelopeError, is_ephemeral},
    ids::{CircleHint, Cursor, NodeId},
    wire::{ClientFrame, Sealed, ServerFrame, encode_live},
};
use tokio::io::Interest;

use super::{
    conn::{Conn, LOW_WATER},
    frame::{self, FrameReader, Incoming, close},
    under_way::UnderWay,
};
use crate::{
    app::App,
    auth::Caller,
    clock,
    error::ApiError,
    hub::Progress,
    limits::Payer,
    memory::Buffered,
    metrics::METRICS,
    store::{Append, Circle, Item, Reply, StoreError},
    verify,
};

/// Read per call; lives on the stack only while a socket is being read.
const READ: usize = 16 * 1024;
/// Most bytes of the log read at a time for one socket.
const PAGE_BYTES: usize = 256 * 1024;
/// What a socket may hold of messages that have not arrived whole without being counted; hardly any message is larger.
const UNCOUNTED: usize = 64 * 1024;
/// How long a closing socket may take for what is queued.
const CLOSE_GRACE: Duration = Duration::from_secs(2);
/// Pause before the log is read again for messages that are being written.
const COMMIT_PAUSE: Duration = Duration::from_millis(1);
/// Most circles on one socket.
const MAX_ATTACHED: usize = 64;
/// How often a socket may ask to be attached, and once more for each second that it is open.
const MAX_ATTACHES: u32 = 2 * MAX_ATTACHED as u32;
/// Most sockets in one circle.
const MAX_LISTENERS: usize = 4_096;

struct Attached {
    circle: Arc<Circle>,
    node: NodeId,
}

/// Who has opened a socket, by which token or ticket.
pub(super) type Opener = (Caller, String);

/// An envelope and its CBOR.
type WithBytes = (Envelope, Bytes);

/// Envelopes of one `Post`, parsed and waiting to be verified together with others.
struct Posted {
    circle: Arc<Circle>,
    payer: Payer,
    seq: u64,
    envelopes: Vec<WithBytes>,
    under_way: UnderWay,
}

struct Task {
    app: Arc<App>,
    conn: Arc<Conn>,
    reader: FrameReader,
    /// For what the reader holds.
    held: Buffered,
    /// What opened the socket, until its first attach.
    opened_by: Option<Box<Opener>>,
    attached: Vec<Attached>,
    /// How often it has asked to be attached.
    attaches: u32,
    /// Circles whose log this socket is still being sent.
    behind: VecDeque<CircleHint>,
}

/// Serves a socket until it ends. `first`: bytes that came with the upgrade.
pub(super) fn run(
    app: Arc<App>,
    conn: Arc<Conn>,
    opened_by: Box<Opener>,
    held: Buffered,
    first: Bytes,
) -> impl Future<Output = ()> {
    let mut task = Task {
        app,
        conn,
        reader: FrameReader::default(),
        held,
        opened_by: Some(opened_by),
        attached: Vec::new(),
        attaches: 0,
        behind: VecDeque::new(),
    };
    async move {
        task.conn.note_heard();
        if !first.is_empty() {
            task.take(&first).await;
        }
        // Even empty it holds on to the buffer the request came in.
        drop(first);
        task.serve().await;
        task.end();
    }
}

impl Task {
    async fn serve(&mut self) {
        loop {
            let (closing, over) = self.conn.state();
            if over {
                return;
            }
            if closing {
                let _ = tokio::time::timeout(CLOSE_GRACE, self.drain()).await;
                return;
            }
            if self.conn.take_lagged() {
                self.find_lagging();
            }
            if !self.behind.is_empty() && self.conn.queued() < LOW_WATER {
                Box::pin(self.read_on()).await;
                continue;
            }
            let queued = self.conn.queued() > 0;
            let interest = match (self.conn.may_read(), queued) {
                (true, true) => Interest::READABLE | Interest::WRITABLE,
                (true, false) => Interest::READABLE,
                (false, true) => Interest::WRITABLE,
                (false, false) => {
                    self.conn.woken().await;
                    continue;
                }
            };
            tokio::select! {
                ready = self.conn.tcp().ready(interest) => {
                    let Ok(ready) = ready else { return };
                    if ready.is_writable() && queued {
                        self.conn.flush();
                    }
                    if (ready.is_readable() || ready.is_read_closed()) && interest.is_readable() && !self.read().await {
                        return;
                    }
                }
                () = self.conn.woken() => {}
            }
        }
    }

    /// Writes what is queued, the close frame last.
    async fn drain(&self) {
        while !self.conn.state().1 && self.conn.tcp().writable().await.is_ok() {
            self.conn.flush();
        }
    }

    /// Reads what has arrived; false when the client has gone.
    async fn read(&mut self) -> bool {
        let mut incoming = Vec::new();
        match read_available(self.conn.tcp(), &mut self.reader, &mut incoming) {
            Ok(true) => {}
            Ok(false) => return false,
            Err(violation) => {
                self.conn.close(violation.code, violation.reason);
                return true;
            }
        }
        let held = self.reader.held();
        if self.held.resize(if held > UNCOUNTED { held } else { 0 }).is_err() {
            self.conn.close(close::TRY_AGAIN, "the relay has no memory left for this; send less at a time");
            return true;
        }
        if incoming.is_empty() {
            return true;
        }
        self.conn.note_heard();
        Box::pin(self.handle(incoming)).await;
        true
    }

    /// Takes bytes that came with the upgrade.
    async fn take(&mut self, data: &[u8]) {
        let mut incoming = Vec::new();
        if let Err(violation) = self.reader.feed(data, &mut incoming) {
            self.conn.close(violation.code, violation.reason);
        }
        Box::pin(self.handle(incoming)).await;
    }

    async fn handle(&mut self, incoming: Vec<Incoming>) {
        let mut posts = Vec::new();
        for message in incoming {
            match message {
                Incoming::Binary(bytes) => match ClientFrame::from_bytes(&bytes) {
                    Ok(ClientFrame::Post { hint, seq, envelopes }) => {
                        match self.parse_post(&hint, seq, envelopes) {
                            Ok(post) => posts.push(post),
                            Err(error) => self.refuse(Some(hint), Some(seq), &error),
                        }
                    }
                    Ok(other) => self.frame(other),
                    Err(error) => self.refuse(None, None, &ApiError::bad_request(error.to_string())),
                },
                Incoming::Ping(payload) => self.conn.send_or_drop(frame::pong(&payload)),
                Incoming::Pong => {}
                Incoming::Close(code) => self.conn.close(code, ""),
            }
        }
        if !posts.is_empty() {
            self.post(posts).await;
        }
    }

    fn attached(&self, hint: &CircleHint) -> Result<&Attached, ApiError> {
        self.attached.iter().find(|a| a.circle.hint == *hint).ok_or_else(|| {
            ApiError::bad_request("this circle is not attached to the socket; send Attach with a token first")
        })
    }

    fn parse_post(&self, hint: &CircleHint, seq: u64, envelopes: Vec<Sealed>) -> Result<Posted, ApiError> {
        let attached = self.attached(hint)?;
        if envelopes.is_empty() {
            return Err(ApiError::bad_request("a post needs at least one envelope"));
        }
        self.app.limits.node(&attached.node, envelopes.len())?;
        let bytes = envelopes.iter().map(|Sealed(bytes)| bytes.len()).sum();
        let under_way = UnderWay::begin(&self.conn, &self.held, bytes)?;
        let mut parsed = Vec::with_capacity(envelopes.len());
        for Sealed(bytes) in envelopes {
            let envelope = Envelope::from_cbor(&bytes).map_err(|e| refused_envelope(&e))?;
            check_kept(&envelope)?;
            parsed.push((envelope, bytes.into()));
        }
        let (circle, payer) = (attached.circle.clone(), self.held.payer(attached.node));
        Ok(Posted { circle, payer, seq, envelopes: parsed, under_way })
    }

    /// Verifies the posts of one read together and hands the good ones to the writer, in order.
    async fn post(&mut self, posts: Vec<Posted>) {
        let sizes: Vec<usize> = posts.iter().map(|post| post.envelopes.len()).collect();
        let mut heads = Vec::with_capacity(posts.len());
        let mut all = Vec::with_capacity(sizes.iter().sum());
        for Posted { circle, payer, seq, envelopes, under_way } in posts {
            heads.push((circle, payer, seq, under_way));
            all.extend(envelopes);
        }
        let mut results = verify::all(all).await.into_iter();
        for ((circle, payer, seq, under_way), size) in heads.into_iter().zip(sizes) {
            let items: Result<Vec<Item>, EnvelopeError> = results.by_ref().take(size).collect();
            match items {
                Ok(items) => {
                    let reply = stored_reply(circle.hint, seq, under_way);
                    self.app.store.append(Append { circle, items, payer, reply });
                }
                Err(error) => self.refuse(Some(circle.hint), Some(seq), &refused_envelope(&error)),
            }
        }
    }

    fn frame(&mut self, frame: ClientFrame) {
        let hint = match &frame {
            ClientFrame::Ephemeral { hint, .. }
            | ClientFrame::Signal { hint, .. }
            | ClientFrame::Detach { hint }
            | ClientFrame::Post { hint, .. } => Some(*hint),
            ClientFrame::Attach { .. } | ClientFrame::Ping { .. } => None,
        };
        if let Err(error) = self.dispatch(frame) {
            self.refuse(hint, None, &error);
        }
    }

    fn dispatch(&mut self, frame: ClientFrame) -> Result<(), ApiError> {
        match frame {
            ClientFrame::Attach { token, after } => self.attach(&token, after),
            ClientFrame::Ephemeral { hint, envelope } => self.ephemeral(&hint, envelope),
            ClientFrame::Signal { hint, signal } => {
                let attached = self.attached(&hint)?;
                self.app.take_signal(hint, attached.node, signal).map(drop)
            }
            ClientFrame::Detach { hint } => {
                self.attached(&hint)?;
                self.attached.retain(|a| a.circle.hint != hint);
                self.behind.retain(|behind| *behind != hint);
                self.conn.set_attached(!self.attached.is_empty());
                self.leave(&hint);
                Ok(())
            }
            ClientFrame::Ping { id } => {
                self.conn.send_or_drop(frame::binary(&ServerFrame::Pong { id }.to_bytes()));
                Ok(())
            }
            // Posts are gathered by the caller, so that their signatures are checked together.
            ClientFrame::Post { .. } => Ok(()),
        }
    }

    fn attach(&mut self, token: &str, after: Cursor) -> Result<(), ApiError> {
        // Each may be another node's, so that no node's limit holds them; and each ticket is remembered for minutes.
        self.attaches += 1;
        if self.attaches > MAX_ATTACHES.saturating_add(self.conn.age()) {
            return Err(ApiError::rate_limited(Duration::from_secs(1)));
        }
        let Caller { node, circle } = match self.opened_by.take().map(|opener| *opener) {
            Some((caller, by)) if by == token => caller,
            _ => super::admit(&self.app, token)?,
        };
        let hint = circle.hint;
        let anew = self.attached(&hint).is_ok();
        if !anew && self.attached.len() >= MAX_ATTACHED {
            return Err(ApiError::bad_request(format!("a socket carries at most {MAX_ATTACHED} circles")));
        }
        let after = self.app.store.in_log(after);
        let joined = self.app.hub.with(&hint, |room| {
            let room_left = anew || room.listener_count() < MAX_LISTENERS;
            if room_left {
                room.attach(&self.conn, node, after, clock::unix_seconds());
            }
            room_left
        });
        if !joined {
            return Err(ApiError::unavailable("too many sockets listen to this circle; try again later"));
        }
        self.attached.retain(|a| a.circle.hint != hint);
        self.attached.push(Attached { circle, node });
        self.conn.set_attached(true);
        self.behind.retain(|behind| *behind != hint);
        self.behind.push_back(hint);
        Ok(())
    }

    fn ephemeral(&self, hint: &CircleHint, Sealed(bytes): Sealed) -> Result<(), ApiError> {
        let attached = self.attached(hint)?;
        self.app.limits.node(&attached.node, 1)?;
        let envelope = Envelope::from_cbor(&bytes).map_err(|e| refused_envelope(&e))?;
        envelope.verify().map_err(|e| refused_envelope(&e))?;
        METRICS.ephemeral.add(1);
        let frame = ServerFrame::Ephemeral { hint: *hint, envelope: Sealed(bytes) };
        let frame = frame::binary(&frame.to_bytes());
        self.app.hub.with_existing(hint, |room| room.broadcast(&frame, self.conn.id));
        Ok(())
    }

    /// Sends one page of the log of the circle that is first in line.
    async fn read_on(&mut self) {
        let Some(hint) = self.behind.pop_front() else { return };
        let hub = self.app.hub.clone();
        let progress = |p: Option<Progress>| p.unwrap_or(Progress::Gone);
        let at = hub.with_existing(&hint, |room| {
            room.make_up(self.conn.id, clock::unix_seconds());
            room.progress(self.conn.id)
        });
        let (Progress::Reading(after), Ok(attached)) = (progress(at), self.attached(&hint)) else { return };
        let page = match self.app.store.page(&attached.circle, after, MAX_BATCH, PAGE_BYTES).await {
            Ok(page) => page,
            Err(error) => {
                tracing::error!("a socket's backlog cannot be read: {error}");
                self.conn.close(close::TRY_AGAIN, "the relay cannot read its log; come back later");
                return;
            }
        };
        let last = page.messages.last().map_or(after, |(cursor, _)| *cursor);
        let mut frames = Vec::new();
        for (cursor, envelope) in &page.messages {
            frame::put_binary(&mut frames, &encode_live(&hint, *cursor, envelope));
        }
        METRICS.delivered.add(page.messages.len() as u64);
        if !frames.is_empty() {
            self.conn.send_or_drop(frames.into());
        }
        let now_at = hub.with_existing(&hint, |room| room.advance(self.conn.id, last, page.more));
        if let Progress::Reading(_) = progress(now_at) {
            self.behind.push_back(hint);
            if page.messages.is_empty() {
                // What is missing is on its way to the disk at this moment.
                tokio::time::sleep(COMMIT_PAUSE).await;
            }
        }
    }

    fn find_lagging(&mut self) {
        for Attached { circle, .. } in &self.attached {
            let at = self.app.hub.with_existing(&circle.hint, |room| room.progress(self.conn.id));
            if matches!(at, Some(Progress::Reading(_))) && !self.behind.contains(&circle.hint) {
                self.behind.push_back(circle.hint);
            }
        }
    }

    fn refuse(&self, hint: Option<CircleHint>, seq: Option<u64>, error: &ApiError) {
        refuse(&self.conn, hint, seq, error);
    }

    fn leave(&self, hint: &CircleHint) {
        self.app.hub.with_existing(hint, |room| room.detach(self.conn.id, clock::unix_seconds()));
    }

    fn end(&mut self) {
        self.conn.kill();
        for attached in std::mem::take(&mut self.attached) {
            self.leave(&attached.circle.hint);
        }
        self.app.sockets.remove(self.conn.id);
    }
}

/// Reads until nothing is left or a good piece of work has come together. Not async, so that the buffer is on the
/// stack and not in every socket's task.
fn read_available(
    tcp: &tokio::net::TcpStream,
    reader: &mut FrameReader,
    incoming: &mut Vec<Incoming>,
) -> Result<bool, frame::Violation> {
    let mut buffer = [0; READ];
    for _ in 0..8 {
        match tcp.try_read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(read) => {
                reader.feed(&buffer[..read], incoming)?;
                if read < READ {
                    return Ok(true);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}

fn stored_reply(hint: CircleHint, seq: u64, under_way: UnderWay) -> Reply {
    Box::new(move |result| {
        let conn = under_way.end();
        match result {
            Ok(stored) => {
                let stored = ServerFrame::Stored { hint, seq, stored };
                conn.send_or_drop(frame::binary(&stored.to_bytes()));
            }
            Err(error) => refuse(&conn, Some(hint), Some(seq), &store_error(&error)),
        }
    })
}

fn refuse(conn: &Conn, hint: Option<CircleHint>, seq: Option<u64>, error: &ApiError) {
    let refused = ServerFrame::Refused {
        hint,
        seq,
        code: error.code_text().into(),
        message: error.message.clone(),
        retryable: error.retryable,
        retry_after_ms: error.retry_after_ms(),
    };
    conn.send_or_drop(frame::binary(&refused.to_bytes()));
}

/// What a client is told when an envelope in its request is not acceptable.
pub(crate) fn refused_envelope(error: &EnvelopeError) -> ApiError {
    ApiError::bad_request(format!("{error}; nothing of this batch was stored"))
}

/// Refuses what is to be passed on and not kept: in the log it would take chat's place.
pub(crate) fn check_kept(envelope: &Envelope) -> Result<(), ApiError> {
    let kind = &envelope.header().kind;
    if is_ephemeral(kind) {
        return Err(ApiError::bad_request(format!(
            "envelopes of type {kind} are not stored but passed on, in Ephemeral frames of the WebSocket; nothing of \
             this batch was stored"
        )));
    }
    Ok(())
}

/// What a client is told when the store did not take its request.
pub(crate) fn store_error(error: &StoreError) -> ApiError {
    match error {
        StoreError::Quota => ApiError::quota(
            "the circle's storage on this relay is full; nothing of this request was stored, old messages make \
             room as they expire",
        ),
        StoreError::TooManyCircles => {
            ApiError::quota("this relay takes no further circles; use another relay or ask its operator")
        }
        StoreError::Full => ApiError::unavailable(
            "the relay's disk is full; nothing of this request was stored and nothing stored was lost, try again later",
        ),
        StoreError::Failed(_) => ApiError::unavailable(
            "the relay's storage failed; nothing of this request was stored, try again later",
        ),
        StoreError::Busy(wait) => ApiError::rate_limited(*wait),
        StoreError::Stopped => ApiError::unavailable(
            "the relay is shutting down; nothing of this request was stored, try again later",
        ),
    }
}
