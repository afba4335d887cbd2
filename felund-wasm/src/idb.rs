//! The storage contract over IndexedDB.
//!
//! rexie makes the schema and reads. Writes go through a connection of our own, because only the raw transaction
//! takes a durability: strict where the user was told that something is kept, relaxed (some twenty times faster)
//! where others can send it again. A write is one synchronous block of requests and one wait for the transaction's
//! end, for a transaction commits by itself as soon as anything else is awaited.
//!
//! Keys are bytes, so that they sort as the contract wants: an envelope's primary key is circle, big-endian clock,
//! id, and behind them what the index needs (channel, author, whether it is chat), so that reading a circle's index
//! touches no envelope. The unique index `order` holds the key proper; `channel` orders a channel's envelopes.

use felund_core::{
    ids::{ChannelId, CircleId, MsgId, NodeId},
    sorted::SortedMap,
    store::{Batch, IndexRow, Loaded, Op, Query, Row, Store},
    view::Key,
};
use futures_util::future::join;
use js_sys::{Array, Promise, Uint8Array};
use rexie::{Index, KeyRange, ObjectStore, Rexie, TransactionMode};
use wasm_bindgen::{JsCast, JsValue, closure::Closure, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use web_sys::{DomException, Event, IdbDatabase, IdbRequest, IdbTransaction};

use crate::{
    ahead::Rows,
    browser::{self, explain, get, object},
    index::{Changes, PAGES, PAGES_END, Pages},
};

const RECORDS: &str = "records";
const ENVELOPES: &str = "envelopes";
/// Index over the property `u`: circle, clock, id.
const ORDER: &str = "order";
/// Index over the property `c`: circle, channel, clock, id.
const CHANNEL: &str = "channel";
/// Circle, clock, id.
pub(crate) const ORDER_LEN: usize = 16 + 8 + 16;
/// The same, channel, author, chat.
pub(crate) const PRIMARY_LEN: usize = ORDER_LEN + 16 + 32 + 1;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(extends = IdbDatabase)]
    #[derive(Debug)]
    type Database;
    #[wasm_bindgen(method, catch, js_name = transaction)]
    fn begin(
        this: &Database,
        stores: &Array,
        mode: &str,
        options: &JsValue,
    ) -> Result<IdbTransaction, JsValue>;
}

/// Envelopes and records of one node in the browser's database.
#[derive(Debug)]
pub struct IdbStore {
    reader: Rexie,
    writer: Database,
    /// What the page has read, until it is asked for or written over.
    ahead: Option<Rows>,
    pages: Pages,
}

impl IdbStore {
    /// Opens the database of this name, making it when there is none; an error names the cause.
    pub async fn open(name: &str) -> Result<Self, String> {
        Self::open_after(None, name).await
    }

    /// As [`Self::open`], where the page has read what it holds.
    pub(crate) async fn open_after(ahead: Option<Rows>, name: &str) -> Result<Self, String> {
        let reader = Rexie::builder(name)
            .version(1)
            .add_object_store(ObjectStore::new(RECORDS))
            .add_object_store(
                ObjectStore::new(ENVELOPES)
                    .add_index(Index::new(ORDER, "u").unique(true))
                    .add_index(Index::new(CHANNEL, "c")),
            )
            .build();
        // The browser opens them in this order, so the second finds what the first has made.
        match join(reader, connect(name)).await {
            (Ok(reader), Ok(writer)) => Ok(Self { reader, writer, ahead, pages: Pages::default() }),
            (Ok(_), Err(error)) => Err(cause(&error)),
            (Err(error), writer) => {
                if let Ok(writer) = writer {
                    writer.close();
                }
                Err(describe(error))
            }
        }
    }

    /// Queues all requests of a batch; nothing is awaited until the last is queued.
    fn write(
        &self,
        batch: &Batch,
        pages: &Changes,
    ) -> Result<(IdbTransaction, Promise, Option<IdbRequest>), JsValue> {
        let durability = if batch.strict { "strict" } else { "relaxed" };
        let options = object(&[("durability", durability.into())]);
        let stores = Array::of2(&RECORDS.into(), &ENVELOPES.into());
        let transaction = self.writer.begin(&stores, "readwrite", &options)?;
        let finished = finished(&transaction);
        let queued = || {
            let envelopes = transaction.object_store(ENVELOPES)?;
            let count = pages.expected.map(|_| envelopes.count()).transpose()?;
            queue(&transaction, &batch.ops)?;
            queue_pages(&transaction, pages)?;
            Ok(count)
        };
        match queued() {
            Ok(count) => Ok((transaction, finished, count)),
            Err(error) => {
                // Fails only when the transaction is over already.
                let _ = transaction.abort();
                Err(error)
            }
        }
    }

