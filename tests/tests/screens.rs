//! What people meet in the web app: the ways in, channels, commands, keys.

use felund_core::{
    io::Command,
    view::{Access, LinkView},
};
use felund_tests::{
    browser::{Browser, Engine},
    felund::Felund,
    page::Page,
    relay::Relay,
};
use qrcodegen::{QrCode, QrCodeEcc};
use serde_json::{Value, json};

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
    page.until_channel("plans", " not joined");
    let pressed = "return !!(window.pressed = document.querySelector('button.channel.here'))";
    page.until("the first channel's button", pressed, &[]);
    page.type_into("composer", "/channel join plans\u{e007}");
    page.until_channel("plans", " asked to join");
    page.type_into("composer", "/channel join plans\u{e007}");
    let told = "const dialog = document.querySelector('dialog'); return dialog?.textContent.includes('You have asked')
        && !dialog.querySelector('.main') && (dialog.close(), true)";
    page.until("that nothing more is to be done", told, &[]);
    let waiting = at_alice.until_channel(&circle.id, "plans", "asked for", |it| !it.requests.is_empty());
    at_alice.ask(Command::ApproveMember {
        circle: circle.id.parse().expect("a circle's id"),
        channel: plans,
        member: waiting.requests[0],
    });
    page.until_channel("plans", "");
    let told = "const notes = [...document.querySelectorAll('.note span')].map(e => e.textContent);
        return notes.filter(note => note.startsWith(arguments[0])).length === 1";
    page.until("what has become of it", told, &[json!("You were let into #plans.")]);
    assert_eq!(page.run(&told.replace("=== 1", "=== 0"), &[json!("Asked to be let into")]), true);
    let here = "return document.querySelector('button.channel.here').textContent.trim()";
    assert_eq!(page.run(here, &[]), "# general");
    assert_eq!(page.run("return window.pressed.isConnected", &[]), true, "buttons stay through all this");

    page.type_into("composer", "/channels\u{e007}");
    page.until("an answer", told, &[json!("Channels here")]);
    page.type_into("composer", "/circles\u{e007}");
    page.until("the next", told, &[json!("Your circles")]);
    page.until("it alone", &told.replace("=== 1", "=== 0"), &[json!("Channels here")]);
    page.type_into("composer", "/channel switch plans\u{e007}");
    page.until("no answer any more", &told.replace("=== 1", "=== 0"), &[json!("Your circles")]);
    assert_eq!(page.run(told, &[json!("You were let into #plans.")]), true, "what nobody asked for stays");
    let dismissed = "document.querySelectorAll('.note button').forEach(e => e.click()); return !document.querySelector('.note')";
    page.until("no news", dismissed, &[]);
    page.type_into("composer", "/channel leave\u{e007}");
    page.until_channel("plans", " not joined");
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
    page.until("the input's focus", "return document.activeElement?.id === 'composer'", &[]);
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

    let mut gone = Relay::start();
    let zed = Felund::new("zed", Some(&gone.url()));
    let far = zed.create("far away").invite;
    gone.kill();
    page.join_another(&far, "far away");
    let said = "return document.querySelector('.empty')?.textContent.includes(arguments[0])";
    page.until("what is awaited", said, &[json!("The relay is not available at the moment")]);
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
    page.type_into("composer", "\u{e00e}");
    page.click("to-end");
    top("the end by the button", "top > end - 2");
    page.until("a gone button", "return !document.querySelector('.end')", &[]);
    assert_eq!(page.run("return document.activeElement?.id", &[]), "messages");
}

