//! A member with a modified client: it holds the circle's secret, signs and seals correctly, and says what it likes.

use felund_core::{
    circle::{Body, Hello},
    envelope::{Draft, Envelope, seal},
    ids::{ChannelId, CircleHint, NodeId},
    invite::Invite,
    keys::{CircleSecret, MessageKey, NodeKey},
    relay_api::{Capabilities, path},
};
use serde_json::{Value, json};

use crate::api::{self, Answer, Unsigned};

/// Knows the circle's secret and obeys nobody.
#[derive(Debug)]
pub struct Member {
    /// Its own identity.
    pub key: NodeKey,
    /// What the invite said.
    pub circle: CircleSecret,
    relay: String,
}

impl Member {
    /// Takes the secret from an invite and registers with the relay.
    ///
    /// # Panics
    /// When either is refused.
    #[must_use]
    pub fn join(invite: &str, relay: &str) -> Self {
        let invite = Invite::parse(invite).expect("an invite");
        let member = Self {
            key: NodeKey::generate(&mut api::rng()),
            circle: CircleSecret::from_secret(invite.secret),
            relay: relay.to_owned(),
        };
        let answer = member.register();
        assert_eq!(answer.status, 200, "{answer:?}");
        member
    }

    /// The id of the channel that everyone of an invite's circle is in.
    ///
    /// # Panics
    /// When it is no invite.
    #[must_use]
    pub fn general_of(invite: &str) -> ChannelId {
        CircleSecret::from_secret(Invite::parse(invite).expect("an invite").secret).general()
    }

    /// What a relay knows an invite's circle by.
    ///
    /// # Panics
    /// When it is no invite.
    #[must_use]
    pub fn hint_of(invite: &str) -> CircleHint {
        CircleSecret::from_secret(Invite::parse(invite).expect("an invite").secret).api_key().hint()
    }

    /// `POST /v1/register`.
    #[must_use]
    pub fn register(&self) -> Answer {
        let api = self.circle.api_key();
        let body = json!({
            "node_id": self.key.id(), "circle_hint": api.hint(), "signing_key": api,
            "endpoints": [], "ttl_s": 120,
        });
        self.call("POST", path::REGISTER, &body)
    }

    /// A correctly signed request.
    #[must_use]
    pub fn call(&self, method: &'static str, target: &str, body: &Value) -> Answer {
        Unsigned::new(method, target, body).sign(&self.circle.api_key(), &self.key).send(&self.relay)
    }

    /// Stores envelopes at the relay.
    #[must_use]
    pub fn post(&self, envelopes: &[Value]) -> Answer {
        self.call("POST", path::MESSAGES, &json!({ "messages": envelopes }))
    }

    /// Seals an event for a channel under the circle's key, as this member.
    #[must_use]
    pub fn seal(&self, channel: ChannelId, body: &Body) -> Envelope {
        self.seal_with(channel, body, &self.circle.epoch_0(), now_ms())
    }

    /// As [`Self::seal`], under any key and time.
    ///
    /// # Panics
    /// When the body is too large.
    #[must_use]
    pub fn seal_with(&self, channel: ChannelId, body: &Body, key: &MessageKey, created_ts: u64) -> Envelope {
        let cbor = body.to_cbor();
        let draft = Draft {
            circle_id: self.circle.circle_id(),
            channel_id: channel,
            created_ts,
            kind: body.kind(),
            key_id: "epoch-0",
            body: &cbor,
        };
        seal(draft, key, &self.key, &mut api::rng()).expect("small enough").into_envelope()
    }

    /// Seals and stores events that the relay has no reason to refuse.
    ///
    /// # Panics
    /// When it does.
    pub fn say(&self, channel: ChannelId, bodies: &[Body]) {
        let sealed: Vec<_> = bodies.iter().map(|body| to_json(&self.seal(channel, body))).collect();
        let answer = self.post(&sealed);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Introduces itself by a name.
    pub fn hello(&self, name: &str) {
        let hello = Hello {
            name: name.to_owned(),
            wrap_key: self.key.wrap_public(),
            capabilities: Capabilities::default(),
        };
        self.say(self.circle.control(), &[Body::Hello(hello)]);
    }

    /// The same envelope claiming another author: headers are free to change, the signature is not.
    ///
    /// # Panics
    /// When the parts do not make an envelope.
    #[must_use]
    pub fn forge_author(envelope: &Envelope, author: NodeId) -> Envelope {
        let mut header = envelope.header().clone();
        header.author_node_id = author;
        Envelope::new(header, *envelope.iv(), envelope.enc().to_vec(), *envelope.sig()).expect("well-formed")
    }
}

/// The JSON form.
///
/// # Panics
/// Never: envelopes are JSON.
#[must_use]
pub fn to_json(envelope: &Envelope) -> Value {
    serde_json::to_value(envelope).expect("envelopes are JSON")
}

/// Unix milliseconds.
///
/// # Panics
/// Before 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("before the year 584 million")
}
