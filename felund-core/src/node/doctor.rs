//! `/doctor`: tries every connection afresh and says in plain words what it found.

use super::{Node, circle::Circle};
use crate::{
    ids::NodeId,
    io::{CandidateKind, HttpId, HttpRequest, HttpResponse, Output},
    relay_api::{HealthResponse, path},
    session::SessionError,
    view::{Finding, LinkView, Reply},
};

/// A relay being asked whether it is well.
#[derive(Debug)]
pub(super) struct Probe {
    request: u64,
    relay: String,
    sent: u64,
    finding: Option<Vec<Finding>>,
}

impl Node {
    pub(super) fn doctor(&mut self, request: u64) -> Result<Option<Reply>, String> {
        let relays: Vec<String> = self.links.keys().cloned().collect();
        if relays.is_empty() {
            let findings = self.diagnose(Vec::new());
            return Ok(Some(Reply::Doctor { findings }));
        }
        for relay in relays {
            let id = HttpId(self.id());
            let url = format!("{relay}{}", path::HEALTH);
            let http = HttpRequest { method: "GET", url, headers: Vec::new(), body: Vec::new() };
            self.probes.insert(id, Probe { request, relay, sent: self.now.mono, finding: None });
            self.outputs.push_back(Output::Http(id, http));
        }
        Ok(None)
    }

    pub(super) fn probe_answered(&mut self, id: HttpId, result: Result<HttpResponse, String>) {
        let Some(probe) = self.probes.get_mut(&id) else { return };
        let took = self.now.mono.saturating_sub(probe.sent);
        probe.finding = Some(judge(&probe.relay, took, self.now.wall / 1_000, result));
        let request = probe.request;
        let of_request = |probe: &&Probe| probe.request == request;
        if self.probes.values().filter(of_request).any(|probe| probe.finding.is_none()) {
            return;
        }
        let answered: Vec<HttpId> =
            self.probes.iter().filter(|(_, probe)| probe.request == request).map(|(id, _)| *id).collect();
        let probes = answered.iter().filter_map(|id| self.probes.remove(id)?.finding).flatten().collect();
        let findings = self.diagnose(probes);
        self.reply(request, Ok(Reply::Doctor { findings }));
    }

    fn diagnose(&self, mut findings: Vec<Finding>) -> Vec<Finding> {
        for circle in self.circles.values() {
            let link = circle.relay.as_ref().and_then(|relay| self.links.get(relay));
            let state = link.map_or(LinkView::None, |link| link.view(&circle.hint, self.now.mono));
            let rtt = link.and_then(|link| link.figures().1);
            let (ok, detail, advice) = match state {
                LinkView::Live => {
                    let rtt = rtt.map(|ms| format!(", round trip {ms} ms")).unwrap_or_default();
                    (true, format!("live through the relay's WebSocket{rtt}"), None)
                }
                LinkView::Polling => (
                    true,
                    "messages are fetched over HTTP every few seconds".into(),
                    Some("Something between here and the relay refuses WebSockets, often a proxy.".into()),
                ),
                LinkView::Connecting => {
                    (false, "being connected".into(), Some("Look again in a moment.".into()))
                }
                LinkView::Down { reason, retry_in_s } => (
                    false,
                    format!("not reachable: {reason}; next try in {retry_in_s} s"),
                    Some(
                        "Check this device's network and the relay's address. Messages wait here meanwhile."
                            .into(),
                    ),
                ),
                LinkView::None if !circle.direct.is_empty() => {
                    (true, format!("no relay; {} reached directly", circle.direct.len()), None)
                }
                LinkView::None => (
                    false,
                    "no relay is set, and no member is connected".into(),
                    Some("Set one in the settings, or connect members directly: until then messages stay on this device.".into()),
                ),
            };
            let unsent = circle.outbox.len();
            let waiting = if unsent > 0 { format!("; {unsent} waiting to be sent") } else { String::new() };
            findings.push(Finding {
                subject: format!("circle {}", circle.name()),
                ok,
                detail: detail + &waiting,
                advice,
            });
        }
        findings.extend(self.circles.values().filter_map(|circle| self.anchor_finding(circle)));
        findings.extend(self.direct.refusals().iter().map(|(reason, times)| Finding {
            subject: "refused connections".into(),
            ok: true,
            detail: format!("{times} since the start: {reason}"),
            advice: (reason == SessionError::UnsupportedVersion(0).reason()).then(|| {
                "One of the two programs is older than the other: update it. Messages go through the relay meanwhile."
                    .into()
            }),
        }));
        findings.extend(self.reach.surroundings.iter().cloned());
        findings.extend(self.sessions_found());
        findings.extend(self.signals_found());
        findings.push(match &self.store_fault {
            None => Finding {
                subject: "storage".into(),
                ok: true,
                detail: "takes what is written".into(),
                advice: None,
            },
            Some(cause) => Finding {
                subject: "storage".into(),
                ok: false,
                detail: format!("does not take anything: {cause}"),
                advice: Some("Free some space. Nothing already stored is lost.".into()),
            },
        });
        findings
    }
}

