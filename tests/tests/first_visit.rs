//! What the web app loads, and when: its first screens come by themselves, the rest once somebody touches the page.

use felund_tests::{
    browser::{Browser, Engine},
    felund::Felund,
    page::{Page, kept_in_a_browser},
    relay::Relay,
};
use serde_json::{Value, json};

/// How the rest was asked for: `fetch` in the background, `xmlhttprequest` where something could not wait for it.
fn asked(page: &Page<'_>) -> Vec<String> {
    let script = "return performance.getEntriesByType('resource')\
        .filter(e => e.name.includes('felund-rest')).map(e => e.initiatorType)";
    let asked = page.run(script, &[]);
    asked.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn until_asked(page: &Page<'_>) {
    let script = "return performance.getEntriesByType('resource').some(e => e.name.includes('felund-rest'))";
    page.until("the rest of the app", script, &[]);
}

/// Where nothing but what is loaded by itself is to be seen.
fn visit(page: &Page<'_>, address: &str) {
    page.go(address);
    page.until_has("name-input");
    page.until("a worker", "return navigator.serviceWorker.ready.then(({ active }) => !!active)", &[]);
    let outdated = "`cargo xtask profile` writes anew what a first visit runs";
    assert_eq!(asked(page), Vec::<String>::new(), "{:?}; {outdated}", page.session().console());
}

fn comes_in_two_parts(engine: Engine) {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let invite = alice.create("garden club").invite;
    let browser = Browser::open(engine);
    let page = Page::new(&browser);
    visit(&page, &format!("{}/#{invite}", relay.url()));
    page.type_into("name-input", "bob");
    until_asked(&page);
    page.click("name-submit");
    page.until_chat();
    page.send("all there");
    alice.until_texts("garden club", &["all there"]);
}

#[test]
fn chromium_loads_the_rest_of_the_app_once_the_page_is_touched() {
    comes_in_two_parts(Engine::Chromium);
}

#[test]
fn firefox_loads_the_rest_of_the_app_once_the_page_is_touched() {
    comes_in_two_parts(Engine::Firefox);
}

#[test]
fn webkit_loads_the_rest_of_the_app_once_the_page_is_touched() {
    comes_in_two_parts(Engine::WebKit);
}

#[test]
fn a_damaged_link_and_looking_away_need_nothing_of_the_rest() {
    let relay = Relay::start();
    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    visit(&page, &format!("{}/#felund1.damaged", relay.url()));
    page.look_away_and_back();
    page.until_has("damaged");
    assert_eq!(asked(&page), Vec::<String>::new(), "{:?}", page.session().console());
}

#[test]
fn who_makes_a_circle_waits_for_the_rest_and_is_told_when_it_does_not_come() {
    let mut relay = Relay::start();
    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    visit(&page, &relay.url());
    relay.kill();
    page.type_into("name-input", "bob");
    page.click("name-submit");
    page.type_into("create-name", "garden club");
    page.click("create-submit");
    let told = "return document.querySelector('.error[role=alert]')?.textContent.includes(arguments[0])";
    page.until("an error", told, &[json!("could not be loaded, and nothing was changed")]);
    relay.resume();
    page.click("create-submit");
    page.until_chat();
    page.send("at the second try");
    page.wait_message("at the second try");
}

#[test]
fn what_needs_the_rest_before_anybody_asked_for_it_gets_it() {
    let relay = Relay::start();
    let (_alice, browser) = kept_in_a_browser(&relay);
    let page = Page::new(&browser);
    page.go(&relay.url());
    page.until_chat();
    // The page takes whoever opens it for somebody new, and the node knows better.
    let _ = page.run("localStorage.clear()", &[]);
    page.reload();
    page.until_chat();
    page.wait_message("kept");
    assert_eq!(asked(&page), ["xmlhttprequest"]);
}
