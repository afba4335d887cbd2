//! The class that a page without Rust embeds; described in this crate's README.

use felund_core::io::Command;
use js_sys::{Function, JSON, Promise};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::future_to_promise;

use crate::client::{Client, Options};

/// One node, shared by all pages of the origin that use the same name.
#[wasm_bindgen]
#[derive(Debug)]
pub struct FelundNode {
    client: Client,
}

#[wasm_bindgen]
impl FelundNode {
    /// Starts. `name` names the database (`felund` is the app's own); `onEvent` gets every event as an object.
    #[wasm_bindgen(constructor)]
    #[must_use]
    pub fn new(name: String, on_event: Function) -> Self {
        let client = Client::start(Options { name, ..Options::default() }, move |events| {
            for event in &events {
                if let Ok(event) = to_js(event) {
                    // What the page's function throws is the page's matter.
                    let _ = on_event.call1(&JsValue::UNDEFINED, &event);
                }
            }
        });
        Self { client }
    }

    /// Carries out a command, an object such as `{command: "send", circle, channel, text}`. Resolves to the reply,
    /// an object such as `{reply: "sent", msg_id, created_ts}`; rejects with an `Error` whose message is for people.
    pub fn command(&self, command: &JsValue) -> Promise {
        let parsed = JSON::stringify(command)
            .ok()
            .and_then(|text| text.as_string())
            .ok_or_else(|| "A command is an object.".to_owned())
            .and_then(|text| serde_json::from_str::<Command>(&text).map_err(|error| error.to_string()));
        let answer = parsed.map(|command| self.client.request(command));
        future_to_promise(async move {
            let reply = match answer {
                Ok(answer) => answer.await,
                Err(error) => Err(error),
            };
            match reply {
                Ok(reply) => to_js(&reply),
                Err(text) => Err(js_sys::Error::new(&text).unchecked_into()),
            }
        })
    }

    /// Whether this page owns the node; others mirror it.
    #[wasm_bindgen(getter, js_name = isLeader)]
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.client.is_leader()
    }

    /// Stops for good.
    pub fn close(&self) {
        self.client.close();
    }
}

fn to_js(value: &impl serde::Serialize) -> Result<JsValue, JsValue> {
    let text = serde_json::to_string(value).map_err(|error| JsValue::from_str(&error.to_string()))?;
    JSON::parse(&text)
}
