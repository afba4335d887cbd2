//! What the browser promises about storage, and asking it to promise more.

use felund_core::view::Finding;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{StorageEstimate, StorageManager};

use crate::browser::{self, get};

/// Whether the browser may throw away what is stored when space gets short; `None` when it does not say.
pub async fn persisted() -> Option<bool> {
    JsFuture::from(manager()?.persisted().ok()?).await.ok()?.as_bool()
}

/// Asks the browser to keep what is stored until the user deletes it. Some browsers ask the user.
pub async fn persist() -> Option<bool> {
    JsFuture::from(manager()?.persist().ok()?).await.ok()?.as_bool()
}

/// Bytes used and bytes allowed.
pub async fn usage() -> Option<(f64, f64)> {
    let estimate = JsFuture::from(manager()?.estimate().ok()?).await.ok()?;
    let estimate: StorageEstimate = estimate.unchecked_into();
    Some((estimate.get_usage()?, estimate.get_quota()?))
}

/// What `/doctor` says about this browser, beside what the node finds out.
pub async fn findings() -> Vec<Finding> {
    let mut findings = Vec::new();
    let kept = persisted().await;
    let detail = match kept {
        Some(true) => "The browser keeps what is stored here until you delete it.",
        Some(false) => "The browser may delete what is stored here when space gets short.",
        None => "The browser does not say whether it keeps what is stored here.",
    };
    let advice = (kept != Some(true)).then_some(
        "Install Felund on the home screen or allow notifications, then ask again in the settings. Messages that \
         a relay or a member still has come back by themselves; your keys do not.",
    );
    findings.push(Finding::new("storage persistence", kept == Some(true), detail, advice));
    if let Some((used, quota)) = usage().await {
        let mib = |bytes: f64| ((bytes / 1_048_576.0).ceil() as u64).to_string();
        let detail = [&*mib(used), " MiB used of ", &mib(quota), " MiB allowed"].concat();
        let full = used > quota * 0.9;
        let advice = full.then_some("Free some space on the device, or keep fewer messages in the settings.");
        findings.push(Finding::new("storage space", !full, detail, advice));
    }
    findings
}

fn manager() -> Option<StorageManager> {
    // Undefined on pages that were not loaded over HTTPS or from this device.
    let navigator = browser::window()?.navigator();
    Some(get(&navigator, "storage")?.unchecked_into())
}
