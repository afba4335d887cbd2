//! What all handlers share, and the periodic work that belongs to nobody else.

use std::{sync::Arc, time::Duration};

use felund_core::{
    config::{MAX_SIGNAL_LEN, SIGNAL_TTL_MAX_S, SIGNAL_TTL_MIN_S},
    ids::{CircleHint, Cursor, NodeId},
    relay_api::{Signal, SignalAccepted, SignalRequest},
};

use crate::{
    clock, config::Config, error::ApiError, hub::Hub, limits::Limits, memory::Memory, metrics::METRICS,
    nonce::Nonces, socket::Sockets, store::Store, tokens::Tokens, web::Assets,
};

/// Period of the sweep over sockets, presences and tokens.
const SWEEP: Duration = Duration::from_secs(2);
/// Callers whose limits are held before those that have been quiet are looked for at every sweep.
const MANY_CALLERS: usize = 50_000;
/// Sweeps between two prunings of the log.
const SWEEPS_PER_PRUNE: u32 = 300;

/// The relay's state.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) store: Arc<Store>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) sockets: Sockets,
    pub(crate) tokens: Tokens,
    pub(crate) nonces: Nonces,
    pub(crate) limits: Limits,
    pub(crate) memory: Arc<Memory>,
    pub(crate) assets: Assets,
    /// Where its own STUN server is.
    pub(crate) stun_port: Option<u16>,
}

impl App {
    /// Takes in a signaling message, from HTTP or a socket.
    pub(crate) fn take_signal(
        &self,
        hint: CircleHint,
        from: NodeId,
        request: SignalRequest,
    ) -> Result<SignalAccepted, ApiError> {
        self.limits.signal(&from)?;
        check_session_id(&request.session_id)?;
        if request.payload.0.len() > MAX_SIGNAL_LEN {
            return Err(ApiError::too_large(format!(
                "the payload is larger than {MAX_SIGNAL_LEN} bytes; nothing was sent"
            )));
        }
        let now = clock::unix_seconds();
        let expires_at = now + request.ttl_s.clamp(SIGNAL_TTL_MIN_S, SIGNAL_TTL_MAX_S);
        let cursor = Cursor(self.hub.next_signal());
        let signal = Signal {
            cursor,
            session_id: request.session_id,
            from_node_id: from,
            kind: request.kind,
            payload: request.payload,
            expires_at,
        };
        let taken = self.hub.with(&hint, |room| room.signal(hint, request.to_node_id, signal, now));
        taken.map_err(|_| ApiError::rate_limited(Duration::from_secs(SIGNAL_TTL_MIN_S)))?;
        METRICS.signals.add(1);
        Ok(SignalAccepted { ok: true, cursor, expires_at })
    }

    /// Runs until cancelled.
    pub(crate) async fn maintain(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sweeps = 0u32;
        loop {
            ticks.tick().await;
            self.sockets.sweep(self.config.stall_timeout);
            self.hub.sweep(clock::unix_seconds());
            self.tokens.expire();
            self.limits.forget_idle(MANY_CALLERS);
            if sweeps.is_multiple_of(SWEEPS_PER_PRUNE) {
                self.limits.forget_idle(0);
                self.prune().await;
            }
            sweeps = sweeps.wrapping_add(1);
        }
    }

    /// Removes what is older than the operator wants, in small steps between which posts get their turn.
    async fn prune(&self) {
        let ttl = u64::from(self.config.message_ttl) * 24 * 60 * 60;
        let before = clock::unix_seconds().saturating_sub(ttl);
        loop {
            match self.store.prune(before).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!("old messages were not removed, the next try is in ten minutes: {error}");
                    return;
                }
            }
        }
    }
}

/// Up to 64 characters of `A–Z a–z 0–9 _ -`.
pub(crate) fn check_session_id(id: &str) -> Result<(), ApiError> {
    let good = (1..=64).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if good {
        Ok(())
    } else {
        Err(ApiError::bad_request("session_id: 1 to 64 characters of A–Z a–z 0–9 _ -"))
    }
}
