//! The handshake under attack: each has its own name.

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::*;

struct Side {
    key: NodeKey,
    circles: Vec<CircleSecret>,
    rng: ChaCha20Rng,
}

impl Side {
    fn new(seed: u8, circles: &[u8]) -> Self {
        let circles = circles.iter().map(|c| CircleSecret::from_secret(Secret::new([*c; 32]))).collect();
        let key = NodeKey::from_seed(Secret::new([seed; 32]));
        Self { key, circles, rng: ChaCha20Rng::seed_from_u64(u64::from(seed)) }
    }

    fn local(&self) -> Local<'_> {
        Local { key: &self.key, circles: &self.circles }
    }
}

/// Runs a handshake through `tamper`, which may alter each of the four messages.
fn shake(
    a: &mut Side,
    b: &mut Side,
    bindings: [&[u8]; 2],
    mut tamper: impl FnMut(usize, &mut Vec<u8>),
) -> Result<(Session, Session), SessionError> {
    let mut pass = |step, mut bytes: Vec<u8>| {
        tamper(step, &mut bytes);
        bytes
    };
    let local = Local { key: &a.key, circles: &a.circles };
    let (initiator, hello) = Initiator::new(local, bindings[0].to_vec(), &mut a.rng);
    let local = Local { key: &b.key, circles: &b.circles };
    let responder = Responder::new(bindings[1].to_vec());
    let (responder, challenge) = responder.greeted(local, &pass(0, hello), &mut b.rng)?;
    let (initiator, auth) = initiator.challenged(a.local(), &pass(1, challenge))?;
    let (theirs, welcome) = responder.authenticated(b.local(), &pass(2, auth))?;
    Ok((initiator.welcomed(a.local(), &pass(3, welcome))?, theirs))
}

fn plain(a: &mut Side, b: &mut Side) -> Result<(Session, Session), SessionError> {
    shake(a, b, [b"", b""], |_, _| {})
}

#[test]
fn both_sides_learn_who_is_there_and_exactly_what_they_share() {
    let (mut a, mut b) = (Side::new(1, &[1, 2, 3]), Side::new(2, &[9, 3, 1]));
    let (mine, theirs) = plain(&mut a, &mut b).unwrap();
    assert_eq!((mine.peer(), theirs.peer()), (b.key.id(), a.key.id()));
    let mut shared: Vec<_> = [0, 2].map(|i: usize| a.circles[i].circle_id()).to_vec();
    shared.sort_unstable();
    assert_eq!((mine.circles(), theirs.circles()), (&shared[..], &shared[..]));
    assert_eq!(mine.salt(), theirs.salt());
    assert_ne!(mine.outranks(a.key.id()), !theirs.outranks(b.key.id()), "both keep the same one");
}

#[test]
fn strangers_and_oneself_are_turned_away() {
    let error = |a: &[u8], b: &[u8], seeds: [u8; 2]| {
        plain(&mut Side::new(seeds[0], a), &mut Side::new(seeds[1], b)).unwrap_err()
    };
    assert_eq!(error(&[1], &[2], [1, 2]), SessionError::NoCommonCircle);
    assert_eq!(error(&[], &[2], [1, 2]), SessionError::NoCommonCircle);
    assert_eq!(error(&[1], &[1], [7, 7]), SessionError::Myself);
}

