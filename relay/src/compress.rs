//! Compressed forms of the web app's files: made by `build.rs` for those built in, at the start for those of a folder.

use std::io::{self, Write as _};

/// A file's compressed forms, where they are smaller.
pub(crate) struct Forms {
    pub(crate) brotli: Option<Vec<u8>>,
    pub(crate) gzip: Option<Vec<u8>>,
}

/// Compresses a file; `quality` is brotli's, from 0 to 11.
pub(crate) fn forms(raw: &[u8], quality: i32) -> io::Result<Forms> {
    let smaller = |form: Vec<u8>| (form.len() + 32 < raw.len()).then_some(form);
    let mut brotli = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams { quality, lgwin: 22, ..Default::default() };
    brotli::BrotliCompress(&mut &*raw, &mut brotli, &parameters)?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(raw)?;
    Ok(Forms { brotli: smaller(brotli), gzip: smaller(gzip.finish()?) })
}
