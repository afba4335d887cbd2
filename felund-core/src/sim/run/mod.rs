//! Runs a scenario: sets everyone up in calm weather, lets the timeline happen, heals the network, waits until it has
//! converged, listens to its silence, and judges; then takes an anchor away, and at last lets everyone start anew.

mod judge;
mod ledger;
mod succession;

use std::collections::BTreeMap;

use self::ledger::{Asked, Ledger};
use super::{
    Disk, Part, RELAY, Scenario, Trace, World,
    scenario::{SECRET, Step, channel_name, passphrase},
};
use crate::{
    io::{Command, Input},
    node::Platform,
    store::MemoryStore,
    view::{Access, Membership, Reply},
};

/// How long a healed network may take to converge, in milliseconds: several times the longest backoff and timeout.
const CONVERGE_MS: u64 = 300_000;
/// How often it is looked whether it has, in milliseconds.
const LOOK_MS: u64 = 5_000;

/// What became of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Of the scenario.
    pub seed: u64,
    /// What must not be and was, with the virtual time; empty if all is well.
    pub violations: Vec<String>,
    /// Of everything that happened: two runs of a seed have the same.
    pub hash: String,
    /// Processes that were ended and started again.
    pub crashes: u64,
    /// Batches that were handed out and lost in crashes.
    pub torn: u64,
    /// Anchors that were taken away at the end to see another one take over.
    pub successions: u64,
    /// Messages that people were told are sent.
    pub sent: u64,
    /// Virtual milliseconds from healing to convergence.
    pub converged_ms: u64,
    /// Virtual milliseconds in all.
    pub virtual_ms: u64,
    /// A line for each thing that happened, if asked for.
    pub lines: Vec<String>,
}

/// What ends by itself.
#[derive(Debug)]
enum Ending {
    Start(usize),
    Room(usize),
    Clock(usize),
    Partition(Vec<usize>),
    Relay(usize),
    RelayUp,
    Sockets,
}

#[derive(Debug)]
enum Action {
    Begin(Step),
    End(Ending),
}

struct Runner<'a> {
    scenario: &'a Scenario,
    world: World,
    ledger: Ledger,
    agenda: BTreeMap<(u64, usize), Action>,
    invites: Vec<String>,
    lost: Vec<usize>,
    crashes: u64,
    torn: u64,
    successions: u64,
}

/// Runs a scenario to its end. With `lines` the report also tells everything that happened.
#[must_use]
pub fn run(scenario: &Scenario, lines: bool) -> Report {
    let mut runner = Runner::new(scenario, lines);
    let mut converged_ms = 0;
    if runner.set_up() {
        runner.live_through();
        converged_ms = runner.converge();
        runner.listen();
        runner.judge();
        runner.succeed();
        runner.check_own();
    }
    let Runner { world, mut ledger, crashes, torn, successions, .. } = runner;
    ledger.violations.extend(world.faults.iter().cloned());
    ledger.violations.extend(world.relay.faults.iter().map(|fault| format!("at the relay: {fault}")));
    Report {
        seed: scenario.seed,
        violations: ledger.violations,
        hash: world.trace.hash(),
        crashes,
        torn,
        successions,
        sent: ledger.sent.len() as u64,
        converged_ms,
        virtual_ms: world.now,
        lines: world.trace.lines().to_vec(),
    }
}

impl<'a> Runner<'a> {
    fn new(scenario: &'a Scenario, lines: bool) -> Self {
        let mut world = World::seeded(scenario.seed);
        world.trace = Trace::new(lines);
        world.relay.secrets.push(SECRET.into());
        for (at, plan) in scenario.devices.iter().enumerate() {
            let platform = Platform {
                dials: plan.dials,
                mobile: plan.mobile,
                anchor: plan.part == Part::Anchor,
                ..Platform::default()
            };
            world.add_device(platform, Disk::slow(MemoryStore::default()));
            (world.devices[at].skew, world.devices[at].write_ms) = (plan.skew_ms, plan.write_ms);
            if plan.listens {
                world.listen(at);
            }
        }
        for (from, to) in &scenario.no_dial {
            world.network.forbid_dialing(*from, *to);
        }
        Self {
            scenario,
            world,
            ledger: Ledger::default(),
            agenda: BTreeMap::new(),
            invites: Vec::new(),
            lost: Vec::new(),
            crashes: 0,
            torn: 0,
            successions: 0,
        }
    }

    /// Names, circles and members, in calm weather. Says whether that worked.
    fn set_up(&mut self) -> bool {
        match self.try_set_up() {
            Ok(()) => true,
            Err(why) => {
                self.ledger.violation(&self.world, format!("the circles could not be set up: {why}"));
                false
            }
        }
    }

