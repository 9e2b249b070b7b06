//! `.env` files, as 1.21 reads them at import.

use std::path::PathBuf;

use pyo3::prelude::*;

/// Returns the variables of the nearest `.env` from a folder upward, in the file's order.
///
/// A line that cannot be read is left out: a stray line in someone's `.env` must not stop an import.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "the form in which a path comes from Python")]
pub(super) fn read_dotenv(folder: PathBuf) -> Vec<(String, String)> {
    let Some(file) = folder.ancestors().map(|parent| parent.join(".env")).find(|file| file.is_file()) else {
        return Vec::new();
    };
    let Ok(bytes) = std::fs::read(file) else { return Vec::new() };
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
