//! Figures of the web app in Chromium, beside their goals: what a first visit loads, when it paints and takes keys on a
//! slow line and a slow processor, how fast a second visit is, how long 10,000 stored messages take to open, and how long a
//! page that slept takes to be live again.
//!
//! `cargo xtask bench web [RUNS]`. Every run starts with an empty profile; medians are printed, nothing is asserted.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use felund_core::{
    circle::{Access, Body, NewChannel, channel_id},
    invite::Invite,
};
use felund_tests::{
    api,
    browser::{Browser, Engine},
    felund::Felund,
    member::{Member, now_ms, to_json},
    page::Page,
    proxy::Proxy,
    relay::Relay,
    wait,
};
use serde_json::{Value, json};

const RUNS: usize = 5;
const CHANNELS: usize = 10;
const MESSAGES: usize = 1_000;
/// A browser that stands still for this long has slept.
const SLEEP: Duration = Duration::from_secs(12);

/// Notes when something first takes keys, when the app itself is there, and when the newest message is on the page.
const NOTE: &str = r"
window.__times = {};
const note = () => {
  const times = window.__times, now = performance.now();
  const see = (name, selector) => {
    if (!(name in times) && [...document.querySelectorAll(selector)].some(e => e.offsetParent !== null && !e.disabled)) times[name] = now;
  };
  see('input', 'input, textarea');
  see('app', '[data-testid=name-input], [data-testid=composer]');
  see('message', '[data-testid=message-text]');
};
new MutationObserver(note).observe(document, { childList: true, subtree: true, attributes: true });
addEventListener('DOMContentLoaded', note);
requestAnimationFrame(function again() { note(); if (!('message' in window.__times)) requestAnimationFrame(again); });
";

/// Keeps the page of one line, as the app's worker keeps the app.
const WORKER: &str = r"
const cached = caches.open('page');
addEventListener('install', (event) => {
  event.addRoutes?.({ condition: { urlPattern: { pathname: '/', search: '' } }, source: { cacheName: 'page' } });
  event.waitUntil(cached.then((cache) => cache.addAll(['/', '/page.js'])));
});
addEventListener('activate', (event) => event.waitUntil(clients.claim()));
addEventListener('fetch', (event) => event.respondWith(cached.then((cache) => cache.match(event.request))));
";

fn main() {
    let runs = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(RUNS);
    println!("web app in Chromium, 1.6 Mbit/s, 150 ms, CPU slowed 4 times; medians of {runs} runs");
    visits(runs);
    reference(runs);
    history(runs);
    wakes(runs);
}

