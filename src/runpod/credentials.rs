//! The API key: where it is looked for (`wire.md` 7), and that it is never shown.

use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use super::error::{ErrorKind, RunpodError};
use crate::project::dotenv;

/// Variable of the key.
const VARIABLE: &str = "RUNPOD_API_KEY";

/// Where keys are made, for hints.
const DOCS: &str = "keys are made at https://docs.runpod.io/get-started/api-keys";

/// Where a key was found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// `RUNPOD_API_KEY` in the environment.
    Environment,
    /// A `.env` file, which set `RUNPOD_API_KEY`.
    DotEnv(PathBuf),
    /// The credentials file.
    File(PathBuf),
    /// The program named it.
    Program,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => formatter.write_str("RUNPOD_API_KEY in the environment"),
            Self::DotEnv(file) => write!(formatter, "RUNPOD_API_KEY in `{}`", file.display()),
            Self::File(file) => write!(formatter, "`{}`", file.display()),
            Self::Program => formatter.write_str("the program"),
        }
    }
}

/// An API key, with where it comes from. Its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ApiKey {
    text: String,
    origin: Origin,
}

impl ApiKey {
    /// Takes a key that a program names, without the blanks around it; `None` for a blank one.
    pub fn new(text: &str) -> Option<Self> {
        Self::of(text, Origin::Program)
    }

    fn of(text: &str, origin: Origin) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self { text: text.to_owned(), origin })
    }

    /// Returns the key itself, to be sent and nothing else.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Says why it cannot be sent, where it has what no header can hold.
    ///
    /// # Errors
    /// [`ErrorKind::Authentication`] names the place that it comes from, not the key.
    pub fn check(&self) -> Result<(), RunpodError> {
        if self.text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Ok(());
        }
        let what = if self.text.contains(['\n', '\r']) { "a line break" } else { "a letter" };
        let message = format!("the API key from {} has {what} in it that no key has", self.origin);
        Err(RunpodError::new(ErrorKind::Authentication, message)
            .with_hint("copy it again, or run `flash login`"))
    }

    fn is_quoted(&self) -> bool {
        ['"', '\''].iter().any(|quote| self.text.starts_with(*quote) && self.text.ends_with(*quote))
    }

    /// Returns where it was found.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKey(…)")
    }
}

/// Returns the file that holds the key, `~/.runpod/config.toml`.
pub fn credentials_file() -> Option<PathBuf> {
    dirs::home_dir().map(|home| home.join(".runpod").join("config.toml"))
}

/// Returns the key: `RUNPOD_API_KEY` (which `.env` may have set), else the credentials file's.
pub fn find_key() -> Option<ApiKey> {
    from_environment().or_else(|| credentials_file().and_then(|file| key_in(&file)))
}

fn from_environment() -> Option<ApiKey> {
    let text = env::var(VARIABLE).ok()?;
    ApiKey::of(&text, Origin::Environment).map(|key| {
        let file = env::current_dir().ok().and_then(|folder| dotenv::nearest(&folder));
        let is_from = |file: &PathBuf| {
            dotenv::read(file).iter().any(|(name, value)| name == VARIABLE && value.trim() == key.text)
        };
        match file.filter(is_from) {
            Some(file) => ApiKey { origin: Origin::DotEnv(file), ..key },
            None => key,
        }
    })
}

/// Whether the environment still says the same as when `key` was found there: no file need be read.
pub fn is_still_set(key: &ApiKey) -> bool {
    matches!(key.origin, Origin::Environment | Origin::DotEnv(_))
        && env::var(VARIABLE).is_ok_and(|text| text.trim() == key.text)
}

/// Returns where a key was found: the variable's name, or the file's.
pub fn found_in() -> Option<String> {
    if env::var("RUNPOD_API_KEY").is_ok_and(|text| ApiKey::new(&text).is_some()) {
        return Some("RUNPOD_API_KEY".to_owned());
    }
    let file = credentials_file()?;
    key_in(&file).map(|_| file.display().to_string())
}

/// Returns the key, or says how to get one.
///
/// # Errors
/// [`ErrorKind::Authentication`] where there is none.
pub fn require_key() -> Result<ApiKey, RunpodError> {
    find_key().ok_or_else(|| {
        let hint = match credentials_file().and_then(|file| Some((fs::read_to_string(&file).ok()?, file))) {
            Some((text, file)) if text.parse::<toml::Table>().is_err() => {
                format!("`{}` is not valid TOML and was passed over; {}", file.display(), ways())
            }
            _ => ways(),
        };
        RunpodError::new(ErrorKind::Authentication, "no Runpod API key found").with_hint(hint)
    })
}

fn ways() -> String {
    format!("run `flash login`, set {VARIABLE} in the environment, or write {VARIABLE}=… to .env; {DOCS}")
}

/// What to do where Runpod does not take a key (401), or not for this (403).
pub fn refused_hint(key: Option<&ApiKey>, is_forbidden: bool) -> String {
    let Some(key) = key else { return format!("no API key was sent: {}", ways()) };
    let origin = key.origin();
    if is_forbidden {
        return format!(
            "the key from {origin} may not do this: give it the permission in the console, or use another"
        );
    }
    if key.is_quoted() {
        return format!("the key from {origin} was sent with the quotes around it: remove them there");
    }
    let way = match origin {
        Origin::Environment => "set it to a valid key, or unset it and run `flash login`",
        Origin::DotEnv(_) => "write a valid key there, or remove the line and run `flash login`",
        Origin::File(_) => "run `flash login` for a new one",
        Origin::Program => "use a valid one",
    };
    format!("the key from {origin} was sent: {way}; {DOCS}")
}

/// A `[default]` table decides, as in 1.21; without one, runpodctl's `apikey` counts.
fn key_in(file: &Path) -> Option<ApiKey> {
    let table: toml::Table = toml::from_str(&fs::read_to_string(file).ok()?).ok()?;
    let found = match table.get("default") {
        Some(default) => default.get("api_key"),
        None => table.get("apikey"),
    };
    let text = found.and_then(toml::Value::as_str)?;
    ApiKey::of(text, Origin::File(file.to_path_buf()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("[default]\napi_key = \" k1 \"\n", Some("k1"))]
    #[case("apikey = \"k2\"\n", Some("k2"))]
    #[case("apikey = \"k2\"\n[default]\nother = 1\n", None)]
    #[case("[default", None)]
    fn key_is_read_as_in_1_21(#[case] text: &str, #[case] expected: Option<&str>) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.toml");
        fs::write(&file, text).expect("written");
        assert_eq!(key_in(&file).as_ref().map(ApiKey::reveal), expected);
    }

    #[test]
    fn key_is_not_in_its_debug_form() {
        let key = ApiKey::new("rpa_SECRET").expect("not blank");
        assert!(!format!("{key:?}").contains("SECRET"));
    }
}
