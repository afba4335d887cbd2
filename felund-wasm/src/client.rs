//! The door of this crate: one [`Client`] per page, whether its tab owns the node or mirrors the tab that does.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};

use felund_core::{
    io::{Command, Event, Request},
    sorted::SortedMap,
};
use js_sys::{Math, Uint8Array};
use wasm_bindgen::{JsCast, closure::Closure};
use wasm_bindgen_futures::spawn_local;
use web_sys::{BroadcastChannel, MessageEvent};

use crate::{
    ahead::Rows,
    browser::{self, Listener, Timer},
    driver::Driver,
    election::{self, Release},
    reply::{Answer, Slot},
    wire::{UNCERTAIN, Wire, repeatable},
};

/// A leader that says nothing for this long, while this tab is visible, has been suspended by the browser: the
/// visible tab takes its place. Long enough for a passphrase to be stretched. In milliseconds.
const SILENCE_MS: u64 = 4_000;

/// How a client is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the database, the lock and the channel between tabs: one node per name and origin.
    pub name: String,
    /// Called when another tab has taken the node because this one did not answer: what happened meanwhile this tab
    /// has not been told, and is not going to be. Circles are told again; histories have to be read again.
    pub deposed: fn(),
}

impl Default for Options {
    fn default() -> Self {
        Self { name: "felund".into(), deposed: || {} }
    }
}

enum Role {
    /// No leader is known yet.
    Electing,
    /// Another tab owns the node.
    Follower,
    /// This tab does.
    Leader(Driver),
}

struct Pending {
    command: Command,
    slot: Slot,
    /// Whether some leader has it.
    asked: bool,
}

type OnMessage = Closure<dyn FnMut(MessageEvent)>;

struct Inner {
    name: String,
    deposed: fn(),
    tab: String,
    sink: Box<dyn Fn(Vec<Event>)>,
    role: RefCell<Role>,
    next: Cell<u64>,
    pending: RefCell<SortedMap<u64, Pending>>,
    /// Requests of other tabs, by their number at the node.
    foreign: RefCell<SortedMap<u64, (String, u64)>>,
    channel: Option<BroadcastChannel>,
    on_message: RefCell<Option<OnMessage>>,
    listeners: RefCell<Vec<Listener>>,
    /// Whether other tabs have been heard of.
    company: Cell<bool>,
    heard: Cell<bool>,
    /// Whether the browser has suspended the page. It may deliver messages all the same.
    frozen: Cell<bool>,
    suspicion: RefCell<Option<Timer>>,
    /// Number of the campaign that holds the lock, and of the last one begun.
    seat: Cell<(u64, u64)>,
    release: Release,
    closed: Cell<bool>,
}

/// A handle on this page's client; clones share it.
#[derive(Clone)]
pub struct Client(Rc<Inner>);

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("leader", &self.is_leader()).finish_non_exhaustive()
    }
}

impl Client {
    /// Starts. `sink` gets every event but the answers, in order, many at a time.
    #[must_use]
    pub fn start(options: Options, sink: impl Fn(Vec<Event>) + 'static) -> Self {
        let client = Self(Rc::new(Inner {
            channel: BroadcastChannel::new(&options.name).ok(),
            name: options.name,
            deposed: options.deposed,
            tab: Math::random().to_bits().to_string(),
            sink: Box::new(sink),
            role: RefCell::new(Role::Electing),
            next: Cell::new(1),
            pending: RefCell::default(),
            foreign: RefCell::default(),
            on_message: RefCell::default(),
            listeners: RefCell::default(),
            company: Cell::new(false),
            heard: Cell::new(false),
            frozen: Cell::new(false),
            suspicion: RefCell::default(),
            seat: Cell::default(),
            release: Release::default(),
            closed: Cell::new(false),
        }));
        client.0.listen();
        client.0.campaign(false);
        client.0.suspect();
        client
    }

    /// Asks for something; the answer is awaited by whoever wants it, the asking happens at once.
    pub fn request(&self, command: Command) -> impl Future<Output = Answer> + use<> {
        let inner = &self.0;
        let slot = Slot::default();
        if inner.closed.get() {
            slot.fill(Err("This client has been closed.".into()));
            return slot;
        }
        let id = inner.number();
        inner.pending.borrow_mut().insert(id, Pending { command, slot: slot.clone(), asked: false });
        inner.ask_all();
        if !self.is_leader() {
            inner.suspect();
        }
        slot
    }