    async fn stored(&self) -> Result<(Vec<JsValue>, Vec<JsValue>), rexie::Error> {
        let transaction = self.reader.transaction(&[RECORDS], TransactionMode::ReadOnly)?;
        let store = transaction.store(RECORDS)?;
        let (names, values) = join(store.get_all_keys(None, None), store.get_all(None, None)).await;
        Ok((names?, values?))
    }

    /// The records; what lies beside them of the index is kept for when that is asked for.
    async fn records(&mut self) -> Result<Vec<(String, Vec<u8>)>, rexie::Error> {
        let ahead = self.ahead.take();
        let alone = ahead.is_some();
        let (names, values, keys) = match ahead {
            Some(rows) => (rows.names, rows.values, rows.keys),
            None => {
                let (names, values) = self.stored().await?;
                (names, values, None)
            }
        };
        let (pages, records): (Vec<_>, Vec<_>) =
            named(&names, &values).into_iter().partition(|(name, _)| name.starts_with(PAGES));
        let tag = (js_sys::Math::random() * f64::from(u32::MAX)) as u32;
        self.pages = match keys {
            Some(keys) if pages.is_empty() => Pages::of_keys(keys, tag),
            // One of before the pages.
            None if pages.is_empty() && !records.is_empty() => Pages::default(),
            _ => Pages::of_pages(&pages, tag, alone),
        };
        Ok(records)
    }

    async fn index(&self, circle: CircleId) -> Result<Vec<IndexRow>, rexie::Error> {
        if let Some(rows) = self.pages.rows() {
            return Ok(index_rows(circle, rows));
        }
        let transaction = self.reader.transaction(&[ENVELOPES], TransactionMode::ReadOnly)?;
        let store = transaction.store(ENVELOPES)?;
        let keys = store.get_all_keys(Some(prefixed(circle.as_bytes())?), None).await?;
        Ok(index_rows(circle, &keys.iter().flat_map(bytes).collect::<Vec<u8>>()))
    }

    async fn channel(
        &self,
        circle: CircleId,
        channel: ChannelId,
        from: Option<Key>,
        before: Option<Key>,
    ) -> Result<Vec<(Key, Vec<u8>)>, rexie::Error> {
        let transaction = self.reader.transaction(&[ENVELOPES], TransactionMode::ReadOnly)?;
        let index = transaction.store(ENVELOPES)?.index(CHANNEL)?;
        let prefix = [circle.as_bytes().as_slice(), channel.as_bytes()].concat();
        let key = |key: Key| [prefix.as_slice(), &key.ts.to_be_bytes(), key.id.as_bytes()].concat();
        let lower = from.map_or_else(|| prefix.clone(), key);
        let upper = before.map_or_else(|| [prefix.as_slice(), &[0xff; 25]].concat(), key);
        if lower >= upper {
            // IndexedDB takes an empty range for an error.
            return Ok(Vec::new());
        }
        let range = KeyRange::bound(&binary(&lower), &binary(&upper), None, Some(true))?;
        let rows = index.get_all(Some(range), None).await?;
        Ok(rows.iter().rev().filter_map(envelope).collect())
    }

    async fn envelopes(&self, circle: CircleId, keys: &[Key]) -> Result<Vec<(Key, Vec<u8>)>, rexie::Error> {
        let (Some(first), Some(last)) = (keys.iter().min(), keys.iter().max()) else { return Ok(Vec::new()) };
        let transaction = self.reader.transaction(&[ENVELOPES], TransactionMode::ReadOnly)?;
        let index = transaction.store(ENVELOPES)?.index(ORDER)?;
        let (lower, upper) = (binary(&order(circle, *first)), binary(&order(circle, *last)));
        let count = index.count(Some(KeyRange::bound(&lower, &upper, None, None)?)).await?;
        let mut found = Vec::with_capacity(keys.len());
        if count as usize <= 4 * keys.len() + 16 {
            // Most of what lies between is wanted: one request for all of it.
            let rows = index.get_all(Some(KeyRange::bound(&lower, &upper, None, None)?), None).await?;
            let rows: SortedMap<Key, &JsValue> =
                rows.iter().filter_map(|row| Some((key_of(row)?, row))).collect();
            found.extend(keys.iter().filter_map(|key| rows.get(key).copied().and_then(envelope)));
        } else {
            for key in keys {
                let row = index.get(binary(&order(circle, *key)).into()).await?;
                found.extend(row.as_ref().and_then(envelope));
            }
        }
        Ok(found)
    }
}

