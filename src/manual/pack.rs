//! Run by Cargo before the build: packs the manual, and looks up the date of this version, which the man pages have. The
//! binary lives on SD cards, and a chapter is rarely read.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::{env, fs, io};

use flate2::Compression;
use flate2::read::ZlibEncoder;

const CHANGES: &str = ".github/CHANGELOG.md";

fn main() -> Result<(), Box<dyn Error>> {
    writeln!(io::stdout(), "cargo:rerun-if-changed=src/manual\ncargo:rerun-if-changed={CHANGES}")?;
    writeln!(io::stdout(), "cargo:rustc-env=VERSION_DATE={}", date_of(&env::var("CARGO_PKG_VERSION")?)?)?;
    let out = env::var("OUT_DIR")?;
    for entry in fs::read_dir("src/manual")? {
        let path = entry?.path();
        if let (Some(name), Some("md")) = (path.file_stem(), path.extension().and_then(|it| it.to_str())) {
            let mut packed = ZlibEncoder::new(fs::File::open(&path)?, Compression::best());
            io::copy(&mut packed, &mut fs::File::create(Path::new(&out).join(name).with_extension("zlib"))?)?;
        }
    }
    Ok(())
}

/// `## 0.1.0 (2025-01-31)`: the same for every build of a version.
fn date_of(version: &str) -> Result<String, Box<dyn Error>> {
    let changes = fs::read_to_string(CHANGES)?;
    let date = changes.lines().find_map(|line| line.strip_prefix(&format!("## {version} ("))?.strip_suffix(')'));
    Ok(date.ok_or(format!("{CHANGES} has no \"## {version} (DATE)\""))?.to_owned())
}
