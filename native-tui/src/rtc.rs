//! DataChannels to members: one peer connection of the `webrtc` crate per connection of the node.
//!
//! The node decides everything; here descriptions and candidates are passed on in order, and messages are bounded, queued
//! and moved. Each connection is four tasks: one for the node's commands, one that does nothing but take what the
//! channel received (a consumer that is late has lost messages), one that sends, and one that sees to it that what is
//! sent goes out.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use felund_core::{
    config::RTC_ATTEMPT_MS,
    io::{CandidateKind, ConnId, Input, RtcCommand, RtcEvent, RtcPath},
    relay_api::IceServer,
    session::MAX_RECORD,
};
use rtc::ice::mdns::MulticastDnsMode;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use webrtc::{
    data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit},
    error::{Error, Result},
    peer_connection::{
        PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
        RTCIceCandidate, RTCIceCandidateInit, RTCIceCandidateType, RTCIceConnectionState, RTCIceServer,
        RTCIceTransportPolicy, RTCPeerConnectionIceEvent, RTCPeerConnectionState, RTCSessionDescription,
        SettingEngineBuilder, StatsSelector,
    },
};

use crate::{driver::Inbox, udp::Roomy};

/// Commands one connection may have waiting: two descriptions and both sides' candidates, with room.
pub(crate) const COMMANDS: usize = 128;
/// Bytes handed to SCTP and not acknowledged, per channel; a sender waits beyond that.
const SEND_BUFFER: usize = 1024 * 1024;
/// How often each pair of candidates is tried: RFC 8445 §14.2 wants 50 ms at least. The crate's own 200 ms pass twice
/// before a pair is found and nominated.
const CHECK: Duration = Duration::from_millis(50);
/// Tries of each pair: two seconds of them, as the other side may learn of a candidate later.
const CHECKS: u16 = 40;
/// How long a pair that is not of hosts alone waits for one that is: those answer within a few milliseconds. A pair through
/// a TURN server waits two seconds for any other, as the crate has it: on a busy device hole punching may take one.
const HOSTS_FIRST: Duration = Duration::from_millis(100);
/// After what time whatever was wrapped for a TURN server is sent, at the latest.
const FLUSH: Duration = Duration::from_millis(5);
/// After what time SCTP acknowledges what came alone: RFC 9260 §6.2 wants 200 ms.
const ACKNOWLEDGED: Duration = Duration::from_millis(250);
/// How often the path is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// What a peer connection says, passed on to the node.
struct Handler {
    conn: ConnId,
    inbox: mpsc::Sender<Inbox>,
    /// Told when there is a path.
    moved: Arc<Notify>,
    /// What was said last: the crate repeats itself.
    last: Mutex<Option<RTCPeerConnectionState>>,
}

impl Handler {
    async fn tell(&self, event: RtcEvent) {
        let _ = self.inbox.send(Inbox::Node(Input::Rtc(self.conn, event))).await;
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(init) = event.candidate.to_json() {
            self.tell(RtcEvent::Candidate(init.candidate)).await;
        }
    }

    async fn on_ice_connection_state_change(&self, state: RTCIceConnectionState) {
        if state == RTCIceConnectionState::Connected {
            self.moved.notify_one();
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        // A poisoned lock holds a state that is as good as any.
        let before = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner).replace(state);
        if before == Some(state) {
            return;
        }
        match state {
            RTCPeerConnectionState::Connected => self.tell(RtcEvent::Connected).await,
            RTCPeerConnectionState::Disconnected => self.tell(RtcEvent::Disconnected).await,
            RTCPeerConnectionState::Failed => self.tell(RtcEvent::Failed).await,
            _ => {}
        }
    }
}

/// How a peer connection begins.
pub(crate) struct Open {
    pub(crate) offer: bool,
    pub(crate) servers: Vec<IceServer>,
    pub(crate) relay_only: bool,
}

