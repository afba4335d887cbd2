//! Starting and ending: the data folder, the listener, one small task per connection, an orderly end.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use axum::{Router, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use tower_service::Service as _;

use crate::{
    app::App,
    auth::PeerAddress,
    clock,
    config::Config,
    hub::{Fanout, Hub},
    limits::{self, Limits},
    metrics::METRICS,
    nonce::Nonces,
    router::router,
    socket::{DEAD_AFTER_S, Sockets},
    store::{self, Event, Quota, Store},
    stun,
    tokens::Tokens,
    web::Assets,
};

/// A client must send a request's head within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long connections may take to finish when the relay ends.
const END_GRACE: Duration = Duration::from_secs(5);
/// Pause after a failed accept, which is nearly always a shortage of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the relay does not start. The texts say what to do.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// A running relay.
pub struct Relay {
    address: SocketAddr,
    app: Arc<App>,
    fanout: Fanout,
    ending: watch::Sender<bool>,
    accepting: JoinHandle<()>,
    maintenance: JoinHandle<()>,
    stun: Option<JoinHandle<()>>,
    connections: Arc<Semaphore>,
    _lock: File,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Relay {
    /// Opens the data folder and listens. Must be called within a tokio runtime.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let listener = listen(config.listen).await?;
        let address = listener
            .local_addr()
            .map_err(|e| StartError(format!("cannot tell which address the relay listens on: {e}")))?;
        let stun = match config.stun_listen {
            Some(address) => Some(bind_stun(address).await?),
            None => None,
        };
        let lock = lock_data_dir(&config.data_dir)?;
        let assets = match &config.web_dir {
            Some(dir) => Assets::from_dir(dir).map_err(|e| {
                StartError(format!("cannot read the web app in {}: {e}; check --web-dir", dir.display()))
            })?,
            None => Assets::embedded(),
        };
        let hub = Arc::new(Hub::new());
        let (events, fanout) =
            Fanout::start(hub.clone()).map_err(|e| StartError(format!("cannot start a thread: {e}")))?;
        let now = clock::unix_seconds();
        let new = !config.data_dir.join(store::FILE).exists();
        let nonces = Nonces::open(&config.data_dir.join("nonces"), new, now)
            .map_err(|e| unwritable(&config.data_dir, &e))?;
        let store = open_store(&config, now, events)?;
        let app = Arc::new(App {
            limits: Limits::new(&config),
            memory: Arc::default(),
            store: Arc::new(store),
            hub,
            sockets: Sockets::default(),
            tokens: Tokens::default(),
            nonces,
            assets,
            stun_port: stun.as_ref().and_then(|socket| Some(socket.local_addr().ok()?.port())),
            config,
        });
        let stun = stun.map(|socket| tokio::spawn(stun::serve(socket, app.clone())));
        let connections = Arc::new(Semaphore::new(most_connections(&app.config) as usize));
        let (ending, ended) = watch::channel(false);
        let maintenance = tokio::spawn(app.clone().maintain());
        let shares = limits::Connections::new(&app.config);
        let accepting =
            tokio::spawn(accept(listener, router(app.clone()), connections.clone(), shares, ended));
        tracing::info!(%address, circles = app.store.circle_count(), "the relay is ready");
        Ok(Self { address, app, fanout, ending, accepting, maintenance, stun, connections, _lock: lock })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends in order: no new connections, requests under way answered, sockets told, everything on disk.
    pub async fn stop(self) {
        let _ = self.ending.send(true);
        self.accepting.abort();
        self.maintenance.abort();
        if let Some(stun) = &self.stun {
            stun.abort();
        }
        self.app.sockets.close_all();
        let max = most_connections(&self.app.config);
        let finished = async {
            let _ = self.connections.acquire_many(max).await;
            while self.app.sockets.count() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(END_GRACE, finished).await.is_err() {
            tracing::warn!("some connections did not finish in time and are cut off");
        }
        let app = self.app;
        let fanout = self.fanout;
        let flushed = tokio::task::spawn_blocking(move || {
            app.store.stop();
            fanout.join();
            app.nonces.close(clock::unix_seconds());
        });
        if flushed.await.is_err() {
            tracing::error!("the end was not orderly; acknowledged messages are on disk");
        }
        tracing::info!("the relay has ended");
    }
}

fn open_store(config: &Config, now: u64, events: mpsc::Sender<Event>) -> Result<Store, StartError> {
    let quota =
        Quota { messages: config.circle_messages, bytes: config.circle_bytes, circles: config.max_circles };
    let idle_before = now.saturating_sub(u64::from(config.message_ttl) * 24 * 60 * 60);
    // The fan-out thread outlives the writer, which holds this sender.
    let sink = Box::new(move |event| drop(events.send(event)));
    Store::open(&config.data_dir, quota, idle_before, sink).map_err(|e| StartError(e.to_string()))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|e| taken(address, "--listen", &e))
}

async fn bind_stun(address: SocketAddr) -> Result<UdpSocket, StartError> {
    UdpSocket::bind(address).await.map_err(|e| taken(address, "--stun-listen", &e))
}

fn taken(address: SocketAddr, option: &str, e: &io::Error) -> StartError {
    let advice = match e.kind() {
        io::ErrorKind::AddrInUse => "another program uses it; end that one or",
        io::ErrorKind::PermissionDenied => "ports below 1024 need special rights;",
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address;",
        _ => "please",
    };
    StartError(format!("cannot listen on {address}: {e}; {advice} choose another with {option}"))
}

/// How many are served at a time. Their permits are asked for at once in the end, which takes no greater number.
fn most_connections(config: &Config) -> u32 {
    u32::try_from(config.max_connections.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX)
}

fn unwritable(dir: &Path, e: &io::Error) -> StartError {
    StartError(format!(
        "cannot write to the data folder {}: {e}; make it writable or choose another with --data-dir",
        dir.display()
    ))
}

/// Makes the folder, where it is missing, for nobody else: the circles' signing keys are in it.
fn make_private(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Two relays on one folder would hand out the same cursors.
fn lock_data_dir(dir: &Path) -> Result<File, StartError> {
    make_private(dir).map_err(|e| unwritable(dir, &e))?;
    let path: PathBuf = dir.join("relay.lock");
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(|e| unwritable(dir, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError(format!(
            "another relay is running on {}; end it first or choose another folder with --data-dir",
            dir.display()
        ))),
        Err(TryLockError::Error(e)) => Err(unwritable(dir, &e)),
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    connections: Arc<Semaphore>,
    shares: Arc<limits::Connections>,
    ended: watch::Receiver<bool>,
) {
    loop {
        // The semaphore is never closed.
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((tcp, address)) => {
                let Some(held) = shares.admit(address.ip()) else {
                    METRICS.connections_refused.add(1);
                    continue;
                };
                let _ = tcp.set_nodelay(true);
                give_up_when_stalled(&tcp);
                let connection = serve(tcp, address, Arc::new(held), router.clone(), ended.clone());
                tokio::spawn(async move {
                    METRICS.connections.add(1);
                    connection.await;
                    METRICS.connections.sub(1);
                    drop(permit);
                });
            }
            Err(e) => {
                tracing::warn!("a connection was not accepted: {e}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Ends a connection of which the other side has taken nothing for as long as a silent socket is kept: an answer that
/// nobody reads would hold its memory for ever.
#[cfg(target_os = "linux")]
fn give_up_when_stalled(tcp: &TcpStream) {
    let _ = rustix::net::sockopt::set_tcp_user_timeout(tcp, DEAD_AFTER_S * 1_000);
}

#[cfg(not(target_os = "linux"))]
fn give_up_when_stalled(_: &TcpStream) {}

/// `held`: the connection's place among its address's, which a WebSocket keeps when HTTP is over.
async fn serve(
    tcp: TcpStream,
    address: SocketAddr,
    held: Arc<limits::Held>,
    router: Router,
    mut ended: watch::Receiver<bool>,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(PeerAddress(address));
        request.extensions_mut().insert(held.clone());
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(tcp), service)
        .with_upgrades();
    let mut connection = Box::pin(connection);
    tokio::select! {
        result = connection.as_mut() => {
            if let Err(e) = result {
                tracing::debug!("a connection ended early: {e}");
            }
            return;
        }
        _ = ended.changed() => connection.as_mut().graceful_shutdown(),
    }
    if let Err(e) = connection.await {
        tracing::debug!("a connection ended early: {e}");
    }
}
