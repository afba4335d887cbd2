//! An invite as a QR code in the terminal: two modules per character cell, drawn with half blocks.

use anyhow::{Context as _, Result};
use qrcodegen::{QrCode, QrCodeEcc};

/// Modules of light margin that a reader needs around the code (ISO/IEC 18004 asks for four; readers manage with two,
/// which keeps long links within 80 columns).
const QUIET_ZONE: i32 = 2;

/// Draws `text` as lines of half blocks, light on dark: a terminal's foreground stands for the light modules.
pub(crate) fn draw(text: &str) -> Result<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Low).context("the link is too long for a QR code")?;
    let light = |x: i32, y: i32| !code.get_module(x, y);
    let range = -QUIET_ZONE..code.size() + QUIET_ZONE;
    let mut drawing = String::new();
    for y in range.clone().step_by(2) {
        for x in range.clone() {
            let below = y + 1 < range.end && light(x, y + 1);
            drawing.push(match (light(x, y), below) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        drawing.push('\n');
    }
    Ok(drawing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_as_wide_as_the_code_with_its_margin() {
        let drawing = draw("http://127.0.0.1:8080/#felund1.abcdefghijklmnopqrstuvwxyz").unwrap();
        let widths: Vec<_> = drawing.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{widths:?}");
        assert_eq!(widths.len(), widths[0].div_ceil(2));
    }

    #[test]
    fn the_finder_pattern_stands_in_the_corner() {
        let drawing = draw("felund").unwrap();
        let corner: Vec<String> =
            drawing.lines().skip(1).take(4).map(|l| l.chars().skip(2).take(7).collect()).collect();
        assert_eq!(corner, [" ▄▄▄▄▄ ", " █   █ ", " █▄▄▄█ ", "▄▄▄▄▄▄▄"]);
    }
}
