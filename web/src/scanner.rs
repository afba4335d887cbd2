//! Reads QR codes (ISO/IEC 18004) from pictures, for browsers that have no reader of their own. It is no part of the app's
//! module: `web/scan.js` loads it when somebody scans.

use rqrr::PreparedImage;
use wasm_bindgen::prelude::wasm_bindgen;

/// The text of a code in a picture, four bytes a pixel (red, green, blue, alpha), row by row; nothing where none can be
/// read. Light codes on dark ground are read, too: dark terminals show them so.
#[wasm_bindgen]
#[must_use]
pub fn decode(pixels: &[u8], width: usize) -> Option<String> {
    let height = pixels.len().checked_div(4 * width)?;
    let luma = |x: usize, y: usize| {
        let at = 4 * (y * width + x);
        let [red, green, blue] = [0, 1, 2].map(|channel| u32::from(pixels[at + channel]));
        // Weights of ITU-R BT.601, in 256ths; their sum is 256.
        ((77 * red + 150 * green + 29 * blue) >> 8) as u8
    };
    let read = |invert: u8| {
        let mut image = PreparedImage::prepare_from_greyscale(width, height, |x, y| luma(x, y) ^ invert);
        let codes = image.detect_grids();
        codes.iter().find_map(|code| Some(code.decode().ok()?.1))
    };
    read(0).or_else(|| read(0xff))
}

#[cfg(test)]
mod tests {
    use qrcodegen::{QrCode, QrCodeEcc};
    use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

    use super::*;

    wasm_bindgen_test_configure!(run_in_browser);

    const INVITE: &str =
        "https://chat.example/#felund1.hQJYIFaupuGE5lZ4zHpbQ1EpXln_AMqkHP9vqz5wSFYdrfw_dWh0dHA";

    /// A picture of a code, a module `scale` pixels, in the middle of a grey table.
    fn picture(text: &str, [dark, light]: [u8; 2], scale: i32) -> (Vec<u8>, usize) {
        let code = QrCode::encode_text(text, QrCodeEcc::Medium).unwrap();
        let (quiet, table) = (4, 20);
        let paper = (code.size() + 2 * quiet) * scale;
        let width = paper + 2 * table;
        let pixels = (0..width * width).flat_map(|at| {
            let [x, y] = [at % width - table, at / width - table];
            let on_paper = (0..paper).contains(&x) && (0..paper).contains(&y);
            let module = code.get_module(x.div_euclid(scale) - quiet, y.div_euclid(scale) - quiet);
            let shade = if !on_paper {
                0x80
            } else if module {
                dark
            } else {
                light
            };
            // What a camera adds.
            let noise = (at.wrapping_mul(2_654_435) >> 8 & 0x1f) as u8;
            let shade = shade.saturating_sub(noise);
            [shade, shade, shade, 0xff]
        });
        (pixels.collect(), width as usize)
    }

    #[wasm_bindgen_test]
    fn an_invite_is_read_dark_on_light_and_light_on_dark() {
        for shades in [[0x20, 0xf0], [0xf0, 0x20]] {
            let (pixels, width) = picture(INVITE, shades, 4);
            assert_eq!(decode(&pixels, width).as_deref(), Some(INVITE));
        }
    }

    #[wasm_bindgen_test]
    fn what_is_no_picture_of_a_code_has_no_text() {
        let (pixels, width) = picture(INVITE, [0x70, 0x71], 4);
        assert_eq!(decode(&pixels, width), None);
        assert_eq!(decode(&pixels, 0), None);
        assert_eq!(decode(&[], 640), None);
        assert_eq!(decode(&pixels[..width * 8 + 3], width), None);
    }
}
