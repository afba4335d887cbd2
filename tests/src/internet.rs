//! A small internet with a relay and coturn that everybody reaches, and people behind routers of their own.

use felund_core::io::Command;
use serde_json::Value;

use crate::{
    control::Control,
    felund::{Circle, Felund, Tail},
    netns::{Host, Nat, Network, Site},
    relay::Relay,
    turn::Turn,
    wait,
};

/// What doctor's findings on connections begin with; the member's name follows.
pub(crate) const CONNECTION: &str = "connection to ";

/// The network, and what runs in the middle of it.
#[derive(Debug)]
pub struct Internet {
    /// Where cuts, losses and blocks are made.
    pub net: Network,
    /// The relay.
    pub relay: Relay,
    _turn: Option<Turn>,
}

/// Who helps members through their routers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Helps {
    /// The relay itself tells them their addresses.
    Relay,
    /// coturn tells them their addresses.
    Stun,
    /// coturn relays their packets, too; it has two addresses, so that the doctor can tell what a router lets in.
    Turn,
}

impl Internet {
    /// Starts everything; `None` where this process may make no networks, which [`Network::new`] has then said.
    #[must_use]
    pub fn new(test: &str, helps: Helps) -> Option<Self> {
        let mut net = Network::new(test)?;
        let (server, second) = net.server_with_two_addresses();
        let turn = match helps {
            Helps::Relay => None,
            Helps::Stun => Some(Turn::start(&server)),
            Helps::Turn => Some(Turn::start_with_two_addresses(&server, second)),
        };
        let options = match (&turn, helps) {
            (Some(turn), Helps::Turn) => turn.relay_options(),
            (Some(turn), _) => turn.stun_options(),
            (None, _) => vec!["--stun-listen".to_owned(), format!("{}:3478", server.address())],
        };
        let relay = Relay::start_on(&server, options);
        Some(Self { net, relay, _turn: turn })
    }

    /// A machine behind a router of its own.
    pub fn home(&mut self, nat: Nat) -> (Site, Host) {
        let mut site = self.net.site(nat);
        let host = self.net.host(&mut site);
        (site, host)
    }
}

/// Somebody at a terminal client that does not listen, so that nobody dials it.
#[derive(Debug)]
pub struct Person {
    /// What the router does.
    pub nat: Nat,
    /// The router.
    pub site: Site,
    /// The machine.
    pub host: Host,
    /// Who it is.
    pub name: String,
    /// The device.
    pub felund: Felund,
    /// The client that runs.
    pub tail: Tail,
    /// The client from inside.
    pub control: Control,
}

impl Person {
    /// Starts the client.
    #[must_use]
    pub fn start(internet: &mut Internet, nat: Nat, name: &str) -> Self {
        let (site, host) = internet.home(nat);
        let felund = Felund::new(name, Some(&internet.relay.url())).on(&host);
        let tail = felund.tail(None);
        let control = felund.control();
        Self { nat, site, host, name: name.to_owned(), felund, tail, control }
    }

    /// Ends the client as a crash would, and starts it again.
    pub fn crash(&mut self) {
        self.tail.process().kill();
        self.tail = self.felund.tail(None);
        self.control = self.felund.control();
    }

    /// Waits until so many members are reached directly.
    pub fn until_direct(&self, circle: &Circle, count: usize) {
        self.control.until_direct(&circle.id, count);
    }

    /// Says something that members who are connected confirm.
    ///
    /// # Panics
    /// When they don't.
    pub fn says(&self, circle: &Circle, text: &str) {
        let done = self.felund.run(&["send", &circle.name, text]);
        assert!(done.stdout.contains("delivered to "), "{}: {done:?}", self.name);
    }

    /// Says something, without waiting for how far it gets.
    ///
    /// # Panics
    /// When the client does not take it.
    pub fn types(&mut self, circle: &Circle, text: &str) {
        let view = self.control.circle(&circle.id).expect("the circle is there");
        let (circle, channel) = (view.id, view.channels[0].id);
        self.control.ask(Command::Send { circle, channel, text: text.to_owned() });
    }

    /// Waits until all of these have arrived, and makes sure that each did once and that nothing else did.
    ///
    /// # Panics
    /// When one does not, or comes twice.
    pub fn until_has_once(&self, circle: &Circle, texts: &[String]) {
        let mut got = Vec::new();
        let complete = wait::within(2 * wait::PATIENCE, || {
            got = self.felund.texts(&circle.name);
            (got.len() >= texts.len()).then_some(())
        });
        assert!(complete.is_some(), "{} has {} of {} messages", self.name, got.len(), texts.len());
        let sorted = |texts: &[String]| {
            let mut texts = texts.to_vec();
            texts.sort();
            texts
        };
        assert_eq!(sorted(&got), sorted(texts), "at {}", self.name);
    }

    /// What doctor says of the connections to a member.
    #[must_use]
    pub fn connections(&self, to: &str) -> Vec<String> {
        self.paths().into_iter().filter(|(name, _)| name == to).map(|(_, said)| said).collect()
    }

    /// What doctor says of all connections: to whom, and what.
    #[must_use]
    pub fn paths(&self) -> Vec<(String, String)> {
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let findings = self.felund.findings(|found| found.starts_with(CONNECTION));
        let path = |finding: &Value| {
            (text(finding, "subject").trim_start_matches(CONNECTION).to_owned(), text(finding, "detail"))
        };
        findings.iter().map(path).collect()
    }

    /// What doctor says of the only connection to a member, once it knows what path that takes.
    ///
    /// # Panics
    /// When it does not come to know, or there are several.
    #[must_use]
    pub fn connection(&self, to: &str) -> String {
        wait::until(&format!("a known path from {} to {to}", self.name), || {
            let mut found = self.connections(to);
            assert!(found.len() < 2, "{} to {to}: {found:?}", self.name);
            found.pop().filter(|said| said.contains("here through"))
        })
    }
}