#[test]
fn what_is_typed_after_a_dialog_reaches_the_input() {
    let relay = Relay::start();
    let alice = Felund::new("alice", Some(&relay.url()));
    let circle = alice.create("garden club");
    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    page.join_by_link(&relay.url(), &circle.invite, "bob");
    page.type_into("composer", "/settings\u{e007}");
    page.until("its name field", "return !!document.getElementById('set-name')", &[]);
    page.session().keys("#set-name", "by\u{e00c}").expect("typing, and Escape");
    page.until("a closed dialog", "return !document.querySelector('dialog')", &[]);
    page.type_into("composer", "not lost\u{e007}");
    page.wait_message("not lost");
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
    page.until_channel("plans", "");
    alice.send("garden club/plans", "never seen");
    page.until("what is unread", "return !!document.querySelector('button.channel:not(.here) .count')", &[]);
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
    let line = "return document.querySelector('li:has(.day.new) .text')?.textContent === arguments[0]";
    page.until("the line above what is new", line, &[json!("never seen")]);
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
    page.until("the input's focus", focused, &[json!("composer")]);
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
    page.type_into("composer", "/channel switch secrets\u{e007}");
    page.until("a drawer", open, &[]);
    let let_in = "const button = document.querySelector('button.small'); button?.focus();
        return !!button && document.activeElement === button && (button.click(), true)";
    page.until("the button's focus", let_in, &[]);
    page.until("nobody who waits", "return !document.querySelector('button.small')", &[]);
    page.until("the input's focus", focused, &[json!("composer")]);
    page.until("an open drawer", opened, &[]);
    back("a closed drawer");
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
    // A phone's keyboard would cover what one came for.
    let close = "return document.activeElement?.ariaLabel === 'Close'";
    page.until("no field's focus", close, &[]);
    let _ = page.run("document.querySelector('dialog').close()", &[]);
    page.until("a closed dialog", closed, &[]);
    let _ = page.run(
        "document.querySelector('button.menu').click(); document.querySelector('button.add').click()",
        &[],
    );
    page.until("the focus of what is asked for", focused, &[json!("channel-name")]);
    back("a closed dialog");
    assert_eq!(page.run("return history.state", &[]), Value::Null, "nothing is left to go back from");
}

#[test]
fn a_button_in_the_sidebar_stays_what_it_is_whatever_comes_before_it() {
    let relay = Relay::start();
    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    page.go(&relay.url());
    page.type_into("name-input", "bob");
    page.click("name-submit");
    page.type_into("create-name", "garden club\u{e007}");
    page.until_chat();
    page.type_into("composer", "/channel create secrets invite\u{e007}");
    page.until(
        "#secrets",
        "return !!document.querySelectorAll('button.channel.here')[0]?.textContent.includes('secrets')",
        &[],
    );
    page.type_into("composer", "\u{e032}");
    page.until_has("invite-code");
    let code = page.text("invite-code");
    page.session().keys("body", "\u{e00c}").expect("Escape closes the invite");

    let members = ["alice", "carol", "dave", "erin"].map(|name| Felund::new(name, None));
    let circles = members.each_ref().map(|member| member.join(&code));
    let _run = members.each_ref().map(|member| member.tail(None));
    let mut controls = members.each_ref().map(Felund::control);
    let ask = |at: usize, controls: &mut [felund_tests::control::Control; 4]| {
        let view = controls[at].until_channel(&circles[at].id, "secrets", "known", |_| true);
        controls[at].join_channel(&circles[at].id, view.id, None).expect("asks");
    };
    let waiting = "return document.querySelectorAll('button.small').length === arguments[0]";
    ask(0, &mut controls);
    page.until("alice, who waits", waiting, &[json!(1)]);
    let focus =
        "(window.focused = document.querySelector(arguments[0])).focus(); return window.focused.ariaLabel";
    page.until(
        "the name in the label",
        &focus.replace("return", "return 'let in alice' ==="),
        &[json!("button.small")],
    );
    for at in 1..4 {
        ask(at, &mut controls);
    }
    page.until("all who wait", waiting, &[json!(4)]);
    let still = "return document.activeElement === window.focused && window.focused.ariaLabel";
    assert_eq!(page.run(still, &[]), "let in alice");
    let next = "const next = document.activeElement.parentElement.nextElementSibling?.querySelector('button');
        window.next = next || document.getElementById('composer'); document.activeElement.click(); return true";
    page.until("a click", next, &[]);
    page.until("three who wait", waiting, &[json!(3)]);
    assert_eq!(page.run("return document.activeElement === window.next", &[]), true);
    let left =
        "return ![...document.querySelectorAll('button.small')].some(e => e.ariaLabel === 'let in alice')";
    assert_eq!(page.run(left, &[]), true, "she who was meant was let in");

    page.until("#secrets' focus", &focus.replace("return", "return true;"), &[json!("button.channel.here")]);
    controls[0].create_channel(&circles[0].id, "almanac", Access::Public, None);
    page.until_channel("almanac", "");
    let still = "return document.activeElement === window.focused && window.focused.textContent.startsWith('# secrets')";
    assert_eq!(page.run(still, &[]), true);
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
