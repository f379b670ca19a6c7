//! Run by Cargo before the build: packs the manual. The binary lives on SD cards, and a chapter is rarely read.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::{env, fs, io};

use flate2::Compression;
use flate2::read::ZlibEncoder;

fn main() -> Result<(), Box<dyn Error>> {
    writeln!(io::stdout(), "cargo:rerun-if-changed=src/manual")?;
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