/// Servers and policy. The node names only servers that this crate can use: it speaks TURN over UDP alone.
fn configure(servers: Vec<IceServer>, relay_only: bool) -> RTCConfigurationBuilder {
    let server = |server: IceServer| RTCIceServer {
        urls: server.urls,
        username: server.username.unwrap_or_default(),
        credential: server.credential.unwrap_or_default(),
    };
    let policy = if relay_only { RTCIceTransportPolicy::Relay } else { RTCIceTransportPolicy::All };
    RTCConfigurationBuilder::new()
        .with_ice_servers(servers.into_iter().map(server).collect())
        .with_ice_transport_policy(policy)
}

/// Runs one peer connection until the node drops `commands` and `queue`, or it ends by itself.
pub(crate) async fn run(
    conn: ConnId,
    Open { offer, servers, relay_only }: Open,
    commands: mpsc::Receiver<RtcCommand>,
    queue: mpsc::Receiver<Vec<u8>>,
    inbox: mpsc::Sender<Inbox>,
) {
    let moved = Arc::new(Notify::new());
    let reason = match open(conn, servers, relay_only, &inbox, &moved).await {
        Err(error) => error.to_string(),
        Ok((peer, channel)) => {
            let peer: Arc<dyn PeerConnection> = peer;
            let ended =
                talk(conn, (offer, relay_only), &peer, (channel, moved), commands, queue, &inbox).await;
            let _ = peer.close().await;
            match ended {
                // The node closed it, and knows.
                Ok(()) => return,
                Err(error) => error.to_string(),
            }
        }
    };
    let _ = inbox.send(Inbox::Node(Input::Disconnected(conn, reason))).await;
}

async fn open(
    conn: ConnId,
    servers: Vec<IceServer>,
    relay_only: bool,
    inbox: &mpsc::Sender<Inbox>,
    moved: &Arc<Notify>,
) -> Result<(Arc<dyn PeerConnection>, Arc<dyn DataChannel>)> {
    // Names of the local network are looked up by asking everyone there.
    let mdns = if relay_only { MulticastDnsMode::Disabled } else { MulticastDnsMode::QueryOnly };
    let engine = SettingEngineBuilder::new()
        .with_multicast_dns_mode(mdns)
        .with_ice_connection_attempts(Some(CHECK), Some(CHECKS))
        .with_srflx_acceptance_min_wait(Some(HOSTS_FIRST))
        .with_prflx_acceptance_min_wait(Some(HOSTS_FIRST))
        .build();
    let runtime = Roomy::runtime();
    let build = |addresses: Vec<&'static str>| {
        let configuration = configure(servers.clone(), relay_only).build();
        let handler = Handler { conn, inbox: inbox.clone(), moved: moved.clone(), last: Mutex::new(None) };
        let mut builder = PeerConnectionBuilder::new();
        if let Some(runtime) = &runtime {
            builder = builder.with_runtime(runtime.clone());
        }
        builder
            .with_configuration(configuration)
            .with_setting_engine(engine.clone())
            .with_handler(Arc::new(handler))
            .with_udp_addrs(addresses)
            .with_data_channel_send_buffer_limit(SEND_BUFFER)
            .build()
    };
    // A machine without IPv6 cannot bind it.
    let peer: Arc<dyn PeerConnection> = match build(vec!["0.0.0.0:0", "[::]:0"]).await {
        Ok(peer) => Arc::new(peer),
        Err(_) => Arc::new(build(vec!["0.0.0.0:0"]).await?),
    };
    let agreed = RTCDataChannelInit { negotiated: Some(0), ..RTCDataChannelInit::default() };
    match peer.create_data_channel("felund", Some(agreed)).await {
        Ok(channel) => Ok((peer, channel)),
        Err(error) => {
            // Dropping it would leave its task and its sockets behind.
            let _ = peer.close().await;
            Err(error)
        }
    }
}

