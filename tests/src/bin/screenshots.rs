//! Makes the pictures in `docs/images`: real clients in a small real conversation, so that they never go stale.

use std::{fs, path::Path};

use felund_core::view::Access;
use felund_tests::{
    browser::{Browser, Engine},
    felund::Felund,
    page::Page,
    picture,
    relay::Relay,
    terminal::Terminal,
};

const COLS: u16 = 100;
const ROWS: u16 = 26;

fn main() {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout").join("docs/images");
    let relay = Relay::start();
    let device = |name| Felund::new(name, Some(&relay.url()));
    let (alice, cleo, dan) = (device("alice"), device("cleo"), device("dan"));
    let circle = alice.create("garden club");
    for other in [&cleo, &dan] {
        other.join(&circle.invite);
    }
    let terminal = Terminal::open(&alice, COLS, ROWS);
    terminal.wait_for("garden club ▸ #general");
    dan.join(&alice.create("family").invite);
    let _online = cleo.tail(None);
    let seeds = {
        let mut control = alice.control();
        control.create_channel(&circle.id, "tools", Access::Key, Some("rake and spade"));
        control.create_channel(&circle.id, "seeds", Access::Public, None)
    };
    let mut at_cleo = cleo.control();
    at_cleo.until_channel(&circle.id, "seeds", "known", |_| true);
    at_cleo.join_channel(&circle.id, seeds, None).expect("public");

    let browser = Browser::open(Engine::Chromium);
    let page = Page::new(&browser);
    picture::set_screen(&browser, 1280, 800, false);
    page.join_by_link(&relay.url(), &circle.invite, "bob");
    terminal.wait_for("bob");

    alice.send("garden club", "hey everyone, the greenhouse is open again 🌱");
    dan.send("garden club", "finally! the tomatoes could not wait any longer");
    page.send("yo");
    cleo.send("garden club", "who still has beans from last year?");
    alice.send("garden club", "I do. seed swap on saturday?");
    page.send("saturday works, I bring lettuce and dill");
    cleo.send("garden club", "and I bring coffee, ten o'clock at the shed");
    cleo.send("garden club/seeds", "list of what we have: beans, peas, lettuce, dill");
    cleo.send("garden club/seeds", "and two kinds of pumpkin");
    dan.send("family", "call me when you are back");
    for text in ["saturday works, I bring lettuce and dill", "ten o'clock at the shed"] {
        terminal.wait_for(text);
    }
    page.wait_message("and I bring coffee, ten o'clock at the shed");
    terminal.wait_for("(2)");
    terminal.wait_for("(1)");
    terminal.keys("see you there");
    terminal.wait_for("see you there");
    // The app offers to be installed after the first message; the picture is of what is there on all other days.
    let offer = "const e = document.getElementById('install'); if (e) e.hidden = true; return true";
    page.until("no offer to install", offer, &[]);
    picture::shoot(&browser, &images.join("web.png"));

    picture::set_screen(&browser, 390, 844, true);
    page.reload();
    page.until_chat();
    page.wait_message("and I bring coffee, ten o'clock at the shed");
    page.until(
        "a settled list",
        "return document.readyState === 'complete' && document.fonts.status === 'loaded'",
        &[],
    );
    picture::shoot(&browser, &images.join("web-phone.png"));

    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("terminal.html");
    fs::write(&file, terminal.with_screen(picture::terminal_page)).expect("the page can be written");
    let viewer = Browser::open(Engine::Chromium);
    viewer.session().go(&format!("file://{}", file.display())).expect("the page opens");
    let size = "const r = document.querySelector('pre').getBoundingClientRect(); return [Math.ceil(r.width), Math.ceil(r.height)]";
    let size = viewer.session().run(size, &[]).expect("a size");
    let pixels = |at: usize| u32::try_from(size[at].as_u64().unwrap_or(800)).unwrap_or(800);
    picture::set_screen(&viewer, pixels(0), pixels(1), false);
    picture::shoot(&viewer, &images.join("terminal.png"));
}
