//! Tokens that open a WebSocket, or attach a circle to one that is open: random, good once, bound to a node and a circle,
//! short-lived.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use felund_core::{
    config::TOKEN_TTL_S,
    ids::{NodeId, base64_encode},
};

use crate::{auth::Caller, error::ApiError, store::Circle};

/// Most tokens waiting to be used. They are handed to authenticated nodes only, at a limited rate.
const MAX_TOKENS: usize = 100_000;

struct Granted {
    caller: Caller,
    until: Instant,
}

/// All tokens not used yet.
#[derive(Default)]
pub(crate) struct Tokens {
    granted: Mutex<HashMap<String, Granted>>,
}

impl Tokens {
    /// Makes a token.
    pub(crate) fn grant(&self, circle: Arc<Circle>, node: NodeId) -> Result<String, ApiError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|_| ApiError::unavailable("the relay has no random numbers; try again later"))?;
        let token = base64_encode(&bytes);
        let now = Instant::now();
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        if granted.len() >= MAX_TOKENS {
            granted.retain(|_, grant| grant.until > now);
        }
        if granted.len() >= MAX_TOKENS {
            return Err(ApiError::unavailable("too many sessions are being opened; try again later"));
        }
        let until = now + Duration::from_secs(TOKEN_TTL_S);
        granted.insert(token.clone(), Granted { caller: Caller { node, circle }, until });
        Ok(token)
    }

    /// Uses a token up.
    pub(crate) fn take(&self, token: &str) -> Option<Caller> {
        let grant = self.granted.lock().unwrap_or_else(PoisonError::into_inner).remove(token)?;
        (grant.until > Instant::now()).then_some(grant.caller)
    }

    /// Forgets what has expired.
    pub(crate) fn expire(&self) {
        let now = Instant::now();
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        granted.retain(|_, grant| grant.until > now);
        if granted.capacity() > 4 * granted.len() + 1024 {
            granted.shrink_to_fit();
        }
    }
}
