//! Real browsers with empty profiles: Chromium, Firefox and WebKitGTK, each with its own driver on a free port.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    netns::Host,
    process::{Paused, Process, find_tool, free_port},
    wait,
    webdriver::Session,
};

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Chromium or Chrome.
    Chromium,
    /// Firefox.
    Firefox,
    /// WebKitGTK's small browser, the nearest thing to Safari.
    WebKit,
}

/// A browser with one window.
#[derive(Debug)]
pub struct Browser {
    // Dropped in this order: the window closes before its driver ends, and both before the display.
    session: Session,
    driver: Driver,
    _display: Option<Process>,
    profile: TempDir,
    engine: Engine,
}

/// A driver, and whatever it has started and not ended.
#[derive(Debug)]
struct Driver(Process);

impl Drop for Driver {
    fn drop(&mut self) {
        for child in descendants(self.0.id()) {
            // Found through its parents just now, so the id is still that process's.
            let _ = kill_process(child, Signal::KILL);
        }
    }
}

fn descendants(root: u32) -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // The second field is the name in brackets, which may hold anything.
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        if let Some(parent) = after.split_whitespace().nth(1).and_then(|parent| parent.parse().ok()) {
            children.entry(parent).or_default().push(id);
        }
    }
    let (mut found, mut next) = (Vec::new(), vec![i32::try_from(root).unwrap_or_default()]);
    while let Some(parent) = next.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            found.extend(Pid::from_raw(child));
            next.push(child);
        }
    }
    found
}

fn tool(name: &str) -> PathBuf {
    find_tool(name).unwrap_or_else(|| panic!("{name} is not installed; `cargo xtask setup --tests` gets it"))
}

impl Browser {
    /// Opens one of 1280×800 pixels.
    #[must_use]
    pub fn open(engine: Engine) -> Self {
        Self::open_sized(engine, 1280, 800)
    }

    /// Opens one.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn open_sized(engine: Engine, width: u32, height: u32) -> Self {
        Self::begin(engine, (width, height), None, &[])
    }

    /// Opens a Chromium whose camera sees a picture for ever: a film in the YUV4MPEG2 format.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn open_with_camera(film: &Path) -> Self {
        let film = format!("--use-file-for-fake-video-capture={}", film.display());
        let camera = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", &film];
        Self::begin(Engine::Chromium, (1280, 800), None, &camera)
    }

    /// Opens one on another machine, which takes the web app at `origin` for as safe as one on its own.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn open_on(host: &Host, engine: Engine, origin: &str) -> Self {
        Self::begin(engine, (1280, 800), Some((host, origin)), &[])
    }

    fn begin(
        engine: Engine,
        (width, height): (u32, u32),
        elsewhere: Option<(&Host, &str)>,
        camera: &[&str],
    ) -> Self {
        let (host, origin) = elsewhere.unzip();
        let command_for = |name| Host::command_on(host, tool(name));
        let free_port = || host.map_or_else(free_port, |host| host.inside(free_port));
        let profile =
            tempfile::Builder::new().prefix("felund-browser-").tempdir().expect("a temporary directory");
        let port = free_port();
        let mut display = None;
        let mut command = match engine {
            Engine::Chromium => {
                let mut command = command_for("chromedriver");
                command.arg(format!("--port={port}"));
                command
            }
            Engine::Firefox => {
                let mut command = command_for("geckodriver");
                command.args(["--host", "127.0.0.1", "--port"]).arg(port.to_string());
                command.arg("--websocket-port").arg(free_port().to_string());
                command.arg("--profile-root").arg(profile.path());
                command
            }
            Engine::WebKit => {
                let (xvfb, number) = virtual_display();
                display = Some(xvfb);
                let mut command = command_for("WebKitWebDriver");
                command.arg(format!("--port={port}")).env("DISPLAY", number);
                command.env("WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS", "1");
                command.env("LIBGL_ALWAYS_SOFTWARE", "1").env("GDK_BACKEND", "x11").env("NO_AT_BRIDGE", "1");
                command
            }
        };
        // Whatever a browser keeps beside its profile goes with it.
        for (name, sub) in [("HOME", "home"), ("XDG_DATA_HOME", "data"), ("XDG_CACHE_HOME", "cache")] {
            let dir = profile.path().join(sub);
            fs::create_dir_all(&dir).expect("the profile can be written");
            command.env(name, dir);
        }
        let driver = Driver(Process::spawn(&format!("the driver of {engine:?}"), &mut command));
        let url = format!("http://127.0.0.1:{port}");
        wait::until_true("a driver that is ready", || Session::is_ready(&url, host));
        let mut capabilities = capabilities(engine, &profile.path().join("profile"), (width, height), origin);
        if let Some(args) = capabilities["goog:chromeOptions"]["args"].as_array_mut() {
            args.extend(camera.iter().map(|arg| json!(arg)));
        }
        let session = Session::open(&url, host, &capabilities)
            .unwrap_or_else(|e| panic!("{engine:?} does not start: {e}"));
        if engine != Engine::Chromium {
            // A window manager would be asked; without one the size is what was asked for, or the screen's.
            let _ = session.post("window/rect", &json!({ "width": width, "height": height }));
        }
        Self { session, driver, _display: display, profile, engine }
    }

    /// The window.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// Which browser it is.
    #[must_use]
    pub const fn engine(&self) -> Engine {
        self.engine
    }

    /// The driver's process id.
    #[must_use]
    pub fn driver_id(&self) -> u32 {
        self.driver.0.id()
    }

    /// The processes it consists of.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        descendants(self.driver.0.id()).into_iter().map(Pid::as_raw_pid).collect()
    }

    /// Lets all of them do nothing until the answer is dropped, as on a machine that sleeps.
    #[must_use]
    pub fn pause(&self) -> Paused {
        Paused::new(descendants(self.driver.0.id()))
    }

    /// Where everything the browser keeps lies.
    #[must_use]
    pub fn profile(&self) -> &Path {
        self.profile.path()
    }
}

