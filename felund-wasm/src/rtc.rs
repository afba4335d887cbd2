//! One peer connection and its DataChannel: bounded, and gone without a trace when dropped.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use felund_core::{
    io::{CandidateKind, ConnId, Input, RtcCommand, RtcEvent, RtcPath},
    relay_api::IceServer,
    session::MAX_RECORD,
};
use js_sys::{Array, ArrayBuffer, Map, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{
    MessageEvent, RtcConfiguration, RtcDataChannel, RtcDataChannelInit, RtcDataChannelState,
    RtcDataChannelType, RtcIceCandidateInit, RtcIceServer, RtcIceTransportPolicy, RtcOfferOptions,
    RtcPeerConnection, RtcPeerConnectionIceEvent, RtcPeerConnectionState, RtcSdpType,
    RtcSessionDescriptionInit,
};

use crate::{
    browser::{Listener, Timer, explain, get, window},
    inbox::Inbox,
};

/// Bytes handed to the browser and not yet on the network, at most; the rest waits here.
const HIGH_WATER: u32 = 1024 * 1024;
/// When this few are left, more are handed over.
const LOW_WATER: u32 = 256 * 1024;
/// Messages that may wait here for a peer that does not take them.
const MAX_WAITING: usize = 1_024;
/// When the path is looked at after the channel opened, in milliseconds: a round trip has been measured by then.
const LOOK_MIN_MS: u64 = 2_000;
/// How often it is looked at in the end: browsers move to a better path, and away from one that broke, without a word.
const LOOK_MAX_MS: u64 = 60_000;

/// Whether this browser has WebRTC; WebKitGTK does not.
pub(crate) fn is_available() -> bool {
    window().is_some_and(|window| get(&window, "RTCPeerConnection").is_some())
}

/// What waits until the browser takes more.
type Waiting = Rc<RefCell<VecDeque<Vec<u8>>>>;

/// Closes the connection when dropped; nothing is reported after that.
#[derive(Debug)]
pub(crate) struct Peer {
    connection: RtcPeerConnection,
    channel: RtcDataChannel,
    commands: Inbox<RtcCommand>,
    waiting: Waiting,
    /// Times to look at the path; closed with the connection.
    looks: Inbox<()>,
    _listeners: [Listener; 6],
}

impl Peer {
    /// Creates a connection with its channel. What happens is pushed to `inbox`; an error means that nothing will be.
    pub(crate) fn open(
        conn: ConnId,
        offer: bool,
        servers: &[IceServer],
        relay_only: bool,
        inbox: &Inbox<Input>,
    ) -> Result<Self, String> {
        let configuration = configuration(servers, relay_only);
        let connection =
            RtcPeerConnection::new_with_configuration(&configuration).map_err(|error| explain(&error))?;
        let agreed = RtcDataChannelInit::new();
        agreed.set_negotiated(true);
        agreed.set_id(0);
        let channel = connection.create_data_channel_with_data_channel_dict("felund", &agreed);
        channel.set_binary_type(RtcDataChannelType::Arraybuffer);
        channel.set_buffered_amount_low_threshold(LOW_WATER);
        let waiting = Waiting::default();
        let looks = Inbox::new();
        let listeners = listen(conn, &connection, &channel, &waiting, &looks, inbox);
        let commands = Inbox::new();
        let of = (conn, offer, relay_only);
        let work = carry_out(of, connection.clone(), commands.clone(), inbox.clone());
        let open = commands.clone();
        spawn_local(async move { open.while_open(work).await });
        Ok(Self { connection, channel, commands, waiting, looks, _listeners: listeners })
    }

    pub(crate) fn command(&self, command: RtcCommand) {
        self.commands.push(command);
    }

    /// Queues one message; an error means that the connection is of no use any more.
    pub(crate) fn send(&self, bytes: Vec<u8>) -> Result<(), String> {
        if self.waiting.borrow().len() >= MAX_WAITING {
            return Err("the other side takes nothing any more".into());
        }
        self.waiting.borrow_mut().push_back(bytes);
        flush(&self.channel, &self.waiting)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.commands.close();
        self.looks.close();
        self.channel.close();
        self.connection.close();
    }
}

/// Servers and policy of a connection.
pub(crate) fn configuration(servers: &[IceServer], relay_only: bool) -> RtcConfiguration {
    let configuration = RtcConfiguration::new();
    configuration.set_ice_servers(&servers.iter().map(server).collect::<Array>());
    if relay_only {
        configuration.set_ice_transport_policy(RtcIceTransportPolicy::Relay);
    }
    configuration
}

fn server(server: &IceServer) -> RtcIceServer {
    let out = RtcIceServer::new();
    out.set_urls(&server.urls.iter().map(|url| JsValue::from_str(url)).collect::<Array>());
    if let Some(username) = &server.username {
        out.set_username(username);
    }
    if let Some(credential) = &server.credential {
        out.set_credential(credential);
    }
    out
}

fn listen(
    conn: ConnId,
    connection: &RtcPeerConnection,
    channel: &RtcDataChannel,
    waiting: &Waiting,
    looks: &Inbox<()>,
    inbox: &Inbox<Input>,
) -> [Listener; 6] {
    let tell = {
        let inbox = inbox.clone();
        move |event| inbox.push(Input::Rtc(conn, event))
    };
    let gone = {
        let inbox = inbox.clone();
        move |reason: &str| inbox.push(Input::Disconnected(conn, reason.into()))
    };
    let candidate = Listener::new(connection, "icecandidate", {
        let tell = tell.clone();
        move |event| {
            let event: RtcPeerConnectionIceEvent = event.unchecked_into();
            if let Some(candidate) = event.candidate().map(|candidate| candidate.candidate())
                && !candidate.is_empty()
            {
                tell(RtcEvent::Candidate(candidate));
            }
        }
    });
    let state = Listener::new(connection, "connectionstatechange", {
        let (tell, connection) = (tell.clone(), connection.clone());
        move |_| match connection.connection_state() {
            RtcPeerConnectionState::Connected => tell(RtcEvent::Connected),
            RtcPeerConnectionState::Disconnected => tell(RtcEvent::Disconnected),
            RtcPeerConnectionState::Failed => tell(RtcEvent::Failed),
            _ => {}
        }
    });
    let open = Listener::new(channel, "open", {
        let (tell, connection, looks) = (tell.clone(), connection.clone(), looks.clone());
        move |_| {
            tell(RtcEvent::Opened);
            let work = watch(connection.clone(), looks.clone(), tell.clone());
            let open = looks.clone();
            spawn_local(async move { open.while_open(work).await });
        }
    });
    let message = Listener::new(channel, "message", {
        let (inbox, gone) = (inbox.clone(), gone.clone());
        move |event| match event.unchecked_into::<MessageEvent>().data().dyn_into::<ArrayBuffer>() {
            Ok(buffer) if buffer.byte_length() as usize <= MAX_RECORD => {
                inbox.push(Input::Received(conn, Uint8Array::new(&buffer).to_vec()));
            }
            _ => gone("the other side sent a message that is too large, or none of bytes"),
        }
    });
    let close = Listener::new(channel, "close", {
        let gone = gone.clone();
        move |_| gone("the channel was closed")
    });
    let low = Listener::new(channel, "bufferedamountlow", {
        let (channel, waiting) = (channel.clone(), waiting.clone());
        move |_| {
            if let Err(reason) = flush(&channel, &waiting) {
                gone(&reason);
            }
        }
    });
    [candidate, state, open, message, close, low]
}

/// Hands over what waits, as far as the browser should have it.
fn flush(channel: &RtcDataChannel, waiting: &Waiting) -> Result<(), String> {
    while channel.ready_state() == RtcDataChannelState::Open && channel.buffered_amount() < HIGH_WATER {
        let Some(message) = waiting.borrow_mut().pop_front() else { break };
        channel.send_with_u8_array(&message).map_err(|error| explain(&error))?;
    }
    Ok(())
}

/// Carries out one command after the other: each is a promise, and their order matters.
async fn carry_out(
    (conn, offer, relay_only): (ConnId, bool, bool),
    connection: RtcPeerConnection,
    commands: Inbox<RtcCommand>,
    inbox: Inbox<Input>,
) {
    let tell = |made: Result<RtcEvent, JsValue>| match made {
        Ok(event) => inbox.push(Input::Rtc(conn, event)),
        Err(error) => inbox.push(Input::Disconnected(conn, explain(&error))),
    };
    if offer {
        tell(describe(&connection, true, false).await);
    }
    while let Some(batch) = commands.drain().await {
        for command in batch {
            match command {
                RtcCommand::Open { .. } => {}
                RtcCommand::Servers(servers) => {
                    // A browser that does not take them goes on with the old ones, which may still do.
                    let _ =
                        connection.set_configuration_with_configuration(&configuration(&servers, relay_only));
                }
                RtcCommand::Remote(sdp) => {
                    let kind = if offer { RtcSdpType::Answer } else { RtcSdpType::Offer };
                    let description = RtcSessionDescriptionInit::new(kind);
                    description.set_sdp(&sdp);
                    match JsFuture::from(connection.set_remote_description(&description)).await {
                        Err(error) => tell(Err(error)),
                        Ok(_) if !offer => tell(describe(&connection, false, false).await),
                        Ok(_) => {}
                    }
                }
                RtcCommand::Candidate(candidate) => {
                    let init = RtcIceCandidateInit::new(&candidate);
                    init.set_sdp_m_line_index(Some(0));
                    let added = connection.add_ice_candidate_with_opt_rtc_ice_candidate_init(Some(&init));
                    // One of several: another may work.
                    let _ = JsFuture::from(added).await;
                }
                RtcCommand::Restart => tell(describe(&connection, true, true).await),
            }
        }
    }
}

/// Makes the local description and sets it.
pub(crate) async fn describe(
    connection: &RtcPeerConnection,
    offer: bool,
    restart: bool,
) -> Result<RtcEvent, JsValue> {
    let made = if offer {
        let options = RtcOfferOptions::new();
        options.set_ice_restart(restart);
        connection.create_offer_with_rtc_offer_options(&options)
    } else {
        connection.create_answer()
    };
    let description: RtcSessionDescriptionInit = JsFuture::from(made).await?.unchecked_into();
    let sdp = get(&description, "sdp").and_then(|sdp| sdp.as_string()).unwrap_or_default();
    JsFuture::from(connection.set_local_description(&description)).await?;
    Ok(RtcEvent::Description(sdp))
}

/// Says again and again which path the connection takes, as long as it is there.
async fn watch(connection: RtcPeerConnection, looks: Inbox<()>, tell: impl Fn(RtcEvent)) {
    let mut wait = LOOK_MIN_MS;
    loop {
        let due = looks.clone();
        let _timer = Timer::new(wait, move || due.push(()));
        if looks.drain().await.is_none() {
            return;
        }
        if let Some(path) = path(&connection).await {
            tell(RtcEvent::Path(path));
        }
        wait = (2 * wait).min(LOOK_MAX_MS);
    }
}

/// The pair of candidates in use: the nominated one that received most.
async fn path(connection: &RtcPeerConnection) -> Option<RtcPath> {
    // Like a Map, and used as one.
    let report: Map = JsFuture::from(connection.get_stats()).await.ok()?.unchecked_into();
    let number = |stat: &JsValue, name| get(stat, name).and_then(|value| value.as_f64()).unwrap_or(0.0);
    let mut best: Option<(f64, JsValue)> = None;
    report.for_each(&mut |stat, _| {
        let is_pair = get(&stat, "type").is_some_and(|kind| kind == "candidate-pair");
        let nominated = get(&stat, "nominated").is_some_and(|nominated| nominated.is_truthy());
        let received = number(&stat, "bytesReceived");
        if is_pair && nominated && best.as_ref().is_none_or(|(most, _)| received > *most) {
            best = Some((received, stat));
        }
    });
    let (_, pair) = best?;
    let kind = |name| {
        let candidate = report.get(&get(&pair, name)?);
        match &*get(&candidate, "candidateType")?.as_string()? {
            "host" => Some(CandidateKind::Host),
            "srflx" => Some(CandidateKind::Srflx),
            "prflx" => Some(CandidateKind::Prflx),
            "relay" => Some(CandidateKind::Relay),
            _ => None,
        }
    };
    let rtt = number(&pair, "currentRoundTripTime") * 1_000.0;
    Some(RtcPath {
        local: kind("localCandidateId")?,
        remote: kind("remoteCandidateId")?,
        // At most minutes: `as` only rounds.
        rtt_ms: (rtt > 0.0).then_some(rtt.ceil() as u32),
    })
}

#[cfg(test)]
mod tests {
    use js_sys::{Function, Reflect};
    use wasm_bindgen_test::{wasm_bindgen_test as test, wasm_bindgen_test_configure};

    use super::*;

    wasm_bindgen_test_configure!(run_in_browser);

    const CYCLES: u64 = 500;
    const WARM_UP: u64 = 100;
    /// Bytes of JavaScript's heap that a cycle may cost once it is warm: below what a kept listener takes.
    const PER_CYCLE: f64 = 512.0;

    /// Two peers in this page that say something to each other, and go.
    async fn cycle(nth: u64) {
        let inbox = Inbox::new();
        let [one, other] = [ConnId(2 * nth), ConnId(2 * nth + 1)];
        let open =
            |conn, offer| Peer::open(conn, offer, &[], false, &inbox).expect("the page may have one more");
        let peers = [open(one, true), open(other, false)];
        let index = |conn| usize::from(conn == other);
        let (mut described, mut early) = ([false; 2], [const { Vec::new() }; 2]);
        let mut heard = 0;
        while heard < 2 {
            for input in inbox.drain().await.expect("nobody closes it") {
                match input {
                    Input::Rtc(conn, RtcEvent::Description(sdp)) => {
                        let at = index(conn);
                        described[at] = true;
                        peers[1 - at].command(RtcCommand::Remote(sdp));
                        for candidate in early[at].drain(..) {
                            peers[1 - at].command(RtcCommand::Candidate(candidate));
                        }
                    }
                    Input::Rtc(conn, RtcEvent::Candidate(candidate)) => {
                        let at = index(conn);
                        if described[at] {
                            peers[1 - at].command(RtcCommand::Candidate(candidate));
                        } else {
                            early[at].push(candidate);
                        }
                    }
                    Input::Rtc(conn, RtcEvent::Opened) => {
                        peers[index(conn)].send(vec![7; 600]).expect("the channel is open");
                    }
                    Input::Received(_, message) => {
                        assert_eq!(message, [7; 600]);
                        heard += 1;
                    }
                    Input::Disconnected(_, reason) => panic!("cycle {nth}: {reason}"),
                    _ => {}
                }
            }
        }
    }

    /// Lets the page go on, and then collects what nobody holds any more.
    async fn collect() {
        let rest = js_sys::Promise::new(&mut |done, _| {
            window().expect("a page").set_timeout_with_callback(&done).expect("a timer");
        });
        JsFuture::from(rest).await.expect("a timer does not fail");
        let gc = Reflect::get(&js_sys::global(), &"gc".into()).expect("a global");
        // `webdriver.json` asks for it; other browsers collect as they like.
        if let Ok(gc) = gc.dyn_into::<Function>() {
            gc.call0(&JsValue::NULL).expect("collecting does not fail");
        }
    }

    /// Bytes of JavaScript's heap, of WebAssembly's memory, and slots for values of JavaScript that Rust holds.
    fn memory() -> (f64, f64) {
        let heap = get(&window().expect("a page"), "performance")
            .and_then(|performance| get(&performance, "memory"))
            .and_then(|memory| get(&memory, "usedJSHeapSize"))
            .and_then(|size| size.as_f64());
        let wasm = wasm_bindgen::memory().unchecked_into::<js_sys::WebAssembly::Memory>();
        let wasm = wasm.buffer().unchecked_into::<ArrayBuffer>().byte_length();
        (heap.unwrap_or(0.0), f64::from(wasm))
    }

    #[test]
    async fn five_hundred_connections_leave_nothing_behind() {
        let mut before = None;
        for nth in 0..WARM_UP + CYCLES {
            if nth == WARM_UP {
                collect().await;
                before = Some(memory());
            }
            cycle(nth).await;
            if nth % 50 == 0 {
                collect().await;
            }
        }
        collect().await;
        let (before, after) = (before.expect("was warm"), memory());
        let grown = (after.0 - before.0) / CYCLES as f64;
        assert!(grown < PER_CYCLE, "each connection left {grown} bytes in the page");
        assert!(after.1 <= before.1, "WebAssembly's memory grew from {} to {} bytes", before.1, after.1);
    }

    #[test]
    async fn connections_given_up_while_they_are_described_leave_nothing_behind() {
        // A page may have 500 at a time, so that it could not make these if any were held.
        for nth in 0..3 * CYCLES {
            let inbox = Inbox::new();
            drop(Peer::open(ConnId(nth), true, &[], false, &inbox).expect("the page may have one more"));
            if nth % 50 == 0 {
                collect().await;
            }
        }
    }
}
