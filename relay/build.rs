//! Embeds the built web app with its compressed forms. Without a built app the relay compiles all the same and says
//! so on its page.

#[path = "src/compress.rs"]
mod compress;

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

fn main() -> Result<(), Box<dyn Error>> {
    let dist = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../web/dist");
    // Watching a folder that does not exist would rebuild the relay every time.
    if !dist.exists() {
        let _ = fs::create_dir_all(&dist);
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/compress.rs");
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
        let form = |suffix: &str, bytes: Option<Vec<u8>>| -> Result<String, Box<dyn Error>> {
            Ok(match bytes {
                Some(bytes) => format!("Some({})", save(suffix, &bytes)?),
                None => "None".into(),
            })
        };
        let forms = compress::forms(&raw, 11)?;
        let (brotli, gzip) = (form(".br", forms.brotli)?, form(".gz", forms.gzip)?);
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
