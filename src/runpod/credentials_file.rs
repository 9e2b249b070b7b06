//! The credentials file: one key is put into it, all else in it stays (`wire.md` 7).

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use toml_edit::{DocumentMut, Item, Table, value};

use super::credentials::{ApiKey, credentials_file};
use super::error::{ErrorKind, RunpodError};

/// A credentials file that was read, to be saved with another key.
#[derive(Debug)]
pub struct CredentialsFile {
    path: PathBuf,
    document: DocumentMut,
    has_crlf: bool,
}

impl CredentialsFile {
    /// Opens `~/.runpod/config.toml`, which need not be there.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] where it cannot be read, or is not what a key can be put into:
    /// what somebody wrote is never thrown away.
    pub fn open() -> Result<Self, RunpodError> {
        let path = credentials_file().ok_or_else(|| {
            RunpodError::new(ErrorKind::Configuration, "there is no home folder to keep the key in")
                .with_hint("set HOME, or use RUNPOD_API_KEY")
        })?;
        Self::at(&path)
    }

    /// Opens the file at a path.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn at(path: &Path) -> Result<Self, RunpodError> {
        // A link to a file kept elsewhere stays a link, also where that is not there yet.
        let path = fs::canonicalize(path).unwrap_or_else(|_| match fs::read_link(path) {
            Ok(target) => path.parent().unwrap_or(Path::new(".")).join(target),
            Err(_) => path.to_path_buf(),
        });
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(refuse(&path, &format!("cannot be read: {error}"))),
        };
        let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let line = line.map(|line| format!(" (line {line})")).unwrap_or_default();
            refuse(&path, &format!("is not valid TOML{line}: {}", error.message().trim()))
        })?;
        if document.get("default").is_some_and(|default| !default.is_table_like()) {
            return Err(refuse(&path, "has a `default` that is no table"));
        }
        Ok(Self { path, document, has_crlf: text.contains("\r\n") })
    }

    /// Finds out whether it can be written, before anybody makes a key for it.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] where it cannot.
    pub fn check_writable(&self) -> Result<(), RunpodError> {
        let mut folders = self.path.ancestors().skip(1);
        let folder = folders.find(|folder| folder.exists()).unwrap_or(Path::new("."));
        // Nothing is made that a login without an end would leave.
        tempfile_in(folder)
            .map(drop)
            .map_err(|error| refuse(&self.path, &format!("cannot be written: {error}")))
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the key that is in it: `api_key` of `[default]`.
    pub fn key(&self) -> Option<ApiKey> {
        self.document.get("default")?.get("api_key")?.as_str().and_then(ApiKey::new)
    }

    /// Puts a key in, and writes the file whole or not at all, readable by its owner alone.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] where it cannot be written.
    pub fn save(&mut self, key: &ApiKey) -> Result<(), RunpodError> {
        let default = self.document.entry("default").or_insert_with(|| Item::Table(Table::new()));
        if let Some(table) = default.as_table_like_mut() {
            match table.get_mut("api_key") {
                // In place, so that a comment behind it stays.
                Some(known) => {
                    let decor = known.as_value().map(|known| known.decor().clone());
                    let mut text = toml_edit::Value::from(key.reveal());
                    if let Some(decor) = decor {
                        *text.decor_mut() = decor;
                    }
                    *known = Item::Value(text);
                }
                None => {
                    table.insert("api_key", value(key.reveal()));
                }
            }
        }
        let mut text = self.document.to_string();
        if self.has_crlf {
            text = text.replace("\r\n", "\n").replace('\n', "\r\n");
        }
        self.write(&text).map_err(|error| refuse(&self.path, &format!("cannot be written: {error}")))
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        make_private(folder)?;
        let mut file = tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        Ok(())
    }
}

/// A file that is its owner's alone from the start.
fn tempfile_in(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".config.toml.").tempfile_in(folder)
}

fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn refuse(path: &Path, what: &str) -> RunpodError {
    RunpodError::new(ErrorKind::Configuration, format!("`{}` {what}", path.display()))
        .with_hint("repair the file or move it away; nothing in it was changed")
}

