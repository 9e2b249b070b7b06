//! The fingerprint of a project's sources: it changes when, and only when, a shipped file does.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::project;

/// A manifest in the root is what comes out, not what goes in.
const OWN_OUTPUT: &str = "flash_manifest.json";

/// SHA-256 in hexadecimal over all shipped files by path: length (8 bytes, big-endian) and path,
/// length and content, as official 1.21 computes it.
pub(super) fn of(root: &Path) -> String {
    let mut files: Vec<(String, PathBuf)> = project::shipped_files(root)
        .into_iter()
        .filter(|path| path != Path::new(OWN_OUTPUT))
        .map(|path| (path.to_string_lossy().replace('\\', "/"), path))
        .collect();
    files.sort();
    let mut hash = Sha256::new();
    for (name, path) in files {
        // A file that vanished or cannot be read is not shipped either.
        let _ = add(&mut hash, &name, &root.join(path));
    }
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
        text
    })
}

fn add(hash: &mut Sha256, name: &str, path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    hash.update((name.len() as u64).to_be_bytes());
    hash.update(name.as_bytes());
    hash.update(length.to_be_bytes());
    io::copy(&mut file, &mut HashWriter(hash))?;
    Ok(())
}

struct HashWriter<'h>(&'h mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
