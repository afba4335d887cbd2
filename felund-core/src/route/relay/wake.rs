//! Waking: any connection from before may have died without a word, the socket as well as those that browsers and HTTP
//! libraries keep for the next request. Neither is waited for longer than a moment, and a socket is opened anew with a
//! ticket, which needs no request.

use super::{Attach, Cx, Post, RelayLink, http};
use crate::{
    config::{HTTP_TIMEOUT_MS, MAX_HOLD_MS, WAKE_PATIENCE_MAX_MS, WAKE_PATIENCE_MS, WAKE_PROBE_MS},
    ids::CircleHint,
    io::HttpId,
};

/// While a circle's socket is live, a request that failed is repeated after this long, in milliseconds.
const LIVE_RETRY_MS: u64 = 5_000;

impl RelayLink {
    /// The device woke or the network changed: whatever was being waited for is tried now, and a socket that does not
    /// answer soon is replaced.
    pub(crate) fn wake(&mut self, cx: &mut Cx<'_>) {
        // The clock that credentials end by may have gone on without this one.
        (self.retry_at, self.dial_at, self.failures, self.ice_at) = (0, 0, 0, 0);
        self.short_lived = 0;
        for leg in self.legs.values_mut() {
            (leg.poll_at, leg.poll_failures, leg.post_failures) = (0, 0, 0);
            leg.hold.retry();
            leg.poll_hold.retry();
            leg.post_hold.retry();
        }
        self.patience_ms = WAKE_PATIENCE_MS;
        self.forget_requests();
        self.tickets = self.socket_url.is_some();
        self.probe(WAKE_PROBE_MS, cx);
    }

    /// Gives up what was asked with more patience than there is now. All of it may be asked twice: envelopes have ids.
    fn forget_requests(&mut self) {
        self.requests.retain(|_, asking| asking.within_ms <= self.patience_ms);
        let asked = |id: &HttpId| self.requests.contains_key(id);
        self.ice = self.ice.filter(asked);
        for leg in self.legs.values_mut() {
            for request in
                [&mut leg.register, &mut leg.session, &mut leg.poll, &mut leg.peers, &mut leg.signals]
            {
                *request = request.filter(asked);
            }
            leg.post = leg.post.filter(|post| !matches!(post, Post::Http(id, _) if !asked(id)));
        }
    }

    /// A request failed. One that had less time than usual may have gone into a dead connection, which says nothing of the
    /// relay: the next goes at once and gets twice the time.
    pub(super) fn unanswered(&mut self, asking: http::Asking, reason: String, cx: &mut Cx<'_>) {
        if asking.within_ms < WAKE_PATIENCE_MAX_MS {
            self.patience_ms = self.patience_ms.max(2 * asking.within_ms);
            if asking.asked == http::Asked::Ice {
                self.ice_at = 0;
            }
        } else {
            self.patience_ms = HTTP_TIMEOUT_MS;
            // Where everything else is answered it is this answer that cannot be taken, as one that is too large.
            if asking.asked == http::Asked::Poll && self.failures == 0 {
                self.hold_poll(asking.hint, 0, reason.clone(), cx);
            }
            self.failed(asking.hint, reason, 0, cx);
        }
    }

    /// How the relay is its socket says, where there is one: a browser may ask over a connection that is dead, and knows of
    /// no other.
    pub(super) fn failed(&mut self, hint: CircleHint, reason: String, at_least_ms: u64, cx: &mut Cx<'_>) {
        match self.legs.get_mut(&hint) {
            Some(leg) if leg.attach == Attach::Live => {
                let wait = at_least_ms.clamp(LIVE_RETRY_MS, MAX_HOLD_MS);
                leg.register_at = leg.register_at.max(cx.now.mono + wait);
            }
            _ => self.fail(reason, at_least_ms, cx),
        }
    }
}
