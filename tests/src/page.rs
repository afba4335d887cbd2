//! The web app as a person uses it: onboarding, typing, reading, by the `data-testid` marks on its elements.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::{
    browser::{Browser, Engine},
    felund::Felund,
    internet::CONNECTION,
    relay::Relay,
    wait,
    webdriver::{Outcome, Session},
};

/// Felund in a browser's tab.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    browser: &'a Browser,
}

fn marked(id: &str) -> String {
    format!("[data-testid='{id}']")
}

/// A circle with a message in it, and a browser that has been there and has read it.
#[must_use]
pub fn kept_in_a_browser(relay: &Relay) -> (Felund, Browser) {
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    alice.send("garden club", "kept");
    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    page.join_by_link(&relay.url(), &circle.invite, "bob");
    page.wait_message("kept");
    page.go("about:blank");
    (alice, browser)
}

/// Remembers when each message text was first on the page.
const WATCH: &str = r"
if (!window.__seen) {
  window.__seen = new Map();
  const note = () => {
    for (const e of document.querySelectorAll(`[data-testid='message-text']`)) {
      if (!window.__seen.has(e.textContent)) window.__seen.set(e.textContent, Date.now());
    }
  };
  note();
  new MutationObserver(note).observe(document, { childList: true, subtree: true, characterData: true });
}";

impl<'a> Page<'a> {
    /// The tab that is open.
    #[must_use]
    pub const fn new(browser: &'a Browser) -> Self {
        Self { browser }
    }

