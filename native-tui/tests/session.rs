//! Two sessions on one data directory: the second mirrors the first, and takes over when it ends.

#![cfg(unix)]

use std::{
    sync::mpsc::{self, Receiver},
    time::Duration,
};

use felund_core::{
    io::{Command, Event},
    model::Model,
    view::Reply,
};
use native_tui::{
    datadir::DataDir,
    session::{Session, Setup, Signal},
};

struct Client {
    session: Session,
    signals: Receiver<Signal>,
    model: Model,
}

impl Client {
    fn open(dir: &DataDir) -> Self {
        let (sender, signals) = mpsc::sync_channel(64);
        let session = Session::open(dir, Setup::default(), &sender).expect("opens");
        let mut client = Self { session, signals, model: Model::default() };
        while !client.model.ready {
            client.event();
        }
        client
    }

    fn event(&mut self) -> Event {
        match self.signals.recv_timeout(Duration::from_secs(20)) {
            Ok(Signal::Event(session, event)) => {
                assert!(self.session.is(session));
                self.model.apply(&event);
                *event
            }
            other => panic!("{other:?}"),
        }
    }

    fn ask(&mut self, command: Command) -> Reply {
        let asked = self.session.ask(command).expect("asks");
        loop {
            if let Event::Reply { id, result } = self.event()
                && id == asked
            {
                return result.expect("is done");
            }
        }
    }
}

#[test]
fn a_mirror_sees_and_does_what_the_owner_does_and_takes_over() {
    let temp = tempfile::tempdir().expect("tempdir");
    let dir = DataDir::open(Some(temp.path().to_owned())).expect("data directory");
    let mut owner = Client::open(&dir);
    assert!(!owner.session.is_mirror());
    owner.ask(Command::SetName { name: "alice".into() });
    let mut mirror = Client::open(&dir);
    assert!(mirror.session.is_mirror());
    assert_eq!(mirror.model.identity, owner.model.identity);

    let made = mirror.ask(Command::CreateCircle { name: "garden club".into(), relay: None });
    let Reply::Circle { circle_id: circle, .. } = made else { panic!("{made:?}") };
    while owner.model.circle(circle).is_none() {
        owner.event();
    }
    let channel = owner.model.circles()[0].channels[0].id;
    owner.ask(Command::Send { circle, channel, text: "from the owner".into() });
    mirror.ask(Command::Send { circle, channel, text: "from the mirror".into() });

    drop(owner);
    let closed = mirror.signals.iter().find(|signal| !matches!(signal, Signal::Event(..)));
    assert!(matches!(closed, Some(Signal::Closed(session, _)) if mirror.session.is(session)), "{closed:?}");
    let mut heir = Client::open(&dir);
    assert!(
        !heir.session.is_mirror()
            && !matches!(closed, Some(Signal::Closed(session, _)) if heir.session.is(session))
    );
    let history = heir.ask(Command::History { circle, channel, before: None, limit: 10 });
    let Reply::History { messages, .. } = history else { panic!("{history:?}") };
    let texts: Vec<_> = messages.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(texts, ["from the owner", "from the mirror"]);
}

#[test]
fn an_owner_that_takes_nothing_stops_no_mirror_and_is_told_everything_afterwards() {
    let temp = tempfile::tempdir().expect("tempdir");
    let dir = DataDir::open(Some(temp.path().to_owned())).expect("data directory");
    let mut owner = Client::open(&dir);
    let mut mirror = Client::open(&dir);
    let made = mirror.ask(Command::CreateCircle { name: "garden club".into(), relay: None });
    let Reply::Circle { circle_id: circle, .. } = made else { panic!("{made:?}") };
    let channel = mirror.model.circle(circle).expect("was made").channels[0].id;
    for n in 0..200 {
        mirror.ask(Command::Send { circle, channel, text: format!("message {n}") });
    }
    let name = "potting shed";
    mirror.ask(Command::RenameCircle { circle, name: name.into() });

    loop {
        match owner.signals.recv_timeout(Duration::from_secs(20)) {
            Ok(Signal::Anew(session)) => break assert!(owner.session.is(session)),
            Ok(Signal::Event(..)) => {}
            other => panic!("{other:?}"),
        }
    }
    owner.model = Model::default();
    while !owner.model.ready {
        owner.event();
    }
    assert_eq!(owner.model.circle(circle).map(|view| view.name.as_str()), Some(name));
    let history = owner.ask(Command::History { circle, channel, before: None, limit: 1_000 });
    assert!(matches!(history, Reply::History { messages, .. } if messages.len() == 200));
}
