//! What makes the web app installable and safe to serve, and what several tabs of it do.

use felund_core::{
    invite::Invite,
    io::Command,
    view::{Access, LinkView},
};
use felund_tests::{
    api::{self, Answer},
    browser::{Browser, Engine},
    felund::Felund,
    page::{Page, kept_in_a_browser},
    proxy::Proxy,
    relay::Relay,
    wait,
};
use qrcodegen::{QrCode, QrCodeEcc};
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

/// Waits for `#plans` to be shown so in the sidebar.
fn until_plans(page: &Page<'_>, state: &str) {
    let script = "return [...document.querySelectorAll('button.channel')].some(e =>
        e.textContent.startsWith('# plans') && e.querySelector('.quiet').textContent === arguments[0])";
    page.until(&format!("#plans as {state:?}"), script, &[json!(state)]);
}

#[test]
fn who_is_let_in_stays_where_they_write_and_what_cannot_be_sent_is_kept() {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    let _runs = alice.tail(None);
    let mut at_alice = alice.control();
    let plans = at_alice.create_channel(&circle.id, "plans", Access::Invite, None);
    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    page.join_by_link(&relay.url(), &circle.invite, "bob");
    until_plans(&page, " not joined");
    let pressed = "return !!(window.pressed = document.querySelector('button.channel.here'))";
    page.until("the first channel's button", pressed, &[]);
    page.type_into("composer", "/channel join plans\u{e007}");
    until_plans(&page, " asked to join");
    let waiting = at_alice.until_channel(&circle.id, "plans", "asked for", |it| !it.requests.is_empty());
    at_alice.ask(Command::ApproveMember {
        circle: circle.id.parse().expect("a circle's id"),
        channel: plans,
        member: waiting.requests[0],
    });
    until_plans(&page, "");
    let here = "return document.querySelector('button.channel.here').textContent.trim()";
    assert_eq!(page.run(here, &[]), "# general");
    assert_eq!(page.run("return window.pressed.isConnected", &[]), true, "buttons stay through all this");

    page.type_into("composer", "/channel switch plans\u{e007}");
    page.type_into("composer", "/channel leave\u{e007}");
    until_plans(&page, " not joined");
    page.type_into("composer", "not lost\u{e007}");
    page.until_has("notice");
    page.until("the text", "return document.getElementById('composer').value === 'not lost'", &[]);
}

#[test]
fn a_link_that_leads_nowhere_says_so_and_the_next_is_taken() {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    page.go(&format!("{}/#felund1.broken", relay.url()));
    page.until_has("damaged");
    let go_on = "return document.querySelector('form button').textContent";
    assert_eq!(page.run(go_on, &[]), "Go on", "there is nothing to join");
    page.type_into("name-input", "bob");
    page.click("name-submit");
    page.until_has("invite-input");
    let said = "return [...document.querySelectorAll('.error, .note')].map(e => e.textContent).join('')";
    assert!(page.run(said, &[]).as_str().is_some_and(|said| said.contains("is damaged")));
    let _ = page.run("location.hash = arguments[0]", &[json!(circle.invite)]);
    let taken = "return document.getElementById('invite').value === arguments[0] && location.hash === ''";
    page.until("the link in the form alone", taken, &[json!(circle.invite)]);
    assert_eq!(page.run(said, &[]), "", "what was damaged is gone");
    page.click("join-submit");
    page.go_to("garden club");
    assert_eq!(page.run(said, &[]), "");
}

#[test]
fn an_invite_says_which_circle_it_is_to() {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let invites = ["garden club", "book club"].map(|name| alice.create(name).invite);
    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    page.join_by_link(&relay.url(), &invites[0], "bob");
    let title = |says: &str| {
        let script = "return document.querySelector('dialog h2')?.textContent === arguments[0]";
        page.until(says, script, &[json!(says)]);
    };
    let _ = page.run("location.hash = 'felund1.broken'", &[]);
    title("Another circle");
    page.until("why", "return document.querySelector('dialog .error').textContent.includes('damaged')", &[]);
    let _ = page.run("location.hash = arguments[0]", &[json!(invites[1])]);
    title("Join “book club”?");
    page.click("join-submit");
    page.go_to("book club");
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

/// Two frames of a film (YUV4MPEG2, 640 × 480, 4:2:0) that shows a QR code on a grey table.
fn film_of(text: &str) -> Vec<u8> {
    const SCALE: i32 = 5;
    let (width, height) = (640, 480);
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).expect("it fits into a code");
    let paper = (code.size() + 8) * SCALE;
    assert!(paper < height, "the picture holds the code");
    let (left, top) = ((width - paper) / 2, (height - paper) / 2);
    let luma = (0..width * height).map(|at| {
        let (x, y) = (at % width - left, at / width - top);
        let on_paper = (0..paper).contains(&x) && (0..paper).contains(&y);
        let dark = code.get_module(x.div_euclid(SCALE) - 4, y.div_euclid(SCALE) - 4);
        if !on_paper {
            120
        } else if dark {
            30
        } else {
            220
        }
    });
    let frame: Vec<u8> = b"FRAME\n".iter().copied().chain(luma).chain([128; 640 * 480 / 2]).collect();
    [b"YUV4MPEG2 W640 H480 F10:1 Ip A1:1 C420mpeg2\n".as_slice(), &frame, &frame].concat()
}