/// Carries out commands and moves messages until the node or the connection ends it.
async fn talk(
    conn: ConnId,
    (offer, relay_only): (bool, bool),
    peer: &Arc<dyn PeerConnection>,
    (channel, moved): (Arc<dyn DataChannel>, Arc<Notify>),
    mut commands: mpsc::Receiver<RtcCommand>,
    queue: mpsc::Receiver<Vec<u8>>,
    inbox: &mpsc::Sender<Inbox>,
) -> Result<()> {
    let (opened, is_open) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(flush(channel.clone(), is_open.clone(), moved.clone()));
    tasks.spawn(read(conn, channel.clone(), opened, inbox.clone(), moved.clone()));
    tasks.spawn(write(channel, is_open.clone(), queue, moved));
    let tell = async |event| {
        let _ = inbox.send(Inbox::Node(Input::Rtc(conn, event))).await;
    };
    if offer {
        tell(RtcEvent::Description(describe(peer, true).await?)).await;
    }
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut opening = is_open;
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                None => return Ok(()),
                Some(RtcCommand::Open { .. }) => {}
                Some(RtcCommand::Servers(servers)) => {
                    peer.set_configuration(configure(servers, relay_only).build()).await?;
                }
                Some(RtcCommand::Remote(sdp)) => {
                    let remote =
                        if offer { RTCSessionDescription::answer(sdp) } else { RTCSessionDescription::offer(sdp) };
                    peer.set_remote_description(remote?).await?;
                    if !offer {
                        tell(RtcEvent::Description(describe(peer, false).await?)).await;
                    }
                }
                Some(RtcCommand::Candidate(candidate)) => {
                    let init =
                        RTCIceCandidateInit { candidate, sdp_mline_index: Some(0), ..RTCIceCandidateInit::default() };
                    // A browser's `.local` name that this machine cannot look up: it is reached all the same, as the
                    // browser can look up this side's.
                    let _ = peer.add_ice_candidate(init).await;
                }
                Some(RtcCommand::Restart) => {
                    peer.restart_ice().await?;
                    tell(RtcEvent::Description(describe(peer, true).await?)).await;
                }
            },
            Some(ended) = tasks.join_next() => return ended.unwrap_or(Err(Error::ErrDataChannelClosed)),
            _ = look.tick(), if *opening.borrow() => {
                if let Some(path) = path(peer).await {
                    tell(RtcEvent::Path(path)).await;
                }
            }
            // Looks at the path as soon as there is one.
            Ok(()) = opening.changed() => look.reset_immediately(),
        }
    }
}

/// Makes the local description and sets it.
async fn describe(peer: &Arc<dyn PeerConnection>, offer: bool) -> Result<String> {
    let description = if offer { peer.create_offer(None).await? } else { peer.create_answer(None).await? };
    let sdp = description.sdp.clone();
    peer.set_local_description(description).await?;
    Ok(sdp)
}

/// Takes whatever the channel has, at once.
async fn read(
    conn: ConnId,
    channel: Arc<dyn DataChannel>,
    opened: watch::Sender<bool>,
    inbox: mpsc::Sender<Inbox>,
    moved: Arc<Notify>,
) -> Result<()> {
    while let Some(event) = channel.poll().await {
        let message = match event {
            DataChannelEvent::OnOpen => None,
            DataChannelEvent::OnMessage(message) if message.data.len() <= MAX_RECORD => Some(message.data),
            DataChannelEvent::OnMessage(_) | DataChannelEvent::OnClose => {
                return Err(Error::ErrDataChannelClosed);
            }
            _ => continue,
        };
        moved.notify_one();
        // A first message may come before the word that the channel is open, which it proves.
        let first = !*opened.borrow();
        opened.send_replace(true);
        let inputs = first.then_some(Input::Rtc(conn, RtcEvent::Opened)).into_iter();
        let inputs = inputs.chain(message.map(|data| Input::Received(conn, data.into())));
        for input in inputs {
            if inbox.send(Inbox::Node(input)).await.is_err() {
                return Err(Error::ErrDataChannelClosed);
            }
        }
    }
    Err(Error::ErrDataChannelClosed)
}

