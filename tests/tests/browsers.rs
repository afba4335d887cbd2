//! The web app in three browser engines, talking with a real terminal client through a real relay.

use std::{thread, time::Duration, time::SystemTime};

use felund_core::invite::Invite;
use felund_tests::{
    browser::{Browser, Engine},
    felund::Felund,
    leak::Secrets,
    page::Page,
    relay::Relay,
    terminal::Terminal,
};

const ROUNDS: usize = 10;
/// Nothing that the app itself says, so that it is found where it lies.
const CIRCLE: &str = "Gartenverein Abendrot";

/// Alice at a terminal, and a browser that somebody opens an invite in.
struct Scene {
    relay: Relay,
    alice: Felund,
    circle_id: String,
    invite: String,
    terminal: Terminal,
    browser: Browser,
}

fn scene(engine: Engine) -> Scene {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create(CIRCLE);
    let terminal = Terminal::open(&alice, 100, 30);
    terminal.wait_for(&format!("{CIRCLE} ▸ #general"));
    let browser = Browser::open(engine);
    Scene { relay, alice, circle_id: circle.id, invite: circle.invite, terminal, browser }
}

fn between(from: SystemTime, to: SystemTime) -> Duration {
    to.duration_since(from).unwrap_or_default()
}

/// Says what was seen; how fast a machine is decides no test.
fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    println!(
        "{what}: median {:?}, slowest {:?} of {} messages (typical goal: below 500 ms)",
        times[times.len() / 2],
        times[times.len() - 1],
        times.len()
    );
}

fn chat_both_ways(engine: Engine) {
    let scene = scene(engine);
    let (page, terminal) = (Page::new(&scene.browser), &scene.terminal);
    terminal.line("said before anybody else came");
    scene.alice.until_texts(CIRCLE, &["said before anybody else came"]);
    page.join_by_link(&scene.relay.url(), &scene.invite, "bob");
    page.wait_message("said before anybody else came");
    assert_eq!(page.text("circle-name"), CIRCLE);
    let address = page.run("return location.href", &[]);
    assert!(!address.to_string().contains("felund1."), "the invite is taken out of the address: {address}");
    terminal.wait_for(if engine == Engine::WebKit { "1 via relay" } else { "1 direct" });

    let (mut to_browser, mut to_terminal) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let text = format!("from the terminal {round}");
        let pressed = terminal.line(&text);
        to_browser.push(between(pressed, page.wait_message(&text)));
        let text = format!("from the browser {round}");
        let (pressed, shown) = thread::scope(|scope| {
            let shown = scope.spawn(|| terminal.wait_for(&text));
            let pressed = page.send(&text);
            (pressed, shown.join().expect("it appears"))
        });
        to_terminal.push(between(pressed, shown));
    }
    report(&format!("terminal to {engine:?}"), to_browser);
    report(&format!("{engine:?} to terminal"), to_terminal);

    // Texts are texts, whatever they look like, and keep their characters.
    for text in ["<img src=x onerror=\"document.title='owned'\">&amp;", "Grüße 漢字 ✓ 👩‍👩‍👧 e\u{301}"]
    {
        scene.alice.send(CIRCLE, text);
        page.wait_message(text);
    }
    assert_ne!(page.run("return document.title", &[]), "owned");
    assert_eq!(page.run("return document.querySelectorAll('ol img').length", &[]), 0);

    let before = scene.alice.texts(CIRCLE);
    page.reload();
    page.until_chat();
    page.wait_message(before.last().expect("messages"));
    assert_eq!(page.texts(), before, "after a reload the history is as it was");
    no_plaintext_at_rest(&scene, &page, &before);
}