#[test]
fn an_invite_is_scanned_by_a_browser_that_reads_no_codes_itself() {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let film = dir.path().join("invite.y4m");
    std::fs::write(&film, film_of(&format!("{}/#{}", relay.url(), circle.invite))).expect("room for a film");
    let browser = Browser::open_with_camera(&film);
    let page = Page::new(&browser);
    page.go(&relay.url());
    page.until("no reader", "delete window.BarcodeDetector; return !('BarcodeDetector' in window)", &[]);
    page.type_into("name-input", "bob");
    page.click("name-submit");
    page.until_has("invite-input");
    let loaded =
        "return performance.getEntriesByType('resource').filter(e => e.name.includes('scan')).length";
    assert_eq!(page.run(loaded, &[]), json!(0), "who does not scan loads no scanner");
    page.click("scan");
    page.go_to("garden club");
    page.send("seen by camera");
    alice.until_texts("garden club", &["seen by camera"]);
}

#[test]
fn two_circles_of_one_name_are_told_apart() {
    let relay = Relay::start();
    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    page.go(&relay.url());
    page.type_into("name-input", "bob");
    page.click("name-submit");
    page.type_into("create-name", "phone people");
    page.click("create-submit");
    page.go_to("phone people");
    page.type_into("composer", "/circle create phone people\u{e007}");
    let labels =
        "const labels = [...document.querySelectorAll('button.circle')].map(e => e.textContent.slice(2));
        return new Set(labels).size === 2 && labels";
    let labels = page.until("two labels", labels, &[]);
    for label in labels.as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(label.starts_with("phone people"), "{label}");
        page.type_into("composer", &format!("/circle switch {label}\u{e007}"));
        page.go_to(label);
    }
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
        };
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
}

/// Whether the last message on the page is within the list's view.
const LAST_SEEN: &str = "const texts = [...document.querySelectorAll(`[data-testid='message-text']`)];
    const list = document.getElementById('messages').getBoundingClientRect(), last = texts.at(-1);
    return last?.textContent === arguments[0] && last.getBoundingClientRect().bottom <= list.bottom + 1";

#[test]
fn the_input_scrolls_the_messages_and_who_sends_sees_what_they_sent() {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    let long: String = (1..=120).map(|line| format!("line {line}\n")).collect();
    alice.send("garden club", &long);
    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    page.join_by_link(&relay.url(), &circle.invite, "bob");
    let top = |what: &str, holds: &str| {
        let script = format!(
            "const list = document.getElementById('messages'), end = list.scrollHeight - list.clientHeight;
            const top = list.scrollTop; return end > 500 && ({holds}) && [top]"
        );
        page.until(what, &script, &[])[0].as_f64().expect("a place")
    };
    let end = top("the end", "top > end - 2");
    page.type_into("composer", "\u{e013}");
    let line_up = top("a few lines up", "top < end - 2");
    page.type_into("composer", "\u{e00e}");
    let page_up = top("a page up", "top < end - 100");
    assert!(page_up < line_up && line_up < end, "{page_up}, {line_up}, {end}");
    page.type_into("composer", "\u{e009}\u{e011}");
    top("the beginning", "top === 0");
    page.until_has("to-end");
    assert_eq!(page.text("to-end"), "↓ newest");
    alice.send("garden club", "news");
    page.until("a count", "return document.querySelector('.end')?.textContent === '↓ 1 new'", &[]);
    top("the same place", "top === 0");
    page.send("seen");
    page.until("what was sent", LAST_SEEN, &[json!("seen")]);
    page.type_into("composer", "\u{e00e}\u{e009}\u{e010}");
    top("the end again", "top > end - 2");
}

#[test]
fn a_channel_is_never_taken_for_another_that_begins_alike() {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    let _runs = alice.tail(None);
    let mut at_alice = alice.control();
    at_alice.create_channel(&circle.id, "plans", Access::Public, None);
    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    page.join_by_link(&relay.url(), &circle.invite, "bob");
    until_plans(&page, "");
    // What was marked among the completions is taken first; the line is carried out by the next Enter.
    page.type_into("composer", "/channel swi\u{e015}\u{e007}");
    let taken = "return document.getElementById('composer').value === '/channel switch '";
    page.until("the completion", taken, &[]);
    page.type_into("composer", "plan\u{e007}");
    page.until(
        "why not",
        "return document.getElementById('hint').textContent.includes('no channel called')",
        &[],
    );
    let here =
        "return document.querySelector('button.channel.here').textContent.startsWith('# ' + arguments[0])";
    assert_eq!(page.run(here, &[json!("general")]), true);
    page.type_into("composer", "s\u{e007}");
    page.until("#plans", here, &[json!("plans")]);
}

