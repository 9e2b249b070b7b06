//! The API key: where it is looked for (`wire.md` 7), and that it is never shown.

use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use super::error::{ErrorKind, RunpodError};

/// An API key. Its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes a key, without the blanks around it; `None` for a blank one.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// Returns the key itself, to be sent and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
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
    env::var("RUNPOD_API_KEY")
        .ok()
        .and_then(|text| ApiKey::new(&text))
        .or_else(|| credentials_file().and_then(|file| key_in(&file)))
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
        RunpodError::new(ErrorKind::Authentication, "no Runpod API key found").with_hint(
            "run `flash login`, set RUNPOD_API_KEY in the environment, or write RUNPOD_API_KEY=… to .env; \
             keys are made at https://docs.runpod.io/get-started/api-keys",
        )
    })
}

/// A `[default]` table decides, as in 1.21; without one, runpodctl's `apikey` counts.
fn key_in(file: &Path) -> Option<ApiKey> {
    let table: toml::Table = toml::from_str(&fs::read_to_string(file).ok()?).ok()?;
    let found = match table.get("default") {
        Some(default) => default.get("api_key"),
        None => table.get("apikey"),
    };
    found.and_then(toml::Value::as_str).and_then(ApiKey::new)
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
