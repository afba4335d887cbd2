//! What is inside an envelope, from a member who breaks the rules: padding, compression, event bodies, the fold.

use felund_core::{
    circle::{Body, State, clean_name},
    config::MAX_ENC_LEN,
    envelope::{Compression, open},
    ids::MsgId,
    view::Key,
};

use crate::{
    author::{KINDS, Sheet, circle, node},
    script::Script,
};

/// Takes bytes as the plaintext of one envelope, and as the bodies of several.
pub fn run(data: &[u8]) {
    one(data);
    fold(data);
}

fn one(data: &[u8]) {
    let mut script = Script::new(data);
    let kind = KINDS[usize::from(script.byte()) % KINDS.len()];
    let compression = if script.one_in(2) { Compression::None } else { Compression::Deflate };
    let (author, circle) = (node(1), circle(1));
    let sheet = Sheet {
        author: &author,
        circle: &circle,
        channel: circle.general(),
        id: 1,
        ts: 1,
        kind,
        compression,
        plain: script.rest(),
    };
    let Some(envelope) = sheet.seal() else { return };
    let verified = envelope.verify().expect("signed by its author");
    let Ok(body) = open(&verified, &circle.epoch_0()) else { return };
    assert!(body.len() <= MAX_ENC_LEN, "nothing inflates beyond its limit");
    understood(kind, &body);
}

/// What is understood can be said again, and is then the same.
fn understood(kind: &str, cbor: &[u8]) -> Option<Body> {
    let body = Body::from_cbor(kind, cbor).ok()?;
    if body != Body::Unknown {
        assert_eq!(Body::from_cbor(kind, &body.to_cbor()), Ok(body.clone()));
        assert_eq!(body.kind(), kind);
    }
    if let Body::CircleName(name) | Body::Rename(_, name) = &body {
        assert_eq!(clean_name(name).as_ref(), Some(name));
    }
    Some(body)
}

/// The state is a function of the set of events, not of their order.
fn fold(data: &[u8]) {
    let mut script = Script::new(data);
    let mut events = Vec::new();
    while !script.is_over() && events.len() < 16 {
        let kind = KINDS[usize::from(script.byte()) % KINDS.len()];
        let author = node(script.byte() % 3).id();
        let ts = u64::from(script.byte());
        let mut id = [0; 16];
        id[15] = u8::try_from(events.len()).unwrap_or(u8::MAX);
        if let Some(body) = understood(kind, script.short_piece()) {
            events.push((Key { ts, id: MsgId(id) }, author, body));
        }
    }
    let (mut forth, mut back) = (State::default(), State::default());
    for (key, author, body) in &events {
        forth.apply(*key, *author, body.clone());
    }
    for (key, author, body) in events.iter().rev() {
        back.apply(*key, *author, body.clone());
    }
    assert_eq!(forth, back, "members that heard the same agree");
    let again = forth.clone();
    for (key, author, body) in events {
        forth.apply(key, author, body);
    }
    assert_eq!(forth, again, "hearing it twice changes nothing");
}
