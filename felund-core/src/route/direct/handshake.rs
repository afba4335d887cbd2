//! What a connection is waiting for, and how each message takes it on.

use super::DirectEvent;
use crate::{
    io::{ConnId, Output},
    route::relay::Cx,
    session::{AwaitAuth, AwaitWelcome, Initiator, Local, Responder, Session, SessionError},
    wire::PeerFrame,
};

#[derive(Debug)]
pub(super) enum State {
    Dialing,
    Initiating(Box<Initiator>),
    Welcoming(Box<AwaitWelcome>),
    Responding(Responder),
    Authenticating(Box<AwaitAuth>),
    Open(Box<Session>),
}

type Stepped = Result<(State, bool), (SessionError, Option<Box<Session>>)>;

/// Takes one message to the next state; the flag says whether a session has just opened.
pub(super) fn step(
    state: State,
    id: ConnId,
    bytes: &[u8],
    local: Local<'_>,
    cx: &mut Cx<'_>,
    events: &mut Vec<DirectEvent>,
) -> Stepped {
    let fault = |error| (error, None);
    let opened = |session: Session, events: &mut Vec<DirectEvent>| {
        let circles = session.circles().to_vec();
        let initiated = session.initiated();
        events.push(DirectEvent::Opened { conn: id, node: session.peer(), circles, initiated });
        State::Open(Box::new(session))
    };
    match state {
        State::Dialing => Err(fault(SessionError::Malformed)),
        State::Responding(responder) => {
            let (next, challenge) = responder.greeted(local, bytes, &mut cx.rng.0).map_err(fault)?;
            cx.out.push_back(Output::Transmit(id, challenge));
            Ok((State::Authenticating(Box::new(next)), false))
        }
        State::Initiating(initiator) => {
            let (next, auth) = initiator.challenged(local, bytes).map_err(fault)?;
            cx.out.push_back(Output::Transmit(id, auth));
            Ok((State::Welcoming(Box::new(next)), false))
        }
        State::Authenticating(waiting) => {
            let (session, welcome) = waiting.authenticated(local, bytes).map_err(fault)?;
            cx.out.push_back(Output::Transmit(id, welcome));
            Ok((opened(session, events), true))
        }
        State::Welcoming(waiting) => {
            let session = waiting.welcomed(local, bytes).map_err(fault)?;
            Ok((opened(session, events), true))
        }
        State::Open(mut session) => {
            let frame = match session.open(bytes) {
                Ok(None) => return Ok((State::Open(session), false)),
                Ok(Some(bytes)) => PeerFrame::from_bytes(&bytes).map_err(|_| SessionError::Malformed),
                Err(error) => Err(error),
            };
            match frame {
                Ok(frame) => {
                    events.push(DirectEvent::Frame { conn: id, node: session.peer(), frame });
                    Ok((State::Open(session), false))
                }
                Err(error) => Err((error, Some(session))),
            }
        }
    }
}
