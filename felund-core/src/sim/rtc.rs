//! WebRTC below the nodes: peer connections that insist on the order a real one needs, and find a path unless they are
//! told not to.

use std::collections::BTreeMap;

use super::{End, World, device::Stream};
use crate::{
    io::{CandidateKind, ConnId, Input, RtcCommand, RtcEvent, RtcPath},
    relay_api::IceServer,
};

/// How long the platform takes for anything, in milliseconds.
const STEP_MS: u64 = 3;

/// One peer connection.
#[derive(Debug)]
struct Connection {
    offers: bool,
    relay_only: bool,
    round: u32,
    /// The other side's end and round, by its description.
    remote: Option<(End, u32)>,
    /// A candidate of the other side is known.
    candidate: bool,
    open: bool,
}

/// All peer connections, and what becomes of them.
#[derive(Debug, Default)]
pub struct WebRtc {
    connections: BTreeMap<End, Connection>,
    /// Peer connections ever created.
    pub created: usize,
    /// Servers that peer connections were given, in order: at their creation and later.
    pub servers: Vec<Vec<IceServer>>,
    /// Descriptions and candidates that came from the other side, with the device they came to.
    pub told: Vec<(usize, String)>,
    /// Platforms also tell a name that stands for an address, as browsers do.
    pub names: bool,
    /// No path is ever found.
    pub blocked: bool,
    /// The only candidates that are found are those of TURN servers.
    pub through_turn: bool,
    /// So many of the next messages on direct connections are lost without a word.
    pub swallow: usize,
    /// What nodes did that a peer connection would not take.
    pub faults: Vec<String>,
}

impl WebRtc {
    /// Peer connections there are, the ones that have not opened included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.connections.len()
    }

    /// Channels that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.connections.values().filter(|connection| connection.open).count()
    }

    pub(super) fn close(&mut self, end: End) {
        self.connections.remove(&end);
    }

    pub(super) fn crash(&mut self, device: usize) {
        self.connections.retain(|end, _| end.device != device);
    }

    pub(super) fn swallows(&mut self) -> bool {
        let swallows = self.swallow > 0;
        self.swallow -= usize::from(swallows);
        swallows
    }
}

/// The address that a device has in its own network, and hides if it hides any.
#[must_use]
pub fn own_address(device: usize) -> String {
    format!("192.168.1.{}", device + 1)
}

fn description(end: End, round: u32) -> String {
    let own = own_address(end.device);
    let print = vec![format!("{:02X}", (end.device as u64 * 31 + end.conn.0) % 251); 32].join(":");
    format!(
        "v=0\r\no=- 1 1 IN IP4 {own}\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 {own}\r\na=ice-ufrag:{}.{}.{}.{round}\r\n\
         a=fingerprint:sha-256 {print}\r\n",
        end.device, end.life, end.conn.0
    )
}

/// Whose description it is, and of which round.
fn described(sdp: &str) -> Option<(End, u32)> {
    let mut parts = sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:"))?.split('.');
    let mut part = || parts.next()?.parse::<u64>().ok();
    let (device, life, conn, round) = (part()?, part()?, part()?, part()?);
    let end = End { device: device as usize, life: u32::try_from(life).ok()?, conn: ConnId(conn) };
    Some((end, u32::try_from(round).ok()?))
}

