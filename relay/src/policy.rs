//! The content security policy (CSP Level 3).

use std::{fmt::Write as _, sync::LazyLock};

use axum::http::HeaderValue;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

/// That of everything but a page, worked out once.
pub(crate) static WITHOUT_PAGE: LazyLock<HeaderValue> = LazyLock::new(|| policy(None));

/// What the web app may do: connections go wherever a circle's relay is; everything else comes from here, or stands in
/// the page as it was built.
pub(crate) fn policy(page: Option<&str>) -> HeaderValue {
    let (scripts, styles) =
        page.map(|page| (hashes(page, "script"), hashes(page, "style"))).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'{scripts}; style-src 'self'{styles}; img-src 'self' \
         blob: data:; connect-src 'self' https: http: ws: wss:; manifest-src 'self'; worker-src 'self'; media-src \
         'self' blob:; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    // Base64 and the text above are ASCII.
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// The hash sources of a page's elements of this kind that have their content in the page, each after a space.
fn hashes(page: &str, tag: &str) -> String {
    let (open, close) = (format!("<{tag}"), format!("</{tag}"));
    let mut sources = String::new();
    let mut rest = page;
    while let Some((_, behind)) = rest.split_once(&open) {
        rest = behind;
        let Some((attributes, body)) = behind.split_once('>') else { break };
        let Some((content, _)) = body.split_once(&close) else { break };
        let another = attributes.starts_with(|c: char| !c.is_ascii_whitespace());
        if !another && !content.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(sources, " 'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(content)));
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_page_is_allowed_by_its_hash_and_nothing_else_is() {
        let page = "<style>p{}</style><script src=/a.js></script><script type=\"module\">run()</script><scripted>x</scripted>";
        let policy = policy(Some(page));
        let policy = policy.to_str().unwrap();
        let of = |content: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(content)));
        let style = format!("style-src 'self' {};", of("p{}"));
        let script = format!("script-src 'self' 'wasm-unsafe-eval' {};", of("run()"));
        assert!(policy.contains(&style) && policy.contains(&script), "{policy}");
        assert!(!policy.contains("unsafe-inline"));
    }

    #[test]
    fn without_a_page_only_files_from_here_are_allowed() {
        let policy = WITHOUT_PAGE.to_str().unwrap();
        assert!(policy.contains("script-src 'self' 'wasm-unsafe-eval'; style-src 'self';"), "{policy}");
    }
}
