//! HTTP through `fetch`: no cookies, no cache, no redirects, bounded in time and size.

use felund_core::{
    config::MAX_HTTP_RESPONSE,
    io::{HttpRequest, HttpResponse},
};
use js_sys::Uint8Array;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, Headers, ReadableStreamDefaultReader, ReferrerPolicy, Request, RequestCache,
    RequestCredentials, RequestInit, RequestRedirect, Response,
};

use crate::browser::{self, Timer, explain, get};

/// Why there is no answer, as far as a page may know.
const UNREACHED: &str =
    "no connection: the relay does not answer, or the network or browser does not let this device reach it";

/// Carries out one request; an error is a reason for people.
pub(crate) async fn fetch(request: HttpRequest) -> Result<HttpResponse, String> {
    let controller = AbortController::new().map_err(|error| explain(&error))?;
    let signal = controller.signal();
    let deadline = Timer::new(request.within_ms, move || controller.abort());
    let result = exchange(&request, &signal).await;
    drop(deadline);
    match result {
        Ok(response) => Ok(response),
        Err(_) if signal.aborted() => Err("no answer in time".into()),
        // Of whatever kept a request from getting through, browsers say no more, and that in words for developers.
        Err(error) if get(&error, "name").is_some_and(|name| name == "TypeError") => Err(UNREACHED.into()),
        Err(error) => Err(explain(&error)),
    }
}

async fn exchange(request: &HttpRequest, signal: &web_sys::AbortSignal) -> Result<HttpResponse, JsValue> {
    let headers = Headers::new()?;
    for (name, value) in &request.headers {
        headers.append(name, value)?;
    }
    let init = RequestInit::new();
    init.set_method(request.method);
    init.set_headers(&headers);
    init.set_cache(RequestCache::NoStore);
    init.set_credentials(RequestCredentials::Omit);
    init.set_redirect(RequestRedirect::Error);
    init.set_referrer_policy(ReferrerPolicy::NoReferrer);
    init.set_signal(Some(signal));
    if !request.body.is_empty() {
        init.set_body(&Uint8Array::from(request.body.as_slice()));
    }
    let request = Request::new_with_str_and_init(&request.url, &init)?;
    let window = browser::window().ok_or_else(|| JsValue::from_str("no window to fetch with"))?;
    let response: Response = JsFuture::from(window.fetch_with_request(&request)).await?.dyn_into()?;
    let retry_after_s = response.headers().get("retry-after")?.and_then(|text| text.trim().parse().ok());
    Ok(HttpResponse { status: response.status(), retry_after_s, body: read(&response).await? })
}

async fn read(response: &Response) -> Result<Vec<u8>, JsValue> {
    let mut body = Vec::new();
    let Some(stream) = response.body() else { return Ok(body) };
    let reader: ReadableStreamDefaultReader = stream.get_reader().dyn_into()?;
    loop {
        let part = JsFuture::from(reader.read()).await?;
        let Some(chunk) = get(&part, "value") else { return Ok(body) };
        let chunk: Uint8Array = chunk.dyn_into()?;
        if body.len() + chunk.length() as usize > MAX_HTTP_RESPONSE {
            // The stream is abandoned; whether cancelling it works changes nothing.
            let _ = JsFuture::from(reader.cancel()).await;
            return Err(JsValue::from_str("the answer is larger than any that is meant for us"));
        }
        let at = body.len();
        body.resize(at + chunk.length() as usize, 0);
        chunk.copy_to(&mut body[at..]);
    }
}