impl World {
    pub(super) fn peer_connection(&mut self, at: usize, conn: ConnId, command: RtcCommand) {
        let end = self.end(at, conn);
        if let RtcCommand::Open { offer, servers, relay_only } = command {
            self.rtc.created += 1;
            self.rtc.servers.push(servers);
            let connection = Connection {
                offers: offer,
                relay_only,
                round: 0,
                remote: None,
                candidate: false,
                open: false,
            };
            self.rtc.connections.insert(end, connection);
            if offer {
                self.describe(end, 0);
            }
            return;
        }
        let Some(connection) = self.rtc.connections.get_mut(&end) else {
            return self.rtc.faults.push(format!("{command:?} to a connection that is not there"));
        };
        if let RtcCommand::Remote(told) | RtcCommand::Candidate(told) = &command {
            self.rtc.told.push((at, told.clone()));
        }
        match command {
            RtcCommand::Servers(servers) => self.rtc.servers.push(servers),
            RtcCommand::Restart => {
                connection.round += 1;
                (connection.remote, connection.candidate) = (None, false);
                let round = connection.round;
                self.describe(end, round);
            }
            RtcCommand::Remote(sdp) => {
                let remote = described(&sdp);
                let of_round = |remote: Option<(End, u32)>| remote.map(|(_, round)| round);
                let again = connection.remote.is_some() && of_round(connection.remote) >= of_round(remote);
                if again || remote.is_none() {
                    self.rtc.faults.push(format!("a description out of turn: {sdp}"));
                    return;
                }
                (connection.remote, connection.candidate) = (remote, false);
                if let (false, Some(round)) = (connection.offers, of_round(remote)) {
                    connection.round = round;
                    self.describe(end, round);
                }
            }
            RtcCommand::Candidate(candidate) => {
                if connection.remote.is_none() {
                    self.rtc.faults.push(format!("a candidate before its description: {candidate}"));
                }
                connection.candidate = true;
                self.connect(end);
            }
            RtcCommand::Open { .. } => {}
        }
    }

    fn describe(&mut self, end: End, round: u32) {
        // Real platforms may find candidates before they have told their description.
        // This one finds what it was told not to look for, and puts everything into its description.
        let relay_only = self.rtc.connections.get(&end).is_some_and(|connection| connection.relay_only);
        let own = own_address(end.device);
        let mut candidates = Vec::new();
        if !self.rtc.through_turn {
            candidates.push(format!("candidate:1 1 udp 1 {own} 9 typ host"));
        }
        if relay_only || self.rtc.through_turn {
            candidates.push(format!("candidate:2 1 udp 1 198.51.100.1 9 typ relay raddr {own} rport 9"));
        }
        if self.rtc.names {
            candidates.push(format!("candidate:3 1 udp 1 device-{}.local 9 typ host", end.device));
        }
        let mut sdp = description(end, round);
        for candidate in candidates {
            sdp += &format!("a={candidate}\r\n");
            self.platform_says(end, RtcEvent::Candidate(candidate));
        }
        self.platform_says(end, RtcEvent::Description(sdp));
    }

    fn platform_says(&mut self, end: End, event: RtcEvent) {
        self.input_later(STEP_MS, end, Input::Rtc(end.conn, event));
    }

    /// Connects two that know each other's description and candidates of the same round.
    fn connect(&mut self, end: End) {
        let Some(Connection { remote: Some((other, round)), .. }) = self.rtc.connections.get(&end) else {
            return;
        };
        let (other, round) = (*other, *round);
        let ready = |of: &End, to: End| {
            self.rtc.connections.get(of).is_some_and(|connection| {
                connection.candidate && connection.round == round && connection.remote == Some((to, round))
            })
        };
        let apart = self.rtc.blocked || self.network.blocked(end.device, other.device).is_some();
        if apart || !ready(&end, other) || !ready(&other, end) {
            return;
        }
        for (end, other) in [(end, other), (other, end)] {
            let stream = Stream { other, tail: self.now, dead: false };
            self.devices[end.device].streams.insert(end.conn, stream);
            let Some(connection) = self.rtc.connections.get_mut(&end) else { continue };
            let event = if connection.open { RtcEvent::Connected } else { RtcEvent::Opened };
            connection.open = true;
            self.platform_says(end, event);
            let kind = if self.rtc.through_turn { CandidateKind::Relay } else { CandidateKind::Host };
            self.platform_says(end, RtcEvent::Path(RtcPath { local: kind, remote: kind, rtt_ms: None }));
        }
    }

    /// Every channel's path is gone, and the platforms notice.
    pub fn cut_channels(&mut self) {
        for end in self.rtc.connections.keys().copied().collect::<Vec<_>>() {
            if let Some(stream) = self.devices[end.device].streams.get_mut(&end.conn) {
                stream.dead = true;
            }
            self.platform_says(end, RtcEvent::Disconnected);
        }
    }
}