fn line(what: &str, value: f64, unit: &str, goal: Option<f64>) {
    match goal {
        Some(goal) => {
            let word = if value <= goal { "met" } else { "missed" };
            println!("{what:<58} {value:>9.0} {unit:<3} goal ≤ {goal:.0} {unit}: {word}");
        }
        None => println!("{what:<58} {value:>9.0} {unit}"),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn devtools(browser: &Browser, cmd: &str, params: &Value) {
    browser.session().devtools(cmd, params).unwrap_or_else(|e| panic!("{e}"));
}

fn open() -> Browser {
    let browser = Browser::open(Engine::Chromium);
    devtools(&browser, "Network.enable", &json!({}));
    devtools(&browser, "Page.addScriptToEvaluateOnNewDocument", &json!({ "source": NOTE }));
    browser
}

fn slow(browser: &Browser, line: bool, processor: bool) {
    let throughput = 1_600_000 / 8;
    let conditions = if line {
        json!({ "offline": false, "latency": 150, "downloadThroughput": throughput, "uploadThroughput": throughput })
    } else {
        json!({ "offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 })
    };
    devtools(browser, "Network.emulateNetworkConditions", &conditions);
    devtools(browser, "Emulation.setCPUThrottlingRate", &json!({ "rate": if processor { 4 } else { 1 } }));
}

fn number(page: &Page<'_>, what: &str, script: &str) -> f64 {
    page.until(what, script, &[]).as_f64().unwrap_or(f64::NAN)
}

fn paint(page: &Page<'_>) -> f64 {
    let script =
        "const e = performance.getEntriesByName('first-contentful-paint')[0]; return e ? e.startTime : null";
    number(page, "a first paint", script)
}

fn time(page: &Page<'_>, name: &str) -> f64 {
    number(page, name, &format!("return window.__times && window.__times['{name}'] || null"))
}

/// Goes to the app from elsewhere.
fn reopen(page: &Page<'_>, relay: &Relay) {
    page.go("about:blank");
    page.go(&relay.url());
}

fn visits(runs: usize) {
    let relay = Relay::start_with(&["--rate-address", "0", "--rate-node", "0"]);
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    alice.send("garden club", "hello");
    let (mut bytes, mut first, mut input, mut app) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut again_paint, mut again_input, mut again_app) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let browser = open();
        let page = Page::new(&browser);
        slow(&browser, true, true);
        page.go(&format!("{}/#{}", relay.url(), circle.invite));
        app.push(time(&page, "app"));
        first.push(paint(&page));
        input.push(time(&page, "input"));
        // All that the page loads by itself; the worker keeps it for use offline without loading it again.
        let loaded = "return [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]\
                      .reduce((sum, e) => sum + e.transferSize, 0)";
        page.until("a worker", "return navigator.serviceWorker.ready.then(({ active }) => !!active)", &[]);
        bytes.push(number(&page, "bytes", loaded));
        slow(&browser, false, false);
        page.type_into("name-input", "bob");
        page.click("name-submit");
        page.until_chat();
        page.wait_message("hello");
        page.until("a controlling worker", "return !!navigator.serviceWorker.controller", &[]);
        slow(&browser, true, true);
        reopen(&page, &relay);
        again_app.push(time(&page, "message"));
        again_paint.push(paint(&page));
        again_input.push(time(&page, "input"));
    }
    line("first visit: bytes on the wire", median(bytes) / 1000.0, "kB", Some(200.0));
    line("first visit: first contentful paint", median(first), "ms", Some(900.0));
    line("first visit: something takes keys", median(input), "ms", Some(1_500.0));
    line("first visit: the app itself is there", median(app), "ms", None);
    line("second visit: first contentful paint", median(again_paint), "ms", Some(400.0));
    line("second visit: something takes keys", median(again_input), "ms", Some(400.0));
    line("second visit: history is on the page", median(again_app), "ms", None);
}

/// What the browser itself takes: a page of one line that its worker keeps, painted as slowly as the app's second visit and
/// opened as quickly as its history.
fn reference(runs: usize) {
    let site = tempfile::tempdir().expect("a folder");
    for (name, text) in [
        (
            "index.html",
            "<!DOCTYPE html><title>one line</title><p data-testid=message-text>hello</p><script src=/page.js></script>",
        ),
        ("page.js", "navigator.serviceWorker.register('/sw.js');"),
        ("sw.js", WORKER),
    ] {
        fs::write(site.path().join(name), text).expect("written");
    }
    let relay = Relay::start_with(&["--web-dir", &site.path().to_string_lossy()]);
    let (mut painted, mut opened) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let browser = open();
        let page = Page::new(&browser);
        page.go(&relay.url());
        page.until("a controlling worker", "return !!navigator.serviceWorker.controller", &[]);
        slow(&browser, true, true);
        reopen(&page, &relay);
        painted.push(paint(&page));
        opened.extend(opens(&browser, &relay, 1, false));
    }
    line("second visit to a page of one line, for reference: paint", median(painted), "ms", None);
    line("the same, nothing slowed: the line is on the page", median(opened), "ms", None);
}

/// Fills a circle with messages that a client of ours would have sent, in channels of as many as are kept by default.
fn fill(member: &Member) {
    member.hello("archivist");
    let key = member.circle.epoch_0();
    let mut channels = vec![member.circle.general()];
    for at in 1..CHANNELS {
        let new = NewChannel::new(format!("channel {at}"), Access::Public, &mut api::rng());
        channels.push(channel_id(&member.key.id(), &new.nonce));
        member.say(member.circle.control(), &[Body::Create(new)]);
    }
    let start = now_ms() - (CHANNELS * MESSAGES) as u64;
    let mut sealed = Vec::new();
    for at in 0..MESSAGES {
        for (n, channel) in channels.iter().enumerate() {
            let text = Body::Text(format!("message {at}: the beans in bed {n} need water on even days"));
            let envelope = member.seal_with(*channel, &text, &key, start + (at * CHANNELS + n) as u64);
            sealed.push(to_json(&envelope));
        }
    }
    for batch in sealed.chunks(250) {
        let answer = member.post(batch);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

const STORED: &str = r"
const done = arguments[arguments.length - 1];
const all = (request) => new Promise((ok, no) => { request.onsuccess = () => ok(request.result); request.onerror = () => no(request.error); });
(async () => {
  let most = 0;
  for (const { name, version } of await indexedDB.databases()) {
    const db = await all(indexedDB.open(name, version));
    for (const store of db.objectStoreNames) most = Math.max(most, await all(db.transaction(store).objectStore(store).count()));
    db.close();
  }
  done(most);
})().catch(() => done(0));
";

/// Times from a click on the app's icon, its worker there, to the newest message on the page.
fn opens(browser: &Browser, relay: &Relay, runs: usize, slowed: bool) -> Vec<f64> {
    let page = Page::new(browser);
    slow(browser, false, slowed);
    let once = |_| {
        reopen(&page, relay);
        time(&page, "message")
    };
    (0..runs).map(once).collect()
}

fn history(runs: usize) {
    let relay = Relay::start_with(&["--rate-address", "0", "--rate-node", "0"]);
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    alice.send("garden club", "hello");
    {
        let browser = open();
        let page = Page::new(&browser);
        page.join_by_link(&relay.url(), &circle.invite, "carol");
        page.wait_message("hello");
        let times = opens(&browser, &relay, runs, false);
        line("1 stored message: history on the page", median(times), "ms", None);
    }
    fill(&Member::join(&circle.invite, &relay.url()));
    let browser = open();
    let page = Page::new(&browser);
    let wanted = (CHANNELS * MESSAGES) as u64;
    let begun = Instant::now();
    page.join_by_link(&relay.url(), &circle.invite, "bob");
    wait::until_true("every message stored", || {
        let stored = page.session().run_async(STORED, &[]).ok().and_then(|count| count.as_u64());
        stored.is_some_and(|stored| stored >= wanted)
    });
    line("joining and storing 10,000 messages", begun.elapsed().as_secs_f64() * 1e3, "ms", None);
    for (what, slowed, goal) in [
        ("10,000 stored messages: history on the page", false, Some(300.0)),
        ("the same, CPU slowed 4 times", true, None),
    ] {
        line(what, median(opens(&browser, &relay, runs, slowed)), "ms", goal);
    }
}

/// Stops the browser, ends its connections, and goes on: from there to the message that came meanwhile.
fn wakes(runs: usize) {
    let relay = Relay::start_with(&["--rate-address", "0", "--rate-node", "0"]);
    let proxy = Proxy::start(relay.address());
    let alice = Felund::new("alice", Some(&relay.url()));
    let mut invite = Invite::parse(&alice.create("garden club").invite).expect("an invite");
    invite.relay = Some(proxy.url());
    let browser = open();
    let page = Page::new(&browser);
    page.join_by_link(&proxy.url(), &invite.encode(), "bob");
    for what in ["gone", "dead without a word"] {
        let mut times = Vec::new();
        for run in 0..runs {
            let text = format!("while you slept, {what}, {run}");
            let asleep = browser.pause();
            if what == "gone" {
                proxy.cut();
            } else {
                proxy.strand();
            }
            alice.send("garden club", &text);
            thread::sleep(SLEEP);
            drop(asleep);
            let awake = Instant::now();
            page.wait_message(&text);
            times.push(awake.elapsed().as_secs_f64() * 1e3);
        }
        let what = format!("wake from sleep, the connections {what}: live again");
        line(&what, median(times), "ms", Some(2_000.0));
    }
}