    fn try_set_up(&mut self) -> Result<(), String> {
        for at in 0..self.scenario.devices.len() {
            self.world.ask(at, Command::SetName { name: format!("{SECRET} {at}") })?;
            let identity = self.world.devices[at].model.identity.as_ref();
            self.ledger.nodes.push(identity.map(|identity| identity.node_id));
            if self.scenario.devices[at].part == Part::Helper {
                self.world.ask(at, Command::SetAnchor { on: true })?;
            }
        }
        for (circle, plan) in self.scenario.circles.iter().enumerate() {
            let (name, relay) = (format!("{SECRET} circle {circle}"), plan.relay.then(|| RELAY.to_owned()));
            let made = self.world.ask(plan.members[0], Command::CreateCircle { name, relay })?;
            let Reply::Circle { circle_id, invite, .. } = made else { return Err(format!("{made:?}")) };
            for member in &plan.members[1..] {
                let join = Command::JoinCircle { invite: invite.clone(), relay: None };
                self.world.ask(*member, join)?;
            }
            self.ledger.circles.push(circle_id);
            self.ledger.members.extend(plan.members.iter().map(|member| (*member, circle)));
            self.invites.push(invite);
        }
        self.world.run(2_000);
        self.world.told.clear();
        let network = &mut self.world.network;
        (network.path, network.relay) = (self.scenario.between, self.scenario.to_relay);
        network.pairs = self.scenario.pairs.iter().copied().collect();
        self.world.relay.write_ms = self.scenario.relay_write_ms;
        for (at, step) in &self.scenario.timeline {
            self.plan(*at, Action::Begin(step.clone()));
        }
        Ok(())
    }

    fn plan(&mut self, ms: u64, action: Action) {
        let number = self.agenda.len() + 1;
        let mut slot = (self.world.now + ms, number);
        while self.agenda.contains_key(&slot) {
            slot.1 += 1;
        }
        self.agenda.insert(slot, action);
    }

    fn live_through(&mut self) {
        while let Some(((at, _), action)) = self.agenda.pop_first() {
            self.run_to(at);
            match action {
                Action::Begin(step) => self.begin(step),
                Action::End(ending) => self.end(ending),
            }
        }
    }

    /// Runs to a virtual time, with an eye on every screen.
    fn run_to(&mut self, at: u64) {
        while self.world.step(at) {
            self.look();
        }
        self.world.now = self.world.now.max(at);
    }

    fn look(&mut self) {
        for told in std::mem::take(&mut self.world.told) {
            self.ledger.note(&self.world, self.scenario, &told);
        }
    }

    fn is_there(&self, device: usize) -> bool {
        self.world.is_awake(device)
    }

    fn ask(&mut self, device: usize, command: Command, asked: Asked) {
        let id = self.world.tell(device, command);
        self.ledger.asked.insert((device, id), asked);
        self.look();
    }

    fn begin(&mut self, step: Step) {
        self.world.trace.remark(self.world.now, || format!("-- {step:?}"));
        match step {
            Step::Say { device, circle, channel, length } => self.say(device, circle, channel, length),
            Step::Enter { device, circle } => {
                if self.is_there(device) {
                    let join = Command::JoinCircle { invite: self.invites[circle].clone(), relay: None };
                    self.ask(device, join, Asked::Enter { circle });
                }
            }
            Step::Create { .. } | Step::Join { .. } | Step::Approve { .. } => self.channel(step),
            Step::Crash { device, silent, ms } => {
                if self.world.devices[device].is_up() {
                    self.crash(device, silent);
                    self.plan(ms, Action::End(Ending::Start(device)));
                }
            }
            Step::Lose { device } => {
                if self.world.devices[device].is_up() {
                    self.crash(device, true);
                }
                self.lost.push(device);
            }
            Step::Sleep { device, ms } => self.world.sleep(device, ms),
            Step::Full { device, ms } => {
                self.world.devices[device].disk.full = Some("the disk is full".into());
                self.plan(ms, Action::End(Ending::Room(device)));
            }
            Step::Clock { device, by_ms, ms } => {
                self.world.devices[device].skew += by_ms;
                self.plan(ms, Action::End(Ending::Clock(device)));
            }
            Step::Partition { side, how, ms } => {
                self.partition(&side, Some(how));
                self.plan(ms, Action::End(Ending::Partition(side)));
            }
            Step::NoRelay { device, ms } => {
                self.world.set_relay_reachable(device, false);
                self.plan(ms, Action::End(Ending::Relay(device)));
            }
            Step::Relay { power, ms } => {
                self.world.stop_relay(power);
                self.plan(ms, Action::End(Ending::RelayUp));
            }
            Step::DropSockets => self.world.drop_sockets(),
            Step::NoSockets { ms } => {
                self.world.relay.sockets_allowed = false;
                self.world.drop_sockets();
                self.plan(ms, Action::End(Ending::Sockets));
            }
        }
        self.look();
    }

