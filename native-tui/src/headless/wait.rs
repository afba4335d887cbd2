//! A session that waits: for the answer to a question, for a confirmation, for the relay.

mod caught_up;
mod passphrase;
#[cfg(all(test, unix))]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    time::{Duration, Instant},
};

use felund_core::{
    ids::{ChannelId, CircleId, MsgId},
    io::{Command, Event},
    model::Model,
    view::{CircleView, Delivery, MessageView, Reply},
};

pub(crate) use caught_up::{is_alone, trouble};

use super::output::{Printer, notice};
use crate::{
    args::Options,
    datadir::DataDir,
    session::{self, Session, Setup, Signal, end_politely},
    target,
};

const INTERRUPTED: &str = "interrupted";
const ENDED: &str = "Felund ended unexpectedly";
/// An answer of another kind than the question.
pub(crate) const UNEXPECTED: &str = "the running felund answered something else; is it of another version?";
/// How much later than a message the view of its circle may come.
const VIEW_PATIENCE: Duration = Duration::from_secs(1);
/// The node answers from memory and disk; longer than this means that something is broken.
const ANSWER: Duration = Duration::from_secs(60);

/// A session and what it has learned.
pub(crate) struct Client {
    dir: DataDir,
    setup: Setup,
    session: Session,
    sender: SyncSender<Signal>,
    signals: Receiver<Signal>,
    /// The mirror of the node.
    pub(crate) model: Model,
    /// Messages that nobody has read yet.
    early: VecDeque<MessageView>,
    delivered: HashMap<MsgId, Delivery>,
    /// Whether the session has ended.
    closed: bool,
    /// Counts sessions: a question of an earlier one is not answered any more.
    generation: u32,
    /// Why that one's are not.
    lost: &'static str,
    replies: HashMap<u64, Result<Reply, String>>,
    /// What went wrong before the node was ready: what it left out, or why it will not get ready.
    warnings: Vec<String>,
    /// Whether the process was asked to end.
    stopped: bool,
}

impl Client {
    /// Opens a session and brings it to the point where commands work.
    pub(crate) fn open(options: Options, setup: Setup) -> Result<Self, String> {
        let servers = options.ice_servers();
        let dir = DataDir::open(options.data_dir)?;
        let (sender, signals) = mpsc::sync_channel(1_024);
        if setup.stays {
            end_politely(&sender)?;
        }
        let session = Session::open(&dir, setup, &sender)?;
        let mut client = Self {
            dir,
            setup,
            session,
            sender,
            signals,
            model: Model::default(),
            early: VecDeque::new(),
            delivered: HashMap::new(),
            closed: false,
            generation: 0,
            lost: session::ENDED,
            replies: HashMap::new(),
            warnings: Vec::new(),
            stopped: false,
        };
        match client.until_ready() {
            Err(_) if client.closed => client.reopen()?,
            result => result?,
        }
        if let Some(name) = options.name
            && client.model.identity.as_ref().is_none_or(|identity| identity.name != name)
        {
            client.ask(&Command::SetName { name })?;
        }
        if let Some(servers) = servers
            && client.model.identity.as_ref().is_none_or(|identity| identity.ice_servers != servers)
        {
            client.ask(&Command::SetIceServers { servers })?;
        }
        let hidden =
            |client: &Self| client.model.identity.as_ref().is_some_and(|identity| identity.hide_address);
        if setup.hide_address && client.is_mirror() && !hidden(&client) {
            client.ask(&Command::SetHideAddress { on: true })?;
            notice(
                "the client that is running hides its address from now on, until it is told otherwise in its settings",
            );
        }
        Ok(client)
    }

