//! A session that waits: for the answer to a question, for a confirmation, for the relay.

use std::{
    collections::{HashMap, VecDeque},
    io::{BufRead, IsTerminal, Write},
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    time::{Duration, Instant},
};

use crossterm::event::{self, Event as Term, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use felund_core::{
    ids::{ChannelId, CircleId, MsgId},
    io::{Command, Event},
    model::Model,
    view::{CircleView, Delivery, LinkView, Reach, Reply},
};

use super::output::{Printer, notice};
use crate::{
    args::Options,
    datadir::DataDir,
    session::{Session, Setup, Signal, end_politely},
    target,
};

const INTERRUPTED: &str = "interrupted";
const ENDED: &str = "Felund ended unexpectedly";
/// An answer of another kind than the question.
pub(crate) const UNEXPECTED: &str = "the running felund answered something else; is it of another version?";
/// The node answers from memory and disk; longer than this means that something is broken.
const ANSWER: Duration = Duration::from_secs(60);
/// How long members of a circle without a relay have to be reached directly.
const DIRECT_PATIENCE: Duration = Duration::from_secs(3);
/// How often it is looked what else there is while a passphrase is typed.
const LISTEN: Duration = Duration::from_millis(100);
/// Nothing new for this long after the relay was reached: what there was has arrived.
const QUIET: Duration = Duration::from_millis(250);

/// A session and what it has learned.
pub(crate) struct Client {
    dir: DataDir,
    setup: Setup,
    session: Session,
    sender: SyncSender<Signal>,
    signals: Receiver<Signal>,
    /// The mirror of the node.
    pub(crate) model: Model,
    /// Events that a question overtook.
    early: VecDeque<Box<Event>>,
    delivered: HashMap<MsgId, Delivery>,
    /// Whether the session has ended.
    closed: bool,
    /// Counts sessions: a question of an earlier one is not answered any more.
    generation: u32,
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

    /// From the environment, or asked for on the terminal with the typing hidden.
    fn passphrase(&mut self) -> Result<String, String> {
        // An empty variable is how a shell says that there is none.
        if let Some(passphrase) = std::env::var("FELUND_PASSPHRASE").ok().filter(|given| !given.is_empty()) {
            return Ok(passphrase);
        }
        if !std::io::stdin().is_terminal() {
            return Err("a passphrase protects the keys here; give it in FELUND_PASSPHRASE".to_owned());
        }
        let mut screen = std::io::stderr();
        let _ = screen.write_all(b"Passphrase: ").and_then(|()| screen.flush());
        let hidden = crossterm::terminal::enable_raw_mode().is_ok();
        let typed = if hidden { self.read_hidden() } else { read_line() };
        if hidden {
            let _ = crossterm::terminal::disable_raw_mode();
        }
        let _ = writeln!(screen);
        typed
    }

    /// Reads keys, and listens meanwhile: this process may be asked to end, or the keys be unlocked elsewhere.
    fn read_hidden(&mut self) -> Result<String, String> {
        let fault = |e| format!("cannot read the passphrase: {e}");
        let mut typed = String::new();
        loop {
            while let Ok(signal) = self.signals.try_recv() {
                self.receive(signal)?;
            }
            if self.model.ready {
                return Ok(typed);
            }
            if !event::poll(LISTEN).map_err(fault)? {
                continue;
            }
            if let Term::Key(key) = event::read().map_err(fault)?
                && key.kind != KeyEventKind::Release
                && type_hidden(&mut typed, key)?
            {
                return Ok(typed);
            }
        }
    }

    fn unlock(&mut self, passphrase: String, until: Instant) -> Result<(), String> {
        let id = self.session.ask(Command::Unlock { passphrase })?;
        while self.pump(until)? {
            if let Some(result) = self.replies.remove(&id) {
                return result.map(|_| ());
            }
        }
        Err("Felund did not unlock within a minute; nothing was changed".to_owned())
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
                    return Err(
                        "the running felund ended before it answered; look whether it was done before \
                                you do it again"
                            .to_owned(),
                    );
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
                self.forget();
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
            Event::Message(_) => self.early.push_back(event),
            _ => {}
        }
    }

    /// Forgets what a session told.
    fn forget(&mut self) {
        self.model = Model::default();
        self.replies.clear();
        self.generation += 1;
    }

    /// The next message, through another owner when the present one ends.
    pub(crate) fn next_or_reopen(&mut self) -> Result<Box<Event>, String> {
        loop {
            if let Some(event) = self.early.pop_front() {
                return Ok(event);
            }
            self.changed_or_reopen()?;
        }
    }

    /// Waits until anything happens, through another owner when the present one ends.
    pub(crate) fn changed_or_reopen(&mut self) -> Result<(), String> {
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
            self.forget();
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

    /// Waits until the circle's relay has told everything new, cannot be reached, or patience ends.
    pub(crate) fn until_caught_up(&mut self, circle: CircleId, patience: Duration) {
        if self.session.is_mirror() && self.model.circle(circle).is_some_and(|c| is_up(&c.link)) {
            return;
        }
        let mut end = Instant::now() + patience;
        if self.model.circle(circle).is_some_and(|c| c.link == LinkView::None) {
            end = end.min(Instant::now() + DIRECT_PATIENCE);
        }
        let mut quiet_until: Option<Instant> = None;
        loop {
            let Some(view) = self.model.circle(circle) else { return };
            match &view.link {
                _ if has_direct(view) => {
                    quiet_until.get_or_insert_with(|| Instant::now() + QUIET);
                }
                LinkView::Down { .. } => return,
                LinkView::None | LinkView::Connecting => quiet_until = None,
                LinkView::Live | LinkView::Polling if view.name.is_empty() => quiet_until = None,
                LinkView::Live | LinkView::Polling => {
                    quiet_until.get_or_insert_with(|| Instant::now() + QUIET);
                }
            }
            match self.step(quiet_until.unwrap_or(end).min(end)) {
                Ok(true) => quiet_until = None,
                Ok(false) | Err(_) => return,
            }
        }
    }

    /// The same for every circle; they connect at the same time.
    pub(crate) fn until_all_caught_up(&mut self, patience: Duration) {
        let end = Instant::now() + patience;
        let circles: Vec<_> = self.model.circles().iter().map(|circle| circle.id).collect();
        for circle in circles {
            self.until_caught_up(circle, end.saturating_duration_since(Instant::now()));
        }
    }

    pub(crate) fn circle(&self, id: CircleId) -> Result<&CircleView, String> {
        self.model.circle(id).ok_or_else(|| "this circle is gone from this device".to_owned())
    }

    /// The channel a command line names, waiting for it to become known where the circle is new.
    pub(crate) fn channel(&mut self, wanted: &str) -> Result<(CircleId, ChannelId), String> {
        let found = self.find(wanted);
        if found.is_ok() {
            return found;
        }
        // A channel that somebody has just made is known as soon as the relay has told of it.
        self.until_all_caught_up(super::CATCH_UP_PATIENCE);
        self.find(wanted)
    }

    fn find(&self, wanted: &str) -> Result<(CircleId, ChannelId), String> {
        let (circle, channel) = target::channel(self.model.circles(), wanted)?;
        match channel {
            Some(channel) => Ok((circle.id, channel.id)),
            None => Ok((circle.id, target::general(circle)?)),
        }
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

/// What keeps a circle from its relay, in the words that follow "the relay". One that has not answered yet is missed only where
/// no member serves as well.
pub(crate) fn trouble(circle: &CircleView) -> Option<String> {
    match &circle.link {
        LinkView::Down { reason, .. } => Some(format!("cannot be reached ({reason})")),
        LinkView::Connecting if !has_direct(circle) => Some("has not answered so far".to_owned()),
        LinkView::Connecting | LinkView::None | LinkView::Live | LinkView::Polling => None,
    }
}

fn has_direct(circle: &CircleView) -> bool {
    circle.members.iter().any(|member| member.reach == Reach::Direct)
}

fn is_up(link: &LinkView) -> bool {
    matches!(link, LinkView::Live | LinkView::Polling)
}

fn read_line() -> Result<String, String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|e| format!("cannot read the passphrase: {e}"))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// What a key does to what is typed unseen; whether it ends it.
fn type_hidden(typed: &mut String, key: KeyEvent) -> Result<bool, String> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Enter => return Ok(true),
        KeyCode::Backspace => drop(typed.pop()),
        KeyCode::Char('c' | 'd') if control => {
            return Err("no passphrase was given; nothing was changed".to_owned());
        }
        KeyCode::Char('u') if control => typed.clear(),
        KeyCode::Char('w') if control => typed.truncate(typed.trim_end().rfind(' ').map_or(0, |at| at + 1)),
        KeyCode::Char(c) if !control => typed.push(c),
        _ => {}
    }
    Ok(false)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn owner(dir: &DataDir) -> (Session, Receiver<Signal>) {
        let (sender, signals) = mpsc::sync_channel(1_024);
        let session = Session::open(dir, Setup::default(), &sender).expect("opens");
        assert!(!session.is_mirror());
        (session, signals)
    }

    #[test]
    fn the_end_of_an_earlier_owner_is_not_taken_for_that_of_the_next() {
        let temp = tempfile::tempdir().expect("tempdir");
        let options = Options { data_dir: Some(temp.path().to_owned()), ..Options::default() };
        let dir = DataDir::open(options.data_dir.clone()).expect("data directory");
        let first = owner(&dir);
        let mut client = Client::open(options, Setup::default()).expect("opens");
        assert!(client.is_mirror());
        drop(first);
        let _second = owner(&dir);
        let reply = client.ask(&Command::Doctor);
        assert!(matches!(reply, Ok(Reply::Doctor { .. })), "{reply:?}");
        assert_eq!(client.generation(), 1, "there were two owners");
    }

    /// A data directory with a circle in it.
    fn with_circle(dir: &std::path::Path) -> (Options, CircleId) {
        let options = Options { data_dir: Some(dir.to_owned()), ..Options::default() };
        let mut client = Client::open(options.clone(), Setup::default()).expect("opens");
        let made = client.ask(&Command::CreateCircle { name: "garden club".into(), relay: None });
        let Ok(Reply::Circle { circle_id, .. }) = made else { panic!("{made:?}") };
        (options, circle_id)
    }

    fn damage(dir: &std::path::Path, record: &str) {
        let mut store = crate::storage::Sqlite::open(&dir.join("felund.db")).expect("opens");
        let op = felund_core::store::Op::PutRecord(record.to_owned(), vec![0]);
        store.write(&[felund_core::store::Batch { ops: vec![op], strict: true }]).expect("writes");
    }

    #[test]
    fn a_record_that_was_left_out_stops_no_command() {
        let temp = tempfile::tempdir().expect("tempdir");
        let (options, circle) = with_circle(temp.path());
        damage(temp.path(), &format!("cursor/{circle}"));
        let mut client = Client::open(options, Setup::default()).expect("opens");
        assert!(client.circle(circle).is_ok());
        let reply = client.ask(&Command::Invite { circle });
        assert!(matches!(reply, Ok(Reply::Invite { .. })), "{reply:?}");
    }

    #[test]
    fn a_node_that_is_broken_is_waited_for_by_nobody() {
        let temp = tempfile::tempdir().expect("tempdir");
        let (options, _) = with_circle(temp.path());
        damage(temp.path(), felund_core::store::IDENTITY);
        let broken = owner(&DataDir::open(options.data_dir.clone()).expect("data directory"));
        let begun = Instant::now();
        let mirror = Client::open(options.clone(), Setup::default()).err();
        drop(broken);
        let alone = Client::open(options, Setup::default()).err();
        for error in [mirror, alone] {
            assert!(error.as_ref().is_some_and(|error| error.contains("identity")), "{error:?}");
        }
        assert!(begun.elapsed() < ANSWER / 2);
    }

    #[test]
    fn a_relay_that_never_answers_is_missed_like_one_that_cannot_be_reached() {
        let temp = tempfile::tempdir().expect("tempdir");
        let (options, id) = with_circle(temp.path());
        let client = Client::open(options, Setup::default()).expect("opens");
        let mut circle = client.circle(id).expect("there").clone();
        assert_eq!(trouble(&circle), None, "it has no relay");
        circle.link = LinkView::Connecting;
        assert!(trouble(&circle).is_some_and(|trouble| trouble.contains("not answered")));
        circle.members[0].reach = Reach::Direct;
        assert_eq!(trouble(&circle), None, "somebody is there all the same");
    }

    #[test]
    fn whoever_is_asked_to_end_waits_for_nothing_any_more() {
        let temp = tempfile::tempdir().expect("tempdir");
        let options = Options { data_dir: Some(temp.path().to_owned()), ..Options::default() };
        let mut client = Client::open(options, Setup::default()).expect("opens");
        client.ask(&Command::CreateCircle { name: "garden club".into(), relay: None }).expect("is made");
        client.sender.send(Signal::Stop).expect("it listens");
        let begun = Instant::now();
        client.until_all_caught_up(Duration::from_secs(60));
        assert!(begun.elapsed() < DIRECT_PATIENCE && client.is_stopped());
        assert!(client.ask(&Command::Doctor).is_err());
    }

    #[test]
    fn whoever_is_asked_to_end_waits_for_no_passphrase() {
        let temp = tempfile::tempdir().expect("tempdir");
        let options = Options { data_dir: Some(temp.path().to_owned()), ..Options::default() };
        let mut client = Client::open(options, Setup::default()).expect("opens");
        client.model = Model::default();
        client.sender.send(Signal::Stop).expect("it listens");
        assert_eq!(client.read_hidden(), Err(INTERRUPTED.to_owned()));
        assert!(client.is_stopped());
    }

    #[test]
    fn what_is_typed_unseen_is_edited_as_in_a_shell() {
        let press = |typed: &mut String, code, modifiers| type_hidden(typed, KeyEvent::new(code, modifiers));
        let mut typed = String::new();
        for c in "tulip Rose".chars() {
            assert_eq!(press(&mut typed, KeyCode::Char(c), KeyModifiers::NONE), Ok(false));
        }
        for (c, left) in [('w', "tulip "), ('x', "tulip "), ('w', ""), ('u', "")] {
            assert_eq!(press(&mut typed, KeyCode::Char(c), KeyModifiers::CONTROL), Ok(false));
            assert_eq!(typed, left);
        }
        typed.push_str("tulips");
        assert_eq!(press(&mut typed, KeyCode::Backspace, KeyModifiers::NONE), Ok(false));
        assert_eq!(press(&mut typed, KeyCode::Enter, KeyModifiers::NONE), Ok(true));
        assert_eq!(typed, "tulip");
        assert!(press(&mut typed, KeyCode::Char('c'), KeyModifiers::CONTROL).is_err());
    }
}
