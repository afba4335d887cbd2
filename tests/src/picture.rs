//! Pictures for the documentation: pages as a browser paints them, and a terminal's screen drawn as one.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::browser::Browser;

/// The largest picture that is kept in the repository, in bytes.
const MAX_BYTES: usize = 200_000;

/// Makes a Chromium window behave like a screen of this size, in CSS pixels.
///
/// # Panics
/// When the browser refuses.
pub fn set_screen(browser: &Browser, width: u32, height: u32, phone: bool) {
    let params = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
    browser.session().devtools("Emulation.setDeviceMetricsOverride", &params).expect("a screen size");
}

/// Writes what a Chromium window shows as PNG.
///
/// # Panics
/// When there is no picture, or it is too large for the repository.
pub fn shoot(browser: &Browser, file: &Path) {
    let shot = browser.session().devtools("Page.captureScreenshot", &json!({ "format": "png" }));
    let shot: Value = shot.expect("a picture");
    let png = STANDARD.decode(shot["data"].as_str().unwrap_or_default()).expect("base64");
    assert!(png.len() <= MAX_BYTES, "{} would have {} bytes", file.display(), png.len());
    fs::create_dir_all(file.parent().expect("a folder")).expect("the folder can be made");
    fs::write(file, &png).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    println!("{} ({} kB)", file.display(), png.len() / 1000);
}

/// A terminal's screen as a page.
#[must_use]
pub fn terminal_page(screen: &vt100::Screen) -> String {
    let (rows, cols) = screen.size();
    let mut lines = String::new();
    for row in 0..rows {
        lines.push_str("<div>");
        for col in 0..cols {
            let Some(cell) = screen.cell(row, col) else { continue };
            if cell.is_wide_continuation() {
                continue;
            }
            let (mut front, mut back) = (colour(cell.fgcolor(), FRONT), colour(cell.bgcolor(), BACK));
            if cell.inverse() {
                (front, back) = (back, front);
            }
            let mut style =
                format!("width:{}ch;color:{front};background:{back}", if cell.is_wide() { 2 } else { 1 });
            if cell.bold() {
                style.push_str(";font-weight:bold");
            }
            if cell.dim() {
                style.push_str(";opacity:.65");
            }
            let text = if cell.has_contents() { cell.contents() } else { " " };
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            lines.push_str(&format!("<span style=\"{style}\">{text}</span>"));
        }
        lines.push_str("</div>");
    }
    format!(
        "<!doctype html><meta charset=utf-8><style>body{{margin:0;background:{BACK}}}\
         pre{{margin:0;padding:14px;font:15px/17px 'DejaVu Sans Mono',monospace;display:inline-block}}\
         div{{height:17px;white-space:pre}}span{{display:inline-block;height:17px;overflow:hidden;vertical-align:top}}\
         </style><pre>{lines}</pre>"
    )
}

const FRONT: &str = "#d8dad5";
const BACK: &str = "#15181b";
const NAMED: [&str; 16] = [
    "#1d2125", "#e06c75", "#8ec07c", "#e5c07b", "#7aa2d6", "#c58fd0", "#6fc3c3", "#c9ccc6", "#7a8188",
    "#f08a92", "#a6d695", "#f2d48f", "#98bbe8", "#d9abe2", "#8fdada", "#f0f1ee",
];

/// The usual 256 colours of terminals.
fn colour(colour: vt100::Color, default: &str) -> String {
    match colour {
        vt100::Color::Default => default.to_owned(),
        vt100::Color::Rgb(r, g, b) => format!("rgb({r},{g},{b})"),
        vt100::Color::Idx(n @ 0..16) => NAMED[usize::from(n)].to_owned(),
        vt100::Color::Idx(n @ 16..232) => {
            let part = |n: u8| if n == 0 { 0 } else { 55 + 40 * u16::from(n) };
            let n = n - 16;
            format!("rgb({},{},{})", part(n / 36), part(n / 6 % 6), part(n % 6))
        }
        vt100::Color::Idx(n) => {
            let grey = 8 + 10 * u16::from(n - 232);
            format!("rgb({grey},{grey},{grey})")
        }
    }
}