    fn until_ready(&mut self) -> Result<(), String> {
        let mut until = Instant::now() + ANSWER;
        // What is asked in a mirror's name has no number.
        let mut asked = 0;
        while !self.model.ready {
            if let Some(Err(fault)) = self.replies.remove(&asked) {
                self.warnings.retain(|warning| *warning != fault);
                self.say_warnings();
                return Err(fault);
            }
            // A node that is broken refuses whatever it is asked; one that left something out answers when it is ready.
            if asked == 0 && !self.warnings.is_empty() {
                asked = self.session.ask(Command::Snapshot).unwrap_or(asked);
            }
            if self.model.locked {
                self.model.locked = false;
                let passphrase = self.passphrase()?;
                // People take their time.
                until = Instant::now() + ANSWER;
                self.unlock(passphrase, until)?;
            } else if !self.pump(until)? {
                return Err("Felund did not get ready within a minute; nothing was changed".to_owned());
            }
        }
        self.say_warnings();
        Ok(())
    }

    fn say_warnings(&mut self) {
        for warning in self.warnings.drain(..) {
            notice(&warning);
        }
    }

    /// Whether another process owns the node.
    pub(crate) fn is_mirror(&self) -> bool {
        self.session.is_mirror()
    }

    /// Asks and waits for the answer, through another owner when the present one ends meanwhile.
    pub(crate) fn ask(&mut self, command: &Command) -> Result<Reply, String> {
        loop {
            match self.try_ask(command)? {
                Some(reply) => return Ok(reply),
                None if is_repeatable(command) => {}
                None => {
                    return Err(format!("{}; look whether it was done before you do it again", self.lost));
                }
            }
        }
    }

    /// The same once; `None` when the owner ended before it answered.
    pub(crate) fn try_ask(&mut self, command: &Command) -> Result<Option<Reply>, String> {
        let id = loop {
            match self.session.ask(command.clone()) {
                Ok(id) => break id,
                // It never left this process.
                Err(_) if self.session.is_mirror() => self.reopen()?,
                Err(error) => return Err(error),
            }
        };
        let (generation, until) = (self.generation, Instant::now() + ANSWER);
        loop {
            if let Some(result) = self.replies.remove(&id) {
                return result.map(Some);
            }
            if generation != self.generation {
                return Ok(None);
            }
            if !self.step(until)? {
                return Err("no answer within a minute; it is not known whether it was done".to_owned());
            }
        }
    }

    /// Takes in one event, through another owner when the present one ends; `false` when none came before `until`.
    pub(crate) fn step(&mut self, until: Instant) -> Result<bool, String> {
        match self.pump(until) {
            Err(_) if self.closed => self.reopen().map(|()| true),
            result => result,
        }
    }

