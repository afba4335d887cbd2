//! What a check of STUN and TURN servers means, in words.

use crate::{
    config::MAX_ICE_URLS,
    ice::{Filtering, IceProbe, IceReport, Mapping, Shown},
    io::CandidateKind,
    relay_api::IceServer,
    view::{Figures, Finding},
};

/// Every URL by itself.
pub(super) fn probe(servers: &[IceServer]) -> IceProbe {
    let each = servers.iter().flat_map(|server| {
        server.urls.iter().map(|url| IceServer { urls: vec![url.clone()], ..server.clone() })
    });
    IceProbe { servers: each.take(MAX_ICE_URLS).collect() }
}

/// Says what was found of each server, of this device's candidates and of the NAT.
pub(super) fn findings<'a>(
    asked: &IceProbe,
    report: &IceReport,
    unusable: impl Iterator<Item = &'a String>,
    hidden: bool,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = report.servers(asked).map(|server| {
        let subject = format!("{} {}", if server.turn { "TURN server" } else { "STUN server" }, server.url);
        match server.shown {
            Shown::Address(found) => {
                let took = found.took_ms.map(|ms| format!(", answered in {ms} ms")).unwrap_or_default();
                let mut figures = Figures { rtt_ms: found.took_ms, ..Figures::default() };
                let address = Some(found.address.clone());
                let detail = if server.turn {
                    figures.relayed = address;
                    format!("lends {}{took}", found.address)
                } else {
                    figures.mapped = address;
                    format!("sees this device at {}{took}", found.address)
                };
                Finding::new(subject, true, detail, None).with(figures)
            }
            Shown::Failed(why) => {
                let advice = if server.turn {
                    "Members who cannot be reached otherwise are reached through the relay meanwhile. If it refuses, its \
                     user name or credential is wrong or over; if it is silent, a firewall may block UDP to it, or it is down."
                } else {
                    "A firewall may block UDP to it, or it is down. Others may do; without any, only members in the same \
                     network are reached directly."
                };
                Finding::new(subject, false, why, Some(advice))
            }
            Shown::Silent if report.distinct && !server.turn && report.any_mapped().is_some() => {
                Finding::new(subject, true, "shows no other address than those already found", None)
            }
            Shown::Silent if report.distinct && !server.turn && report.complete => {
                Finding::new(subject, true, "shows no other address than this device's own", None)
            }
            Shown::Silent => Finding::new(
                subject,
                false,
                "no answer in time",
                Some("It may be slow or down, or something blocks the way to it. Messages are not affected."),
            ),
        }
    }).collect();
    findings.extend(unusable.map(|url| {
        let detail = "for browsers only: this client speaks to STUN and TURN servers over UDP";
        Finding::new(format!("server {url}"), true, detail, None)
    }));
    if asked.servers.is_empty() {
        findings.push(Finding::new(
            "STUN and TURN servers",
            true,
            "neither a relay nor the settings name any that can be used here",
            Some(
                "Members in other networks are then rarely reached directly; messages go through the relay.",
            ),
        ));
    }
    findings.push(candidates(report, hidden));
    findings.push(nat(asked, report));
    findings
}

/// A device that hides its address uses, and tells members, no other address than one of a TURN server.
fn candidates(report: &IceReport, hidden: bool) -> Finding {
    let mut kinds = report.kinds();
    if hidden {
        kinds.retain(|kind| *kind == CandidateKind::Relay);
    }
    let word = |kind: &CandidateKind| match kind {
        CandidateKind::Host => "the device's own (host)",
        CandidateKind::Srflx | CandidateKind::Prflx => "one its router shows (srflx)",
        CandidateKind::Relay => "one of a TURN server (relay)",
    };
    let words: Vec<&str> = kinds.iter().map(word).collect();
    let (ok, detail, advice) = if words.is_empty() {
        let advice = "Without any network, nobody is reached directly.";
        (hidden, "none".to_owned(), (!hidden).then_some(advice))
    } else {
        (true, words.join(", "), None)
    };
    let names = kinds.iter().map(|kind| kind.name().to_owned()).collect();
    let figures = Figures { candidates: Some(names), ..Figures::default() };
    Finding::new("addresses to connect by", ok, detail, advice).with(figures)
}

