//! The terminal client's own connections without a node: two ends of a DataChannel that are introduced to each other
//! in this process, as a relay would introduce them.

use felund_core::io::{ConnId, Input, RtcCommand, RtcEvent};
pub use native_tui::links::Links;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What one end says to the other before there is a channel: at most a description and a few candidates.
#[derive(Debug)]
pub enum Said {
    /// A session description; comes first.
    Description(String),
    /// An ICE candidate.
    Candidate(String),
}

/// One end's way to the other.
#[derive(Debug)]
pub struct Post {
    to: UnboundedSender<Said>,
    from: UnboundedReceiver<Said>,
}

/// A way between two ends, which may be in different threads.
#[must_use]
pub fn post() -> (Post, Post) {
    let ((to_b, at_b), (to_a, at_a)) = (unbounded_channel(), unbounded_channel());
    (Post { to: to_b, from: at_a }, Post { to: to_a, from: at_b })
}

impl Post {
    /// Tells the other end.
    pub fn say(&self, what: Said) {
        // An end that is gone was connected already and needed no more.
        let _ = self.to.send(what);
    }

    /// What the other end tells next; waits for ever once it has gone.
    pub async fn hear(&mut self) -> Said {
        match self.from.recv().await {
            Some(said) => said,
            None => std::future::pending().await,
        }
    }
}

/// Makes a peer connection to the other end of `post` and waits until its channel is open here.
///
/// # Errors
/// Why there is none.
pub async fn meet(links: &mut Links, conn: ConnId, offer: bool, post: &mut Post) -> Result<(), String> {
    let told = |done: Result<(), Input>| done.map_err(|input| format!("{input:?}"));
    told(links.rtc(conn, RtcCommand::Open { offer, servers: Vec::new(), relay_only: false }))?;
    // The other end can take candidates once it has the description.
    let (mut described, mut early) = (false, Vec::new());
    loop {
        tokio::select! {
            input = links.next() => match input {
                Some(Input::Rtc(_, RtcEvent::Description(sdp))) => {
                    described = true;
                    post.say(Said::Description(sdp));
                    for candidate in early.drain(..) {
                        post.say(Said::Candidate(candidate));
                    }
                }
                Some(Input::Rtc(_, RtcEvent::Candidate(candidate))) if !candidate.is_empty() => {
                    if described {
                        post.say(Said::Candidate(candidate));
                    } else {
                        early.push(candidate);
                    }
                }
                Some(Input::Rtc(_, RtcEvent::Opened)) => return Ok(()),
                Some(Input::Disconnected(_, reason)) => return Err(reason),
                Some(_) => {}
                None => return Err("the links are gone".to_owned()),
            },
            said = post.hear() => told(links.rtc(conn, match said {
                Said::Description(sdp) => RtcCommand::Remote(sdp),
                Said::Candidate(candidate) => RtcCommand::Candidate(candidate),
            }))?,
        }
    }
}
