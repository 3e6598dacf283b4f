//! Rust's zip.
use std::{env, error::Error, fs, fs::OpenOptions, io::Write};
use zip::{write::FileOptions, CompressionMethod, ZipWriter};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().collect();
    let (mode, archive) = (args[1].as_str(), &args[2]);
    let mut zip = if mode == "update" {
        ZipWriter::new_append(OpenOptions::new().read(true).write(true).open(archive)?)?
    } else {
        ZipWriter::new(fs::File::create(archive)?)
    };
    let method = if mode == "stored" { CompressionMethod::Stored } else { CompressionMethod::Deflated };
    let options = FileOptions::default().compression_method(method).large_file(mode == "zip64");
    for name in &args[3..] {
        if name.ends_with('/') {
            zip.add_directory(name, options)?;
        } else {
            zip.start_file(name, options)?;
            zip.write_all(&fs::read(name)?)?;
        }
    }
    zip.finish()?;
    Ok(())
}
