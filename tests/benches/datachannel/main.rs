//! DataChannels measured: throughput beside the bare `webrtc` crate, bare QUIC and plain TCP in the same run, memory,
//! and the time until there is one.
//!
//! `cargo xtask bench datachannel [--quick] [--rounds N] [--only PART]…`, with the parts `memory`, `native`, `open`,
//! `chromium`, `stalled` and `direct`. Native ends are the client's driver ([`felund_tests::links`]) in one thread each,
//! as in two clients; messages are as long on the wire as is said. Medians are printed, nothing is asserted.

mod bare;
mod chromium;
mod direct;
mod end;
mod quic;
mod throughput;

use std::fs;

use felund_tests::{netns::Nat, process::find_tool};

use crate::{
    chromium::{Tab, Task},
    end::Way,
    throughput::{Figure, accepted_while_stalled, between_natives, idle, opened, with_chromium},
};

/// What the driver of the client has; the bare crate gets the same.
const SEND_BUFFER: usize = 1024 * 1024;
const SIZES: [usize; 2] = [1024, 16 * 1024];
const WAYS: [Way; 5] = [Way::Tcp, Way::FelundTcp, Way::Quic, Way::Bare, Way::Felund];

struct Options {
    total: usize,
    rounds: usize,
    pairs: usize,
    only: Vec<String>,
}

impl Options {
    fn parse() -> Self {
        let mut options = Self { total: 128 << 20, rounds: 3, pairs: 20, only: Vec::new() };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--quick" => (options.total, options.rounds, options.pairs) = (16 << 20, 1, 5),
                "--rounds" => {
                    options.rounds =
                        args.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0).expect("--rounds N");
                }
                "--only" => options.only.push(args.next().expect("--only PART")),
                // Cargo's own.
                "--bench" => {}
                other => panic!("there is no option {other}"),
            }
        }
        options
    }

    fn has(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }
}

fn main() {
    let options = Options::parse();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{cores} cores, load {}, medians of {}", load.trim(), options.rounds);
    let page = ["memory", "chromium"].iter().any(|part| options.has(part));
    let page = (page && find_tool("chromedriver").is_some()).then(Tab::open);
    if options.has("memory") {
        memory(page.as_ref());
    }
    if options.has("native") {
        natives(&options);
    }
    if options.has("open") {
        until_open(&options);
    }
    if let Some(page) = page.as_ref().filter(|_| options.has("chromium")) {
        with_page(&options, page);
    }
    if options.has("stalled") {
        stalled();
    }
    if options.has("direct") {
        until_direct(&options);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn medians(figures: &[Figure]) -> Figure {
    let of = |get: fn(&Figure) -> f64| median(figures.iter().map(get).collect());
    Figure { rate: of(|figure| figure.rate), memory: of(|figure| figure.memory) }
}

fn memory(page: Option<&Tab>) {
    println!("\nmemory of each end of an idle connection");
    // What all connections share is there after the first few.
    for way in [Way::FelundTcp, Way::Quic, Way::Bare, Way::Felund] {
        idle(way, 4);
        println!("  {:<34} {:>8.0} kB", way.name(), idle(way, 50));
    }
    if let Some(page) = page {
        let (resident, heap) = page.idle(50);
        println!("  {:<34} {resident:>8.0} kB", format!("{}, all its processes", page.version()));
        println!("  {:<34} {heap:>8.1} kB", "of that the page's JS heap");
    }
}

fn heading(what: &str, total: usize) {
    println!("\n{what}, {} MiB", total >> 20);
    println!(
        "  {:<10} {:<34} {:>9} {:>11} {:>9} {:>14}",
        "messages", "way", "MB/s", "messages/s", "÷ first", "memory, MB"
    );
}

fn line(size: usize, way: &str, figure: Figure, reference: f64) {
    println!(
        "  {:<10} {way:<34} {:>9.1} {:>11.0} {:>9.2} {:>14.1}",
        format!("{} KiB", size / 1024),
        figure.rate,
        figure.rate * 1e6 / size as f64,
        figure.rate / reference,
        figure.memory
    );
}

fn natives(options: &Options) {
    heading("native to native", options.total);
    for size in SIZES {
        // One after the other in every round, so that whatever else the machine does meets all of them.
        let mut figures = WAYS.map(|_| Vec::new());
        for _ in 0..options.rounds {
            for (way, figures) in WAYS.iter().zip(&mut figures) {
                figures.push(between_natives(*way, size, options.total));
            }
        }
        let figures = figures.map(|figures| medians(&figures));
        for (way, figure) in WAYS.iter().zip(figures) {
            line(size, way.name(), figure, figures[0].rate);
        }
        println!("  {:<45} {:>9.2}", "Felund ÷ bare webrtc crate", figures[4].rate / figures[3].rate);
    }
}

fn until_open(options: &Options) {
    println!(
        "\nfrom nothing to an open connection on one machine, without Felund's handshake, {} each",
        options.pairs
    );
    for way in WAYS {
        let times = (0..options.pairs).map(|_| opened(way)).collect();
        println!("  {:<34} {:>8.1} ms", way.name(), median(times));
    }
}

fn with_page(options: &Options, page: &Tab) {
    for (what, task) in [("native to", Task::Receive), ("to native from", Task::Send)] {
        heading(&format!("{what} {}", page.version()), options.total);
        for size in SIZES {
            let mut figures = [Vec::new(), Vec::new()];
            for _ in 0..options.rounds {
                for (way, figures) in [Way::Bare, Way::Felund].into_iter().zip(&mut figures) {
                    figures.push(with_chromium(page, way, task, size, options.total));
                }
            }
            let figures = figures.map(|figures| medians(&figures));
            for (way, figure) in [Way::Bare, Way::Felund].into_iter().zip(figures) {
                line(size, way.name(), figure, figures[0].rate);
            }
        }
    }
}

fn stalled() {
    println!("\nwhat a sender gets rid of while the other end takes nothing");
    for size in SIZES {
        for way in WAYS {
            let taken = accepted_while_stalled(way, size);
            println!("  {:<10} {:<34} {taken:>9.1} MB", format!("{} KiB", size / 1024), way.name());
        }
    }
}

fn until_direct(options: &Options) {
    println!("\nterminal to terminal, from both online to direct, {} fresh pairs", options.pairs);
    let nats = [
        ("in one local network", None, 1_000.0),
        ("cone to cone", Some([Nat::Cone, Nat::Cone]), 3_000.0),
        ("port-restricted to port-restricted", Some([Nat::PortRestricted; 2]), 3_000.0),
        ("symmetric to symmetric, by TURN", Some([Nat::Symmetric; 2]), 3_000.0),
    ];
    for (what, nats, goal) in nats {
        let Some(mut times) = direct::terminals(nats, options.pairs) else { return };
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1];
        let word = if at(0.95) <= goal { "met" } else { "missed" };
        println!(
            "  {what:<36} p50 {:>6.0} ms   p95 {:>6.0} ms   goal ≤ {goal:.0} ms: {word}",
            at(0.5),
            at(0.95)
        );
    }
}
