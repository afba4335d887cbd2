//! The little that the core reads of a session description (RFC 8866): what a session is bound to, and that it is for
//! a data channel and nothing else. The rest is between two WebRTC implementations.

use super::Fingerprint;
use crate::ice::Candidate;

/// Longest description taken, in bytes; one for a single data channel has well below 2,000.
pub(super) const MAX_SDP: usize = 8 * 1024;
/// Longest candidate taken, in bytes.
pub(super) const MAX_CANDIDATE: usize = 512;

/// The SHA-256 certificate fingerprint (RFC 8122 §5) of a description of exactly one data channel.
///
/// `None` when it is too long, offers anything besides, names no such fingerprint, or names two.
pub(super) fn fingerprint(sdp: &str) -> Option<Fingerprint> {
    if sdp.len() > MAX_SDP {
        return None;
    }
    let (mut found, mut sections) = (None, 0);
    for line in sdp.lines().map(str::trim_end) {
        if let Some(media) = line.strip_prefix("m=") {
            sections += 1;
            if !media.starts_with("application ") {
                return None;
            }
        }
        let Some(value) = line.strip_prefix("a=fingerprint:") else { continue };
        let parsed = parse(value)?;
        if found.replace(parsed).is_some_and(|other| other != parsed) {
            return None;
        }
    }
    found.filter(|_| sections == 1)
}

/// A description of this side without any address in it: no candidates, and the placeholders that RFC 8839 §4.3.1 has for
/// descriptions whose candidates are told later. Implementations put the best candidate found so far there.
pub(super) fn without_addresses(sdp: &str) -> String {
    let mut out = String::with_capacity(sdp.len());
    for line in sdp.lines().map(str::trim_end) {
        let told = ["a=candidate:", "a=remote-candidates:", "a=rtcp:"];
        if told.iter().any(|kind| line.starts_with(kind)) {
            continue;
        }
        // `o=` ends in network type, address type and address (RFC 8866 §5.2), `c=` consists of them.
        let origin =
            line.strip_prefix("o=").map(|rest| rest.splitn(4, ' ').take(3).collect::<Vec<_>>().join(" "));
        let media = line.strip_prefix("m=").map(|rest| {
            let mut words: Vec<&str> = rest.split(' ').collect();
            if let Some(port) = words.get_mut(1) {
                *port = "9";
            }
            words.join(" ")
        });
        match (origin, media) {
            (Some(origin), _) => out += &format!("o={origin} IN IP4 0.0.0.0"),
            (_, Some(media)) => out += &format!("m={media}"),
            _ if line.starts_with("c=") => out += "c=IN IP4 0.0.0.0",
            _ => out += line,
        }
        out += "\r\n";
    }
    out
}

/// The other side's description without candidates that would have to be looked up.
pub(super) fn without_names(sdp: &str) -> String {
    let keep = |line: &&str| {
        !line.starts_with("a=candidate:")
            || Candidate::parse(line).is_some_and(|candidate| candidate.is_literal())
    };
    sdp.lines().map(str::trim_end).filter(keep).flat_map(|line| [line, "\r\n"]).collect()
}

fn parse(value: &str) -> Option<Fingerprint> {
    let (hash, digits) = value.split_once(' ')?;
    if !hash.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut bytes = [0; 32];
    let mut parts = digits.trim().split(':');
    for byte in &mut bytes {
        let two = |part: &&str| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        let part = parts.next().filter(two)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(byte: &str) -> String {
        format!("a=fingerprint:sha-256 {}", vec![byte; 32].join(":"))
    }

    #[test]
    fn the_fingerprint_of_one_data_channel_is_read_wherever_it_stands() {
        let media = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel";
        let in_media = format!("v=0\r\n{media}\r\n{}\r\n", print("aB"));
        assert_eq!(fingerprint(&in_media), Some([0xab; 32]));
        let in_session = format!("v=0\r\n{}\r\n{media}\r\n{}\r\n", print("01"), print("01"));
        assert_eq!(fingerprint(&in_session), Some([1; 32]));
    }

    #[test]
    fn a_description_that_hides_has_no_address_left() {
        let sdp = "v=0\r\no=- 4611 2 IN IP4 192.168.1.2\r\ns=-\r\nt=0 0\r\n\
                   m=application 46154 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 203.0.113.7\r\n\
                   a=rtcp:46154 IN IP4 203.0.113.7\r\n\
                   a=candidate:1 1 udp 2122 192.168.1.2 46154 typ host\r\n\
                   a=candidate:2 1 udp 41 198.51.100.9 50000 typ relay raddr 203.0.113.7 rport 46154\r\n\
                   a=ice-ufrag:abcd\r\na=mid:0\r\n";
        let hidden = without_addresses(sdp);
        for shown in ["192.168", "203.0.113", "198.51.100", "46154", "candidate"] {
            assert!(!hidden.contains(shown), "{shown} in {hidden}");
        }
        let expected = "v=0\r\no=- 4611 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
                        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n\
                        a=ice-ufrag:abcd\r\na=mid:0\r\n";
        assert_eq!(hidden, expected);
    }

    #[test]
    fn names_that_would_be_looked_up_are_taken_out_of_the_other_sides_description() {
        let line = |address: &str| format!("a=candidate:1 1 udp 1 {address} 9 typ host\r\n");
        let sdp =
            format!("v=0\r\n{}{}{}a=mid:0\r\n", line("a.local"), line("192.0.2.1"), line("tracker.example"));
        assert_eq!(without_names(&sdp), format!("v=0\r\n{}a=mid:0\r\n", line("192.0.2.1")));
    }

    #[test]
    fn descriptions_that_leave_a_choice_are_refused() {
        let media = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel";
        let refused = [
            format!("v=0\n{media}\n"),
            format!("v=0\n{}\n", print("01")),
            format!("v=0\n{media}\n{}\n{}\n", print("01"), print("02")),
            format!("v=0\n{media}\nm=audio 9 UDP/TLS/RTP/SAVPF 111\n{}\n", print("01")),
            format!("v=0\n{media}\na=fingerprint:sha-1 {}\n", vec!["01"; 20].join(":")),
            format!("v=0\n{media}\na=fingerprint:sha-256 {}\n", vec!["01"; 33].join(":")),
            format!("v=0\n{media}\na=fingerprint:sha-256 +1:{}\n", vec!["01"; 31].join(":")),
            format!("v=0\n{media}\n{}\n{}", print("01"), "a=x\n".repeat(MAX_SDP)),
        ];
        for sdp in refused {
            assert_eq!(fingerprint(&sdp), None, "{}", &sdp[..sdp.len().min(200)]);
        }
    }
}
