//! WebDriver (W3C), as much of it as these tests need: a small blocking client that shows every call it makes.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;

use crate::netns::Host;

const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A session with a driver.
#[derive(Debug)]
pub struct Session {
    agent: Agent,
    base: String,
    /// Where the driver is, if not on this machine.
    host: Option<Host>,
}

/// Why a call failed, as the driver says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(pub String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A result of the driver.
pub type Outcome<T> = Result<T, Failure>;

fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(90)))
        .proxy(None);
    config.build().into()
}

fn call(agent: &Agent, host: Option<&Host>, method: &str, url: &str, body: Option<&Value>) -> Outcome<Value> {
    match host {
        Some(host) => host.inside(|| call_here(agent, method, url, body)),
        None => call_here(agent, method, url, body),
    }
}

fn call_here(agent: &Agent, method: &str, url: &str, body: Option<&Value>) -> Outcome<Value> {
    let request =
        ureq::http::Request::builder().method(method).uri(url).header("content-type", "application/json");
    let failed = |e: &dyn std::fmt::Display| Failure(format!("{method} {url}: {e}"));
    let response = match body {
        Some(body) => agent.run(request.body(body.to_string()).map_err(|e| failed(&e))?),
        None => agent.run(request.body(()).map_err(|e| failed(&e))?),
    };
    let mut response = response.map_err(|e| failed(&e))?;
    let bytes = response.body_mut().with_config().limit(256 << 20).read_to_vec().map_err(|e| failed(&e))?;
    let mut json: Value = serde_json::from_slice(&bytes).map_err(|e| failed(&e))?;
    let value = json["value"].take();
    if response.status().is_success() {
        return Ok(value);
    }
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    Err(Failure(format!("{method} {url}: {}: {}", text("error"), text("message"))))
}

impl Session {
    /// Whether a driver answers.
    #[must_use]
    pub fn is_ready(driver: &str, host: Option<&Host>) -> bool {
        let status = call(&agent(), host, "GET", &format!("{driver}/status"), None);
        status.is_ok_and(|status| status["ready"] != false)
    }

    /// Opens a browser.
    ///
    /// # Errors
    /// What the driver says.
    pub fn open(driver: &str, host: Option<&Host>, capabilities: &Value) -> Outcome<Self> {
        let agent = agent();
        let body = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let value = call(&agent, host, "POST", &format!("{driver}/session"), Some(&body))?;
        let id = value["sessionId"].as_str().ok_or_else(|| Failure(format!("no session in {value}")))?;
        let session = Self { agent, base: format!("{driver}/session/{id}"), host: host.cloned() };
        session.post("timeouts", &json!({ "script": 60_000, "pageLoad": 60_000, "implicit": 0 }))?;
        Ok(session)
    }

    /// Any `POST` of the protocol.
    ///
    /// # Errors
    /// What the driver says.
    pub fn post(&self, what: &str, body: &Value) -> Outcome<Value> {
        call(&self.agent, self.host.as_ref(), "POST", &format!("{}/{what}", self.base), Some(body))
    }

    /// Any `GET` of the protocol.
    ///
    /// # Errors
    /// What the driver says.
    pub fn get(&self, what: &str) -> Outcome<Value> {
        call(&self.agent, self.host.as_ref(), "GET", &format!("{}/{what}", self.base), None)
    }

    /// Goes to an address.
    ///
    /// # Errors
    /// What the driver says.
    pub fn go(&self, url: &str) -> Outcome<()> {
        self.post("url", &json!({ "url": url })).map(drop)
    }

    /// Runs a function body in the page and answers what it returns.
    ///
    /// # Errors
    /// What the driver or the script says.
    pub fn run(&self, script: &str, args: &[Value]) -> Outcome<Value> {
        self.post("execute/sync", &json!({ "script": script, "args": args }))
    }

    /// Runs a function body whose last argument is to be called with the result.
    ///
    /// # Errors
    /// What the driver or the script says.
    pub fn run_async(&self, script: &str, args: &[Value]) -> Outcome<Value> {
        self.post("execute/async", &json!({ "script": script, "args": args }))
    }

    fn element(&self, css: &str) -> Outcome<String> {
        let value = self.post("element", &json!({ "using": "css selector", "value": css }))?;
        let id = value[ELEMENT].as_str().ok_or_else(|| Failure(format!("no element in {value}")))?;
        Ok(id.to_owned())
    }

    /// Clicks the first element that fits.
    ///
    /// # Errors
    /// When there is none, or it cannot be clicked.
    pub fn click(&self, css: &str) -> Outcome<()> {
        let id = self.element(css)?;
        self.post(&format!("element/{id}/click"), &json!({})).map(drop)
    }

    /// Types into the first element that fits.
    ///
    /// # Errors
    /// When there is none, or it takes no text.
    pub fn keys(&self, css: &str, text: &str) -> Outcome<()> {
        let id = self.element(css)?;
        self.post(&format!("element/{id}/value"), &json!({ "text": text })).map(drop)
    }

    /// A picture of the page, PNG in base64.
    ///
    /// # Errors
    /// What the driver says.
    pub fn screenshot(&self) -> Outcome<String> {
        let value = self.get("screenshot")?;
        Ok(value.as_str().unwrap_or_default().to_owned())
    }

    /// A call of the Chrome DevTools protocol; Chromium only.
    ///
    /// # Errors
    /// What the driver says.
    pub fn devtools(&self, cmd: &str, params: &Value) -> Outcome<Value> {
        self.post("goog/cdp/execute", &json!({ "cmd": cmd, "params": params }))
    }

    /// What the page has written to its console since the last call; Chromium only.
    #[must_use]
    pub fn console(&self) -> Vec<String> {
        let log = self.post("se/log", &json!({ "type": "browser" })).unwrap_or_default();
        let text = |entry: &Value| entry["message"].as_str().unwrap_or_default().to_owned();
        log.as_array().into_iter().flatten().map(text).collect()
    }

    /// Opens another tab and goes there.
    ///
    /// # Errors
    /// What the driver says.
    pub fn new_tab(&self) -> Outcome<String> {
        let value = self.post("window/new", &json!({ "type": "tab" }))?;
        let handle = value["handle"].as_str().unwrap_or_default().to_owned();
        self.switch_to(&handle)?;
        Ok(handle)
    }

    /// The present tab.
    ///
    /// # Errors
    /// What the driver says.
    pub fn tab(&self) -> Outcome<String> {
        Ok(self.get("window")?.as_str().unwrap_or_default().to_owned())
    }

    /// Goes to another tab.
    ///
    /// # Errors
    /// What the driver says.
    pub fn switch_to(&self, handle: &str) -> Outcome<()> {
        self.post("window", &json!({ "handle": handle })).map(drop)
    }

    /// Closes the present tab; another one is to be switched to then.
    ///
    /// # Errors
    /// What the driver says.
    pub fn close_tab(&self) -> Outcome<()> {
        call(&self.agent, self.host.as_ref(), "DELETE", &format!("{}/window", self.base), None).map(drop)
    }

    /// Closes the browser; also done when dropped.
    pub fn close(&self) {
        let _ = call(&self.agent, self.host.as_ref(), "DELETE", &self.base, None);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}
