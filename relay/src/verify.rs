//! Checking authors' signatures without keeping the sockets waiting: a few inline, many on the blocking pool.

use std::sync::LazyLock;

use bytes::Bytes;
use felund_core::envelope::{Envelope, EnvelopeError, Verified, verify_all};
use tokio::sync::Semaphore;

use crate::store::Item;

/// Up to this many are checked where they are; each takes some tens of microseconds.
const INLINE: usize = 8;

/// From this many on they are checked together.
const BATCH: usize = 4;

/// No more threads check signatures than there are cores.
static CORES: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)));

/// Checks every envelope; answers one result each, in order. The bytes are the envelope's CBOR.
pub(crate) async fn all(envelopes: Vec<(Envelope, Bytes)>) -> Vec<Result<Item, EnvelopeError>> {
    let count = envelopes.len();
    if count <= INLINE {
        return check(envelopes);
    }
    // The semaphore is never closed; without a permit the work is still right, only less bounded.
    let _permit = CORES.acquire().await;
    match tokio::task::spawn_blocking(move || check(envelopes)).await {
        Ok(results) => results,
        Err(_) => (0..count).map(|_| Err(EnvelopeError::BadSignature)).collect(),
    }
}

fn check(envelopes: Vec<(Envelope, Bytes)>) -> Vec<Result<Item, EnvelopeError>> {
    if envelopes.len() < BATCH {
        return envelopes.into_iter().map(|(envelope, bytes)| item(envelope.verify(), bytes)).collect();
    }
    let (envelopes, bytes): (Vec<_>, Vec<_>) = envelopes.into_iter().unzip();
    verify_all(envelopes).into_iter().zip(bytes).map(|(verified, bytes)| item(verified, bytes)).collect()
}

fn item(verified: Result<Verified, EnvelopeError>, bytes: Bytes) -> Result<Item, EnvelopeError> {
    let verified = verified?;
    Ok(Item::new(verified.header(), bytes))
}
