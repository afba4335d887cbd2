//! A STUN server (RFC 8489, Binding only), so that members behind routers find each other with nothing else set up: whoever
//! asks is told from which address. It keeps nothing, and needs not know who asks.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use stun_types::{
    attribute::XorMappedAddress,
    message::{BINDING, Message, MessageClass, MessageWriteVec},
    prelude::{MessageWrite, MessageWriteExt},
};
use tokio::net::UdpSocket;

use crate::app::App;

/// Longest request read, in bytes: one without credentials has 20, and some attributes.
const MAX_REQUEST: usize = 548;

/// Answers until the task is aborted.
pub(crate) async fn serve(socket: UdpSocket, app: Arc<App>) {
    let mut buffer = [0; MAX_REQUEST];
    loop {
        // What is reported here is the refusal of an earlier answer, which is nothing to do about.
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else { continue };
        // A sender's address can be forged, and an answer is up to twice as long as its request.
        if app.limits.stun(from.ip()).is_ok()
            && let Some(answer) = answer(&buffer[..len], from)
        {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// The answer to a Binding request; nothing is said to anything else.
fn answer(packet: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let request = Message::from_bytes(packet).ok()?;
    if !request.has_class(MessageClass::Request) || !request.has_method(BINDING) {
        return None;
    }
    if let Some(refusal) = Message::check_attribute_types(&request, &[], &[], MessageWriteVec::new()) {
        return Some(refusal.finish());
    }
    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
    let mut answer = Message::builder_success(&request, MessageWriteVec::new());
    answer.add_attribute(&XorMappedAddress::new(from, request.transaction_id())).ok()?;
    Some(answer.finish())
}

/// The URI (RFC 7064) of this server for somebody who reached the relay at this host.
pub(crate) fn uri(host: &str, port: u16) -> String {
    let bare: Result<IpAddr, _> = host.trim_start_matches('[').trim_end_matches(']').parse();
    match bare {
        Ok(IpAddr::V6(v6)) => format!("stun:[{v6}]:{port}"),
        _ => format!("stun:{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use stun_types::attribute::{ErrorCode, Software, Username};

    use super::*;

    fn from() -> SocketAddr {
        "[::ffff:192.0.2.7]:4242".parse().expect("an address")
    }

    #[test]
    fn who_asks_is_told_the_address_the_question_came_from() {
        let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
        request.add_attribute(&Software::new("a test").expect("short")).expect("room");
        let request = request.finish();
        let answer = answer(&request, from()).expect("an answer");
        let answer = Message::from_bytes(&answer).expect("STUN");
        let id = Message::from_bytes(&request).expect("STUN").transaction_id();
        assert!(answer.has_class(MessageClass::Success) && answer.transaction_id() == id);
        let mapped = answer.attribute::<XorMappedAddress>().expect("the address");
        assert_eq!(mapped.addr(id), "192.0.2.7:4242".parse().expect("an address"));
    }

    #[test]
    fn what_is_not_understood_is_refused_and_what_is_no_question_is_not_answered() {
        let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
        request.add_attribute(&Username::new("somebody").expect("short")).expect("room");
        let refused = answer(&request.finish(), from()).expect("an answer");
        let error = Message::from_bytes(&refused).expect("STUN").attribute::<ErrorCode>().expect("an error");
        assert_eq!(error.code(), 420);
        let indication = Message::builder_indication(BINDING, MessageWriteVec::new()).finish();
        for silent in [&indication[..], b"", b"GET / HTTP/1.1\r\n\r\n", &[0; 20]] {
            assert_eq!(answer(silent, from()), None);
        }
    }

    #[test]
    fn its_uri_names_the_host_that_the_relay_was_reached_at() {
        assert_eq!(uri("chat.example", 3478), "stun:chat.example:3478");
        assert_eq!(uri("[2001:db8::1]", 3478), "stun:[2001:db8::1]:3478");
        assert_eq!(uri("192.0.2.7", 1), "stun:192.0.2.7:1");
    }
}
