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
    let mut seed = [0; 32];
    if envelopes.len() < BATCH || getrandom::fill(&mut seed).is_err() {
        return envelopes.into_iter().map(|(envelope, bytes)| item(envelope.verify(), bytes)).collect();
    }
    let (envelopes, bytes): (Vec<_>, Vec<_>) = envelopes.into_iter().unzip();
    verify_all(envelopes, seed)
        .into_iter()
        .zip(bytes)
        .map(|(verified, bytes)| item(verified, bytes))
        .collect()
}

fn item(verified: Result<Verified, EnvelopeError>, bytes: Bytes) -> Result<Item, EnvelopeError> {
    let verified = verified?;
    Ok(Item::new(verified.header(), bytes))
}

#[cfg(test)]
mod tests {
    use felund_core::{
        envelope::{Compression, Header},
        ids::{ChannelId, CircleId, MsgId, NodeId},
    };

    use super::*;

    #[test]
    fn a_batch_under_a_key_with_which_anybody_can_sign_is_refused() {
        // The neutral point, which is its own signature whatever it is said to sign.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut sig = [0; 64];
        sig[..32].copy_from_slice(&neutral);
        let envelope = |id| {
            let header = Header {
                msg_id: MsgId([id; 16]),
                circle_id: CircleId([1; 16]),
                channel_id: ChannelId([1; 16]),
                author_node_id: NodeId(neutral),
                created_ts: 1,
                kind: "chat.text".into(),
                key_id: "epoch-0".into(),
                compression: Compression::None,
            };
            let envelope = Envelope::new(header, [0; 12], vec![id; 300], sig).unwrap();
            let bytes = envelope.to_cbor().into();
            (envelope, bytes)
        };
        for count in [1, BATCH as u8, 50] {
            for result in check((0..count).map(envelope).collect()) {
                assert_eq!(result.err(), Some(EnvelopeError::BadSignature));
            }
        }
    }
}