    /// Whether this tab owns the node.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        matches!(*self.0.role.borrow(), Role::Leader(_))
    }

    /// Stops the node, or the mirroring of it, for good.
    pub fn close(&self) {
        self.0.closed.set(true);
        self.0.release.call();
        drop(self.0.role.replace(Role::Electing));
        self.0.listeners.borrow_mut().clear();
        self.0.suspicion.borrow_mut().take();
        if let Some(channel) = &self.0.channel {
            channel.set_onmessage(None);
            channel.close();
        }
    }
}

impl Inner {
    fn number(&self) -> u64 {
        let id = self.next.get();
        self.next.set(id + 1);
        id
    }

    fn listen(self: &Rc<Self>) {
        let weak = Rc::downgrade(self);
        let on_message = Closure::new(move |event: MessageEvent| {
            let bytes = event.data().dyn_into::<Uint8Array>().ok();
            let message = bytes.and_then(|bytes| minicbor::decode(&bytes.to_vec()).ok());
            if let (Some(inner), Some(message)) = (weak.upgrade(), message) {
                inner.hear(message);
            }
        });
        if let Some(channel) = &self.channel {
            channel.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        }
        *self.on_message.borrow_mut() = Some(on_message);
        let Some(window) = browser::window() else { return };
        let listen = |target: &web_sys::EventTarget, name: &'static str| {
            let weak = Rc::downgrade(self);
            Listener::new(target, name, move |_| {
                let Some(inner) = weak.upgrade() else { return };
                match name {
                    "freeze" => inner.frozen.set(true),
                    "resume" | "pageshow" => inner.frozen.set(false),
                    _ => {}
                }
                if browser::visible() {
                    inner.wake();
                }
            })
        };
        let mut listeners = vec![listen(&window, "pageshow"), listen(&window, "online")];
        if let Some(document) = window.document() {
            listeners.extend(["visibilitychange", "resume", "freeze"].map(|name| listen(&document, name)));
        }
        *self.listeners.borrow_mut() = listeners;
    }

    /// The user is back, or the network is.
    fn wake(self: &Rc<Self>) {
        if let Role::Leader(driver) = &*self.role.borrow() {
            driver.wake();
            return;
        }
        self.suspect();
    }

    fn post(&self, message: &Wire) {
        // Writing to a vector does not fail.
        if let (Some(channel), Ok(bytes)) = (&self.channel, minicbor::to_vec(message)) {
            // Fails only on a closed channel, where there is nobody to tell.
            let _ = channel.post_message(&Uint8Array::from(bytes.as_slice()));
        }
    }

    fn campaign(self: &Rc<Self>, steal: bool) {
        let number = self.seat.get().1 + 1;
        self.seat.set((self.seat.get().0, number));
        let (elected, inner) = (Rc::downgrade(self), self.clone());
        let name = self.name.clone();
        let release = self.release.clone();
        spawn_local(async move {
            let lead = move |ahead| {
                if let Some(inner) = elected.upgrade() {
                    inner.lead(number, ahead);
                }
            };
            election::hold(&name, steal, release, lead).await;
            if inner.seat.get().0 == number && !inner.closed.get() {
                drop(inner.role.replace(Role::Electing));
                inner.pending.borrow_mut().values_mut().for_each(|pending| pending.asked = false);
                inner.campaign(false);
                inner.suspect();
                (inner.deposed)();
            }
        });
    }

    fn lead(self: &Rc<Self>, number: u64, ahead: Option<Rows>) {
        self.seat.set((number, self.seat.get().1));
        if self.closed.get() || matches!(*self.role.borrow(), Role::Leader(_)) {
            return;
        }
        let weak: Weak<Self> = Rc::downgrade(self);
        let driver = Driver::start(self.name.clone(), ahead, move |events| {
            if let Some(inner) = weak.upgrade() {
                inner.tell(events);
            }
        });
        *self.role.borrow_mut() = Role::Leader(driver);
        self.foreign.borrow_mut().clear();
        self.suspicion.borrow_mut().take();
        self.post(&Wire::Elected);
        self.ask_again();
        self.ask_all();
    }

    /// Events of the node this tab owns.
    fn tell(&self, events: Vec<Event>) {
        let mut news = Vec::with_capacity(events.len());
        for event in events {
            match event {
                Event::Reply { id, result } => {
                    let foreign = self.foreign.borrow_mut().remove(&id);
                    match foreign {
                        Some((tab, id)) => self.post(&Wire::Answer { tab, id, result }),
                        None => self.answer(id, result),
                    }
                }
                event => news.push(event),
            }
        }
        if news.is_empty() {
            return;
        }
        if self.company.get() {
            let message = Wire::News(news);
            self.post(&message);
            let Wire::News(back) = message else { return };
            news = back;
        }
        (self.sink)(news);
    }

    fn answer(&self, id: u64, result: Answer) {
        let pending = self.pending.borrow_mut().remove(&id);
        if let Some(pending) = pending {
            pending.slot.fill(result);
        }
    }

    /// Hands everything that nobody has yet to the leader, if one is known.
    fn ask_all(&self) {
        if matches!(*self.role.borrow(), Role::Electing) {
            return;
        }
        for (id, pending) in self.pending.borrow_mut().iter_mut().filter(|(_, pending)| !pending.asked) {
            pending.asked = true;
            let (id, command) = (*id, pending.command.clone());
            match &*self.role.borrow() {
                Role::Leader(driver) => driver.command(Request { id, command }),
                _ => self.post(&Wire::Ask { tab: self.tab.clone(), id, command }),
            }
        }
    }

    /// The leader is another one now: what the former had not answered is asked again, or given up if it might then
    /// happen twice.
    fn ask_again(&self) {
        let mut lost = Vec::new();
        self.pending.borrow_mut().retain(|_, pending| {
            let keep = !pending.asked || repeatable(&pending.command);
            pending.asked = false;
            if !keep {
                lost.push(pending.slot.clone());
            }
            keep
        });
        for slot in lost {
            slot.fill(Err(UNCERTAIN.into()));
        }
    }

    fn follow(&self) {
        if self.closed.get() || matches!(*self.role.borrow(), Role::Leader(_)) {
            return;
        }
        *self.role.borrow_mut() = Role::Follower;
        let pending = Pending { command: Command::Snapshot, slot: Slot::default(), asked: false };
        self.pending.borrow_mut().insert(self.number(), pending);
        self.ask_again();
        self.ask_all();
    }

    fn hear(self: &Rc<Self>, message: Wire) {
        self.company.set(true);
        let leads = matches!(*self.role.borrow(), Role::Leader(_));
        match message {
            Wire::Ping if leads && !self.frozen.get() => self.post(&Wire::Pong),
            Wire::Ask { tab, id, command } if leads => {
                let number = self.number();
                self.foreign.borrow_mut().insert(number, (tab, id));
                if let Role::Leader(driver) = &*self.role.borrow() {
                    driver.command(Request { id: number, command });
                }
            }
            Wire::Ping | Wire::Ask { .. } => {}
            Wire::Elected => {
                self.heard.set(true);
                self.follow();
            }
            Wire::Pong => {
                self.heard.set(true);
                if matches!(*self.role.borrow(), Role::Electing) {
                    self.follow();
                }
            }
            Wire::Answer { tab, id, result } => {
                self.heard.set(true);
                if tab == self.tab {
                    self.answer(id, result);
                }
            }
            Wire::News(events) => {
                self.heard.set(true);
                if matches!(*self.role.borrow(), Role::Follower) {
                    (self.sink)(events);
                }
            }
        }
    }

    /// Asks for a sign of life, and takes over when there is none.
    fn suspect(self: &Rc<Self>) {
        if matches!(*self.role.borrow(), Role::Leader(_)) {
            return;
        }
        self.post(&Wire::Ping);
        if self.suspicion.borrow().is_some() {
            return;
        }
        self.heard.set(false);
        let weak = Rc::downgrade(self);
        let timer = Timer::new(SILENCE_MS, move || {
            let Some(inner) = weak.upgrade() else { return };
            // Dropped in a task of its own: a timer cannot be dropped from within its callback.
            let done = inner.suspicion.borrow_mut().take();
            spawn_local(async move { drop(done) });
            let leads = matches!(*inner.role.borrow(), Role::Leader(_));
            if !inner.heard.get() && !leads && browser::visible() && !inner.closed.get() {
                inner.campaign(true);
            }
        });
        *self.suspicion.borrow_mut() = Some(timer);
    }
}