#[test]
fn an_altered_bit_in_any_message_ends_the_handshake() {
    for step in 0..4 {
        let mut len = 0;
        let measured = shake(&mut Side::new(1, &[1]), &mut Side::new(2, &[1]), [b"", b""], |at, bytes| {
            if at == step {
                len = bytes.len();
            }
        });
        assert!(measured.is_ok());
        for bit in (0..len * 8).step_by(5) {
            let outcome = shake(&mut Side::new(1, &[1]), &mut Side::new(2, &[1]), [b"", b""], |at, bytes| {
                if at == step {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            });
            assert!(outcome.is_err(), "message {step}, bit {bit}");
        }
    }
}

#[test]
fn a_session_moved_to_another_transport_is_noticed() {
    for bindings in [[&b"one"[..], b"other"], [b"one", b""], [b"", b"other"]] {
        let outcome = shake(&mut Side::new(1, &[1]), &mut Side::new(2, &[1]), bindings, |_, _| {});
        assert_eq!(outcome.unwrap_err(), SessionError::WrongBinding);
    }
    shake(&mut Side::new(1, &[1]), &mut Side::new(2, &[1]), [b"same", b"same"], |_, _| {}).unwrap();
}

#[test]
fn an_observer_sees_no_id_and_no_tag_twice() {
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for _ in 0..2 {
        let (mut a, mut b) = (Side::new(1, &[1]), Side::new(2, &[1]));
        a.rng = ChaCha20Rng::seed_from_u64(seen.len() as u64 + 10);
        shake(&mut a, &mut b, [b"", b""], |_, bytes| seen.push(bytes.clone())).unwrap();
    }
    let (a, b) = (Side::new(1, &[1]), Side::new(2, &[1]));
    let ids = [a.key.id().0.to_vec(), b.key.id().0.to_vec(), a.circles[0].circle_id().0.to_vec()];
    for message in &seen {
        for id in &ids {
            assert!(!message.windows(id.len()).any(|window| window == id));
        }
    }
    let tags = |hello: &[u8]| Offer::read(hello).unwrap().tags;
    let (first, second) = (tags(&seen[0]), tags(&seen[4]));
    assert!(first.chunks(8).all(|tag| !second.chunks(8).any(|other| other == tag)));
    assert_eq!(first.len(), TAG_STEP * 8, "their number tells little");
}

#[test]
fn records_carry_frames_of_any_size_and_each_attack_on_them_has_a_name() {
    let (mut a, mut b) = (Side::new(1, &[1]), Side::new(2, &[1]));
    let (mut mine, mut theirs) = plain(&mut a, &mut b).unwrap();
    for len in [0, 1, 16_367, 16_368, 100_000] {
        let frame: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let records = mine.seal(&frame).unwrap();
        assert!(records.iter().all(|record| record.len() <= crate::session::MAX_RECORD));
        let opened: Vec<_> = records.iter().filter_map(|record| theirs.open(record).unwrap()).collect();
        assert_eq!(opened, [frame]);
    }
    assert_eq!(mine.seal(&vec![0; 2 << 20]).unwrap_err(), SessionError::TooLarge);
    type Attack = fn(&mut Session, &mut Session) -> Result<Option<Vec<u8>>, SessionError>;
    let attacks: [(Attack, SessionError); 7] = [
        (
            |tx, rx| {
                let mut record = tx.seal(b"altered").unwrap().remove(0);
                record[3] ^= 1;
                rx.open(&record)
            },
            SessionError::Altered,
        ),
        (
            |tx, rx| {
                let records = tx.seal(b"again").unwrap();
                rx.open(&records[0]).unwrap();
                rx.open(&records[0])
            },
            SessionError::Replayed,
        ),
        (
            |tx, rx| {
                let (_first, second) = (tx.seal(b"one").unwrap(), tx.seal(b"two").unwrap());
                rx.open(&second[0])
            },
            SessionError::Reordered,
        ),
        (
            |tx, rx| {
                let mut record = tx.seal(b"cut").unwrap().remove(0);
                record.pop();
                rx.open(&record)
            },
            SessionError::Altered,
        ),
        (|tx, rx| rx.open(&tx.seal(b"stump").unwrap()[0][..15]), SessionError::Truncated),
        (
            |tx, _| {
                let back = tx.seal(b"to whom it came from").unwrap().remove(0);
                tx.open(&back)
            },
            SessionError::Altered,
        ),
        (|_, rx| rx.open(&[0; crate::session::MAX_RECORD + 1]), SessionError::TooLarge),
    ];
    for (attack, name) in attacks {
        let (mut mine, mut theirs) = plain(&mut a, &mut b).unwrap();
        assert_eq!(attack(&mut mine, &mut theirs), Err(name));
    }
}

/// A handshake up to HELLO_AUTH, whose content `auth` makes from what both sides agreed on.
fn authenticate(auth: impl FnOnce(&mut Agreed) -> Vec<u8>) -> Result<(), SessionError> {
    let (mut a, mut b) = (Side::new(1, &[1, 2]), Side::new(2, &[1, 2]));
    let local = Local { key: &a.key, circles: &a.circles };
    let (initiator, hello) = Initiator::new(local, Vec::new(), &mut a.rng);
    let local = Local { key: &b.key, circles: &b.circles };
    let (responder, challenge) = Responder::new(Vec::new()).greeted(local, &hello, &mut b.rng)?;
    let nonces = [initiator.nonce, Offer::read(&challenge)?.nonce];
    let offer = Offer::read(&challenge)?;
    let salt = nonces.concat();
    let shared = recognised(a.local(), |circle| offer.names(tag(circle, Role::Responder, &salt)));
    let messages = [hello.as_slice(), &challenge];
    let nonces = [&nonces[0], &nonces[1]];
    let mut agreed = Agreed::new(&shared, &initiator.ephemeral, offer.ephemeral, nonces, messages, b"")?;
    let auth = auth(&mut agreed);
    let sealed = agreed.to_responder.seal(&auth)?;
    responder.authenticated(b.local(), &sealed).map(|_| ())
}

#[test]
fn every_false_proof_is_refused_by_its_name() {
    let (own, other) = (Side::new(1, &[]).key, Side::new(3, &[]).key);
    assert_eq!(authenticate(|agreed| agreed.auth(Role::Initiator, &own)), Ok(()));
    let someone_else = |agreed: &mut Agreed| {
        let honest: Auth = parse(&agreed.auth(Role::Initiator, &other)).unwrap();
        let signature = own.sign(&agreed.signed(Role::Initiator, &other.id()));
        cbor(&Auth { signature, ..honest })
    };
    assert_eq!(authenticate(someone_else), Err(SessionError::BadNodeProof));
    let guessed_circle = |agreed: &mut Agreed| {
        agreed.circles[1].1 = CircleSecret::from_secret(Secret::new([9; 32]));
        agreed.auth(Role::Initiator, &own)
    };
    assert_eq!(authenticate(guessed_circle), Err(SessionError::BadCircleProof));
    let fewer_circles = |agreed: &mut Agreed| {
        agreed.circles.pop();
        agreed.auth(Role::Initiator, &own)
    };
    assert_eq!(authenticate(fewer_circles), Err(SessionError::BadCircleProof));
    assert_eq!(
        authenticate(|agreed| agreed.auth(Role::Responder, &own)),
        Err(SessionError::AlteredHandshake)
    );
    assert_eq!(authenticate(|_| b"\x80".to_vec()), Err(SessionError::Malformed));
}

#[test]
fn another_version_is_refused_by_its_number_on_both_sides() {
    for (step, version) in [(0, 0), (0, 2), (1, 0), (1, 2)] {
        let outcome = shake(&mut Side::new(1, &[1]), &mut Side::new(2, &[1]), [b"", b""], |at, bytes| {
            if at == step {
                let offer: Offer = parse(bytes).unwrap();
                *bytes = cbor(&Offer { version, ..offer });
            }
        });
        assert_eq!(outcome.unwrap_err(), SessionError::UnsupportedVersion(version));
    }
}

/// Who rewrites the clear messages so that both sides settle for less than they would: nothing that the keys rest on has
/// changed, and the proofs tell all the same.
#[test]
fn an_offer_rewritten_on_its_way_is_refused_as_an_altered_handshake() {
    for step in [0, 1] {
        let outcome = shake(&mut Side::new(1, &[1, 2]), &mut Side::new(2, &[1]), [b"", b""], |at, bytes| {
            if at == step {
                let mut offer: Offer = parse(bytes).unwrap();
                // Tags beyond those that matter: how both would hear of a circle fewer.
                offer.tags.extend([0xff; 8]);
                *bytes = cbor(&offer);
            }
        });
        assert_eq!(outcome.unwrap_err(), SessionError::AlteredHandshake, "message {step}");
    }
}

#[test]
fn a_recorded_handshake_opens_nothing_a_second_time() {
    let (mut a, mut b) = (Side::new(1, &[1]), Side::new(2, &[1]));
    let mut recorded = Vec::new();
    shake(&mut a, &mut b, [b"", b""], |_, bytes| recorded.push(bytes.clone())).unwrap();
    // A listening device answers the first message again, and that is all.
    let local = Local { key: &b.key, circles: &b.circles };
    let (waiting, challenge) = Responder::new(Vec::new()).greeted(local, &recorded[0], &mut b.rng).unwrap();
    assert_ne!(challenge, recorded[1]);
    assert_eq!(waiting.authenticated(b.local(), &recorded[2]).unwrap_err(), SessionError::Altered);
}
