//! Reading an invite's QR code with the camera: by the browser's own reader, or by ours where it has none.

use std::{cell::Cell, rc::Rc};

use js_sys::{Array, Object, Promise, Reflect};
use leptos::{html, prelude::*, task::spawn_local};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use web_sys::{HtmlVideoElement, MediaStream, MediaStreamConstraints, MediaStreamTrack};

use crate::{pages::on_cleanup_keep, platform};

/// Between two looks at the camera's picture, in milliseconds.
const LOOK_MS: i32 = 250;

#[wasm_bindgen]
extern "C" {
    type Detector;
    #[wasm_bindgen(catch, constructor, js_class = "BarcodeDetector")]
    fn new(options: &JsValue) -> Result<Detector, JsValue>;
    #[wasm_bindgen(catch, static_method_of = Detector, js_class = "BarcodeDetector", js_name = getSupportedFormats)]
    fn formats() -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn detect(this: &Detector, source: &HtmlVideoElement) -> Result<Promise, JsValue>;
    #[wasm_bindgen(catch, js_name = felundImport)]
    fn import(script: &str) -> Result<Promise, JsValue>;
}

/// Ends the camera when dropped.
struct Camera(MediaStream, Rc<Cell<bool>>);

impl Drop for Camera {
    fn drop(&mut self) {
        self.1.set(false);
        for track in self.0.get_tracks() {
            track.unchecked_into::<MediaStreamTrack>().stop();
        }
    }
}

/// Shows the camera's picture until a code is found.
#[component]
pub(super) fn Scan(
    /// Takes the code's text.
    found: impl Fn(String) + Copy + 'static,
    /// The user thought better of it.
    close: impl Fn() + Copy + 'static,
) -> impl IntoView {
    let video = NodeRef::<html::Video>::new();
    let state = RwSignal::new("Starting the camera…".to_owned());
    let camera = StoredValue::new_local(None::<Camera>);
    on_cleanup_keep(ClearOnDrop(camera));
    Effect::new(move || {
        let Some(video) = video.get() else { return };
        spawn_local(async move {
            let running = Rc::new(Cell::new(true));
            match open_camera().await {
                Ok(stream) => {
                    video.set_src_object(Some(&stream));
                    // Dropped here when nobody wants it any more.
                    let opened = Camera(stream, running.clone());
                    if camera.try_update_value(move |slot| *slot = Some(opened)).is_none() {
                        return;
                    }
                    state.try_set("Point the camera at the invite's QR code.".into());
                    // Rejected when the page goes away meanwhile.
                    if let Ok(playing) = video.play() {
                        let _ = JsFuture::from(playing).await;
                    }
                }
                Err(text) => {
                    state.try_set(text);
                    return;
                }
            }
            match look(&video, &running).await {
                Ok(Some(text)) => found(text),
                Ok(None) => {}
                Err(text) => {
                    state.try_set(text);
                }
            }
        });
    });
    view! {
        <div class="scan">
            <video node_ref=video playsinline muted aria-label="Camera"></video>
            <p role="status">{state}</p>
            <button type="button" on:click=move |_| close()>"Stop scanning"</button>
        </div>
    }
}

struct ClearOnDrop(StoredValue<Option<Camera>, LocalStorage>);

impl Drop for ClearOnDrop {
    fn drop(&mut self) {
        self.0.try_update_value(|camera| *camera = None);
    }
}

async fn open_camera() -> Result<MediaStream, String> {
    let refused =
        || "The camera cannot be used: allow it for this site, or paste the invite instead.".to_owned();
    let navigator = platform::window().ok_or_else(refused)?.navigator();
    let devices = navigator.media_devices().map_err(|_| refused())?;
    if devices.is_undefined() {
        return Err("Only pages loaded over HTTPS may use the camera. Paste the invite instead.".into());
    }
    let video = Object::new();
    // Setting a property of a fresh object does not fail.
    let _ = Reflect::set(&video, &"facingMode".into(), &"environment".into());
    let wanted = MediaStreamConstraints::new();
    wanted.set_video(&video);
    let asked = devices.get_user_media_with_constraints(&wanted).map_err(|_| refused())?;
    JsFuture::from(asked).await.map(JsCast::unchecked_into).map_err(|_| refused())
}

/// Looks at the picture again and again until there is a code in it.
async fn look(video: &HtmlVideoElement, running: &Cell<bool>) -> Result<Option<String>, String> {
    let detector = match browsers_own().await {
        Some(detector) => detector,
        None => ours().await.ok_or(
            "The reader of QR codes could not be loaded. Go online and try again, or paste the invite here.",
        )?,
    };
    while running.get() {
        let text = match detector.detect(video) {
            Ok(found) => JsFuture::from(found).await.ok().and_then(|found| first_text(&found)),
            Err(_) => None,
        };
        if let Some(text) = text.filter(|text| text.contains("felund1.")) {
            // The user may have thought better of it while the picture was looked at.
            return Ok(running.get().then_some(text));
        }
        platform::pause(LOOK_MS).await;
    }
    Ok(None)
}

/// `web/scan.js`, which has a function of the same name and shape.
async fn ours() -> Option<Detector> {
    let module = JsFuture::from(import("/scan.js").ok()?).await.ok()?;
    Some(module.unchecked_into())
}

/// None where the browser has no reader, or one that knows other codes only.
async fn browsers_own() -> Option<Detector> {
    let formats: Array = JsFuture::from(Detector::formats().ok()?).await.ok()?.unchecked_into();
    if !formats.includes(&"qr_code".into(), 0) {
        return None;
    }
    let options = Object::new();
    // Setting a property of a fresh object does not fail.
    let _ = Reflect::set(&options, &"formats".into(), &Array::of1(&"qr_code".into()));
    Detector::new(&options).ok()
}

fn first_text(found: &JsValue) -> Option<String> {
    let first = found.dyn_ref::<Array>()?.get(0);
    Reflect::get(&first, &"rawValue".into()).ok()?.as_string()
}