/// Takes the key of `~/.config/runpod/credentials.toml`, where older versions kept it, over into a
/// file that has none. Returns the old file's path where it did; the old file is removed.
///
/// # Errors
/// Where the new file cannot be written; the old one stays then.
pub fn migrate(file: &mut CredentialsFile) -> Result<Option<PathBuf>, RunpodError> {
    let Some(home) = dirs::home_dir() else { return Ok(None) };
    migrate_from(&home.join(".config/runpod/credentials.toml"), file)
}

fn migrate_from(old: &Path, file: &mut CredentialsFile) -> Result<Option<PathBuf>, RunpodError> {
    if file.key().is_some() {
        return Ok(None);
    }
    let Ok(text) = fs::read_to_string(old) else { return Ok(None) };
    let table: toml::Table = text.parse().unwrap_or_default();
    let Some(key) = table.get("api_key").and_then(toml::Value::as_str).and_then(ApiKey::new) else {
        return Ok(None);
    };
    file.save(&key)?;
    // What cannot be removed is only a copy by now.
    let _ = fs::remove_file(old);
    Ok(Some(old.to_path_buf()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn key(text: &str) -> ApiKey {
        ApiKey::new(text).expect("not blank")
    }

    #[rstest]
    #[case("", "[default]\napi_key = \"new\"\n")]
    #[case(
        "# mine\n[default]\napi_key = \"old\" # dev\nregion = 'EU'\n",
        "# mine\n[default]\napi_key = \"new\" # dev\nregion = 'EU'\n"
    )]
    #[case("[other]\nx = 1\n\n[default]\n", "[other]\nx = 1\n\n[default]\napi_key = \"new\"\n")]
    #[case("apikey = \"ctl\"\r\n", "apikey = \"ctl\"\r\n\r\n[default]\r\napi_key = \"new\"\r\n")]
    #[case(
        "# a\r\n[default]\r\napi_key = \"old\"\r\n# b\r\n",
        "# a\r\n[default]\r\napi_key = \"new\"\r\n# b\r\n"
    )]
    fn key_is_put_in_and_all_else_stays(#[case] before: &str, #[case] after: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/config.toml");
        if !before.is_empty() {
            fs::create_dir(folder.path().join("new")).expect("made");
            fs::write(&path, before).expect("written");
        }
        CredentialsFile::at(&path).expect("valid").save(&key("new")).expect("saved");
        assert_eq!(fs::read_to_string(&path).expect("there"), after);
        assert_eq!(CredentialsFile::at(&path).expect("valid").key(), Some(key("new")));
    }

    #[cfg(unix)]
    #[test]
    fn file_is_its_owners_alone_and_a_link_stays_a_link() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = tempfile::tempdir().expect("a folder");
        let (kept, link) = (folder.path().join("kept.toml"), folder.path().join("config.toml"));
        fs::write(&kept, "[default]\n").expect("written");
        symlink(&kept, &link).expect("linked");
        CredentialsFile::at(&link).expect("valid").save(&key("new")).expect("saved");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(fs::metadata(&kept).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 2, "nothing is left over");
    }

    #[rstest]
    #[case("[default]\napi_key = \n", "is not valid TOML (line 2)")]
    #[case("default = 3\n", "has a `default` that is no table")]
    fn file_that_cannot_take_a_key_is_refused_and_stays(#[case] text: &str, #[case] reason: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.toml");
        fs::write(&path, text).expect("written");
        let error = CredentialsFile::at(&path).expect_err("refused");
        assert!(error.message.contains(reason), "{}", error.message);
        assert!(error.message.contains("config.toml"), "{}", error.message);
        assert_eq!(fs::read_to_string(&path).expect("there"), text);
    }

    #[test]
    fn old_file_is_taken_over_once_and_never_over_a_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let (old, path) = (folder.path().join("credentials.toml"), folder.path().join("config.toml"));
        fs::write(&old, "api_key = \"legacy\"\n").expect("written");
        let mut file = CredentialsFile::at(&path).expect("valid");
        assert_eq!(migrate_from(&old, &mut file).expect("taken over"), Some(old.clone()));
        assert_eq!(CredentialsFile::at(&path).expect("valid").key(), Some(key("legacy")));
        assert!(!old.exists());
        fs::write(&old, "api_key = \"other\"\n").expect("written");
        assert_eq!(migrate_from(&old, &mut file).expect("nothing to do"), None);
        assert!(old.exists());
    }
}
