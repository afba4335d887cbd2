//! Handshakes on DataChannels, whose first message each way may be lost although they are reliable from then on: some
//! implementations call a channel open a moment before they are. So the first two messages may be said again.

use super::{Conn, Cx, Direct, Secrets, State};
use crate::{
    config::{HANDSHAKE_REPEAT_MS, HANDSHAKE_TIMEOUT_MS},
    io::{ConnId, Output},
    session::{Binding, Initiator, Local, Responder},
};

/// The first message of each side, while either may still have to be repeated.
#[derive(Debug, Default)]
pub(super) struct First {
    ours: Vec<u8>,
    theirs: Vec<u8>,
    /// When HELLO is said again.
    again_at: Option<u64>,
}

impl Direct {
    /// A DataChannel is open: the side that offered begins the handshake.
    pub(crate) fn channel(
        &mut self,
        id: ConnId,
        initiates: bool,
        binding: Binding,
        secrets: Secrets<'_>,
        cx: &mut Cx<'_>,
    ) {
        if !self.has_room() {
            cx.out.push_back(Output::Close(id, super::TOO_MANY));
            return;
        }
        let since = cx.now.mono;
        let mut first = First::default();
        let state = if initiates {
            let secrets = secrets();
            let local = Local { key: cx.key, circles: &secrets };
            let (initiator, hello) = Initiator::new(local, binding, &mut cx.rng.0);
            first.ours.clone_from(&hello);
            first.again_at = Some(since + HANDSHAKE_REPEAT_MS);
            cx.out.push_back(Output::Transmit(id, hello));
            State::Initiating(Box::new(initiator))
        } else {
            State::Responding(Responder::new(binding))
        };
        let deadline = since + HANDSHAKE_TIMEOUT_MS;
        self.conns.insert(id, Conn { since, address: None, origin: None, state, deadline, probed: false });
        self.firsts.insert(id, first);
    }

    /// HELLO again, where nobody has answered it.
    pub(super) fn repeat(&mut self, cx: &mut Cx<'_>) {
        for (id, first) in &mut self.firsts {
            if first.again_at.is_some_and(|at| at <= cx.now.mono) {
                first.again_at = Some(cx.now.mono + HANDSHAKE_REPEAT_MS);
                cx.out.push_back(Output::Transmit(*id, first.ours.clone()));
            }
        }
    }

    pub(super) fn repeat_at(&self) -> impl Iterator<Item = u64> {
        self.firsts.values().filter_map(|first| first.again_at)
    }

    /// Whether a message is the other side's first one again, and needs no more than its answer again.
    pub(super) fn is_repeated(&self, id: ConnId, bytes: &[u8], cx: &mut Cx<'_>) -> bool {
        let (Some(first), Some(conn)) = (self.firsts.get(&id), self.conns.get(&id)) else { return false };
        if first.theirs.is_empty() || first.theirs != bytes {
            return false;
        }
        if matches!(conn.state, State::Authenticating(_)) {
            cx.out.push_back(Output::Transmit(id, first.ours.clone()));
        }
        true
    }

    /// Takes note of the first messages once both are said, and forgets them when the session is open.
    pub(super) fn stepped(&mut self, id: ConnId, state: &State, bytes: &[u8], cx: &Cx<'_>) {
        let Some(first) = self.firsts.get_mut(&id) else { return };
        match state {
            State::Authenticating(_) => {
                first.theirs = bytes.to_vec();
                if let Some(Output::Transmit(_, challenge)) = cx.out.back() {
                    first.ours.clone_from(challenge);
                }
            }
            State::Welcoming(_) => (first.theirs, first.again_at) = (bytes.to_vec(), None),
            _ => {
                self.firsts.remove(&id);
            }
        }
    }
}
