//! The little that the core reads of a session description (RFC 8866): what a session is bound to, and that it is for
//! a data channel and nothing else. The rest is between two WebRTC implementations.

use super::Fingerprint;

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
