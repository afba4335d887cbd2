//! `felund-relay`: options, logs, signals. Everything else is in the library.

use std::{io::Write as _, process::ExitCode};

use felund_relay::{Config, Relay};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let config = Config::given();
    // What strangers send must not fill the disk: this library warns of each packet that is none.
    let filter = EnvFilter::new(&config.log).add_directive("stun_types=off".parse().unwrap_or_default());
    // Where the log cannot be written, on a full disk or because its reader has gone, saying so cannot be either.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .init();
    keep_private();
    raise_file_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("felund-relay: the system gives no threads: {e}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(run(config))
}

async fn run(config: Config) -> ExitCode {
    let end = end_signal();
    let relay = match Relay::start(config).await {
        Ok(relay) => relay,
        Err(e) => {
            eprintln!("felund-relay: {e}");
            return ExitCode::FAILURE;
        }
    };
    // Whoever started the relay may have closed its end; the relay serves all the same.
    let _ = writeln!(std::io::stdout(), "listening on http://{}", relay.address());
    let _ = std::io::stdout().flush();
    match end {
        Ok(end) => end.await,
        Err(e) => {
            tracing::warn!("the system reports no signals ({e}); end the relay from outside");
            std::future::pending::<()>().await;
        }
    }
    relay.stop().await;
    ExitCode::SUCCESS
}

/// What the relay makes is for nobody else, whatever its folder is: the circles' signing keys are in it.
#[cfg(unix)]
fn keep_private() {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

#[cfg(not(unix))]
fn keep_private() {}

/// Each socket is a file; the default limit of 1,024 is for programs that are no servers.
#[cfg(unix)]
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    // Some systems name no maximum and take no more than this.
    let wanted = [limit.maximum, Some(10_240)];
    let raise = |current| setrlimit(Resource::Nofile, Rlimit { current, ..limit });
    if let Err(e) = raise(wanted[0]).or_else(|_| raise(wanted[1])) {
        tracing::warn!("the limit on open files stays at {:?}: {e}", limit.current);
    }
}

#[cfg(not(unix))]
fn raise_file_limit() {}

/// Ready when the process is asked to end.
#[cfg(unix)]
fn end_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = if hangup_ends() { Some(signal(SignalKind::hangup())?) } else { None };
    let hung_up = async move {
        match &mut hangup {
            Some(hangup) => drop(hangup.recv().await),
            None => std::future::pending().await,
        }
    };
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = hung_up => {}
        }
    })
}

/// Whether the end of its terminal is the relay's. Started with `nohup` it outlives that, and so it does where the system
/// does not say which signals are ignored.
#[cfg(unix)]
fn hangup_ends() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // SIGHUP is the first of them.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 0)
}

/// Ready when the process is asked to end.
#[cfg(not(unix))]
fn end_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
