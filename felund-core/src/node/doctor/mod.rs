//! `/doctor`: tries every connection afresh and says in plain words what it found.

mod ice;

use super::{Node, circle::Circle, records};
use crate::{
    config::{HTTP_TIMEOUT_MS, ICE_PROBE_MS},
    ice::{IceProbe, IceReport},
    ids::NodeId,
    io::{BatchId, CandidateKind, HttpId, HttpRequest, HttpResponse, Output, ProbeId},
    relay_api::{HealthResponse, path},
    session::SessionError,
    sorted::SortedMap,
    store::Op,
    view::{Figures, Finding, LinkView, Reply},
};

/// Most checks at once; who asks for more waits for none of them.
const MAX_CHECKUPS: usize = 4;

/// What was found of servers stands for this long, in milliseconds: whoever asks again and again, as while a router is
/// being asked for a port, borrows no more addresses of TURN servers for that.
const STANDS_MS: u64 = 5_000;
/// What to do where a relay does not answer, or not as one.
const UNREACHED: &str = "Check the relay's address and this device's network; where both are right, whoever runs the relay has to look.";
/// What to do where a relay takes no messages.
const NO_ROOM: &str = "Whoever runs the relay has to make room; another relay can be set in the settings. Messages wait here meanwhile.";
/// How much later than promised a platform may answer, in milliseconds.
const LATE_MS: u64 = 2_000;

/// What the last check of servers found.
#[derive(Debug)]
pub(super) struct Found {
    probe: IceProbe,
    at: u64,
    findings: Vec<Finding>,
}

/// A check under way: storage is written to and relays are asked whether they are well, then STUN and TURN servers are.
#[derive(Debug)]
pub(super) struct Checkup {
    request: u64,
    relays: SortedMap<HttpId, Asked>,
    /// Until when relays may still name the servers to check.
    patience: u64,
    ice: Ice,
    /// What storage has not answered yet; it is not waited for any longer than the platform is.
    trial: Option<BatchId>,
}

/// A relay being asked.
#[derive(Debug)]
struct Asked {
    relay: String,
    sent: u64,
    findings: Option<Vec<Finding>>,
}

/// How far the check of STUN and TURN is.
#[derive(Debug)]
enum Ice {
    Waits,
    /// Until when the platform is waited for.
    Asked(ProbeId, IceProbe, u64),
    Done(Vec<Finding>),
}

impl Node {
    pub(super) fn doctor(&mut self, request: u64) -> Result<Option<Reply>, String> {
        if self.checkups.len() >= MAX_CHECKUPS {
            return Err("Connections are being checked already. Wait for what comes of it.".into());
        }
        let mut relays = SortedMap::new();
        for relay in self.links.keys().cloned().collect::<Vec<_>>() {
            let id = HttpId(self.id());
            let url = format!("{relay}{}", path::HEALTH);
            let (headers, body) = (Vec::new(), Vec::new());
            let http = HttpRequest { method: "GET", url, headers, body, within_ms: HTTP_TIMEOUT_MS };
            relays.insert(id, Asked { relay, sent: self.now.mono, findings: None });
            self.outputs.push_back(Output::Http(id, http));
        }
        let ice = if self.platform.probes { Ice::Waits } else { Ice::Done(Vec::new()) };
        let patience = self.now.mono + ICE_PROBE_MS;
        // Nothing may have been written since the start. It is gone again when this is durable.
        let trial = Op::PutRecord(records::TRIAL.into(), Vec::new());
        let trial = Some(self.store(vec![trial, Op::DeleteRecord(records::TRIAL.into())], Vec::new()));
        self.checkups.push(Checkup { request, relays, patience, ice, trial });
        Ok(None)
    }

    /// Storage has taken a write or refused it, as [`Node::diagnose`] then finds.
    pub(super) fn storage_answered(&mut self, id: BatchId) {
        for checkup in &mut self.checkups {
            checkup.trial.take_if(|trial| *trial == id);
        }
    }

    /// The answer of a relay that is being checked; whether it is one.
    pub(super) fn relay_checked(&mut self, id: HttpId, result: &Result<HttpResponse, String>) -> bool {
        let Some(asked) = self.checkups.iter_mut().find_map(|checkup| checkup.relays.get_mut(&id)) else {
            return false;
        };
        let took = self.now.mono.saturating_sub(asked.sent);
        asked.findings = Some(judge(&asked.relay, took, self.now.wall / 1_000, result));
        true
    }

    /// What the platform found of STUN and TURN servers.
    #[inline(never)]
    pub(super) fn probed(&mut self, id: ProbeId, report: &IceReport) {
        let hidden = self.is_hidden();
        for checkup in &mut self.checkups {
            match &checkup.ice {
                Ice::Asked(asked, probe, _) if *asked == id => {
                    let findings = ice::findings(probe, report, self.rtc.servers.unusable(), hidden);
                    let (probe, at) = (probe.clone(), self.now.mono);
                    self.checked = Some(Found { probe, at, findings: findings.clone() });
                    checkup.ice = Ice::Done(findings);
                }
                _ => {}
            }
        }
    }