#[test]
fn who_made_a_channel_sees_that_somebody_asks_and_going_back_closes_what_is_open() {
    let relay = Relay::start();
    let browser = Browser::open_sized(Engine::Chromium, 390, 844);
    let page = Page::new(&browser);
    page.go(&relay.url());
    let focused = "return document.activeElement?.id === arguments[0]";
    page.until("the name's focus", focused, &[json!("name")]);
    page.type_into("name-input", "bob");
    page.click("name-submit");
    page.until("the invite's focus", focused, &[json!("invite")]);
    page.type_into("create-name", "garden club\u{e007}");
    page.until_chat();
    page.type_into("composer", "/channel create secrets invite\u{e007}");
    page.until("#secrets", "return !!document.querySelectorAll('button.channel')[1]", &[]);
    page.type_into("composer", "/channel switch general\u{e007}");
    page.type_into("composer", "\u{e032}");
    page.until_has("invite-code");
    let code = page.text("invite-code");
    let closed = "return !document.querySelector('dialog') && !document.querySelector('.chat.open')";
    let back = |what: &str| {
        let _ = page.run("history.back()", &[]);
        page.until(what, closed, &[]);
        page.until_chat();
    };
    back("a closed dialog");

    let alice = Felund::new("alice", None);
    let circle = alice.join(&code);
    let _runs = alice.tail(None);
    let mut at_alice = alice.control();
    let view = at_alice.until_channel(&circle.id, "secrets", "known", |_| true);
    at_alice.ask(Command::JoinChannel {
        circle: circle.id.parse().expect("a circle's id"),
        channel: view.id,
        passphrase: None,
    });
    let asked =
        "return [...document.querySelectorAll('button.channel')].some(e => e.textContent.includes('1 ask'))";
    page.until("who asks", asked, &[]);

    let open = "document.querySelector('button.menu').click(); return true";
    let opened = "return !!document.querySelector('.chat.open')";
    for _ in 0..2 {
        page.until("a drawer", open, &[]);
        page.until("an open drawer", opened, &[]);
        back("a closed drawer");
    }
    // Closed and opened at once, it stays open and is closed by going back all the same.
    page.until("a drawer", open, &[]);
    page.until("an open drawer", opened, &[]);
    let twice = "const menu = document.querySelector('button.menu'); menu.click();
        return new Promise(done => setTimeout(() => { menu.click(); setTimeout(() => done(true), 500); }, 0))";
    page.until("a drawer once more", twice, &[]);
    assert_eq!(page.run(opened, &[]), true);
    back("a closed drawer");
    page.type_into("composer", "\u{e033}");
    page.until("the first field's focus", focused, &[json!("set-name")]);
    let _ = page.run("document.querySelector('dialog').close()", &[]);
    page.until("a closed dialog", closed, &[]);
    assert_eq!(page.run("return history.state", &[]), Value::Null, "nothing is left to go back from");
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
    until_plans(&page, "");
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

#[test]
fn a_browser_creates_a_circle_that_a_terminal_joins() {
    let relay = Relay::start();
    let browser = Browser::open_sized(Engine::Chromium, 390, 844);
    let page = Page::new(&browser);
    page.go(&relay.url());
    page.type_into("name-input", "bob");
    page.click("name-submit");
    page.type_into("create-name", "phone people");
    page.click("create-submit");
    page.until_chat();
    page.type_into("composer", "\u{e032}");
    page.until_has("invite-code");
    let code = page.text("invite-code");
    let link = page.text("invite-link");
    assert_eq!(link, format!("{}/#{code}", relay.url()));
    let alice = Felund::new("alice", None);
    let circle = alice.join(&link);
    assert_eq!(circle.name, "phone people");
    let _runs = alice.tail(None);
    let at_alice = alice.control();
    at_alice.until_circle(&circle.id, "live", |view| view.link == LinkView::Live);
    page.session().keys("body", "\u{e00c}").expect("Escape closes the invite");
    page.until_chat();
    alice.send("phone people", "hello phone");
    page.wait_message("hello phone");
    page.send("hello terminal");
    page.wait_message("hello terminal");
    alice.until_texts("phone people", &["hello phone", "hello terminal"]);
    // Nothing is wider than a phone, and no input makes it zoom.
    assert_eq!(page.run("return document.documentElement.scrollWidth <= innerWidth", &[]), true);
    let small = "return [...document.querySelectorAll('input, textarea, select')].filter(e => parseFloat(getComputedStyle(e).fontSize) < 16).length";
    assert_eq!(page.run(small, &[]), 0);
    // What is said to a screen reader to be on the page is there, whether completions are shown or not.
    let astray = "return ['aria-activedescendant', 'aria-controls', 'aria-describedby', 'aria-labelledby', 'for'].flatMap(name => \
        [...document.querySelectorAll(`[${name}]`)].flatMap(e => e.getAttribute(name).split(' ')).filter(id => !document.getElementById(id)))";
    assert_eq!(page.run(astray, &[]), json!([]));
    page.type_into("composer", "/he");
    page.until("completions", "return !!document.getElementById('offers')", &[]);
    assert_eq!(page.run(astray, &[]), json!([]));
}
