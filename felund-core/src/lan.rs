//! How members find each other in a local network without telling anybody else that they are members
//! (`docs/protocol.md` §12.6).
//!
//! An announcement names nobody: its instance name and salt are random, and a circle is a tag under the salt that only
//! its members recognise. It holds for an hour, so that a recording played elsewhere later tells nobody who answers to it.

use core::net::IpAddr;

use rand_core::CryptoRng;

use crate::{
    config::{ANNOUNCE_MS, MAX_CIRCLES},
    io::Announcement,
    keys::{CircleSecret, hkdf, random},
    session::{hmac, tags},
};

/// Version of the announcement.
const VERSION: &[u8] = b"1";
/// Tags in one property: a property has at most 255 bytes (RFC 6763 §6.1).
const TAGS_PER_PROPERTY: usize = 16;
/// Properties that hold tags.
const TAG_KEYS: [&str; MAX_CIRCLES / TAGS_PER_PROPERTY] = ["t0", "t1", "t2", "t3"];

/// The hour that an announcement holds for, of unix milliseconds.
#[must_use]
pub const fn hour(wall: u64) -> u64 {
    wall / ANNOUNCE_MS
}

/// What members of the circles may recognise during an hour.
pub fn announce(circles: &[CircleSecret], hour: u64, rng: &mut impl CryptoRng) -> Announcement {
    let instance = hex::encode(random::<8>(rng));
    let salt: [u8; 16] = random(rng);
    let tags = tags(circles.iter().map(|circle| tag(circle, &salt, hour)), 0, rng);
    let mut properties = vec![("v".to_owned(), VERSION.to_vec()), ("s".to_owned(), salt.to_vec())];
    let chunks = TAG_KEYS.iter().zip(tags.chunks(8 * TAGS_PER_PROPERTY));
    properties.extend(chunks.map(|(key, tags)| ((*key).to_owned(), tags.to_vec())));
    Announcement { instance, addresses: Vec::new(), properties }
}

/// The places of the circles that somebody announces, seen in this hour; clocks may be up to an hour apart.
#[must_use]
pub fn recognise(circles: &[CircleSecret], hour: u64, seen: &Announcement) -> Vec<usize> {
    let property =
        |key: &str| seen.properties.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_slice());
    let (Some(VERSION), Some(salt)) = (property("v"), property("s")) else { return Vec::new() };
    let Ok(salt) = salt.try_into() else { return Vec::new() };
    let tags: Vec<&[u8]> = TAG_KEYS
        .iter()
        .filter_map(|key| property(key))
        .flat_map(|tags| tags.chunks_exact(8).take(TAGS_PER_PROPERTY))
        .collect();
    let names = |circle: &CircleSecret| {
        let hours = hour.saturating_sub(1)..=hour.saturating_add(1);
        hours.into_iter().any(|hour| tags.contains(&tag(circle, salt, hour).as_slice()))
    };
    (0..).zip(circles).filter(|(_, circle)| names(circle)).map(|(place, _)| place).collect()
}

/// Whether an address means the same everywhere.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            // 100.64.0.0/10 is between a provider and its customers (RFC 6598).
            let shared = a == 100 && (64..128).contains(&b);
            !(shared
                || ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_broadcast())
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unicast_link_local()
                || ip.is_unique_local())
        }
    }
}

/// The first 8 bytes of HMAC-SHA256(HKDF(secret, –, `felund-lan-tag-v1`), salt ‖ hour).
fn tag(circle: &CircleSecret, salt: &[u8; 16], hour: u64) -> [u8; 8] {
    let key: [u8; 32] = hkdf(circle.secret().expose(), None, b"felund-lan-tag-v1");
    let mac = hmac(&key, &[salt, &hour.to_be_bytes()]);
    mac[..8].try_into().expect("a MAC has 32 bytes")
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::redact::Secret;

    fn circle(n: u8) -> CircleSecret {
        CircleSecret::from_secret(Secret::new([n; 32]))
    }

    fn said_by(seed: u64, circles: &[CircleSecret], hour: u64) -> Announcement {
        announce(circles, hour, &mut ChaCha20Rng::seed_from_u64(seed))
    }

    #[test]
    fn members_recognise_their_circles_for_an_hour_around_and_nobody_else_does() {
        let said = said_by(1, &[circle(1), circle(2)], 1_000);
        for hour in 999..=1_001 {
            assert_eq!(recognise(&[circle(3), circle(2), circle(1)], hour, &said), [1, 2]);
        }
        assert!(recognise(&[circle(3)], 1_000, &said).is_empty());
        for hour in [998, 1_002] {
            assert!(recognise(&[circle(1), circle(2)], hour, &said).is_empty());
        }
    }

    #[test]
    fn two_announcements_have_nothing_in_common() {
        let (one, two) = (said_by(1, &[circle(1)], 1_000), said_by(2, &[circle(1)], 1_000));
        assert_ne!(one.instance, two.instance);
        for ((key, a), (_, b)) in
            one.properties.iter().zip(&two.properties).filter(|((key, _), _)| key != "v")
        {
            assert!(a.chunks(8).all(|part| !b.chunks(8).any(|other| other == part)), "{key}");
        }
    }

    #[test]
    fn how_many_circles_there_are_is_hidden_up_to_a_multiple_of_four() {
        let len = |n: u8| {
            let circles: Vec<_> = (0..n).map(circle).collect();
            let said = said_by(1, &circles, 1);
            assert_eq!(recognise(&circles, 1, &said).len(), usize::from(n));
            assert!(said.properties.iter().all(|(key, value)| key.len() + value.len() < 255));
            said.properties
                .iter()
                .filter(|(key, _)| key.starts_with('t'))
                .map(|(_, tags)| tags.len() / 8)
                .sum::<usize>()
        };
        assert_eq!([1, 4, 5, 17, 64].map(len), [4, 4, 8, 20, 64]);
    }

    #[test]
    fn what_is_no_announcement_names_no_circle() {
        let good = said_by(1, &[circle(1)], 1);
        let without = |key: &str| {
            let mut said = good.clone();
            said.properties.retain(|(k, _)| k != key);
            said
        };
        let with = |key: &str, value: &[u8]| {
            let mut said = without(key);
            said.properties.push((key.to_owned(), value.to_vec()));
            said
        };
        let bad = [
            without("v"),
            without("s"),
            without("t0"),
            with("v", b"2"),
            with("s", b"short"),
            with("t0", &[0; 7]),
            with("t0", &[0; 4_096]),
        ];
        for said in bad {
            assert!(recognise(&[circle(1)], 1, &said).is_empty(), "{said:?}");
        }
        // The clock's ends are no reason to panic.
        let _ = (recognise(&[circle(1)], 0, &good), recognise(&[circle(1)], u64::MAX, &good));
    }
}
