//! What makes the web app installable and safe to serve, and what several tabs of it do.

use felund_core::invite::Invite;
use felund_tests::{
    api::{self, Answer},
    browser::{Browser, Engine},
    felund::Felund,
    page::{Page, kept_in_a_browser},
    proxy::Proxy,
    relay::Relay,
    wait,
};
use serde_json::{Value, json};

fn get(relay: &Relay, path: &str) -> Answer {
    let answer = api::request("GET", &format!("{}{path}", relay.url()), &[], &[]);
    assert_eq!(answer.status, 200, "{path}");
    answer
}

/// The address in the page that ends so.
fn named_in_page(relay: &Relay, end: &str) -> String {
    let page = String::from_utf8_lossy(&get(relay, "/").bytes).into_owned();
    let mut parts = page.split(|c: char| c.is_whitespace() || "\"'=<>".contains(c));
    let address = parts.find(|part| part.ends_with(end)).unwrap_or_else(|| panic!("{end} is not in {page}"));
    format!("/{}", address.trim_start_matches('/'))
}

/// Width and height of a PNG, from its first chunk.
fn png_size(bytes: &[u8]) -> (u32, u32) {
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    (number(16), number(20))
}

#[test]
fn the_manifest_and_its_icons_are_what_browsers_ask_for() {
    let relay = Relay::start();
    let manifest = get(&relay, &named_in_page(&relay, ".webmanifest"));
    assert_eq!(manifest.header("content-type"), Some("application/manifest+json"));
    let manifest: Value = manifest.json;
    for field in
        ["name", "short_name", "description", "start_url", "scope", "theme_color", "background_color"]
    {
        assert!(manifest[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {manifest}");
    }
    assert_eq!(manifest["display"], "standalone");
    let icons = manifest["icons"].as_array().expect("icons");
    let mut sizes = Vec::new();
    for icon in icons {
        let file = get(&relay, icon["src"].as_str().expect("an address"));
        assert_eq!(file.header("content-type"), icon["type"].as_str(), "{icon}");
        let said = icon["sizes"].as_str().expect("sizes");
        if icon["type"] == "image/png" {
            let (width, height) = png_size(&file.bytes);
            assert_eq!(format!("{width}x{height}"), said, "{icon}");
        }
        sizes.push((said, icon["purpose"].as_str().unwrap_or("any")));
    }
    for wanted in [("192x192", "any"), ("512x512", "any"), ("512x512", "maskable")] {
        assert!(sizes.contains(&wanted), "{wanted:?} is not among {sizes:?}");
    }
}

#[test]
fn what_is_served_is_strict_about_scripts_and_caches_only_what_never_changes() {
    let relay = Relay::start();
    for path in ["/", "/sw.js"] {
        let answer = get(&relay, path);
        let policy = answer.header("content-security-policy").expect("a policy");
        let directive = |name: &str| {
            let found = policy.split(';').map(str::trim).find(|d| d.split(' ').next() == Some(name));
            found.unwrap_or_else(|| panic!("{name} is not in {policy}"))
        };
        assert_eq!(directive("default-src"), "default-src 'none'");
        assert_eq!(directive("frame-ancestors"), "frame-ancestors 'none'");
        assert!(directive("script-src").contains("'wasm-unsafe-eval'"), "{policy}");
        for loose in ["'unsafe-inline'", "'unsafe-eval'", "http:", "https:", "*"] {
            assert!(!directive("script-src").split(' ').any(|source| source == loose), "{policy}");
        }
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-cache"), "{path} is asked for each time");
    }
    let address = named_in_page(&relay, ".wasm");
    let accept = [("accept-encoding", "br".to_owned())];
    let answer = api::request("GET", &format!("{}{address}", relay.url()), &accept, &[]);
    assert_eq!(answer.header("content-type"), Some("application/wasm"));
    assert_eq!(answer.header("content-encoding"), Some("br"));
    assert!(answer.header("cache-control").is_some_and(|cache| cache.contains("immutable")), "{address}");
}

#[test]
fn chromium_finds_nothing_that_keeps_it_from_installing() {
    let relay = Relay::start();
    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    page.go(&relay.url());
    page.until_has("name-input");
    page.until("a controlling worker", "return !!navigator.serviceWorker.controller", &[]);
    let manifest = browser.session().devtools("Page.getAppManifest", &json!({})).expect("a manifest");
    assert_eq!(manifest["errors"], json!([]), "{manifest}");
    let errors = browser.session().devtools("Page.getInstallabilityErrors", &json!({})).expect("an answer");
    let errors = errors["installabilityErrors"].as_array().expect("a list").clone();
    // An empty profile counts as a private window in some builds; that says nothing of the app.
    let of_app = errors.iter().filter(|error| error["errorId"] != "in-incognito").collect::<Vec<_>>();
    assert!(of_app.is_empty(), "{of_app:?}");
    let problems = page.run("return performance.getEntriesByType('resource').filter(e => new URL(e.name).origin !== location.origin).map(e => e.name)", &[]);
    assert_eq!(problems, json!([]), "everything comes from the relay itself");
}

#[test]
fn two_tabs_share_one_node_and_either_goes_on_alone() {
    let relay = Relay::start();
    let proxy = Proxy::start(relay.address());
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    let mut invite = Invite::parse(&circle.invite).expect("an invite");
    invite.relay = Some(proxy.url());
    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    page.join_by_link(&proxy.url(), &invite.encode(), "bob");
    let first = browser.session().tab().expect("a tab");
    alice.send("garden club", "to the first tab");
    page.wait_message("to the first tab");
    assert_eq!(proxy.upgraded(), 1);

    let second = browser.session().new_tab().expect("a tab");
    page.go(&proxy.url());
    page.until_chat();
    page.wait_message("to the first tab");
    page.send("from the second tab");
    page.wait_message("from the second tab");
    alice.until_texts("garden club", &["to the first tab", "from the second tab"]);
    browser.session().switch_to(&first).expect("the first tab is there");
    page.wait_message("from the second tab");
    assert_eq!(proxy.upgraded(), 1, "both tabs use one connection");

    // The tab that had the node is closed; the other one takes over.
    browser.session().close_tab().expect("a tab closes");
    browser.session().switch_to(&second).expect("the second tab is there");
    wait::until_true("a connection of the second tab", || proxy.upgraded() == 2);
    alice.send("garden club", "to whoever is left");
    page.wait_message("to whoever is left");
    page.send("still here");
    let expected = ["to the first tab", "from the second tab", "to whoever is left", "still here"];
    alice.until_texts("garden club", &expected);
}

/// The app's module comes when `come` is called.
const SLOW: &str = "const compile = WebAssembly.instantiateStreaming;
    const coming = new Promise((come) => (window.come = come));
    WebAssembly.instantiateStreaming = async (...of) => (await coming, compile(...of));";

fn before_every_page(browser: &Browser, script: &str) {
    let script = json!({ "source": script });
    browser.session().devtools("Page.addScriptToEvaluateOnNewDocument", &script).expect("devtools answer");
}

#[test]
fn what_is_stored_is_read_while_the_app_is_on_its_way() {
    let relay = Relay::start();
    let (_alice, browser) = kept_in_a_browser(&relay);
    let page = Page::new(&browser);
    let watch = "const all = IDBObjectStore.prototype.getAllKeys;
        window.readers = [];
        IDBObjectStore.prototype.getAllKeys = function (...range) {
            window.readers.push(`${this.name} by the ${new Error().stack.includes('wasm') ? 'app' : 'page'}`);
            return all.apply(this, range);
        };";
    before_every_page(&browser, watch);
    page.go(&relay.url());
    page.until_chat();
    page.wait_message("kept");
    // The index lies in records, too, so that nobody reads the keys of the envelopes.
    assert_eq!(page.run("return window.readers", &[]), json!(["records by the page"]));
}

#[test]
fn a_tab_whose_app_is_slow_to_come_neither_keeps_another_from_starting_nor_believes_what_it_read() {
    let relay = Relay::start();
    let (alice, browser) = kept_in_a_browser(&relay);
    let page = Page::new(&browser);
    before_every_page(&browser, SLOW);
    page.go(&relay.url());
    let held = "return navigator.locks.query().then(({ held }) => held.some(({ name }) => name === 'felund') || null)";
    page.until("the lock", held, &[]);
    let first = browser.session().tab().expect("a tab");

    browser.session().new_tab().expect("a tab");
    page.go(&relay.url());
    page.until_chat();
    page.wait_message("kept");
    alice.send("garden club", "meanwhile");
    page.wait_message("meanwhile");

    browser.session().switch_to(&first).expect("the first tab is there");
    page.until("its app's coming", "return window.come() || true", &[]);
    page.until_chat();
    page.wait_message("meanwhile");
    page.send("here at last");
    alice.until_texts("garden club", &["kept", "meanwhile", "here at last"]);
}

#[test]
fn what_is_typed_before_the_app_is_there_goes_where_it_belongs() {
    let relay = Relay::start();
    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    before_every_page(&browser, SLOW);
    let typed = |id: &str, text: &str| {
        browser.session().keys(&format!("#{id}"), text).expect("the shell takes it");
        page.until("the app's coming", "return window.come() || true", &[]);
    };
    let composer_holds = |text: &str| {
        page.until(text, "return document.getElementById('composer').value === arguments[0]", &[json!(text)]);
    };
    page.go(&relay.url());
    typed("early-name", "bob");
    page.click("name-submit");
    page.type_into("create-name", "garden club\u{e007}");
    page.until_chat();
    composer_holds("");
    page.send("a name is no message");
    page.wait_message("a name is no message");
    page.type_into("composer", "half a sentence");
    // Drafts are kept while it is typed on, too.
    let types_on = "const it = document.getElementById('composer');
        setInterval(() => it.dispatchEvent(new Event('input', { bubbles: true })), 50);";
    let _ = page.run(types_on, &[]);
    std::thread::sleep(std::time::Duration::from_secs(2));
    page.reload();
    typed("early", "and more");
    composer_holds("half a sentence\nand more");
}

#[test]
fn a_tab_that_is_suspended_gives_the_node_away_and_misses_nothing() {
    let relay = Relay::start();
    let proxy = Proxy::start(relay.address());
    let alice = Felund::new("alice", Some(&relay.url()));
    let mut invite = Invite::parse(&alice.create("garden club").invite).expect("an invite");
    invite.relay = Some(proxy.url());
    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    page.join_by_link(&proxy.url(), &invite.encode(), "bob");
    alice.send("garden club", "good night");
    page.wait_message("good night");
    let first = browser.session().tab().expect("a tab");
    let second = browser.session().new_tab().expect("a tab");
    page.go(&proxy.url());
    page.until_chat();
    page.wait_message("good night");

    browser.session().switch_to(&first).expect("the first tab is there");
    // What a page is told before its tasks are held back; some are delivered all the same.
    page.until("its freezing", "return document.dispatchEvent(new Event('freeze'))", &[]);
    browser.session().switch_to(&second).expect("the second tab is there");
    // Doubts are settled one after the other; the one of a tab's beginning was by a tab that was awake.
    wait::until_true("a connection of the second tab", || {
        page.run("return dispatchEvent(new Event('online'))", &[]) == true && proxy.upgraded() == 2
    });
    alice.send("garden club", "good morning");
    page.wait_message("good morning");

    browser.session().switch_to(&first).expect("the first tab is there");
    let all = "return [...document.querySelectorAll(`[data-testid='message-text']`)].map(e => e.textContent).join() === arguments[0]";
    page.until("everything", all, &[json!("good night,good morning")]);
    assert_eq!(proxy.upgraded(), 2, "it follows");
}

#[test]
fn a_page_that_wakes_trusts_no_connection_from_before() {
    let relay = Relay::start();
    let proxy = Proxy::start(relay.address());
    let alice = Felund::new("alice", Some(&relay.url()));
    let mut invite = Invite::parse(&alice.create("garden club").invite).expect("an invite");
    invite.relay = Some(proxy.url());
    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    page.join_by_link(&proxy.url(), &invite.encode(), "bob");
    alice.send("garden club", "good night");
    page.wait_message("good night");
    // Neither the socket nor what the browser keeps for the next requests carries anything any more; nothing says so.
    proxy.strand();
    alice.send("garden club", "good morning");
    page.until("its waking", "return dispatchEvent(new Event('online'))", &[]);
    page.wait_message("good morning");
    page.send("slept well");
    alice.until_texts("garden club", &["good night", "good morning", "slept well"]);
}

#[test]
fn a_page_that_nobody_looks_at_notifies_and_counts_what_is_unread() {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    let allowed = json!({ "origin": relay.url(), "permissions": ["notifications"] });
    browser.session().devtools("Browser.grantPermissions", &allowed).expect("devtools answer");
    page.join_by_link(&relay.url(), &circle.invite, "bob");
    page.until("a controlling worker", "return !!navigator.serviceWorker.controller || null", &[]);
    // What the page asks of the system, once the browser has granted it. Asking for notifications again and again
    // instead makes Chromium forget one that it is about to show.
    let watch = "const show = ServiceWorkerRegistration.prototype.showNotification;
        ServiceWorkerRegistration.prototype.showNotification = async function (title, options) {
            await show.call(this, title, options);
            window.shown = [...(window.shown || []), [title, options.body]];
            window.tag = options.tag;
        };
        const close = Notification.prototype.close;
        Notification.prototype.close = function () { window.cleared = this.tag; close.call(this); };
        navigator.setAppBadge = (count) => { window.badge = count; return Promise.resolve(); };
        return true";
    page.until("a watch on what is shown", watch, &[]);
    browser.session().post("window/minimize", &json!({})).expect("the window is put away");
    page.until("a hidden page", "return document.hidden || null", &[]);

    alice.send("garden club", "psst");
    let shown = page.until("a notification", "return window.shown || null", &[]);
    assert_eq!(shown, json!([["alice in #general", "psst"]]));
    page.until("the count", "return document.title.startsWith('(1) ') && window.badge === 1 || null", &[]);

    browser.session().post("window/maximize", &json!({})).expect("the window comes back");
    let read = "return !document.title.startsWith('(') && window.badge === 0 || null";
    page.until("no count once it was seen", read, &[]);
    page.until("nothing in the tray either", "return window.tag && window.cleared === window.tag", &[]);

    page.type_into("composer", "/channel create plans\u{e007}");
    let here =
        "return document.querySelector('button.channel.here').textContent.startsWith('# ' + arguments[0])";
    page.until("#plans", here, &[json!("plans")]);
    let clicked = "navigator.serviceWorker.dispatchEvent(new MessageEvent('message', { data: window.tag })); return true";
    page.until("what the worker says of a click", clicked, &[]);
    page.until("the channel of the notification", here, &[json!("general")]);
}

#[test]
fn what_is_typed_while_the_tab_that_leads_closes_and_the_keys_lock_is_there_again() {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    page.join_by_link(&relay.url(), &circle.invite, "bob");
    page.type_into("composer", "/settings\u{e007}");
    page.until("the settings", "return !!document.getElementById('set-passphrase')", &[]);
    page.session().keys("#set-passphrase", "rake and spade\u{e007}").expect("the input takes it");
    let done =
        "return document.querySelector('dialog').textContent.includes('it is asked for at every start')";
    page.until("protection", done, &[]);
    let first = browser.session().tab().expect("a tab");
    let second = browser.session().new_tab().expect("a tab");
    page.go(&relay.url());
    page.until_chat();
    let types_on = "const it = document.getElementById('composer'); window.typed = 0;
        const timer = setInterval(() => {
            if (!it.isConnected) return clearInterval(timer);
            it.value = `half a thought ${++window.typed}`;
            it.dispatchEvent(new Event('input', { bubbles: true }));
        }, 20);
        return true";
    page.until("who types on", types_on, &[]);
    browser.session().switch_to(&first).expect("the first tab is there");
    browser.session().close_tab().expect("it closes");
    browser.session().switch_to(&second).expect("the second tab is there");
    page.until("the question", "return !!document.getElementById('passphrase')", &[]);
    page.session().keys("#passphrase", "rake and spade\u{e007}").expect("the input takes it");
    page.until_chat();
    let all = "return document.getElementById('composer').value === `half a thought ${window.typed}`";
    page.until("what was typed", all, &[]);
    let locked = "return [...document.querySelectorAll('.note')].some(e => e.textContent.includes('locked'))";
    assert_eq!(page.run(locked, &[]), false);
    page.reload();
    page.until("the question", "return !!document.getElementById('passphrase')", &[]);
    page.session().keys("#passphrase", "rake and spade\u{e007}").expect("the input takes it");
    page.until_chat();
    page.until(
        "the draft",
        "return document.getElementById('composer').value.startsWith('half a thought ')",
        &[],
    );
}

#[test]
fn a_tab_keeps_what_is_in_its_input_when_another_sends_and_notifies_of_nothing_that_is_shown() {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    let allowed = json!({ "origin": relay.url(), "permissions": ["notifications"] });
    browser.session().devtools("Browser.grantPermissions", &allowed).expect("devtools answer");
    page.join_by_link(&relay.url(), &circle.invite, "bob");
    page.until("a controlling worker", "return !!navigator.serviceWorker.controller || null", &[]);
    let watch = "window.shown = [];
        ServiceWorkerRegistration.prototype.showNotification = async (title, options) => void window.shown.push(options.body);
        document.addEventListener('visibilitychange', () => window.wasHidden ||= document.hidden);
        return true";
    page.until("a watch on what is shown", watch, &[]);
    page.type_into("composer", "/channel create plans\u{e007}");
    page.until_channel("plans", "");
    page.type_into("composer", "/channel switch general\u{e007}");
    page.type_into("composer", "half a sentence");
    let first = browser.session().tab().expect("a tab");
    browser.session().new_tab().expect("a tab");
    page.go(&relay.url());
    page.until_chat();
    let holds = "return document.getElementById('composer').value === arguments[0]";
    page.until("the draft", holds, &[json!("half a sentence")]);
    let _ = page.run("document.getElementById('composer').value = ''", &[]);
    page.send("from the second tab");
    page.wait_message("from the second tab");
    alice.send("garden club", "seen here");
    page.wait_message("seen here");
    // In another channel nobody sees it.
    page.type_into("composer", "/channel switch plans\u{e007}");
    alice.send("garden club", "seen by nobody");
    std::thread::sleep(std::time::Duration::from_secs(3));

    browser.session().switch_to(&first).expect("the first tab is there");
    assert_eq!(page.run("return window.wasHidden", &[]), true);
    assert_eq!(page.run("return window.shown", &[]), json!(["seen by nobody"]));
    page.until("what was typed", holds, &[json!("half a sentence")]);
    let go = "[...document.querySelectorAll('button.channel')].find(e => e.textContent.includes(arguments[0])).click(); return true";
    page.until("a way", go, &[json!("plans")]);
    page.until("an empty input", holds, &[json!("")]);
    page.until("a way back", go, &[json!("general")]);
    page.until("what was typed", holds, &[json!("half a sentence")]);
}