impl Drop for IdbStore {
    fn drop(&mut self) {
        self.writer.close();
    }
}

impl Store for IdbStore {
    async fn commit(&mut self, batch: Batch) -> Result<(), String> {
        self.ahead = None;
        let (changes, pages) = self.pages.changes(&batch);
        let (transaction, finished, count) = self.write(&batch, &changes).map_err(|error| cause(&error))?;
        match JsFuture::from(finished).await {
            Ok(_) => {
                let count = count.and_then(|count| count.result().ok()?.as_f64());
                if count.map(|count| count as usize) == changes.expected {
                    self.pages.wrote(pages);
                }
                Ok(())
            }
            Err(_) => Err(cause(&transaction.error().map_or(JsValue::NULL, JsValue::from))),
        }
    }

    async fn load(&mut self, query: Query) -> Result<Loaded, String> {
        let loaded = match query {
            Query::Records => self.records().await.map(Loaded::Records),
            Query::Index(circle) => self.index(circle).await.map(Loaded::Index),
            Query::Channel { circle, channel, from, before } => {
                self.channel(circle, channel, from, before).await.map(Loaded::Envelopes)
            }
            Query::Envelopes(circle, keys) => self.envelopes(circle, &keys).await.map(Loaded::Envelopes),
        };
        loaded.map_err(describe)
    }
}

fn queue(transaction: &IdbTransaction, ops: &[Op]) -> Result<(), JsValue> {
    let records = transaction.object_store(RECORDS)?;
    let envelopes = transaction.object_store(ENVELOPES)?;
    for op in ops {
        match op {
            Op::PutRecord(key, value) => {
                records.put_with_key(&binary(value), &JsValue::from_str(key))?;
            }
            Op::DeleteRecord(key) => {
                records.delete(&JsValue::from_str(key))?;
            }
            Op::PutEnvelope(row) => {
                envelopes.add_with_key(&value(row), &binary(&primary(row)))?;
            }
            Op::DeleteEnvelopes(circle, keys) => {
                for key in keys {
                    envelopes.delete(&range(&order(*circle, *key))?)?;
                }
            }
            Op::DeleteCircle(circle) => {
                envelopes.delete(&range(circle.as_bytes())?)?;
            }
        }
    }
    Ok(())
}

/// After the batch, which may leave nothing to be written at all.
fn queue_pages(transaction: &IdbTransaction, pages: &Changes) -> Result<(), JsValue> {
    let records = transaction.object_store(RECORDS)?;
    if pages.remove {
        records.delete(&raw(all_pages())?)?;
    }
    for (name, page) in &pages.put {
        records.put_with_key(&binary(page), &JsValue::from_str(name))?;
    }
    Ok(())
}

/// Settles when the transaction is durable or has been undone. An envelope that is there already is refused by the
/// unique index; that alone does not undo the rest.
fn finished(transaction: &IdbTransaction) -> Promise {
    Promise::new(&mut |resolve, reject| {
        transaction.set_oncomplete(Some(&resolve));
        transaction.set_onabort(Some(&reject));
        transaction.set_onerror(Some(&keep_first()));
    })
}

/// One handler for every transaction of the page: it holds nothing of any of them.
fn keep_first() -> js_sys::Function {
    thread_local! {
        static HANDLER: Closure<dyn FnMut(Event)> = Closure::new(|event: Event| {
            let request = event.target().and_then(|target| target.dyn_into::<IdbRequest>().ok());
            let error = request.and_then(|request| request.error().ok().flatten());
            if error.is_some_and(|error| error.name() == "ConstraintError") {
                event.prevent_default();
                event.stop_propagation();
            }
        });
    }
    HANDLER.with(|handler| handler.as_ref().unchecked_ref::<js_sys::Function>().clone())
}

async fn connect(name: &str) -> Result<Database, JsValue> {
    let window = browser::window().ok_or("no window")?;
    let factory = window.indexed_db()?.ok_or("no IndexedDB")?;
    let request = factory.open(name)?;
    let opened = Promise::new(&mut |resolve, reject| {
        request.set_onsuccess(Some(&resolve));
        request.set_onerror(Some(&reject));
    });
    let opened = JsFuture::from(opened).await;
    request.set_onsuccess(None);
    request.set_onerror(None);
    match opened {
        Ok(_) => Ok(request.result()?.unchecked_into()),
        Err(_) => Err(request.error()?.map_or(JsValue::NULL, JsValue::from)),
    }
}

