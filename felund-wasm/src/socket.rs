//! One WebSocket: binary, bounded, and gone without a trace when dropped.

use felund_core::{
    config::{CONNECT_TIMEOUT_MS, MAX_SOCKET_FRAME},
    io::{ConnId, Input},
};
use js_sys::{Array, ArrayBuffer, Uint8Array};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{BinaryType, CloseEvent, Event, MessageEvent, WebSocket};

use crate::{
    browser::{Timer, explain},
    inbox::Inbox,
};

/// Bytes that may wait in the browser for a peer that does not take them.
const MAX_BUFFERED: u32 = 16 * 1024 * 1024;

/// Closes the socket when dropped; nothing is reported after that.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: WebSocket,
    _open: Closure<dyn FnMut(Event)>,
    _message: Closure<dyn FnMut(MessageEvent)>,
    _close: Closure<dyn FnMut(CloseEvent)>,
    _deadline: Timer,
}

impl Socket {
    /// Begins to connect. What happens is pushed to `inbox`; an error means that nothing will be.
    pub(crate) fn open(
        conn: ConnId,
        url: &str,
        protocols: &[String],
        inbox: &Inbox<Input>,
    ) -> Result<Self, String> {
        let offered: Array = protocols.iter().map(|protocol| JsValue::from_str(protocol)).collect();
        let socket = WebSocket::new_with_str_sequence(url, &offered).map_err(|error| explain(&error))?;
        socket.set_binary_type(BinaryType::Arraybuffer);
        let open = Closure::new({
            let inbox = inbox.clone();
            move |_: Event| inbox.push(Input::Connected(conn))
        });
        let message = Closure::new({
            let inbox = inbox.clone();
            move |event: MessageEvent| inbox.push(received(conn, &event))
        });
        let close = Closure::new({
            let inbox = inbox.clone();
            move |event: CloseEvent| inbox.push(Input::Disconnected(conn, describe(&event)))
        });
        socket.set_onopen(Some(open.as_ref().unchecked_ref()));
        socket.set_onmessage(Some(message.as_ref().unchecked_ref()));
        socket.set_onclose(Some(close.as_ref().unchecked_ref()));
        let deadline = Timer::new(CONNECT_TIMEOUT_MS, {
            let (inbox, socket) = (inbox.clone(), socket.clone());
            move || {
                if socket.ready_state() == WebSocket::CONNECTING {
                    inbox.push(Input::Disconnected(conn, "no answer in time".into()));
                }
            }
        });
        Ok(Self { socket, _open: open, _message: message, _close: close, _deadline: deadline })
    }

    /// Queues one message; an error means that the socket is of no use any more.
    pub(crate) fn send(&self, bytes: &[u8]) -> Result<(), String> {
        if self.socket.buffered_amount() > MAX_BUFFERED {
            return Err("the other side takes nothing any more".into());
        }
        self.socket.send_with_u8_array(bytes).map_err(|error| explain(&error))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.socket.set_onopen(None);
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
        // Fails only for close codes that are not passed here.
        let _ = self.socket.close();
    }
}

fn received(conn: ConnId, event: &MessageEvent) -> Input {
    match event.data().dyn_into::<ArrayBuffer>() {
        Ok(buffer) if buffer.byte_length() as usize <= MAX_SOCKET_FRAME => {
            Input::Received(conn, Uint8Array::new(&buffer).to_vec())
        }
        Ok(_) => Input::Disconnected(conn, "the other side sent a message that is too large".into()),
        Err(_) => Input::Disconnected(conn, "the other side sent text where bytes belong".into()),
    }
}

fn describe(event: &CloseEvent) -> String {
    match (event.code(), event.reason()) {
        (1006, _) => "the connection broke or was refused".into(),
        (code, reason) if reason.is_empty() => ["closed with code ", &code.to_string()].concat(),
        (_, reason) => reason,
    }
}
