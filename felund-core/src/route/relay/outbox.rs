//! Posting: what waits in a circle's outbox, a batch at a time, and how long the relay has it wait.

use super::{Attach, Cx, Leg, LinkEvent, Post, RelayLink, Socket, http};
use crate::{
    config::{MAX_BATCH, MAX_BATCH_BYTES, MAX_HOLD_MS},
    ids::CircleHint,
};

/// What is refused for less than this is no news, in milliseconds.
const MOMENT_MS: u64 = 4_000;

/// What a relay refuses for now.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// It is not asked again before this time.
    pub(super) until: u64,
    /// When it was refused first, of the times in a row.
    since: Option<u64>,
    /// What the relay says; empty while it refuses nothing.
    pub(super) reason: String,
    /// It is more than what is over in a moment.
    pub(super) lasts: bool,
}

impl Hold {
    /// Notes a refusal; says whether it turns out only now to be one that lasts. It is asked again within a minute whatever
    /// the relay says: it may have been given room.
    pub(super) fn refused(&mut self, now: u64, ms: u64, reason: String) -> bool {
        self.until = now + ms.clamp(1_000, MAX_HOLD_MS);
        self.reason = reason;
        let since = *self.since.get_or_insert(now);
        let lasts = self.lasts || ms > MAX_HOLD_MS || now - since >= MOMENT_MS;
        lasts && !std::mem::replace(&mut self.lasts, true)
    }

    /// It is asked now: how long it was refused until then says nothing.
    pub(super) fn retry(&mut self) {
        (self.until, self.since) = (0, None);
    }

    /// It is refused no longer; says whether it was.
    pub(super) fn over(&mut self) -> bool {
        (self.since, self.lasts) = (None, false);
        !std::mem::take(&mut self.reason).is_empty()
    }
}

impl RelayLink {
    pub(super) fn flush_outbox(&mut self, hint: CircleHint, cx: &mut Cx<'_>) {
        let Some(leg) = self.legs.get(&hint) else { return };
        if leg.post.is_some() || leg.outbox.is_empty() || cx.now.mono < leg.post_hold.until {
            return;
        }
        // While polling, a socket that has not answered yet is no way to post.
        let attached = leg.attach == Attach::Live || (leg.attach == Attach::Sent && !self.polling);
        match self.socket {
            Socket::Open { conn, .. } if attached => self.post_frame(hint, conn, cx),
            _ if self.polling => self.ask(hint, http::Asked::Post, cx),
            _ => {}
        }
    }

    /// What was posted over the socket and not answered in time is posted again: the socket may be all right otherwise.
    pub(super) fn check_posts(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        let is_late = |leg: &Leg| matches!(leg.post, Some(Post::Socket(..))) && now >= leg.post_by;
        let late: Vec<CircleHint> =
            self.legs.iter().filter(|(_, leg)| is_late(leg)).map(|(hint, _)| *hint).collect();
        for hint in late {
            let reason = "what was posted is not confirmed".into();
            self.misanswered(hint, http::Asked::Post, reason, 0, cx);
        }
    }

    /// How many envelopes of the outbox's front fit into one post.
    pub(super) fn batch_len(leg: &Leg) -> usize {
        let mut bytes = 0;
        let fits = leg.outbox.iter().take(leg.batch).take_while(|(_, sealed)| {
            bytes += sealed.len();
            bytes <= MAX_BATCH_BYTES
        });
        fits.count().max(1).min(leg.outbox.len())
    }

    /// The front of the outbox was stored.
    pub(super) fn posted(&mut self, hint: CircleHint, count: usize, cx: &mut Cx<'_>) {
        let Some(leg) = self.legs.get_mut(&hint) else { return };
        leg.post = None;
        leg.post_failures = 0;
        leg.batch = MAX_BATCH;
        let ids = leg.outbox.drain(..count.min(leg.outbox.len())).map(|(id, _)| id).collect();
        if leg.post_hold.over() {
            cx.events.push(LinkEvent::Changed);
        }
        cx.events.push(LinkEvent::Stored { hint, ids });
    }

    /// The front of the outbox was refused for good. Of several, the one at fault is looked for by posting them
    /// one by one; a single one is given up.
    pub(super) fn post_refused(&mut self, hint: CircleHint, count: usize, reason: String, cx: &mut Cx<'_>) {
        let Some(leg) = self.legs.get_mut(&hint) else { return };
        leg.post = None;
        if leg.post_hold.over() {
            cx.events.push(LinkEvent::Changed);
        }
        if count > 1 {
            leg.batch = 1;
        } else if let Some((id, _)) = leg.outbox.pop_front() {
            cx.events.push(LinkEvent::Rejected { hint, id, reason });
        }
    }

    /// The relay has no room for so many, but may have some for fewer.
    pub(super) fn halve_batch(&mut self, hint: CircleHint, count: usize) {
        if let Some(leg) = self.legs.get_mut(&hint) {
            (leg.post, leg.batch) = (None, count / 2);
        }
    }

    /// The front of the outbox is refused for now. Reading goes on, and so does everything else.
    pub(super) fn hold_posts(&mut self, hint: CircleHint, ms: u64, reason: String, cx: &mut Cx<'_>) {
        let Some(leg) = self.legs.get_mut(&hint) else { return };
        leg.post = None;
        if leg.post_hold.refused(cx.now.mono, ms, reason.clone()) {
            cx.events.push(LinkEvent::Held { hint, reason });
        }
        cx.events.push(LinkEvent::Changed);
    }
}
