//! JSON between clients and relays, and between processes of one user.

use std::fmt::Debug;

use felund_core::{
    io::{Event, Request},
    model::Model,
    relay_api::{
        ErrorBody, HealthResponse, IceResponse, MessagesResponse, PeersResponse, PostMessages,
        PostMessagesResponse, RegisterRequest, RegisterResponse, SessionResponse, SignalAccepted,
        SignalRequest, SignalsResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};

/// Takes bytes as each kind of body.
pub fn run(data: &[u8]) {
    // Every reader would refuse what is no JSON at all in the same way.
    if serde_json::from_slice::<serde::de::IgnoredAny>(data).is_err() {
        return;
    }
    same::<RegisterRequest>(data);
    same::<RegisterResponse>(data);
    same::<PeersResponse>(data);
    same::<PostMessages>(data);
    same::<PostMessagesResponse>(data);
    same::<MessagesResponse>(data);
    same::<SignalRequest>(data);
    same::<SignalAccepted>(data);
    same::<SignalsResponse>(data);
    same::<SessionResponse>(data);
    same::<IceResponse>(data);
    same::<HealthResponse>(data);
    same::<ErrorBody>(data);
    same::<Request>(data);
    if let Some(event) = same::<Event>(data) {
        let mut model = Model::default();
        model.apply(&event);
        model.apply(&event);
    }
}

fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(data).ok()?;
    let json = serde_json::to_vec(&value).expect("own values are JSON");
    assert_eq!(serde_json::from_slice::<T>(&json).expect("own JSON is read"), value);
    Some(value)
}