/// Sends what is queued once the channel is open: what is sent before is lost.
async fn write(
    channel: Arc<dyn DataChannel>,
    mut open: watch::Receiver<bool>,
    mut queue: mpsc::Receiver<Vec<u8>>,
    moved: Arc<Notify>,
) -> Result<()> {
    let limit = Duration::from_millis(2 * RTC_ATTEMPT_MS);
    let opened = timeout(limit, open.wait_for(|open| *open)).await.is_ok_and(|opened| opened.is_ok());
    if !opened {
        return Err(Error::ErrDataChannelClosed);
    }
    while let Some(message) = queue.recv().await {
        channel.send(Bytes::from(message).into()).await?;
        moved.notify_one();
    }
    // The node has closed it: the task of its commands ends everything.
    std::future::pending().await
}

/// Makes the crate send what goes through a TURN server: it wraps such a datagram and then waits for anything at all to
/// happen before it sends it, which may be half a second later. Any setting of the channel wakes it. Without TURN this
/// shortens the handshakes of DTLS and SCTP all the same.
async fn flush(channel: Arc<dyn DataChannel>, open: watch::Receiver<bool>, moved: Arc<Notify>) -> Result<()> {
    let mut settled = true;
    loop {
        if settled {
            moved.notified().await;
        }
        sleep(FLUSH).await;
        let _ = channel.set_buffered_amount_low_threshold(0).await;
        // Nothing tells when DTLS and SCTP say something before there is a channel.
        settled = *open.borrow() && timeout(ACKNOWLEDGED, moved.notified()).await.is_err();
        if settled {
            // What SCTP acknowledged meanwhile.
            let _ = channel.set_buffered_amount_low_threshold(0).await;
        }
    }
}

/// The pair of candidates that the transport has selected.
async fn path(peer: &Arc<dyn PeerConnection>) -> Option<RtcPath> {
    let ice = peer.sctp().await?.transport().ice_transport();
    let pair = ice.get_selected_candidate_pair().await.ok()??;
    let report = peer.get_stats(Instant::now(), StatsSelector::None).await;
    let told = ice.get_remote_candidates().await.unwrap_or_default();
    let (local, remote) = (&pair.local().id, &pair.remote().id);
    let mut pairs = report.candidate_pairs();
    let stats =
        pairs.find(|stats| stats.local_candidate_id == *local && stats.remote_candidate_id == *remote);
    let rtt = stats.map_or(0.0, |stats| stats.current_round_trip_time);
    Some(RtcPath {
        local: kind(pair.local())?,
        remote: kind(as_told(pair.remote(), &told))?,
        // Seconds, and at most minutes: `as` only rounds.
        rtt_ms: (rtt > 0.0).then_some((rtt * 1_000.0).ceil() as u32),
    })
}

/// What the other side has told a candidate to be. The crate keeps calling it peer-reflexive when a check came from it before the
/// word of it did; of a TURN server's nobody would look for anything better then.
fn as_told<'a>(used: &'a RTCIceCandidate, told: &'a [RTCIceCandidate]) -> &'a RTCIceCandidate {
    let same = |other: &&RTCIceCandidate| {
        other.typ != RTCIceCandidateType::Prflx
            && (other.protocol, &other.address, other.port) == (used.protocol, &used.address, used.port)
    };
    told.iter().find(same).unwrap_or(used)
}

const fn kind(candidate: &RTCIceCandidate) -> Option<CandidateKind> {
    match candidate.typ {
        RTCIceCandidateType::Host => Some(CandidateKind::Host),
        RTCIceCandidateType::Srflx => Some(CandidateKind::Srflx),
        RTCIceCandidateType::Prflx => Some(CandidateKind::Prflx),
        RTCIceCandidateType::Relay => Some(CandidateKind::Relay),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_that_was_met_before_it_was_told_is_what_it_was_told_to_be() {
        let at = |typ, port| RTCIceCandidate {
            typ,
            port,
            address: "198.51.100.9".into(),
            ..RTCIceCandidate::default()
        };
        let met = at(RTCIceCandidateType::Prflx, 4711);
        let other = at(RTCIceCandidateType::Relay, 4712);
        let told = at(RTCIceCandidateType::Relay, 4711);
        assert_eq!(kind(as_told(&met, &[met.clone(), other.clone()])), Some(CandidateKind::Prflx));
        assert_eq!(kind(as_told(&met, &[met.clone(), other, told])), Some(CandidateKind::Relay));
    }
}
