//! `.env` files, as python-dotenv reads them for 1.21.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the nearest `.env` from a folder upward.
pub fn nearest(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().map(|parent| parent.join(".env")).find(|file| file.is_file())
}

/// Returns the variables of a file, in its order.
///
/// A line that cannot be read is left out: a stray line in someone's `.env` must not stop anything.
pub fn read(file: &Path) -> Vec<(String, String)> {
    let Ok(bytes) = fs::read(file) else { return Vec::new() };
    let text = quote_values(&String::from_utf8_lossy(&bytes));
    dotenvy::from_read_iter(text.as_bytes()).flatten().collect()
}

/// Quotes bare values with blanks in them: python-dotenv, which 1.21 uses, takes them; dotenvy wants
/// quotes.
fn quote_values(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 16);
    // The quote that a value of several lines waits for.
    let mut open: Option<char> = None;
    for line in text.trim_start_matches('\u{feff}').lines() {
        if let Some(quote) = open {
            if line.contains(quote) {
                open = None;
            }
        } else if let Some((key, value)) = line.split_once('=') {
            let value = value.trim();
            match value.chars().next() {
                Some(quote @ ('"' | '\'')) if !value[1..].contains(quote) => open = Some(quote),
                Some('"' | '\'' | '#') | None => {}
                Some(_) => {
                    let bare = value.find(" #").map_or(value, |comment| value[..comment].trim_end());
                    if bare.contains([' ', '\t']) {
                        let escaped = bare.replace('\\', "\\\\").replace('"', "\\\"");
                        quoted.extend([key, "=\"", &escaped, "\"\n"]);
                        continue;
                    }
                }
            }
        }
        quoted.extend([line, "\n"]);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_file_is_read_and_bad_lines_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        fs::write(folder.path().join("a/.env"), "\u{feff}A=two words # more\nnot a line\nexport B='1'\n")
            .unwrap();
        let file = nearest(&below).unwrap();
        assert_eq!(file, folder.path().join("a/.env"));
        let pairs = [("A", "two words"), ("B", "1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read(&file), pairs);
    }
}