/// Everything the app has in the browser's database, flattened to bytes.
const DUMP: &str = r"
const done = arguments[arguments.length - 1];
const all = (request) => new Promise((ok, no) => { request.onsuccess = () => ok(request.result); request.onerror = () => no(request.error); });
const parts = [];
const visit = (value) => {
  if (value instanceof ArrayBuffer) parts.push(new Uint8Array(value));
  else if (ArrayBuffer.isView(value)) parts.push(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
  else if (typeof value === 'string') parts.push(new TextEncoder().encode(value));
  else if (Array.isArray(value)) value.forEach(visit);
  else if (value && typeof value === 'object') for (const key in value) { visit(key); visit(value[key]); }
  parts.push(new Uint8Array([10]));
};
(async () => {
  for (const { name, version } of await indexedDB.databases()) {
    visit(name);
    const db = await all(indexedDB.open(name, version));
    for (const store of db.objectStoreNames) {
      const at = db.transaction(store).objectStore(store);
      visit(await all(at.getAllKeys()));
      visit(await all(db.transaction(store).objectStore(store).getAll()));
    }
    db.close();
  }
  for (const storage of [localStorage, sessionStorage])
    for (let i = 0; i < storage.length; i++) { visit(storage.key(i)); visit(storage.getItem(storage.key(i))); }
  let text = '';
  for (const part of parts) for (const byte of part) text += byte.toString(16).padStart(2, '0');
  done(text);
})().catch((error) => done('error ' + error));
";

fn no_plaintext_at_rest(scene: &Scene, page: &Page<'_>, texts: &[String]) {
    let secret = Invite::parse(&scene.invite).expect("an invite").secret;
    let mut secrets = Secrets::default().text(CIRCLE).key("the circle's secret", secret.expose());
    for text in texts {
        secrets = secrets.text(text);
    }
    let dump = page.session().run_async(DUMP, &[]).expect("the database can be read");
    let dump = hex::decode(dump.as_str().unwrap_or_default()).unwrap_or_else(|_| panic!("{dump}"));
    let id = hex::decode(&scene.circle_id).expect("hex");
    assert!(felund_tests::leak::contains(&dump, &id), "envelopes of the circle are in the database");
    secrets.assert_absent("what the app keeps in the browser", &dump);

    let below = |name: &str| -> Vec<_> {
        let mut found = Vec::new();
        let mut next = vec![scene.browser.profile().to_owned()];
        while let Some(dir) = next.pop() {
            for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let is_it = entry.file_name().to_str() == Some(name);
                    if is_it { found.push(entry.path()) } else { next.push(entry.path()) }
                }
            }
        }
        found
    };
    let places: &[&str] = match scene.browser.engine() {
        Engine::Chromium => &["IndexedDB", "Local Storage", "Service Worker"],
        Engine::Firefox => &["http+++127.0.0.1"],
        // Its automation keeps everything in memory.
        Engine::WebKit => &[],
    };
    let whole_name = format!("http+++127.0.0.1+{}", scene.relay.address().port());
    for place in places {
        let place = if *place == "http+++127.0.0.1" { whole_name.as_str() } else { place };
        let dirs = below(place);
        assert!(!dirs.is_empty(), "the profile has a folder {place}");
        dirs.iter().for_each(|dir| secrets.assert_absent_under("the browser's profile", dir));
    }
}

fn opens_without_a_relay(engine: Engine) {
    let mut scene = scene(engine);
    let page = Page::new(&scene.browser);
    page.join_by_link(&scene.relay.url(), &scene.invite, "bob");
    scene.terminal.line("remember this");
    page.wait_message("remember this");
    page.until(
        "a service worker with the app's files",
        "return navigator.serviceWorker.ready && !!navigator.serviceWorker.controller",
        &[],
    );
    scene.relay.kill();
    page.until(
        "a header that says so",
        "const e = document.querySelector(\"[data-testid='link-state']\"); return e && /unavailable|not reachable|offline/i.test(e.textContent)",
        &[],
    );
    page.go("about:blank");
    page.go(&scene.relay.url());
    page.until_chat();
    page.wait_message("remember this");
    let link = page.text("link-state");
    assert!(!link.contains("live"), "{link}");
    page.send("written offline");
    page.wait_message("written offline");
    // A closed and reopened tab finds it again, still without a relay.
    page.session().new_tab().expect("a tab");
    page.go(&scene.relay.url());
    page.until_chat();
    page.wait_message("written offline");
    scene.relay.resume();
    scene.terminal.wait_for("written offline");
}

#[test]
fn chromium_chats_with_a_terminal() {
    chat_both_ways(Engine::Chromium);
}

#[test]
fn firefox_chats_with_a_terminal() {
    chat_both_ways(Engine::Firefox);
}

#[test]
fn webkit_chats_with_a_terminal() {
    chat_both_ways(Engine::WebKit);
}

#[test]
fn chromium_opens_without_a_relay() {
    opens_without_a_relay(Engine::Chromium);
}

#[test]
fn firefox_opens_without_a_relay() {
    opens_without_a_relay(Engine::Firefox);
}

#[test]
fn webkit_opens_without_a_relay() {
    opens_without_a_relay(Engine::WebKit);
}