    /// The window.
    #[must_use]
    pub const fn session(&self) -> &'a Session {
        self.browser.session()
    }

    /// Goes to an address of the app.
    ///
    /// # Panics
    /// When it does not load.
    pub fn go(&self, url: &str) {
        self.session().go(url).unwrap_or_else(|e| panic!("{e}"));
    }

    /// Whether an element with this mark is there.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.run("return !!document.querySelector(arguments[0])", &[json!(marked(id))]) == true
    }

    /// Runs a script.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn run(&self, script: &str, args: &[Value]) -> Value {
        self.session().run(script, args).unwrap_or_else(|e| panic!("{e}\n{}", self.describe()))
    }

    /// What the page shows, for messages of tests.
    #[must_use]
    pub fn describe(&self) -> String {
        let text = self.session().run("return location.href + '\\n' + document.body.innerText", &[]);
        let text = text.ok().and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default();
        let console = self.session().console();
        format!("{:?} showed:\n{text}\nand said {console:#?}", self.browser.engine())
    }

    /// Waits until a script answers neither false nor null.
    ///
    /// # Panics
    /// When it does not.
    pub fn until(&self, what: &str, script: &str, args: &[Value]) -> Value {
        let found = wait::within(wait::PATIENCE, || {
            // While a page is loading there may be nothing to run a script in.
            self.session().run(script, args).ok().filter(|value| !value.is_null() && *value != false)
        });
        found.unwrap_or_else(|| panic!("there was not: {what}; {}", self.describe()))
    }

    /// Waits for an element with this mark.
    pub fn until_has(&self, id: &str) {
        self.until(id, "return !!document.querySelector(arguments[0])", &[json!(marked(id))]);
    }

    fn patiently(&self, what: &str, mut act: impl FnMut() -> Outcome<()>) {
        let mut last = None;
        let done = wait::within(wait::PATIENCE, || match act() {
            Ok(()) => Some(()),
            Err(e) => {
                last = Some(e);
                None
            }
        });
        assert!(done.is_some(), "cannot {what}: {last:?}; {}", self.describe());
    }

    /// Clicks the element with this mark once that is possible.
    ///
    /// # Panics
    /// When it never is.
    pub fn click(&self, id: &str) {
        self.patiently(&format!("click {id}"), || self.session().click(&marked(id)));
    }

    /// Types into the element with this mark once that is possible.
    ///
    /// # Panics
    /// When it never is.
    pub fn type_into(&self, id: &str, text: &str) {
        self.patiently(&format!("type into {id}"), || self.session().keys(&marked(id), text));
    }

    /// Opens an invite as a link, says who one is, and waits for the chat.
    pub fn join_by_link(&self, base: &str, invite: &str, name: &str) {
        self.go(&format!("{base}/#{invite}"));
        self.until_has("name-input");
        self.type_into("name-input", name);
        self.click("name-submit");
        self.until_chat();
    }

    /// Opens an invite to another circle than the one that is open, and goes there.
    pub fn join_another(&self, invite: &str, circle: &str) {
        let _ = self.run("location.hash = arguments[0]", &[json!(invite)]);
        self.click("join-submit");
        self.go_to(circle);
    }

    /// Waits until this circle is the one on the screen.
    pub fn go_to(&self, circle: &str) {
        let script = "return document.querySelector(arguments[0])?.textContent === arguments[1]";
        self.until(&format!("the circle {circle}"), script, &[json!(marked("circle-name")), json!(circle)]);
        self.until_chat();
    }

    /// Waits until the sidebar shows a channel, and this behind its name.
    pub fn until_channel(&self, name: &str, state: &str) {
        let script = "return [...document.querySelectorAll('button.channel')].some(e =>
            e.textContent.startsWith('# ' + arguments[0]) && e.querySelector('.quiet').textContent === arguments[1])";
        self.until(&format!("#{name} as {state:?}"), script, &[json!(name), json!(state)]);
    }

    /// Waits until so many members of the circle on the screen are reached directly.
    pub fn until_direct(&self, count: usize) {
        let script = "return document.querySelector(arguments[0])?.textContent.includes(arguments[1])";
        let words = format!("{count} direct");
        self.until(&words, script, &[json!(marked("link-state")), json!(words)]);
    }

    /// What doctor finds: each subject, and what is said of it.
    ///
    /// # Panics
    /// When it finds nothing.
    #[must_use]
    pub fn doctor(&self) -> Vec<(String, String)> {
        self.type_into("composer", "/doctor\u{e007}");
        let script = "if (!document.body.innerText.includes('everything that was checked')) return null;
            return [...document.querySelectorAll('.findings li')].map(li =>
                [li.querySelector('strong').textContent, li.querySelector('p').textContent])";
        let found = self.until("what doctor finds", script, &[]);
        let _ = self.run("document.querySelector('dialog')?.close()", &[]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        found.as_array().into_iter().flatten().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
    }

    /// What doctor says of all connections: to whom, and what.
    #[must_use]
    pub fn paths(&self) -> Vec<(String, String)> {
        let of =
            |(subject, said): (String, String)| Some((subject.strip_prefix(CONNECTION)?.to_owned(), said));
        self.doctor().into_iter().filter_map(of).collect()
    }

    /// What doctor says of the connection to a member, once it knows what path that takes.
    ///
    /// # Panics
    /// When it does not come to know.
    #[must_use]
    pub fn connection(&self, to: &str) -> String {
        wait::until(&format!("the path to {to}"), || {
            let known = |(name, said): &(String, String)| name == to && said.contains("here through");
            self.paths().into_iter().find(known).map(|(_, said)| said)
        })
    }

    /// Waits until one can type a message.
    pub fn until_chat(&self) {
        self.until_has("composer");
        self.watch();
    }

    /// From now on the moment each message appears is remembered.
    pub fn watch(&self) {
        let _ = self.run(WATCH, &[]);
    }

    /// Types a message and presses Enter; answers when it was pressed.
    ///
    /// # Panics
    /// When there is no composer.
    pub fn send(&self, text: &str) -> SystemTime {
        let _ = self.run(
            "window.__pressed = 0; addEventListener('keydown', e => { if (e.key === 'Enter') window.__pressed = Date.now(); }, { capture: true, once: false })",
            &[],
        );
        self.type_into("composer", text);
        self.type_into("composer", "\u{e007}");
        let pressed = self.until("a pressed Enter", "return window.__pressed || null", &[]);
        moment(&pressed)
    }

    /// Waits for a message with exactly this text; answers when it appeared.
    pub fn wait_message(&self, text: &str) -> SystemTime {
        let script = "return (window.__seen && window.__seen.get(arguments[0])) || null";
        moment(&self.until(&format!("the message {text:?}"), script, &[json!(text)]))
    }

    /// The texts of the messages on the page, in their order.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        let script =
            "return [...document.querySelectorAll(`[data-testid='message-text']`)].map(e => e.textContent)";
        let value = self.run(script, &[]);
        value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    }

    /// What the element with this mark says.
    #[must_use]
    pub fn text(&self, id: &str) -> String {
        let script =
            "const e = document.querySelector(arguments[0]); return e ? (e.value || e.textContent) : ''";
        self.run(script, &[json!(marked(id))]).as_str().unwrap_or_default().to_owned()
    }

    /// What a page is told when somebody looks at another one, and at it again.
    pub fn look_away_and_back(&self) {
        let script = "for (const state of ['hidden', 'visible']) {
            Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
            document.dispatchEvent(new Event('visibilitychange'));
        }
        document.dispatchEvent(new Event('freeze'));
        document.dispatchEvent(new Event('resume'));
        dispatchEvent(new Event('online'));
        delete document.visibilityState";
        let _ = self.run(script, &[]);
    }

    /// Loads the page again.
    ///
    /// # Panics
    /// When that fails.
    pub fn reload(&self) {
        self.session().post("refresh", &json!({})).unwrap_or_else(|e| panic!("{e}"));
    }
}

fn moment(value: &Value) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(value.as_f64().map_or(0, |ms| ms as u64))
}