pub(crate) fn order(circle: CircleId, key: Key) -> Vec<u8> {
    [circle.as_bytes().as_slice(), &key.ts.to_be_bytes(), key.id.as_bytes()].concat()
}

pub(crate) fn primary(row: &Row) -> Vec<u8> {
    let chat = [u8::from(row.chat)];
    [&order(row.circle, row.key), row.channel.as_bytes().as_slice(), row.author.as_bytes(), &chat].concat()
}

fn value(row: &Row) -> JsValue {
    let order = order(row.circle, row.key);
    let (circle, key) = order.split_at(CircleId::LEN);
    let channel = [circle, row.channel.as_bytes(), key].concat();
    let properties =
        [("u", binary(&order).into()), ("c", binary(&channel).into()), ("s", binary(&row.sealed).into())];
    object(&properties).into()
}

fn binary(bytes: &[u8]) -> Uint8Array {
    Uint8Array::from(bytes)
}

fn bytes(value: &JsValue) -> Vec<u8> {
    Uint8Array::new(value).to_vec()
}

/// All keys that begin so: none is longer than a primary key.
fn prefixed(prefix: &[u8]) -> Result<KeyRange, rexie::Error> {
    let upper = [prefix, &[0xff; PRIMARY_LEN]].concat();
    Ok(KeyRange::bound(&binary(prefix), &binary(&upper), None, None)?)
}

/// As [`prefixed`], for the raw connection.
fn range(prefix: &[u8]) -> Result<JsValue, JsValue> {
    raw(prefixed(prefix))
}

fn raw(range: Result<KeyRange, rexie::Error>) -> Result<JsValue, JsValue> {
    range.map(JsValue::from).map_err(|error| JsValue::from_str(&describe(error)))
}

/// The names of all pages of the index.
fn all_pages() -> Result<KeyRange, rexie::Error> {
    Ok(KeyRange::bound(&JsValue::from_str(PAGES), &JsValue::from_str(PAGES_END), None, Some(true))?)
}

fn key_at(order: &[u8]) -> Option<Key> {
    let ts = u64::from_be_bytes(order.get(16..24)?.try_into().ok()?);
    Some(Key { ts, id: MsgId(order.get(24..40)?.try_into().ok()?) })
}

fn named(names: &[JsValue], values: &[JsValue]) -> Vec<(String, Vec<u8>)> {
    names.iter().zip(values).filter_map(|(name, value)| Some((name.as_string()?, bytes(value)))).collect()
}

/// What primary keys, one behind the other, say of a circle's envelopes.
fn index_rows(circle: CircleId, keys: &[u8]) -> Vec<IndexRow> {
    let keys = keys.chunks_exact(PRIMARY_LEN);
    keys.filter(|key| key.starts_with(circle.as_bytes())).filter_map(index_row).collect()
}

fn index_row(primary: &[u8]) -> Option<IndexRow> {
    let primary: &[u8; PRIMARY_LEN] = primary.try_into().ok()?;
    Some(IndexRow {
        key: key_at(primary)?,
        channel: ChannelId(primary[40..56].try_into().ok()?),
        author: NodeId(primary[56..88].try_into().ok()?),
        chat: primary[88] != 0,
        size: 0,
    })
}

fn key_of(row: &JsValue) -> Option<Key> {
    key_at(&bytes(&get(row, "u")?))
}

fn envelope(row: &JsValue) -> Option<(Key, Vec<u8>)> {
    Some((key_of(row)?, bytes(&get(row, "s")?)))
}

/// What failed, for people; the node says what became of the message.
fn cause(error: &JsValue) -> String {
    match error.dyn_ref::<DomException>().map(DomException::name).as_deref() {
        Some("QuotaExceededError") => "the browser's storage for this site is full; free some space on the \
                                       device, or keep fewer messages (settings)"
            .into(),
        Some("InvalidStateError") => "the browser has closed its storage; reload the page".into(),
        Some("SecurityError") => "the browser refuses storage to this site".into(),
        _ => ["the browser's storage failed: ", &explain(error)].concat(),
    }
}

fn describe(error: rexie::Error) -> String {
    match error {
        rexie::Error::IdbError(error) => ["the browser's storage failed: ", &error.to_string()].concat(),
        other => other.to_string(),
    }
}
