//! Candidate attributes (RFC 8839 §5.1), as far as the core looks into them: what kind they are and what they show.

use core::str::SplitAsciiWhitespace;

use crate::io::CandidateKind;

/// Words of a candidate that have no name before them: foundation, component, transport, priority, address, port,
/// `typ` and the type.
const PLACES: usize = 8;

/// An ICE candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// How it was found.
    pub kind: CandidateKind,
    /// `udp` or `tcp`, in lower case.
    pub transport: String,
    /// An address, or a browser's `.local` name that stands for one.
    pub address: String,
    /// The port there.
    pub port: u16,
    /// The address and port that it was found from, where told.
    pub base: Option<(String, u16)>,
}

impl Candidate {
    /// Reads `candidate:…`, with or without `a=` before it; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = Self::words(text)?;
        // Foundation and component.
        words.nth(1)?;
        let transport = words.next()?.to_ascii_lowercase();
        // Priority.
        words.next()?;
        let (address, port) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        if words.next()? != "typ" {
            return None;
        }
        let kind = match words.next()? {
            "host" => CandidateKind::Host,
            "srflx" => CandidateKind::Srflx,
            "prflx" => CandidateKind::Prflx,
            "relay" => CandidateKind::Relay,
            _ => return None,
        };
        let (mut raddr, mut rport) = (None, None);
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            match name {
                "raddr" => raddr = Some(value.to_owned()),
                "rport" => rport = value.parse().ok(),
                _ => {}
            }
        }
        Some(Self { kind, transport, address, port, base: raddr.zip(rport) })
    }

    /// Whether it has an address rather than a name that would be looked up.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.address.parse::<core::net::IpAddr>().is_ok()
    }

    /// What may leave a device that hides its address: a relayed candidate without the address it was found from
    /// (RFC 8839 §5.1 has `0.0.0.0` and port 9 for that), with nothing but what tells one ICE session from the next
    /// after it; nothing of any other.
    #[must_use]
    pub fn hidden(text: &str) -> Option<String> {
        let candidate = Self::parse(text)?;
        if candidate.kind != CandidateKind::Relay {
            return None;
        }
        let any = if candidate.address.contains(':') { "::" } else { "0.0.0.0" };
        let mut words = Self::words(text)?;
        let mut out: Vec<&str> = words.by_ref().take(PLACES).collect();
        out.extend(["raddr", any, "rport", "9"]);
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            // Which of a device's networks it is and what that costs is nobody's business, either.
            if ["generation", "ufrag"].contains(&name) {
                out.extend([name, value]);
            }
        }
        Some(format!("candidate:{}", out.join(" ")))
    }

    /// The words of `candidate:…`, with or without `a=` before it, from the foundation on.
    fn words(text: &str) -> Option<SplitAsciiWhitespace<'_>> {
        let text = text.strip_prefix("a=").unwrap_or(text);
        Some(text.strip_prefix("candidate:")?.split_ascii_whitespace())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_read_as_browsers_and_libraries_write_them() {
        let host = "candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 192.168.1.2 rport 46154 \
                    generation 0 ufrag abcd network-cost 999";
        let read = Candidate::parse(host).expect("a candidate");
        assert_eq!(
            (read.kind, read.address.as_str(), read.port),
            (CandidateKind::Srflx, "203.0.113.7", 46154)
        );
        assert_eq!(read.base, Some(("192.168.1.2".into(), 46154)));
        let named = Candidate::parse("a=candidate:1 1 UDP 2122 a-b.local 9 typ host").expect("a candidate");
        assert_eq!((named.transport.as_str(), named.base), ("udp", None));
        for none in [
            "",
            "candidate:",
            "candidate:1 1 udp 1 192.0.2.1 9",
            "candidate:1 1 udp 1 192.0.2.1 x typ host",
            "candidate:1 1 udp 1 192.0.2.1 9 typ other",
            "end-of-candidates",
        ] {
            assert_eq!(Candidate::parse(none), None, "{none}");
        }
    }

    #[test]
    fn only_relayed_candidates_leave_a_device_that_hides_and_without_where_they_were_found_from() {
        for kind in ["host", "srflx", "prflx"] {
            let shown = format!("candidate:1 1 udp 1 192.168.1.2 9 typ {kind} raddr 192.168.1.2 rport 9");
            assert_eq!(Candidate::hidden(&shown), None, "{kind}");
        }
        assert_eq!(Candidate::hidden("candidate:1 1 udp 1 192.168.1.2 9 typ relays"), None);
        assert_eq!(
            Candidate::hidden(
                "candidate:1 1 udp 5 198.51.100.9 50000 typ relay raddr 203.0.113.7 rport 4711 ufrag x"
            ),
            Some("candidate:1 1 udp 5 198.51.100.9 50000 typ relay raddr 0.0.0.0 rport 9 ufrag x".into())
        );
        let six =
            Candidate::hidden("candidate:1 1 udp 5 2001:db8::9 50000 typ relay raddr fd00::1 rport 4711");
        assert_eq!(six, Some("candidate:1 1 udp 5 2001:db8::9 50000 typ relay raddr :: rport 9".into()));
        for (said, told) in [
            // A word is a name only where names stand.
            (
                "candidate:raddr raddr rport rport raddr 9 typ relay raddr 192.168.1.2 rport 4711",
                "candidate:raddr raddr rport rport raddr 9 typ relay raddr 0.0.0.0 rport 9",
            ),
            (
                "a=candidate: 1 1 udp 5 192.0.2.9 9 typ relay network-id 3 odd raddr 192.168.1.2 rport 1 ufrag",
                "candidate:1 1 udp 5 192.0.2.9 9 typ relay raddr 0.0.0.0 rport 9",
            ),
        ] {
            assert_eq!(Candidate::hidden(said).as_deref(), Some(told), "{said}");
        }
    }
}
