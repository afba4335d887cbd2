//! Who is there: a member with an open socket, or with a registration that has not run out.
//!
//! A socket says more than a registration: when a node's last socket closes, a registration from before that socket
//! opened ends with it, and one renewed since then is cut short, so that others soon see who has gone. A client that
//! goes on by polling stays: each poll prolongs its registration a little.

use felund_core::{
    config::MAX_ENDPOINTS,
    ids::NodeId,
    relay_api::{Capabilities, Peer},
};

use super::room::Room;

/// What is left of a registration when its node's last socket closes, in seconds.
const AFTER_SOCKET_S: u64 = 10;
/// How long a poll keeps a registered node present, in seconds.
const AFTER_POLL_S: u64 = 30;
/// Most members that are told of at once.
const MAX_PEERS: usize = 1_024;
/// About the most bytes that they take, so that they fit into a frame with room to spare: members could otherwise lock others
/// out of a circle by registering devices that they make up.
const MAX_PEERS_BYTES: usize = 512 * 1024;
/// Bytes of a member beside its endpoints, and of an endpoint beside its text, rounded up.
const PEER_BYTES: usize = 64;
const ENDPOINT_BYTES: usize = 4;
/// Most registrations in a circle; further ones say nothing of who is there.
const MAX_MEMBERS: usize = 4_096;

#[derive(Debug)]
pub(super) struct Member {
    peer: Peer,
    sockets: u32,
    /// Unix seconds; 0 when there is no registration that outlives the sockets.
    expires_at: u64,
}

impl Room {
    /// Live members, without the one who asks: those with a socket first, and of each no more endpoints than anybody takes.
    pub(crate) fn peers(&self, caller: &NodeId) -> Vec<Peer> {
        let mut members: Vec<&Member> = self.members.values().filter(|m| m.peer.node_id != *caller).collect();
        members.sort_unstable_by_key(|m| (m.sockets == 0, m.peer.node_id));
        let mut bytes = 0;
        let told = members.into_iter().take(MAX_PEERS).map(|m| {
            let endpoints = m.peer.endpoints.iter().take(MAX_ENDPOINTS).cloned().collect();
            Peer { endpoints, ..m.peer.clone() }
        });
        told.take_while(|peer| {
            bytes += PEER_BYTES + peer.endpoints.iter().map(|e| ENDPOINT_BYTES + e.len()).sum::<usize>();
            bytes <= MAX_PEERS_BYTES
        })
        .collect()
    }

    /// Presence over HTTP.
    pub(crate) fn register(&mut self, peer: Peer, expires_at: u64) {
        let node = peer.node_id;
        let full = self.members.len() >= MAX_MEMBERS;
        let news = match self.members.get_mut(&node) {
            Some(member) => {
                let news =
                    member.peer.endpoints != peer.endpoints || member.peer.capabilities != peer.capabilities;
                member.peer = peer.clone();
                member.expires_at = expires_at;
                news
            }
            None if full => false,
            None => {
                self.members.insert(node, Member { peer: peer.clone(), sockets: 0, expires_at });
                true
            }
        };
        if news {
            self.tell_others(&node, peer, true);
        }
    }

    /// The end of a presence over HTTP; a socket, if there is one, goes on saying that the node is there.
    pub(crate) fn unregister(&mut self, node: &NodeId) {
        if let Some(member) = self.members.get_mut(node) {
            member.expires_at = 0;
            self.leave_if_gone(node);
        }
    }

    /// A registered node has polled.
    pub(crate) fn polled(&mut self, node: &NodeId, now: u64) {
        if let Some(member) = self.members.get_mut(node)
            && member.expires_at != 0
        {
            member.peer.observed_at = now;
            member.expires_at = member.expires_at.max(now + AFTER_POLL_S);
        }
    }

    pub(super) fn socket_opened(&mut self, node: NodeId, now: u64) {
        let member = self.members.entry(node).or_insert_with(|| Member {
            peer: Peer {
                node_id: node,
                endpoints: Vec::new(),
                capabilities: Capabilities::default(),
                observed_at: now,
            },
            sockets: 0,
            expires_at: 0,
        });
        member.sockets += 1;
        member.expires_at = 0;
        member.peer.observed_at = now;
        if member.sockets == 1 {
            let peer = member.peer.clone();
            self.tell_others(&node, peer, true);
        }
    }

    pub(super) fn socket_closed(&mut self, node: NodeId, stays: bool, now: u64) {
        if let Some(member) = self.members.get_mut(&node) {
            member.sockets = member.sockets.saturating_sub(1);
            member.peer.observed_at = now;
            if member.sockets == 0 {
                member.expires_at = member.expires_at.min(now + AFTER_SOCKET_S);
            }
            if !stays {
                self.leave_if_gone(&node);
            }
        }
    }

    fn leave_if_gone(&mut self, node: &NodeId) {
        if self.members.get(node).is_some_and(|m| m.sockets == 0 && m.expires_at == 0)
            && let Some(member) = self.members.remove(node)
        {
            self.tell_others(node, member.peer, false);
        }
    }

    /// Ends registrations and signals that have run out.
    pub(crate) fn expire(&mut self, now: u64) {
        self.mailbox.expire(now);
        let over: Vec<NodeId> = self
            .members
            .iter_mut()
            .filter(|(_, member)| member.expires_at != 0 && member.expires_at <= now)
            .map(|(node, member)| {
                member.expires_at = 0;
                *node
            })
            .collect();
        for node in over {
            self.leave_if_gone(&node);
        }
    }
}
