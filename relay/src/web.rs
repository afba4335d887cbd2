//! The web app's files, built into the program (`build.rs`) or read from a folder once at the start.
//!
//! They are compressed beforehand, so that a first visit is small and costs no CPU. Names that carry
//! a content hash may be cached for ever; the page, the service worker and the manifest are asked for each time
//! and answered by their ETag.

use std::{collections::HashMap, fs, io, path::Path, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{
            ACCEPT, ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY,
            CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
        },
    },
    response::Response,
};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{app::App, compress, policy::policy};

/// Brotli's for a folder's files: a start takes about a second longer; with 11 it would be several.
const QUALITY: i32 = 9;

/// A file as `build.rs` embeds it: path from the root, content, and compressed forms where they are smaller.
struct Embedded {
    path: &'static str,
    raw: &'static [u8],
    brotli: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Felund relay</title>\
    <h1>This relay runs</h1><p>The web app was not built into it. Build it with <code>cargo xtask run</code>, \
    or start the relay with <code>--web-dir</code> and the folder of a built app. The API is under \
    <code>/v1</code>; see <a href=\"/v1/openapi.json\">openapi.json</a>.</p></html>\n";

struct Asset {
    raw: Bytes,
    brotli: Option<Bytes>,
    gzip: Option<Bytes>,
    etag: HeaderValue,
    content_type: &'static str,
    immutable: bool,
    /// A page's content security policy.
    policy: Option<HeaderValue>,
}

/// All files, by path.
pub(crate) struct Assets {
    files: HashMap<String, Asset>,
}

impl Assets {
    /// Those built in.
    pub(crate) fn embedded() -> Self {
        let files = EMBEDDED.iter().map(|file| {
            let form = |bytes: Option<&'static [u8]>| bytes.map(Bytes::from_static);
            (file.path.into(), Asset::new(file.path, file.raw.into(), form(file.brotli), form(file.gzip)))
        });
        Self::with_index(files.collect())
    }

    /// Those of a folder. A file `x.br` or `x.gz` beside `x` is its compressed form; one that has neither is compressed.
    pub(crate) fn from_dir(dir: &Path) -> io::Result<Self> {
        let mut contents = HashMap::new();
        read_dir(dir, "", &mut contents)?;
        let mut files = HashMap::new();
        for (path, raw) in
            contents.iter().filter(|(path, _)| !path.ends_with(".br") && !path.ends_with(".gz"))
        {
            let beside = |suffix: &str| contents.get(&format!("{path}{suffix}")).cloned();
            let (mut brotli, mut gzip) = (beside(".br"), beside(".gz"));
            if brotli.is_none() && gzip.is_none() {
                let forms = compress::forms(raw, QUALITY)?;
                (brotli, gzip) = (forms.brotli.map(Bytes::from), forms.gzip.map(Bytes::from));
            }
            files.insert(path.clone(), Asset::new(path, raw.clone(), brotli, gzip));
        }
        Ok(Self::with_index(files))
    }

    fn with_index(mut files: HashMap<String, Asset>) -> Self {
        files
            .entry("/index.html".into())
            .or_insert_with(|| Asset::new("/index.html", NOT_BUILT.into(), None, None));
        Self { files }
    }

    /// The file a request means: navigations within the app are the page.
    fn find(&self, path: &str, headers: &HeaderMap) -> Option<&Asset> {
        let page = || self.files.get("/index.html");
        if path == "/" {
            return page();
        }
        let navigation = || {
            let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
            let file_like = path.rsplit('/').next().is_some_and(|name| name.contains('.'));
            accepts.contains("text/html") && !file_like
        };
        self.files.get(path).or_else(|| if navigation() { page() } else { None })
    }
}

fn read_dir(dir: &Path, prefix: &str, out: &mut HashMap<String, Bytes>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            read_dir(&entry.path(), &path, out)?;
        } else {
            out.insert(path, fs::read(entry.path())?.into());
        }
    }
    Ok(())
}

impl Asset {
    fn new(path: &str, raw: Bytes, brotli: Option<Bytes>, gzip: Option<Bytes>) -> Self {
        let digest = hex::encode(&Sha256::digest(&raw)[..8]);
        // Quoted hex digits are a header value.
        let etag =
            HeaderValue::from_str(&format!("\"{digest}\"")).unwrap_or(HeaderValue::from_static("\"0\""));
        let policy = path.ends_with(".html").then(|| policy(std::str::from_utf8(&raw).ok()));
        Self { etag, content_type: content_type(path), immutable: is_hashed(path), policy, raw, brotli, gzip }
    }
}

/// `GET` of anything outside `/v1`.
pub(crate) async fn serve(State(app): State<Arc<App>>, request: Request) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response =
            plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is possible here; the API is under /v1\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let Some(asset) = app.assets.find(request.uri().path(), request.headers()) else {
        return plain(StatusCode::NOT_FOUND, "there is no such file here; the app is at /\n");
    };
    let known = request.headers().get(IF_NONE_MATCH).is_some_and(|tag| *tag == asset.etag);
    let (bytes, encoding) = choose(asset, request.headers());
    let mut response = Response::new(if known { Body::empty() } else { Body::from(bytes) });
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(ETAG, asset.etag.clone());
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    let cache = if asset.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    if let Some(policy) = &asset.policy {
        headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
    }
    if let Some(encoding) = encoding
        && !known
    {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

/// The smallest form the client takes.
fn choose(asset: &Asset, headers: &HeaderMap) -> (Bytes, Option<&'static str>) {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("");
    let takes = |name: &str| {
        accepted.split(',').any(|item| {
            let mut parts = item.split(';').map(str::trim);
            parts.next() == Some(name) && !parts.any(|q| q == "q=0" || q == "q=0.0")
        })
    };
    match (&asset.brotli, &asset.gzip) {
        (Some(brotli), _) if takes("br") => (brotli.clone(), Some("br")),
        (_, Some(gzip)) if takes("gzip") => (gzip.clone(), Some("gzip")),
        _ => (asset.raw.clone(), None),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or("") {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "wasm" => "application/wasm",
        "webmanifest" => "application/manifest+json",
        "json" if path.ends_with("manifest.json") => "application/manifest+json",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Trunk puts 16 hex digits into the names of what it builds.
fn is_hashed(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.split(['-', '_', '.']).any(|part| part.len() >= 16 && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hashed_names_are_cached_for_ever() {
        assert!(is_hashed("/felund-web-0123456789abcdef_bg.wasm"));
        assert!(is_hashed("/style-0123456789abcdef.css"));
        assert!(!is_hashed("/index.html") && !is_hashed("/sw.js") && !is_hashed("/manifest.webmanifest"));
    }

    #[test]
    fn clients_get_the_smallest_form_they_take() {
        let asset = Asset::new("/a.js", "raw".into(), Some("b".into()), Some("gz".into()));
        let choose = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accept));
            choose(&asset, &headers).1
        };
        assert_eq!(choose("gzip, deflate, br"), Some("br"));
        assert_eq!(choose("gzip, br;q=0"), Some("gzip"));
        assert_eq!(choose("identity"), None);
    }
}