    /// Lets checks begin with the servers once relays have named them, and answers those that are done.
    #[inline(never)]
    pub(super) fn advance_checkups(&mut self) {
        let (now, hidden) = (self.now, self.is_hidden());
        let named = self.links.values().all(|link| !link.awaits_ice());
        for checkup in &mut self.checkups {
            let answered = checkup.relays.values().all(|asked| asked.findings.is_some());
            if matches!(checkup.ice, Ice::Waits) && (answered && named || now.mono >= checkup.patience) {
                let probe = ice::probe(&self.rtc.servers.for_circle(None, now.wall));
                let stands = |found: &&Found| found.probe == probe && now.mono < found.at + STANDS_MS;
                checkup.ice = if let Some(found) = self.checked.as_ref().filter(stands) {
                    Ice::Done(found.findings.clone())
                } else {
                    self.next_id += 1;
                    let id = ProbeId(self.next_id);
                    self.outputs.push_back(Output::Probe(id, probe.clone()));
                    Ice::Asked(id, probe, now.mono + ICE_PROBE_MS + LATE_MS)
                };
            }
            match &checkup.ice {
                Ice::Asked(_, probe, until) if *until <= now.mono => {
                    let nothing = IceReport::default();
                    let unusable = self.rtc.servers.unusable();
                    checkup.ice = Ice::Done(ice::findings(probe, &nothing, unusable, hidden));
                }
                _ => {}
            }
        }
        let is_done = |checkup: &mut Checkup| {
            matches!(checkup.ice, Ice::Done(_))
                && checkup.relays.values().all(|asked| asked.findings.is_some())
                && (checkup.trial.is_none() || now.mono >= checkup.patience)
        };
        for checkup in self.checkups.extract_if(.., is_done).collect::<Vec<_>>() {
            let relays = checkup.relays.into_values().filter_map(|asked| asked.findings).flatten();
            let Ice::Done(servers) = checkup.ice else { continue };
            let findings = self.diagnose(relays.collect(), servers, checkup.trial.is_some());
            self.reply(checkup.request, Ok(Reply::Doctor { findings }));
        }
    }

    /// When a check goes on without the relays, or without the platform.
    pub(super) fn checkups_deadline(&self) -> Option<u64> {
        let until = |checkup: &Checkup| match checkup.ice {
            Ice::Waits => Some(checkup.patience),
            Ice::Asked(_, _, until) => Some(until),
            Ice::Done(_) => checkup.trial.map(|_| checkup.patience),
        };
        self.checkups.iter().filter_map(until).min()
    }

    fn diagnose(&self, mut findings: Vec<Finding>, servers: Vec<Finding>, hangs: bool) -> Vec<Finding> {
        for circle in self.circles.values() {
            let link = circle.relay.as_ref().and_then(|relay| self.links.get(relay));
            let state = link.map_or(LinkView::None, |link| link.view(&circle.hint, self.now.mono));
            let rtt = link.and_then(crate::route::relay::RelayLink::rtt_ms);
            let (ok, detail, advice) = match state {
                LinkView::Live => {
                    let rtt = rtt.map(|ms| format!(", round trip {ms} ms")).unwrap_or_default();
                    (true, format!("live through the relay's WebSocket{rtt}"), None)
                }
                LinkView::Polling => (
                    true,
                    "messages are fetched over HTTP every few seconds".into(),
                    Some("Something between here and the relay refuses WebSockets, often a proxy."),
                ),
                LinkView::Connecting => (false, "being connected".into(), Some("Look again in a moment.")),
                LinkView::Down { reason, retry_in_s } => (
                    false,
                    format!("not reachable: {reason}; next try in {retry_in_s} s"),
                    Some(
                        "Check the relay's address and this device's network; where both are right, whoever runs the relay \
                         has to look. Messages wait here meanwhile.",
                    ),
                ),
                LinkView::None if !circle.direct.is_empty() => {
                    (true, format!("no relay; {} reached directly", circle.direct.len()), None)
                }
                LinkView::None => (
                    false,
                    "no relay is set, and no member is connected".into(),
                    Some(
                        "Set one in the settings, or connect members directly: until then messages stay on this device.",
                    ),
                ),
            };
            let unsent = circle.outbox.len();
            let waiting = if unsent > 0 { format!("; {unsent} waiting to be sent") } else { String::new() };
            let mut detail = detail + &waiting;
            let (ok, advice) = match link.and_then(|link| link.held(&circle.hint)) {
                Some(reason) => {
                    detail.extend([", and the relay takes none now: ", &*reason]);
                    (false, Some(NO_ROOM))
                }
                None => (ok, advice),
            };
            let finding = Finding::new(format!("circle {}", circle.name()), ok, detail, advice);
            findings.push(match rtt {
                Some(ms) => finding.with(Figures { rtt_ms: u32::try_from(ms).ok(), ..Figures::default() }),
                None => finding,
            });
        }
        findings.extend(self.circles.values().filter_map(|circle| self.anchor_finding(circle)));
        findings.extend(self.direct.refusals().iter().map(|(reason, times)| {
            let old = reason == SessionError::UnsupportedVersion(0).reason();
            let advice = "One of the two programs is older than the other: update it. Messages go through the relay \
                          meanwhile.";
            let detail = format!("{times} since the start: {reason}");
            Finding::new("refused connections", true, detail, old.then_some(advice))
        }));
        findings.extend(self.reach.surroundings.iter().cloned());
        findings.extend(self.hiding_found());
        findings.extend(servers);
        findings.extend(self.sessions_found());
        findings.extend(self.signals_found());
        findings.push(match &self.store_fault {
            None if hangs => Finding::new(
                "storage",
                false,
                "has not answered a write so far",
                Some("Look whether the disk works. Nothing already stored is lost."),
            ),
            None => Finding::new("storage", true, "takes what is written", None),
            Some(cause) => Finding::new(
                "storage",
                false,
                format!("does not take anything: {cause}"),
                Some("Free some space. Nothing already stored is lost."),
            ),
        });
        findings
    }
}