impl Node {
    /// Who anchors a circle, if anybody does or this device offers to.
    fn anchor_finding(&self, circle: &Circle) -> Option<Finding> {
        let me = self.me.as_ref()?.key.id();
        let finding = |ok, detail, advice: Option<&str>| {
            let subject = format!("anchor of {}", circle.name());
            Some(Finding { subject, ok, detail, advice: advice.map(str::to_owned) })
        };
        let name =
            |node: NodeId| if node == me { "this device".to_owned() } else { circle.member_name(&node) };
        let [current, next] = circle.anchors.office(self.now.mono);
        let current = current?;
        let after = next.map(|next| format!("; next: {}", name(next))).unwrap_or_default();
        let detail = format!("{}{after}", name(current));
        match (current == me, circle.direct.contains(&current)) {
            (true, _) if !self.direct.is_public(self.now.mono) => finding(
                true,
                detail + "; nobody from outside this network has connected to it so far",
                Some(
                    "Give it an address that members can reach: --listen, and a port forwarded in the router.",
                ),
            ),
            (true, _) | (false, true) => finding(true, detail, None),
            (false, false) => finding(
                false,
                detail + "; there is no connection to it",
                Some(
                    "Messages go to other members and the relay meanwhile. Look whether its address can be reached from here.",
                ),
            ),
        }
    }

    /// Members that are connected, and over what.
    fn sessions_found(&self) -> Vec<Finding> {
        let found = self.direct.sessions().map(|(conn, session)| {
            let node = session.peer();
            let of = session.circles().iter().find_map(|id| self.circles.get(id));
            let name = of.map_or_else(|| node.short(), |circle| circle.member_name(&node));
            let detail = match self.rtc.path(conn) {
                None => "direct over TCP".into(),
                Some(None) => "direct over WebRTC".into(),
                Some(Some(path)) => {
                    let kind = |kind| match kind {
                        CandidateKind::Host => "an address of the device",
                        CandidateKind::Srflx | CandidateKind::Prflx => "an address its router shows",
                        CandidateKind::Relay => "a TURN server",
                    };
                    let rtt = path.rtt_ms.map(|ms| format!(", round trip {ms} ms")).unwrap_or_default();
                    let (here, there) = (kind(path.local), kind(path.remote));
                    format!("direct over WebRTC: here through {here}, there through {there}{rtt}")
                }
            };
            Finding { subject: format!("connection to {name}"), ok: true, detail, advice: None }
        });
        found.collect()
    }

    /// Signals that were dropped. A few may be late ones; many altered ones mean that whoever carries them meddles.
    fn signals_found(&self) -> Option<Finding> {
        if self.bad_signals.is_empty() {
            return None;
        }
        let counts: Vec<String> =
            self.bad_signals.iter().map(|(what, count)| format!("{count} {what}")).collect();
        Some(Finding {
            subject: "signals".into(),
            ok: false,
            detail: format!("dropped since the start: {}", counts.join(", ")),
            advice: Some(
                "Messages are not affected. If it goes on, whoever runs the relay may be altering what it carries.".into(),
            ),
        })
    }
}

fn judge(relay: &str, took: u64, wall_s: u64, result: Result<HttpResponse, String>) -> Vec<Finding> {
    let subject = format!("relay {relay}");
    let fault = |detail: String, advice: &str| {
        vec![Finding { subject: subject.clone(), ok: false, detail, advice: Some(advice.into()) }]
    };
    let response = match result {
        Err(cause) => return fault(cause, "Check this device's network and the relay's address."),
        Ok(response) => response,
    };
    let Ok(health) = serde_json::from_slice::<HealthResponse>(&response.body) else {
        let detail = format!("answers with status {}, but not as a Felund relay does", response.status);
        return fault(detail, "Check the relay's address; another program may be there.");
    };
    let skew = health.time.abs_diff(wall_s);
    vec![
        Finding {
            subject,
            ok: true,
            detail: format!("version {}, answered in {took} ms", health.version),
            advice: None,
        },
        Finding {
            subject: "clock".into(),
            ok: skew <= 30,
            detail: format!("{skew} s apart from the relay's"),
            advice: (skew > 30).then(|| {
                "Set this device's clock: with more than five minutes between them, messages come late or not at all.".into()
            }),
        },
    ]
}