fn capabilities(engine: Engine, profile: &Path, (width, height): (u32, u32), origin: Option<&str>) -> Value {
    match engine {
        Engine::Chromium => {
            let mut args = vec![
                "--headless".to_owned(),
                "--no-sandbox".to_owned(),
                "--disable-gpu".to_owned(),
                "--disable-dev-shm-usage".to_owned(),
                "--disable-quic".to_owned(),
                "--no-first-run".to_owned(),
                "--disable-background-networking".to_owned(),
                "--disable-component-update".to_owned(),
                "--disable-sync".to_owned(),
                "--no-proxy-server".to_owned(),
                "--hide-scrollbars".to_owned(),
                // Host candidates otherwise bear names that only multicast DNS resolves, which test networks lack.
                "--disable-features=WebRtcHideLocalIpsWithMdns".to_owned(),
                format!("--window-size={width},{height}"),
                format!("--user-data-dir={}", profile.display()),
            ];
            args.extend(origin.map(|origin| format!("--unsafely-treat-insecure-origin-as-secure={origin}")));
            json!({
                "browserName": "chrome",
                "goog:chromeOptions": { "args": args },
                "goog:loggingPrefs": { "browser": "ALL" },
            })
        }
        Engine::Firefox => json!({
            "browserName": "firefox",
            "moz:firefoxOptions": {
                "args": ["-headless", format!("--width={width}"), format!("--height={height}")],
                "prefs": {
                    "network.proxy.type": 0,
                    "dom.securecontext.allowlist": origin.and_then(host_of).unwrap_or_default(),
                    "media.peerconnection.ice.obfuscate_host_addresses": false,
                    "datareporting.policy.dataSubmissionEnabled": false,
                    "app.update.enabled": false,
                    "network.captive-portal-service.enabled": false,
                    "network.connectivity-service.enabled": false,
                },
            },
        }),
        Engine::WebKit => json!({ "browserName": "MiniBrowser" }),
    }
}

/// The host of an origin.
fn host_of(origin: &str) -> Option<&str> {
    origin.split_once("://")?.1.split(':').next()
}

/// A display in memory, and its name.
fn virtual_display() -> (Process, String) {
    let mut command = Command::new(tool("Xvfb"));
    command.args(["-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]);
    let process = Process::spawn("Xvfb", &mut command);
    let number = process.stdout().wait_for("the display's number", |line| line.trim().parse::<u32>().ok());
    (process, format!(":{number}"))
}
