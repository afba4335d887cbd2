//! The web app's files, built into the program (`build.rs`) or read from a folder once at the start.
//!
//! They are compressed beforehand, so that a first visit is small and costs no CPU. Names that carry
//! a content hash may be cached for ever; the page, the service worker and the manifest are asked for each time
//! and answered by their ETag.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{
            ACCEPT, ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY,
            CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
        },
    },
    response::Response,
};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
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
        read_dir(dir, "", &mut Vec::new(), &mut contents)?;
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
        let path = &*percent_decode_str(path).decode_utf8_lossy();
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

/// `within`: the folders that this one lies in. A link to one of them would go on for ever.
fn read_dir(
    dir: &Path,
    prefix: &str,
    within: &mut Vec<PathBuf>,
    out: &mut HashMap<String, Bytes>,
) -> io::Result<()> {
    let folder = fs::canonicalize(dir).map_err(|e| at(dir, &e))?;
    if within.contains(&folder) {
        return Ok(());
    }
    within.push(folder);
    for entry in fs::read_dir(dir).map_err(|e| at(dir, &e))? {
        let entry = entry.map_err(|e| at(dir, &e))?;
        let (name, file) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        // What is hidden, as a repository is, was not put there for everybody.
        if name.starts_with('.') && name != ".well-known" {
            continue;
        }
        let path = format!("{prefix}/{name}");
        if fs::metadata(&file).map_err(|e| at(&file, &e))?.is_dir() {
            read_dir(&file, &path, within, out)?;
        } else {
            out.insert(path, fs::read(&file).map_err(|e| at(&file, &e))?.into());
        }
    }
    within.pop();
    Ok(())
}

/// The error with what it is about.
fn at(path: &Path, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

impl Asset {
    fn new(path: &str, raw: Bytes, brotli: Option<Bytes>, gzip: Option<Bytes>) -> Self {
        let digest = hex::encode(&Sha256::digest(&raw)[..8]);
        // Weak, because it is one for all forms. Quoted hex digits are a header value.
        let etag =
            HeaderValue::from_str(&format!("W/\"{digest}\"")).unwrap_or(HeaderValue::from_static("W/\"0\""));
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
    let known = is_known(asset, request.headers());
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

/// The items of a header that is a list, in however many lines it comes.
fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// Whether the client has it (RFC 9110, 13.1.2): tags are compared weakly.
fn is_known(asset: &Asset, headers: &HeaderMap) -> bool {
    fn opaque(tag: &str) -> &str {
        tag.strip_prefix("W/").unwrap_or(tag)
    }
    let etag = asset.etag.to_str().unwrap_or_default();
    items(headers, IF_NONE_MATCH).any(|tag| tag == "*" || opaque(tag) == opaque(etag))
}

/// The smallest form the client takes.
fn choose(asset: &Asset, headers: &HeaderMap) -> (Bytes, Option<&'static str>) {
    let takes = |name: &str| {
        items(headers, ACCEPT_ENCODING).any(|item| {
            let mut parts = item.split(';').map(str::trim);
            let refused = |part: &str| {
                let weight = part.strip_prefix(['q', 'Q']).and_then(|part| part.strip_prefix('='));
                weight.and_then(|weight| weight.parse().ok()) == Some(0.0)
            };
            parts.next().is_some_and(|coding| coding.eq_ignore_ascii_case(name)) && !parts.any(refused)
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
        for none in ["0", "0.0", "0.00", "0.000"] {
            let refused = format!("gzip;q=1.0, BR; Q={none}").leak();
            assert_eq!(choose(refused), Some("gzip"), "{refused}");
        }
        assert_eq!(choose("gzip;q=0.001"), Some("gzip"));
        assert_eq!(choose("identity"), None);
    }

    #[test]
    fn who_has_a_file_in_any_form_is_not_sent_it_again() {
        let asset = Asset::new("/a.js", "raw".into(), Some("b".into()), None);
        let tag = asset.etag.to_str().unwrap().to_string();
        let bare = tag.strip_prefix("W/").expect("one for all forms");
        let known = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(IF_NONE_MATCH, line.parse().unwrap());
            }
            is_known(&asset, &headers)
        };
        for list in [&tag, bare, "*", &format!("\"x\", {bare}"), &format!("{tag} ,\"x\"")] {
            assert!(known(&[list]), "{list}");
        }
        assert!(known(&["\"x\"", &tag]));
        assert!(!known(&[]) && !known(&["\"x\", W/\"0\""]) && !known(&[bare.trim_matches('"')]));
    }
}