    fn end(&mut self, ending: Ending) {
        self.world.trace.remark(self.world.now, || format!("-- over: {ending:?}"));
        match ending {
            Ending::Start(device) => {
                if !self.lost.contains(&device) {
                    self.world.start(device);
                }
            }
            Ending::Room(device) => self.world.devices[device].disk.full = None,
            Ending::Clock(device) => {
                self.world.devices[device].skew = self.scenario.devices[device].skew_ms;
            }
            Ending::Partition(side) => self.partition(&side, None),
            Ending::Relay(device) => self.world.set_relay_reachable(device, true),
            Ending::RelayUp => self.world.set_relay_up(true),
            Ending::Sockets => self.world.relay.sockets_allowed = true,
        }
        self.look();
    }

    fn crash(&mut self, device: usize, silent: bool) {
        self.torn += self.world.crash(device, silent) as u64;
        self.crashes += 1;
        self.ledger.crashed(device);
    }

    fn partition(&mut self, side: &[usize], how: Option<super::Block>) {
        for a in side {
            for b in (0..self.scenario.devices.len()).filter(|b| !side.contains(b)) {
                self.world.block(*a, b, how);
            }
        }
    }

    fn say(&mut self, device: usize, circle: usize, channel: Option<usize>, length: usize) {
        let id = self.ledger.circles[circle];
        let Some(view) = self.world.devices[device].model.circle(id).filter(|_| self.is_there(device)) else {
            return;
        };
        let name = channel.map_or_else(|| "general".into(), channel_name);
        let joined = |channel: &&crate::view::ChannelView| {
            channel.name == name && channel.membership == Membership::Joined
        };
        let Some(target) = view.channels.iter().find(joined).map(|channel| channel.id) else { return };
        let text = self.ledger.compose(device, (circle, channel), length);
        self.ask(
            device,
            Command::Send { circle: id, channel: target, text },
            Asked::Say { circle, channel: target },
        );
    }

    fn channel(&mut self, step: Step) {
        let (actor, circle, channel) = match &step {
            Step::Create { circle, channel } | Step::Approve { circle, channel, .. } => {
                (self.scenario.circles[*circle].channels[*channel].owner, *circle, *channel)
            }
            Step::Join { device, circle, channel, .. } => (*device, *circle, *channel),
            _ => return,
        };
        let (id, access) =
            (self.ledger.circles[circle], self.scenario.circles[circle].channels[channel].access);
        let Some(view) = self.world.devices[actor].model.circle(id).filter(|_| self.is_there(actor)) else {
            return;
        };
        let name = channel_name(channel);
        let known = view.channels.iter().find(|channel| channel.name == name);
        let (known, joined) = (
            known.map(|channel| channel.id),
            known.is_some_and(|channel| channel.membership == Membership::Joined),
        );
        let phrase = (access == Access::Key).then(|| passphrase(channel));
        match (step, known) {
            (Step::Create { .. }, None) => {
                // Whoever makes it may read it, even if the making is never confirmed.
                self.ledger.cleared.insert((actor, circle, channel));
                if access == Access::Public {
                    let everyone = 0..self.scenario.devices.len();
                    self.ledger.cleared.extend(everyone.map(|device| (device, circle, channel)));
                }
                let create = Command::CreateChannel { circle: id, name, access, passphrase: phrase };
                self.ask(actor, create, Asked::Create { circle, channel });
            }
            (Step::Join { mistaken, .. }, Some(known)) => {
                let passphrase = if mistaken { Some("mistaken".into()) } else { phrase };
                if access == Access::Key && !mistaken {
                    self.ledger.cleared.insert((actor, circle, channel));
                }
                let approved = joined || (access != Access::Invite && !mistaken);
                let join = Command::JoinChannel { circle: id, channel: known, passphrase };
                self.ask(actor, join, Asked::Join { circle, channel, approved });
            }
            (Step::Approve { device, .. }, Some(known)) => {
                let Some(member) = self.ledger.nodes[device] else { return };
                self.ledger.cleared.insert((device, circle, channel));
                let approve = Command::ApproveMember { circle: id, channel: known, member };
                self.ask(actor, approve, Asked::Approve { device, circle, channel });
            }
            _ => {}
        }
    }

    /// Heals everything, and waits until the network has converged; how long that took.
    fn converge(&mut self) -> u64 {
        let healed = self.world.now;
        self.world.heal();
        for at in 0..self.scenario.devices.len() {
            self.world.devices[at].skew = self.scenario.devices[at].skew_ms;
            if !self.lost.contains(&at) {
                self.world.start(at);
                if self.is_there(at) {
                    self.world.input(at, Input::Wake);
                }
            }
        }
        self.look();
        loop {
            let apart = self.apart();
            if apart.is_none() {
                return self.world.now - healed;
            }
            if self.world.now > healed + CONVERGE_MS {
                let why = apart.unwrap_or_default();
                self.ledger.violation(&self.world, format!("the healed network does not converge: {why}"));
                return self.world.now - healed;
            }
            self.run_to(self.world.now + LOOK_MS);
        }
    }
}
