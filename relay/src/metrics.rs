//! Counters of this process, in Prometheus' text format. They carry no ids: nobody can be told apart by them.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

/// A number that grows, or goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! metrics {
    ($($field:ident $kind:literal $name:literal $help:literal;)*) => {
        /// Everything that is counted.
        #[derive(Debug)]
        pub(crate) struct Metrics {
            $(#[doc = $help] pub(crate) $field: Counter,)*
        }

        /// One process, one set of counters.
        pub(crate) static METRICS: Metrics = Metrics { $($field: Counter::new(),)* };

        impl Metrics {
            /// The text format, version 0.0.4.
            pub(crate) fn render(&self) -> String {
                let mut out = String::new();
                $(
                    // Writing to a String cannot fail.
                    let _ = write!(
                        out,
                        concat!("# HELP ", $name, " ", $help, "\n# TYPE ", $name, " ", $kind, "\n", $name, " {}\n"),
                        self.$field.get()
                    );
                )*
                out
            }
        }
    };
}

metrics! {
    requests "counter" "felund_relay_requests_total" "HTTP requests to the API.";
    refused "counter" "felund_relay_requests_refused_total" "HTTP requests answered with an error.";
    rate_limited "counter" "felund_relay_rate_limited_total" "Requests and frames over a rate limit.";
    stored "counter" "felund_relay_messages_stored_total" "Envelopes stored.";
    commits "counter" "felund_relay_commits_total" "Waits for the disk; stored divided by commits is the group size.";
    commit_failures "counter" "felund_relay_commit_failures_total" "Of these, the ones that failed; nothing of them was acknowledged.";
    pruned "counter" "felund_relay_messages_pruned_total" "Envelopes removed because of their age.";
    delivered "counter" "felund_relay_deliveries_total" "Envelopes handed to sockets.";
    ephemeral "counter" "felund_relay_ephemeral_total" "Unstored envelopes taken in.";
    signals "counter" "felund_relay_signals_total" "Signaling messages taken in.";
    connections_refused "counter" "felund_relay_connections_refused_total" "Connections closed at once because their address holds too many.";
    connections "gauge" "felund_relay_connections" "Open connections.";
    sockets "gauge" "felund_relay_sockets" "Open WebSockets.";
    sockets_lagged "counter" "felund_relay_sockets_lagged_total" "Times a slow socket was sent back to reading from the log.";
    sockets_dropped "counter" "felund_relay_sockets_dropped_total" "Sockets dropped because they took nothing or were silent.";
}
