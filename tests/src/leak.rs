//! Looking for what must not be there: a text or a key in any form in which it could lie in a file or pass on a wire.

use std::{fs, path::Path};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// Something secret and how it could be written.
#[derive(Debug)]
struct Needle {
    what: String,
    bytes: Vec<u8>,
}

/// A set of secrets to look for.
#[derive(Debug, Default)]
pub struct Secrets {
    needles: Vec<Needle>,
}

impl Secrets {
    /// Adds a text: plain, in UTF-16, in hex and in base64.
    ///
    /// # Panics
    /// When it is so short that it could be anywhere by chance.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        assert!(text.len() >= 8, "{text:?} is too short to be looked for");
        self.add(text, "plain", text.as_bytes().to_vec());
        self.add(text, "UTF-16", text.encode_utf16().flat_map(u16::to_le_bytes).collect());
        self.add(text, "UTF-16, big-endian", text.encode_utf16().flat_map(u16::to_be_bytes).collect());
        self.encoded(text, text.as_bytes());
        self
    }

    /// Adds a key: raw, in hex and in base64.
    #[must_use]
    pub fn key(mut self, what: &str, key: &[u8]) -> Self {
        self.add(what, "raw", key.to_vec());
        self.encoded(what, key);
        self
    }

    fn encoded(&mut self, what: &str, bytes: &[u8]) {
        self.add(what, "hex", hex::encode(bytes).into_bytes());
        self.add(what, "upper-case hex", hex::encode_upper(bytes).into_bytes());
        // Where the text starts within a group of three bytes decides how base64 writes it.
        for skip in 0..3 {
            let padded = [&vec![0; skip][..], bytes].concat();
            let (from, to) = ((skip * 8).div_ceil(6), padded.len() * 8 / 6);
            let form = format!("base64 at {skip}");
            self.add(what, &form, STANDARD_NO_PAD.encode(&padded).as_bytes()[from..to].to_vec());
            self.add(what, &form, URL_SAFE_NO_PAD.encode(&padded).as_bytes()[from..to].to_vec());
        }
    }

    fn add(&mut self, what: &str, form: &str, bytes: Vec<u8>) {
        self.needles.push(Needle { what: format!("{what:?} ({form})"), bytes });
    }

    /// Which of them are in `bytes`.
    #[must_use]
    pub fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let in_it = |needle: &&Needle| contains(bytes, &needle.bytes);
        self.needles.iter().filter(in_it).map(|needle| needle.what.as_str()).collect()
    }

    /// Fails when one of them is in `bytes`.
    ///
    /// # Panics
    /// Naming it.
    pub fn assert_absent(&self, place: &str, bytes: &[u8]) {
        let found = self.found_in(bytes);
        assert!(found.is_empty(), "{place} ({} bytes) holds {found:?}", bytes.len());
    }

    /// Fails when one of them is in any file under `dir`, in its content or its name, or when there is no file.
    ///
    /// # Panics
    /// Naming it.
    pub fn assert_absent_under(&self, what: &str, dir: &Path) {
        let mut files = 0;
        self.walk(what, dir, &mut files);
        assert!(files > 0, "{what}: there is no file under {}", dir.display());
    }

    fn walk(&self, what: &str, dir: &Path, files: &mut usize) {
        for entry in fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())).flatten() {
            let path = entry.path();
            self.assert_absent(what, entry.file_name().as_encoded_bytes());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.walk(what, &path, files),
                Ok(kind) if kind.is_file() => {
                    // A program that still runs may remove a file meanwhile.
                    let Ok(bytes) = fs::read(&path) else { continue };
                    *files += 1;
                    self.assert_absent(&format!("{what}, {}", path.display()), &bytes);
                }
                _ => {}
            }
        }
    }
}

/// Whether `needle` is somewhere in `haystack`.
#[must_use]
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let Some((first, rest)) = needle.split_first() else { return true };
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| byte == first) {
        from += at + 1;
        if haystack[from..].starts_with(rest) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_found() {
        let secrets = Secrets::default().text("seed swap on saturday").key("secret", &[0xfb; 32]);
        let utf16: Vec<u8> = "…seed swap on saturday".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let base64 =
            |before: &str| STANDARD_NO_PAD.encode(format!("{before}seed swap on saturday, all of you"));
        for hay in [
            b"xx seed swap on saturday".to_vec(),
            utf16,
            base64("").into_bytes(),
            base64("a").into_bytes(),
            base64("ab").into_bytes(),
            hex::encode(b"..seed swap on saturday").into_bytes(),
            [&[1; 5][..], &[0xfb; 32]].concat(),
            URL_SAFE_NO_PAD.encode([[7; 34], [0xfb; 34]].concat()).into_bytes(),
        ] {
            assert!(!secrets.found_in(&hay).is_empty(), "{}", String::from_utf8_lossy(&hay));
        }
        assert_eq!(secrets.found_in(b"seed swap on sunday"), Vec::<&str>::new());
    }
}
