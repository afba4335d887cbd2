//! Two nodes and somebody between them who alters, drops, repeats, swaps and invents messages.

use std::collections::VecDeque;

use felund_core::{
    keys::{CircleSecret, NodeKey},
    session::{AwaitAuth, AwaitWelcome, Initiator, Local, Responder, Session},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::{
    author::{circle, node},
    script::Script,
};

/// Most things that happen in one run.
const STEPS: usize = 96;

enum State {
    Responding(Responder),
    Initiating(Box<Initiator>),
    Authenticating(Box<AwaitAuth>),
    Welcoming(Box<AwaitWelcome>),
    Open(Box<Session>),
    Over,
}

struct Side {
    key: NodeKey,
    circles: Vec<CircleSecret>,
    rng: ChaCha20Rng,
    state: State,
    /// Every message it has sent, and every one that was delivered to it.
    sent: Vec<Vec<u8>>,
    heard: Vec<Vec<u8>>,
    /// Messages on their way to it.
    queue: VecDeque<Vec<u8>>,
    /// Frames it sealed, and frames it opened.
    said: Vec<Vec<u8>>,
    read: Vec<Vec<u8>>,
}

impl Side {
    fn new(name: u8, circles: u8) -> Self {
        let circles = (0..4).filter(|n| circles >> n & 1 == 1).map(|n| circle(n + 1)).collect();
        Self {
            key: node(name),
            circles,
            rng: ChaCha20Rng::seed_from_u64(u64::from(name)),
            state: State::Over,
            sent: Vec::new(),
            heard: Vec::new(),
            queue: VecDeque::new(),
            said: Vec::new(),
            read: Vec::new(),
        }
    }

    /// Takes one message; what it answers.
    fn take(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let local = Local { key: &self.key, circles: &self.circles };
        let state = std::mem::replace(&mut self.state, State::Over);
        if matches!(state, State::Over) {
            return None;
        }
        self.heard.push(bytes.to_vec());
        let (next, answer) = match state {
            State::Over => return None,
            State::Responding(state) => {
                let (next, challenge) = state.greeted(local, bytes, &mut self.rng).ok()?;
                (State::Authenticating(Box::new(next)), Some(challenge))
            }
            State::Initiating(state) => {
                let (next, auth) = state.challenged(local, bytes).ok()?;
                (State::Welcoming(Box::new(next)), Some(auth))
            }
            State::Authenticating(state) => {
                let (session, welcome) = state.authenticated(local, bytes).ok()?;
                (State::Open(Box::new(session)), Some(welcome))
            }
            State::Welcoming(state) => (State::Open(Box::new(state.welcomed(local, bytes).ok()?)), None),
            State::Open(mut session) => {
                if let Some(frame) = session.open(bytes).ok()? {
                    self.read.push(frame);
                }
                (State::Open(session), None)
            }
        };
        self.state = next;
        answer
    }
}

/// What must hold whatever somebody does to the messages.
fn check(side: &Side, other: &Side) {
    assert!(
        side.read.len() <= other.said.len() && side.read[..] == other.said[..side.read.len()],
        "frames arrive as they were said, in order, or not at all"
    );
    if let State::Open(session) = &side.state {
        let honest = side.heard.len() <= other.sent.len() && side.heard[..] == other.sent[..side.heard.len()];
        assert!(honest, "a session goes on only over what the other side sent, in order");
        assert_eq!(session.peer(), other.key.id());
        let mut shared: Vec<_> = side.circles.iter().map(CircleSecret::circle_id).collect();
        shared.retain(|id| other.circles.iter().any(|circle| circle.circle_id() == *id));
        shared.sort_unstable();
        assert_eq!(session.circles(), shared, "exactly what both share");
    }
}

fn send(to: &mut Side, from: &mut Side, message: Vec<u8>) {
    from.sent.push(message.clone());
    to.queue.push_back(message);
}

/// Takes bytes as what happens between the two.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let circles = script.byte();
    let (mut a, mut b) = (Side::new(1, circles & 15), Side::new(2, circles >> 4));
    let local = Local { key: &a.key, circles: &a.circles };
    let (initiator, hello) = Initiator::new(local, Vec::new(), &mut a.rng);
    a.state = State::Initiating(Box::new(initiator));
    b.state = State::Responding(Responder::new(Vec::new()));
    send(&mut b, &mut a, hello);
    for _ in 0..STEPS {
        if script.is_over() {
            break;
        }
        let what = script.byte();
        let (to, from) = if what & 1 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
        let message = match what >> 1 & 7 {
            // As it should be, twice as often as anything else.
            0 | 1 => to.queue.pop_front(),
            2 => {
                let mut message = to.queue.pop_front().unwrap_or_default();
                let at = usize::from(script.byte()) % message.len().max(1);
                if let Some(byte) = message.get_mut(at) {
                    *byte ^= script.byte().max(1);
                }
                Some(message)
            }
            3 => {
                let mut message = to.queue.pop_front().unwrap_or_default();
                message.truncate(usize::from(script.byte()));
                Some(message)
            }
            4 => {
                // Lost, or overtaken by the next.
                if script.one_in(2) {
                    to.queue.pop_front()
                } else {
                    None
                };
                if to.queue.len() > 1 {
                    to.queue.swap(0, 1);
                }
                None
            }
            5 => {
                // Again, or back to where it came from.
                let all = if script.one_in(2) { &from.sent } else { &to.sent };
                all.get(usize::from(script.byte()) % all.len().max(1)).cloned()
            }
            6 => Some(script.piece().to_vec()),
            _ => {
                let frame = vec![script.byte(); usize::from(u16::from_le_bytes(script.array()))];
                if let State::Open(session) = &mut from.state {
                    let records = session.seal(&frame).expect("within its limit");
                    from.said.push(frame);
                    for record in records {
                        send(to, from, record);
                    }
                }
                None
            }
        };
        if let Some(answer) = message.and_then(|message| to.take(&message)) {
            send(from, to, answer);
        }
        check(&a, &b);
        check(&b, &a);
    }
}
