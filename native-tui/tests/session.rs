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
            Ok(Signal::Event(event)) => {
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
    let closed = mirror.signals.iter().find(|signal| !matches!(signal, Signal::Event(_)));
    assert!(matches!(closed, Some(Signal::Closed(_))), "{closed:?}");
    let mut heir = Client::open(&dir);
    assert!(!heir.session.is_mirror());
    let history = heir.ask(Command::History { circle, channel, before: None, limit: 10 });
    let Reply::History { messages, .. } = history else { panic!("{history:?}") };
    let texts: Vec<_> = messages.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(texts, ["from the owner", "from the mirror"]);
}
