//! Checks STUN and TURN servers by what a peer connection that is thrown away finds with them.

use felund_core::{
    config::ICE_PROBE_MS,
    ice::{Candidate, Gathered, IceProbe, IceReport},
    io::CandidateKind,
};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{RtcPeerConnection, RtcPeerConnectionIceEvent};

use crate::{
    browser::{Listener, Timer, explain, get},
    clock::Clock,
    inbox::Inbox,
    rtc,
};

/// When the browser is not listened to any more, in milliseconds: the node is to hear of it in time.
const PATIENCE_MS: u64 = ICE_PROBE_MS - 200;

enum Told {
    /// With the URL of the server that showed it, if the browser tells.
    Candidate(String, Option<String>),
    /// A server did not help.
    Failed(String, String),
    /// Everything is found, or the time is over.
    End(bool),
}

/// Finds what can be found in time.
pub(crate) async fn check(probe: IceProbe) -> IceReport {
    // A browser tells of two servers that show the same address only once.
    let mut report = IceReport { distinct: true, ..IceReport::default() };
    let configuration = rtc::configuration(&probe.servers, false);
    let connection = match RtcPeerConnection::new_with_configuration(&configuration) {
        Ok(connection) => connection,
        Err(error) => {
            let failed = probe.servers.into_iter().flat_map(|server| server.urls);
            report.failed = failed.map(|url| (url, explain(&error))).collect();
            return report;
        }
    };
    gather(&connection, &mut report).await;
    connection.close();
    report
}

async fn gather(connection: &RtcPeerConnection, report: &mut IceReport) {
    let inbox: Inbox<Told> = Inbox::new();
    let candidate = {
        let inbox = inbox.clone();
        Listener::new(connection, "icecandidate", move |event| {
            let event: RtcPeerConnectionIceEvent = event.unchecked_into();
            inbox.push(match event.candidate() {
                Some(candidate) => {
                    let url = get(&candidate, "url").and_then(|url| url.as_string());
                    Told::Candidate(candidate.candidate(), url)
                }
                None => Told::End(true),
            });
        })
    };
    let failure = {
        let inbox = inbox.clone();
        Listener::new(connection, "icecandidateerror", move |event| {
            let text =
                |name| get(&event, name).and_then(|value: JsValue| value.as_string()).unwrap_or_default();
            let code = get(&event, "errorCode").and_then(|code| code.as_f64()).unwrap_or_default();
            // From 300 to 799: `as` only drops what is behind the point.
            inbox.push(Told::Failed(
                text("url"),
                [&*(code as u32).to_string(), ": ", &text("errorText")].concat(),
            ));
        })
    };
    let timer = {
        let inbox = inbox.clone();
        Timer::new(PATIENCE_MS, move || inbox.push(Told::End(false)))
    };
    let mut clock = Clock::new();
    let begun = clock.now().0.mono;
    let _channel = connection.create_data_channel("");
    // A connection that has no description finds nothing: the timer then ends it.
    let _ = rtc::describe(connection, true, false).await;
    'told: while let Some(batch) = inbox.drain().await {
        let took_ms = u32::try_from(clock.now().0.mono - begun).ok();
        for told in batch {
            match told {
                Told::Candidate(text, url) => report.found.extend(found(&text, url, took_ms)),
                Told::Failed(url, why) => report.failed.push((url, why)),
                Told::End(complete) => {
                    report.complete = complete;
                    break 'told;
                }
            }
        }
    }
    inbox.close();
    drop((candidate, failure, timer));
}

fn found(text: &str, url: Option<String>, took_ms: Option<u32>) -> Option<Gathered> {
    let candidate = Candidate::parse(text).filter(|candidate| candidate.transport == "udp")?;
    let place = |address: &str, port: u16| {
        let literal = if address.contains(':') { ["[", address, "]"].concat() } else { address.to_owned() };
        [&*literal, ":", &port.to_string()].concat()
    };
    Some(Gathered {
        kind: candidate.kind,
        address: place(&candidate.address, candidate.port),
        base: candidate.base.map(|(address, port)| place(&address, port)),
        url: url.filter(|_| candidate.kind != CandidateKind::Host),
        server: None,
        took_ms,
    })
}
