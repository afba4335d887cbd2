//! Envelopes as they come from strangers, in both encodings, up to their signature and their key.

use felund_core::{
    config::MAX_ENVELOPE_LEN,
    envelope::{Envelope, open, receive},
    keys::MessageKey,
};

/// Takes bytes as CBOR, and as JSON.
pub fn run(data: &[u8]) {
    if let Ok(envelope) = Envelope::from_cbor(data) {
        assert!(data.len() <= MAX_ENVELOPE_LEN);
        assert_eq!(envelope.to_cbor(), data, "an envelope has one byte form");
        accepted(&envelope);
    }
    if let Ok(envelope) = serde_json::from_slice::<Envelope>(data) {
        accepted(&envelope);
    }
    if let Ok(verified) = receive(data) {
        // Nothing that bytes can say makes an envelope open under a key that did not seal it.
        assert!(open(&verified, &MessageKey::from_bytes([0; 32])).is_err());
    }
}

fn accepted(envelope: &Envelope) {
    let cbor = envelope.to_cbor();
    assert_eq!(Envelope::from_cbor(&cbor).as_ref(), Ok(envelope));
    let json = serde_json::to_vec(envelope).expect("envelopes are JSON");
    assert_eq!(&serde_json::from_slice::<Envelope>(&json).expect("own JSON is read"), envelope);
    let verified = envelope.clone().verify();
    assert_eq!(verified.is_ok(), receive(&cbor).is_ok());
}
