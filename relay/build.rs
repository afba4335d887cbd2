//! Embeds the built web app with its compressed forms. Without a built app the relay compiles all the same and says
//! so on its page.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

fn main() -> Result<(), Box<dyn Error>> {
    let dist = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../web/dist");
    // Watching a folder that does not exist would rebuild the relay every time.
    if !dist.exists() {
        let _ = fs::create_dir_all(&dist);
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", dist.display());
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let store = out.join("assets");
    if store.exists() {
        fs::remove_dir_all(&store)?;
    }
    fs::create_dir_all(&store)?;
    let mut files = Vec::new();
    collect(&dist, "", &mut files)?;
    files.sort();
    let mut code = String::from("static EMBEDDED: &[Embedded] = &[\n");
    for (index, (path, source)) in files.iter().enumerate() {
        let raw = fs::read(source)?;
        let save = |suffix: &str, bytes: &[u8]| -> Result<String, Box<dyn Error>> {
            let file = store.join(format!("{index}{suffix}"));
            fs::write(&file, bytes)?;
            Ok(format!("include_bytes!({file:?})"))
        };
        let smaller = |suffix: &str, bytes: Vec<u8>| -> Result<String, Box<dyn Error>> {
            if bytes.len() + 32 < raw.len() {
                Ok(format!("Some({})", save(suffix, &bytes)?))
            } else {
                Ok("None".into())
            }
        };
        let (brotli, gzip) = (smaller(".br", brotli(&raw)?)?, smaller(".gz", gzip(&raw)?)?);
        let raw = save("", &raw)?;
        writeln!(code, "Embedded {{ path: {path:?}, raw: {raw}, brotli: {brotli}, gzip: {gzip} }},")?;
    }
    code.push_str("];\n");
    fs::write(out.join("assets.rs"), code)?;
    Ok(())
}

fn collect(dir: &Path, prefix: &str, out: &mut Vec<(String, PathBuf)>) -> Result<(), Box<dyn Error>> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let path = format!("{prefix}/{name}");
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &path, out)?;
        } else {
            out.push((path, entry.path()));
        }
    }
    Ok(())
}

fn brotli(raw: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut out = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
    brotli::BrotliCompress(&mut &*raw, &mut out, &parameters)?;
    Ok(out)
}

fn gzip(raw: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(raw)?;
    Ok(encoder.finish()?)
}