/// What the NAT does, and whom that keeps apart. Two that both map dependently on the other side, or one that does and
/// one that filters by address and port, do not get through to each other (RFC 5128 §3.3, RFC 8445).
fn nat(asked: &IceProbe, report: &IceReport) -> Finding {
    let mapping = report.mapping(asked);
    let turn = report.kinds().contains(&CandidateKind::Relay);
    let carried = if turn { "the TURN server" } else { "the relay" };
    let (ok, mut detail, advice) = match mapping {
        None if report.kinds().contains(&CandidateKind::Srflx) => (
            true,
            "there is one; what kind it is takes two STUN servers to tell".to_owned(),
            None,
        ),
        None if asked.servers.is_empty() => {
            (true, "its kind is not known: no STUN server is named".to_owned(), None)
        }
        None => (
            false,
            "its kind is not known: no STUN server answered".to_owned(),
            Some("If all of them are silent, UDP is blocked here. Messages then go through the relay."),
        ),
        Some(Mapping::None) => (true, "none: this device's own address is seen from outside".to_owned(), None),
        Some(Mapping::EndpointIndependent) => (
            true,
            "one that shows everyone the same address (endpoint-independent mapping): members behind others of this kind \
             are reached directly"
                .to_owned(),
            None,
        ),
        Some(Mapping::AddressDependent) => (
            turn,
            format!(
                "one that shows each server another address (address-dependent mapping, “symmetric”): members behind the \
                 same kind, or behind strict firewalls, are not reached directly; {carried} carries it"
            ),
            (!turn).then_some("Only a TURN server helps here: ask whoever runs the relay for one, or give your own in the settings."),
        ),
    };
    match report.filtering {
        Some(Filtering::EndpointIndependent) => detail += "; it lets in whoever knows that address",
        Some(Filtering::AddressDependent) => detail += "; it lets in whoever was sent something before",
        Some(Filtering::AddressAndPortDependent) => {
            detail += "; it lets in only answers from the very address and port that something was sent to";
        }
        None => {}
    }
    let figures = Figures {
        mapped: report.any_mapped().map(str::to_owned),
        mapping: mapping.map(|mapping| mapping.name().to_owned()),
        filtering: report.filtering.map(|filtering| filtering.name().to_owned()),
        ..Figures::default()
    };
    Finding::new("NAT", ok, detail, advice).with(figures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ice::Gathered;

    fn asked(urls: &[&str]) -> IceProbe {
        let all = IceServer {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            username: Some("1:a".into()),
            credential: Some("x".into()),
        };
        probe(&[all])
    }

    fn found(kind: CandidateKind, address: &str, url: &str) -> Gathered {
        Gathered {
            kind,
            address: address.into(),
            base: Some("192.168.1.2:4000".into()),
            url: Some(url.into()),
            server: None,
            took_ms: Some(12),
        }
    }

    fn of<'a>(findings: &'a [Finding], subject: &str) -> &'a Finding {
        findings.iter().find(|finding| finding.subject.starts_with(subject)).expect(subject)
    }

    #[test]
    fn a_symmetric_nat_without_turn_is_a_fault_and_says_what_helps() {
        let asked = asked(&["stun:a.example", "stun:b.example"]);
        let seen = |port: u16, url| found(CandidateKind::Srflx, &format!("203.0.113.7:{port}"), url);
        let mut report = IceReport {
            found: vec![seen(1, "stun:a.example"), seen(2, "stun:b.example")],
            complete: true,
            ..IceReport::default()
        };
        let told = findings(&asked, &report, [].iter(), false);
        let nat = of(&told, "NAT");
        assert!(!nat.ok && nat.advice.as_ref().is_some_and(|advice| advice.contains("TURN")), "{nat:?}");
        let figures = nat.figures.as_ref().expect("figures");
        assert_eq!(
            (figures.mapping.as_deref(), figures.mapped.as_deref()),
            (Some("address-dependent"), Some("203.0.113.7:1"))
        );
        assert_eq!(of(&told, "STUN server stun:a").figures.as_ref().expect("figures").rtt_ms, Some(12));
        report.found.push(found(CandidateKind::Relay, "198.51.100.9:5", "turn:t.example"));
        assert!(of(&findings(&asked, &report, [].iter(), false), "NAT").ok, "a TURN server carries it");
    }

    #[test]
    fn servers_that_fail_or_are_silent_are_named_with_the_reason() {
        let asked = asked(&["stun:a.example", "turn:t.example", "turn:u.example"]);
        let report = IceReport {
            failed: vec![("turn:t.example".into(), "401: Unauthorized".into())],
            ..IceReport::default()
        };
        let unusable = ["turns:t.example".to_owned()];
        let told = findings(&asked, &report, unusable.iter(), false);
        assert_eq!(
            (of(&told, "TURN server turn:t").ok, of(&told, "TURN server turn:t").detail.as_str()),
            (false, "401: Unauthorized")
        );
        assert_eq!(of(&told, "TURN server turn:u").detail, "no answer in time");
        assert!(!of(&told, "STUN server").ok && !of(&told, "NAT").ok && !of(&told, "addresses").ok);
        assert!(of(&told, "server turns:t.example").ok);
    }

    #[test]
    fn no_servers_at_all_is_no_fault_of_anything() {
        let host = found(CandidateKind::Host, "192.168.1.2:4000", "");
        let report = IceReport {
            found: vec![Gathered { base: None, ..host }],
            complete: true,
            ..IceReport::default()
        };
        let told = findings(&asked(&[]), &report, [].iter(), false);
        assert!(told.iter().all(|finding| finding.ok), "{told:?}");
        let nat = of(&told, "NAT");
        assert!(nat.detail.ends_with("no STUN server is named") && nat.advice.is_none(), "{nat:?}");
        assert_eq!(
            of(&told, "addresses").figures.as_ref().expect("figures").candidates,
            Some(vec!["host".to_owned()])
        );
    }

    #[test]
    fn a_device_that_hides_is_not_said_to_connect_by_an_address_of_its_own() {
        let asked = asked(&["stun:a.example", "turn:t.example"]);
        let mut report = IceReport {
            found: vec![
                found(CandidateKind::Host, "192.168.1.2:4000", ""),
                found(CandidateKind::Srflx, "203.0.113.7:1", "stun:a.example"),
            ],
            complete: true,
            ..IceReport::default()
        };
        let told = findings(&asked, &report, [].iter(), true);
        let addresses = of(&told, "addresses");
        assert_eq!(
            (addresses.ok, addresses.detail.as_str()),
            (true, "none"),
            "hiding is no fault: {addresses:?}"
        );
        report.found.push(found(CandidateKind::Relay, "198.51.100.9:5", "turn:t.example"));
        assert_eq!(
            of(&findings(&asked, &report, [].iter(), true), "addresses").detail,
            "one of a TURN server (relay)"
        );
    }

    #[test]
    fn every_url_is_checked_by_itself_and_not_too_many() {
        let many: Vec<String> = (0..20).map(|n| format!("stun:{n}.example")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let probe = asked(&many);
        assert_eq!(probe.servers.len(), MAX_ICE_URLS);
        assert!(probe.servers.iter().all(|server| server.urls.len() == 1));
    }
}
