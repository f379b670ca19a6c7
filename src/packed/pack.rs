//! Run by Cargo before the build: packs the manual and the page, and looks up the date of this version, which the man
//! pages have. The binary lives on SD cards, and these texts are rarely read.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::{env, fs, io};

use flate2::Compression;
use flate2::read::ZlibEncoder;

const CHANGES: &str = ".github/CHANGELOG.md";

/// A directory, and how the names of its texts end.
const TEXTS: [(&str, &[&str]); 2] = [("src/manual", &["md"]), ("src/admin", &["html", "css", "js", "svg"])];

fn main() -> Result<(), Box<dyn Error>> {
    writeln!(io::stdout(), "cargo:rerun-if-changed={CHANGES}")?;
    writeln!(io::stdout(), "cargo:rustc-env=VERSION_DATE={}", date_of(&env::var("CARGO_PKG_VERSION")?)?)?;
    let out = env::var("OUT_DIR")?;
    for (directory, extensions) in TEXTS {
        writeln!(io::stdout(), "cargo:rerun-if-changed={directory}")?;
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let is_text = path.extension().is_some_and(|it| extensions.iter().any(|extension| it == *extension));
            if let (Some(name), true) = (path.file_name(), is_text) {
                pack(&path, &Path::new(&out).join(name))?;
            }
        }
    }
    Ok(())
}

fn pack(from: &Path, to: &Path) -> io::Result<()> {
    let mut packed = ZlibEncoder::new(fs::File::open(from)?, Compression::best());
    io::copy(&mut packed, &mut fs::File::create(to)?).map(drop)
}

/// `## 0.1.0 (2025-01-31)`: the same for every build of a version.
fn date_of(version: &str) -> Result<String, Box<dyn Error>> {
    let changes = fs::read_to_string(CHANGES)?;
    let date = changes.lines().find_map(|line| line.strip_prefix(&format!("## {version} ("))?.strip_suffix(')'));
    Ok(date.ok_or(format!("{CHANGES} has no \"## {version} (DATE)\""))?.to_owned())
}
