//! JSON text as Python writes it, and files that appear whole.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde_json::{Map, Value as Json};

/// Two spaces of indent, non-ASCII as `\uXXXX`.
pub(super) fn to_text(content: &Map<String, Json>) -> String {
    // A map of plain JSON values always has a text.
    let pretty = serde_json::to_string_pretty(content).unwrap_or_default();
    let mut text = String::with_capacity(pretty.len());
    for letter in pretty.chars() {
        if letter.is_ascii() && letter != '\u{7f}' {
            text.push(letter);
        } else if letter == '\u{7f}' {
            text.push(letter);
        } else {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                // Writing into a string cannot fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

/// Writes beside `path` and renames.
pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let name =
        path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
    let beside = folder.join(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let result = written.and_then(|()| fs::rename(&beside, path));
    if result.is_err() {
        // What is left of it helps nobody; the first error is the one to report.
        let _ = fs::remove_file(&beside);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_outside_ascii_is_escaped_in_utf16() {
        let content = json!({"name": "größe 🚀", "empty": [], "none": {}});
        let text = to_text(content.as_object().unwrap());
        assert_eq!(
            text,
            "{\n  \"name\": \"gr\\u00f6\\u00dfe \\ud83d\\ude80\",\n  \"empty\": [],\n  \"none\": {}\n}"
        );
    }

    #[test]
    fn file_that_cannot_be_replaced_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("taken")).unwrap();
        assert!(write_atomically(&folder.path().join("taken"), b"x").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write_atomically(&folder.path().join("deep/new.json"), b"x").unwrap();
        assert_eq!(fs::read(folder.path().join("deep/new.json")).unwrap(), b"x");
    }
}
