//! What the app asks of the browser besides the node: the page's title and badge, notifications, sharing, the
//! address bar, small settings.

use felund_wasm::Listener;
use js_sys::{Function, Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Document, HtmlElement, Notification, NotificationOptions, NotificationPermission, Window};

pub(crate) fn window() -> Option<Window> {
    web_sys::window()
}

pub(crate) fn document() -> Option<Document> {
    window()?.document()
}

/// Whether the cursor may go into an input that nobody touched. On a phone that brings the keyboard up, over half of what there
/// is to see, unless it is up already.
pub(crate) fn may_type() -> bool {
    let touched = window().and_then(|window| window.match_media("(pointer: coarse)").ok()?);
    let active = document().and_then(|document| document.active_element()).map(|element| element.tag_name());
    !touched.is_some_and(|query| query.matches()) || matches!(active.as_deref(), Some("INPUT" | "TEXTAREA"))
}

/// Where the app is mounted: the element that holds the static shell.
pub(crate) fn root() -> Option<HtmlElement> {
    element("app")
}

pub(crate) fn element(id: &str) -> Option<HtmlElement> {
    document()?.get_element_by_id(id)?.dyn_into().ok()
}

/// The static shell's inputs.
const EARLY_INPUTS: [&str; 2] = ["early", "early-name"];

/// What was typed into the static shell before the app was there, and whether the cursor was in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Early {
    pub(crate) text: String,
    pub(crate) focused: bool,
}

pub(crate) fn take_early_input() -> Early {
    let value = |id| Reflect::get(element(id)?.as_ref(), &"value".into()).ok()?.as_string();
    let texts = EARLY_INPUTS.into_iter().filter_map(value);
    let active = document().and_then(|document| document.active_element()).map(|element| element.id());
    Early {
        text: texts.max_by_key(String::len).unwrap_or_default(),
        focused: active.is_some_and(|active| EARLY_INPUTS.contains(&&*active)),
    }
}

/// Shows the part of the page that says that the app has crashed. It is static: nothing may fail here.
pub(crate) fn show_crash() {
    if let Some(note) = element("crashed") {
        // An attribute's removal does not fail.
        let _ = note.remove_attribute("hidden");
    }
}

/// The page's origin, which is also the default relay.
pub(crate) fn origin() -> Option<String> {
    window()?.location().origin().ok().filter(|origin| origin.starts_with("http"))
}

/// The invite in the address, if there is one.
pub(crate) fn invite_in_address() -> Option<String> {
    let hash = window()?.location().hash().ok()?;
    hash.contains("felund1.").then(|| hash.trim_start_matches('#').to_owned())
}

/// Takes the invite out of the address and the tab's history: it is the key to the circle.
pub(crate) fn clear_address() {
    let Some(window) = window() else { return };
    let path = window.location().pathname().unwrap_or_else(|_| "/".into());
    if let Ok(history) = window.history() {
        let state = history.state().unwrap_or(JsValue::NULL);
        // Refused only when called hundreds of times a minute.
        let _ = history.replace_state_with_url(&state, "", Some(&path));
    }
}

/// The part of the app that a first visit does not load (`web/rest.js`): nothing where it is there, else what to wait for.
pub(crate) fn rest() -> Option<Promise> {
    function(&js_sys::global(), "felundRest")?.call0(&JsValue::UNDEFINED).ok()?.dyn_into().ok()
}

/// Begins anew.
pub(crate) fn reload() {
    if let Some(window) = window() {
        // Refused only while the page is going away.
        let _ = window.location().reload();
    }
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &Function, delay_ms: i32);
}

/// Waits; in a page that is hidden rather longer.
pub(crate) async fn pause(ms: i32) {
    let waited = Promise::new(&mut |resolve, _| set_timeout(&resolve, ms));
    // Never rejected.
    let _ = JsFuture::from(waited).await;
}

pub(crate) fn hidden() -> bool {
    document().is_some_and(|document| document.visibility_state() == web_sys::VisibilityState::Hidden)
}

/// Shows the number of unread messages in the title and on the app's icon.
pub(crate) fn show_unread(unread: u32, place: &str) {
    let count = if unread > 0 { ["(", &unread.to_string(), ") "].concat() } else { String::new() };
    let place = if place.is_empty() { String::new() } else { [place, " · "].concat() };
    if let Some(document) = document() {
        document.set_title(&[&*count, &*place, "felund"].concat());
    }
    let Some(navigator) = window().map(|window| window.navigator()) else { return };
    // Not in every browser.
    if let Some(set) = function(&navigator, "setAppBadge") {
        let _ = set.call1(&navigator, &JsValue::from_f64(f64::from(unread)));
    }
}

fn function(object: &JsValue, name: &str) -> Option<Function> {
    Reflect::get(object, &JsValue::from_str(name)).ok()?.dyn_into().ok()
}

/// Whether the browser has notifications at all, and what the user said about them.
pub(crate) fn notification_permission() -> Option<NotificationPermission> {
    let known = Reflect::has(window()?.as_ref(), &"Notification".into()).unwrap_or(false);
    known.then(Notification::permission)
}

/// Asks the user for notifications.
pub(crate) async fn ask_for_notifications() -> Option<NotificationPermission> {
    notification_permission()?;
    if let Ok(asked) = Notification::request_permission() {
        // Rejected only where it must be asked from a click, and it is.
        let _ = JsFuture::from(asked).await;
    }
    notification_permission()
}