impl Node {
    /// Who anchors a circle, if anybody does or this device offers to.
    fn anchor_finding(&self, circle: &Circle) -> Option<Finding> {
        let me = self.me.as_ref()?.key.id();
        let finding = |ok, detail, advice| {
            Some(Finding::new(format!("anchor of {}", circle.name()), ok, detail, advice))
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
            let over = if self.rtc.owns(conn) { "webrtc" } else { "tcp" };
            let mut figures = Figures { path: Some(over.into()), ..Figures::default() };
            let detail = match self.rtc.path(conn) {
                None => "direct over TCP".into(),
                Some(None) => "direct over WebRTC".into(),
                Some(Some(path)) => {
                    let kind = |kind| match kind {
                        CandidateKind::Host => "an address of the device",
                        CandidateKind::Srflx | CandidateKind::Prflx => "an address its router shows",
                        CandidateKind::Relay => "a TURN server",
                    };
                    figures.local = Some(path.local.name().into());
                    figures.remote = Some(path.remote.name().into());
                    figures.rtt_ms = path.rtt_ms;
                    let rtt = path.rtt_ms.map(|ms| format!(", round trip {ms} ms")).unwrap_or_default();
                    let (here, there) = (kind(path.local), kind(path.remote));
                    format!("direct over WebRTC: here through {here}, there through {there}{rtt}")
                }
            };
            Finding::new(format!("connection to {name}"), true, detail, None).with(figures)
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
        let advice = "Messages are not affected. If it goes on, whoever runs the relay may be altering what it carries.";
        let detail = format!("dropped since the start: {}", counts.join(", "));
        Some(Finding::new("signals", false, detail, Some(advice)))
    }

    /// Whether this device hides where it is, and whether it can be reached by WebRTC all the same.
    fn hiding_found(&self) -> Option<Finding> {
        if !self.is_hidden() {
            return None;
        }
        let without: Vec<String> = self
            .circles
            .values()
            .filter(|circle| !self.rtc.is_enabled() || !self.rtc.has_way(circle.id, self.now.wall))
            .map(Circle::name)
            .collect();
        let hidden = "hidden from members; relays and TURN servers know it";
        Some(if without.is_empty() {
            Finding::new(
                "this device's address",
                true,
                format!("{hidden}. Members are reached through TURN servers"),
                None,
            )
        } else {
            let detail = format!(
                "{hidden}. No TURN server for {}, so nobody there is connected to directly",
                without.join(", ")
            );
            let advice = "Messages go through the relay, and calls will need a TURN server: ask whoever runs the relay for \
                          one, or give your own in the settings.";
            Finding::new("this device's address", true, detail, Some(advice))
        })
    }
}

fn judge(relay: &str, took: u64, wall_s: u64, result: &Result<HttpResponse, String>) -> Vec<Finding> {
    let subject = format!("relay {relay}");
    let fault = |detail: String, advice| vec![Finding::new(subject.as_str(), false, detail, Some(advice))];
    let response = match result {
        Err(cause) => return fault(cause.clone(), UNREACHED),
        Ok(response) => response,
    };
    let Ok(health) = serde_json::from_slice::<HealthResponse>(&response.body) else {
        let detail = format!("answers with status {}, but not as a Felund relay does", response.status);
        return fault(detail, "Check the relay's address; another program may be there.");
    };
    let skew = health.time.abs_diff(wall_s);
    let figures = Figures { rtt_ms: u32::try_from(took).ok(), ..Figures::default() };
    let late = "Set this device's clock: with more than five minutes between them, messages come late or not at all.";
    vec![
        Finding::new(
            subject.as_str(),
            true,
            format!("version {}, answered in {took} ms", health.version),
            None,
        )
        .with(figures),
        Finding::new(
            "clock",
            skew <= 30,
            format!("{skew} s apart from the relay's"),
            (skew > 30).then_some(late),
        ),
    ]
}
