//! Visits a web app that tells what it runs, in every browser, as somebody who has never been there; prints the numbers
//! of the functions that ran until the rest of the app was waited for. For `cargo xtask profile`.

use std::{collections::BTreeSet, time::Duration};

use felund_tests::{
    browser::{Browser, Engine},
    felund::Felund,
    page::Page,
    relay::Relay,
    wait,
};

/// Longer than what a page does by itself is apart.
const QUIET: Duration = Duration::from_secs(8);

fn main() {
    let app = std::env::args().nth(1).expect("the folder of the web app");
    let relay = Relay::start_with(&["--web-dir", &app]);
    let invite = Felund::new("alice", Some(&relay.url())).create("garden club").invite;
    let mut all = BTreeSet::new();
    for engine in [Engine::Chromium, Engine::Firefox, Engine::WebKit] {
        for code in ["", &invite, "felund1.damaged"] {
            let browser = Browser::open(engine);
            let page = Page::new(&browser);
            page.go(&format!("{}/#{code}", relay.url()));
            page.until_has("name-input");
            quiet(&page);
            page.look_away_and_back();
            quiet(&page);
            page.type_into("name-input", "bob");
            page.click("name-submit");
            if code != invite {
                // What is damaged is no invite.
                page.type_into("create-name", "garden club");
                page.click("create-submit");
                fail(&page);
                page.type_into("invite-input", &invite);
                page.click("join-submit");
            }
            fail(&page);
            all.extend(quiet(&page));
        }
    }
    let numbers: Vec<String> = all.iter().map(u64::to_string).collect();
    println!("{}", numbers.join(" "));
}

/// Lets the rest of the app not come.
fn fail(page: &Page<'_>) {
    page.until("waiting for the rest", "return !!globalThis.felundFail", &[]);
    let _ = page.run("felundFail(); delete globalThis.felundFail", &[]);
}

/// What has run once nothing new does.
fn quiet(page: &Page<'_>) -> BTreeSet<u64> {
    let seen = || -> BTreeSet<u64> {
        let seen = page.run("return [...globalThis.felundSeen]", &[]);
        seen.as_array().into_iter().flatten().filter_map(serde_json::Value::as_u64).collect()
    };
    let mut last = seen();
    let mut since = std::time::Instant::now();
    wait::within(4 * QUIET, || {
        let now = seen();
        if now.len() > last.len() {
            last = now;
            since = std::time::Instant::now();
        }
        (since.elapsed() > QUIET).then_some(())
    });
    last
}
