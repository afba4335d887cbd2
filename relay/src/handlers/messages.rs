//! `/v1/messages`: the log of sealed envelopes.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use felund_core::{
    config::MAX_BATCH,
    envelope::Envelope,
    ids::Cursor,
    relay_api::{MessagesResponse, PostMessages, PostMessagesResponse, StoredEnvelope},
};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::{Answer, ok, ok_held};
use crate::{
    app::App,
    auth::{JsonBody, NoBody, NoQuery, Signed},
    clock,
    error::ApiError,
    socket::{check_kept, refused_envelope, store_error},
    store::{Append, Item, StoreError},
    verify,
};

const DEFAULT_LIMIT: usize = 100;
/// Most bytes of envelopes in one answer, beyond the first envelope.
const MAX_PAGE_BYTES: usize = 1024 * 1024;

/// Stores sealed envelopes; answered only once they are durable. Repeating a post changes nothing.
#[utoipa::path(post, operation_id = "postMessages", path = "/v1/messages", tag = "messages", request_body = PostMessages,
    responses((status = 200, description = "durable, each with its cursor", body = PostMessagesResponse), crate::error::Refused))]
pub(crate) async fn post(
    State(app): State<Arc<App>>,
    Signed { caller, body: JsonBody(request), held, .. }: Signed<NoQuery, JsonBody<PostMessages>>,
) -> Answer<PostMessagesResponse> {
    let count = request.messages.len();
    if count > MAX_BATCH {
        return Err(ApiError::too_large(format!(
            "more than {MAX_BATCH} envelopes in a batch; nothing was stored, send smaller batches"
        )));
    }
    app.limits.node(&caller.node, count.saturating_sub(1))?;
    request.messages.iter().try_for_each(check_kept)?;
    let envelopes = request
        .messages
        .into_iter()
        .map(|envelope| {
            let bytes = envelope.to_cbor().into();
            (envelope, bytes)
        })
        .collect();
    let items: Result<Vec<Item>, _> = verify::all(envelopes).await.into_iter().collect();
    let items = items.map_err(|e| refused_envelope(&e))?;
    let (reply, answer) = oneshot::channel();
    let payer = held.payer(caller.node);
    // Whoever has stopped waiting finds the envelopes stored when it asks again; until then they take memory.
    let reply = Box::new(move |result| {
        drop(held);
        drop(reply.send(result));
    });
    app.store.append(Append { circle: caller.circle, items, payer, reply });
    let stored = answer.await.unwrap_or(Err(StoreError::Stopped)).map_err(|e| store_error(&e))?;
    ok(PostMessagesResponse { ok: true, stored })
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct MessagesQuery {
    /// The last cursor the caller holds; from the beginning without it.
    after: Option<Cursor>,
    /// How many at most. More than 256 count as 256, and 0 as 1.
    #[param(value_type = Option<usize>, maximum = 4_294_967_295_u32, default = 100)]
    limit: Option<u32>,
}

/// Envelopes after a cursor, in log order. Nothing is ever skipped or repeated.
#[utoipa::path(get, operation_id = "listMessages", path = "/v1/messages", tag = "messages", params(MessagesQuery),
    responses((status = 200, description = "envelopes in log order", body = MessagesResponse), crate::error::Refused))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Signed { caller, query, held, .. }: Signed<MessagesQuery, NoBody>,
) -> Result<Response, ApiError> {
    let after = app.store.in_log(query.after.unwrap_or_default());
    app.hub.with_existing(&caller.circle.hint, |room| room.polled(&caller.node, clock::unix_seconds()));
    let limit = query.limit.map_or(DEFAULT_LIMIT, |limit| limit as usize).clamp(1, MAX_BATCH);
    let page = app.store.page(&caller.circle, after, limit, MAX_PAGE_BYTES).await;
    let page = page.map_err(|e| {
        tracing::error!("the log cannot be read: {e}");
        ApiError::unavailable(
            "the relay cannot read its log at the moment; nothing was lost, try again later",
        )
    })?;
    let next = page.messages.last().map_or(after, |(cursor, _)| *cursor);
    let mut messages = Vec::with_capacity(page.messages.len());
    for (cursor, bytes) in page.messages {
        // A damaged one cannot be given out; the others behind it must not wait for it for ever.
        match Envelope::from_cbor(&bytes) {
            Ok(envelope) => messages.push(StoredEnvelope { cursor, envelope }),
            Err(e) => tracing::error!("a stored envelope is damaged on disk and was left out: {e}"),
        }
    }
    ok_held(held, &MessagesResponse { ok: true, messages, next, more: page.more })
}