    /// Takes in one signal.
    fn pump(&mut self, until: Instant) -> Result<bool, String> {
        if self.stopped {
            return Err(INTERRUPTED.to_owned());
        }
        match self.signals.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(signal) => self.receive(signal).map(|()| true),
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => Err(ENDED.to_owned()),
        }
    }

    fn receive(&mut self, signal: Signal) -> Result<(), String> {
        match signal {
            Signal::Event(session, event) if self.session.is(session) => self.take(event),
            Signal::Closed(session, reason) if self.session.is(session) => {
                self.closed = true;
                return Err(reason);
            }
            Signal::Anew(session) if self.session.is(session) => {
                self.forget(session::MISSED);
                return self.until_ready();
            }
            Signal::Stop => {
                self.stopped = true;
                return Err(INTERRUPTED.to_owned());
            }
            // The last words of a session that was followed by another.
            Signal::Event(..) | Signal::Closed(..) | Signal::Anew(_) | Signal::Terminal(_) => {}
        }
        Ok(())
    }

    fn take(&mut self, event: Box<Event>) {
        self.model.apply(&event);
        match *event {
            Event::Reply { id, result } => {
                self.replies.insert(id, result);
            }
            Event::Delivery { msg_id, delivery, .. } => {
                self.delivered.insert(msg_id, delivery);
            }
            Event::Notice { error: true, text } if !self.model.ready => self.warnings.push(text),
            Event::Notice { error: true, text } => notice(&text),
            Event::Message(message) => self.early.push_back(message),
            _ => {}
        }
    }

    /// Forgets what a session told, and why.
    fn forget(&mut self, why: &'static str) {
        self.lost = why;
        self.model = Model::default();
        self.replies.clear();
        self.generation += 1;
    }

    /// The next message that has come and was not read.
    pub(crate) fn next_message(&mut self) -> Option<MessageView> {
        self.early.pop_front()
    }

    /// Waits a moment for what a message's channel is called: of a new one nothing need be known when the message comes.
    pub(crate) fn until_told_of(&mut self, message: &MessageView) -> Result<(), String> {
        let until = Instant::now() + VIEW_PATIENCE;
        let is_known = |circle: &CircleView| circle.channel(message.channel_id).is_some();
        while !self.model.circle(message.circle_id).is_none_or(is_known) {
            if !self.step(until)? {
                break;
            }
        }
        Ok(())
    }

    /// Waits until anything happens, through another owner when the present one ends.
    pub(crate) fn changed_or_reopen(&mut self) -> Result<(), String> {
        // It may have been told while something else was waited for.
        if self.stopped {
            return Err(INTERRUPTED.to_owned());
        }
        let signal = self.signals.recv().map_err(|_| ENDED.to_owned())?;
        match self.receive(signal) {
            Err(_) if self.closed => self.reopen(),
            result => result,
        }
    }

    /// Prints to standard output without waiting for whoever reads it.
    pub(crate) fn printer(&self) -> Result<Printer, String> {
        Printer::start(std::io::stdout(), self.sender.clone())
    }

    /// Drops messages that nobody reads here.
    pub(crate) fn skip_messages(&mut self) {
        self.early.clear();
        self.delivered.clear();
    }

    /// Whether the process was asked to end: for what runs until then that is no failure.
    pub(crate) const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Through whoever owns the data directory now; that may be a command which ends before it has told everything.
    fn reopen(&mut self) -> Result<(), String> {
        loop {
            self.session = Session::open(&self.dir, self.setup, &self.sender)?;
            self.forget(session::ENDED);
            self.closed = false;
            match self.until_ready() {
                Err(_) if self.closed => {}
                result => return result,
            }
        }
    }

    /// Counts the sessions that this one thing took.
    pub(crate) const fn generation(&self) -> u32 {
        self.generation
    }

    /// How far an own message got, as far as events have told.
    pub(crate) fn delivery(&self, message: MsgId) -> Option<Delivery> {
        self.delivered.get(&message).copied()
    }

    pub(crate) fn circle(&self, id: CircleId) -> Result<&CircleView, String> {
        self.model.circle(id).ok_or_else(|| "this circle is gone from this device".to_owned())
    }

    /// The channel a command line names, waiting for it to become known where the circle is new.
    pub(crate) fn channel(&mut self, wanted: &str) -> Result<(CircleId, ChannelId), String> {
        self.find(|circles| match target::channel(circles, wanted)? {
            (circle, Some(channel)) => Ok((circle.id, channel.id)),
            (circle, None) => Ok((circle.id, target::general(circle)?)),
        })
    }

    /// The same, or all of a circle where no channel is named.
    pub(crate) fn circle_or_channel(
        &mut self,
        wanted: &str,
    ) -> Result<(CircleId, Option<ChannelId>), String> {
        self.find(|circles| {
            let (circle, channel) = target::channel(circles, wanted)?;
            Ok((circle.id, channel.map(|channel| channel.id)))
        })
    }

    fn find<T>(&mut self, find: impl Fn(&[CircleView]) -> Result<T, String>) -> Result<T, String> {
        let found = find(self.model.circles());
        if found.is_ok() {
            return found;
        }
        // A channel that somebody has just made is known as soon as the relay has told of it.
        self.until_all_caught_up(super::CATCH_UP_PATIENCE);
        find(self.model.circles())
    }
}

/// Whether asking twice does no more than asking once.
const fn is_repeatable(command: &Command) -> bool {
    matches!(
        command,
        Command::SetName { .. }
            | Command::SetHideAddress { .. }
            | Command::SetIceServers { .. }
            | Command::JoinCircle { .. }
            | Command::Invite { .. }
            | Command::History { .. }
            | Command::Doctor
    )
}