/// Notifies, if the user allowed it. Another one with the same tag replaces it, and is heard as the first was.
pub(crate) fn notify(title: String, text: &str, tag: &str) {
    if notification_permission() != Some(NotificationPermission::Granted) {
        return;
    }
    let options = NotificationOptions::new();
    options.set_body(text);
    options.set_tag(tag);
    options.set_renotify(true);
    options.set_icon("/icons/icon-192.png");
    leptos::task::spawn_local(async move {
        // Phones notify through the service worker only.
        if let Some(worker) = ready_worker().await
            && let Ok(shown) = worker.show_notification_with_options(&title, &options)
            && JsFuture::from(shown).await.is_ok()
        {
            return;
        }
        let _ = Notification::new_with_options(&title, &options);
    });
}

/// Takes away what was notified of with a tag.
pub(crate) fn close_notifications(tag: String) {
    if notification_permission() != Some(NotificationPermission::Granted) {
        return;
    }
    leptos::task::spawn_local(async move {
        let Some(worker) = ready_worker().await else { return };
        let of_tag = js_sys::Object::new();
        // Setting a property of a fresh object does not fail.
        let _ = Reflect::set(&of_tag, &"tag".into(), &tag.into());
        let asked = function(&worker, "getNotifications").and_then(|get| get.call1(&worker, &of_tag).ok());
        let Some(asked) = asked.and_then(|asked| asked.dyn_into::<Promise>().ok()) else { return };
        let shown = JsFuture::from(asked).await.unwrap_or_default();
        for notification in js_sys::Array::from(&shown) {
            notification.unchecked_into::<Notification>().close();
        }
    });
}

/// Calls `then` with the tag of a notification that was clicked, which the worker is told of.
pub(crate) fn on_notification_click(then: impl Fn(String) + 'static) -> Option<Listener> {
    let clicked = move |event: web_sys::Event| {
        if let Some(tag) = Reflect::get(&event, &"data".into()).ok().and_then(|tag| tag.as_string()) {
            then(tag);
        }
    };
    Some(Listener::new(&*workers()?, "message", clicked))
}

fn workers() -> Option<web_sys::ServiceWorkerContainer> {
    let navigator = window()?.navigator();
    let container = Reflect::get(&navigator, &"serviceWorker".into()).ok().filter(|c| !c.is_undefined())?;
    Some(container.unchecked_into())
}

async fn ready_worker() -> Option<web_sys::ServiceWorkerRegistration> {
    let container = workers()?;
    container.controller_exists().then_some(())?;
    JsFuture::from(container.ready().ok()?).await.ok()?.dyn_into().ok()
}

trait ControllerExists {
    fn controller_exists(&self) -> bool;
}

impl ControllerExists for web_sys::ServiceWorkerContainer {
    /// `ready` never settles without a worker.
    fn controller_exists(&self) -> bool {
        Reflect::get(self, &"controller".into()).is_ok_and(|controller| !controller.is_null())
    }
}

/// Puts a text on the clipboard.
pub(crate) async fn copy(text: &str) -> bool {
    let Some(navigator) = window().map(|window| window.navigator()) else { return false };
    let clipboard = Reflect::get(&navigator, &"clipboard".into()).ok().filter(|c| !c.is_undefined());
    let Some(clipboard) = clipboard else { return false };
    let clipboard: web_sys::Clipboard = clipboard.unchecked_into();
    JsFuture::from(clipboard.write_text(text)).await.is_ok()
}

/// Whether the system can share a link.
pub(crate) fn can_share() -> bool {
    window().is_some_and(|window| function(&window.navigator(), "share").is_some())
}

/// Offers a link to the system's way of sharing.
pub(crate) fn share(title: &str, url: &str) {
    let Some(navigator) = window().map(|window| window.navigator()) else { return };
    let data = js_sys::Object::new();
    // Setting a property of a fresh object does not fail.
    let _ = Reflect::set(&data, &"title".into(), &title.into());
    let _ = Reflect::set(&data, &"url".into(), &url.into());
    if let Some(share) = function(&navigator, "share") {
        // Rejected when the user thinks better of it.
        let _ = share.call1(&navigator, &data);
    }
}

/// A small setting of this browser; private windows may have none.
pub(crate) fn setting(name: &str) -> Option<String> {
    window()?.local_storage().ok()??.get_item(name).ok()?
}

pub(crate) fn set_setting(name: &str, value: &str) {
    if let Some(Ok(Some(storage))) = window().map(|window| window.local_storage()) {
        // Refused when storage is blocked: the setting then lasts as long as the tab.
        let _ = storage.set_item(name, value);
    }
}

/// Applies and keeps the theme: `light`, `dark`, or empty for the system's.
pub(crate) fn set_theme(theme: &str) {
    set_setting("felund-theme", theme);
    if let Some(root) = document().and_then(|document| document.document_element()) {
        // Attribute names of this kind are always accepted.
        let _ = root.set_attribute("data-theme", theme);
    }
}

/// Tells the script beside the app (`shell.js`), which holds what the browser only gives to early listeners.
pub(crate) fn tell_shell(name: &str) {
    if let (Some(window), Ok(event)) = (window(), web_sys::Event::new(name)) {
        // Fails only for an event that is being dispatched already.
        let _ = window.dispatch_event(&event);
    }
}
