//! Unpacks the archive of a deployed app, and says what of it cannot run in this interpreter.
//!
//! Archives come by upload: nothing in one may name a place outside of its folder, and an archive
//! that grows without end is refused. Equal archives share one folder in the cache.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tar::{Archive, Entry, EntryType};

/// What an archive may hold: official ones are at most 1.5 GB, compressed.
const LIMITS: Limits = Limits { bytes: 16 << 30, entries: 1_000_000 };
/// File that says what the resources of an app are.
const MANIFEST: &str = "flash_manifest.json";

/// Why an archive cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArtifactError {
    /// The archive or its folder cannot be read or written.
    #[error("the build's archive cannot be unpacked to `{}`: {source}", path.display())]
    Io {
        /// Where it was to go.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An entry that would reach out of its folder, or is no file, folder or link.
    #[error("the build's archive has `{}`, which {reason}", path.display())]
    Entry {
        /// The entry.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// More than anyone builds.
    #[error("the build's archive holds more than {} GiB or {} files", LIMITS.bytes >> 30, LIMITS.entries)]
    TooLarge,
    /// No manifest, or not one.
    #[error("the build's archive has no readable `{MANIFEST}`: {reason}")]
    Manifest {
        /// What is wrong with it.
        reason: String,
    },
    /// The build is not of this endpoint.
    #[error("the build has no endpoint `{resource}`; it has {}", quoted(known))]
    Resource {
        /// The endpoint.
        resource: String,
        /// Those that it has.
        known: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    bytes: u64,
    entries: u64,
}

/// An archive as it was when it was read, and its name in the cache.
type Named = ((PathBuf, u64, Option<SystemTime>), String);

/// Returns the folder that an archive unpacks to below `cache`; it need not be there yet.
pub(super) fn folder_of(archive: &Path, cache: &Path) -> io::Result<PathBuf> {
    /// Archives are large, and each has several endpoints that are changed together.
    static NAMES: Mutex<Vec<Named>> = Mutex::new(Vec::new());
    let found = fs::metadata(archive)?;
    let key = (archive.to_path_buf(), found.len(), found.modified().ok());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, name)) = names.iter().find(|(known, _)| *known == key) {
        return Ok(cache.join("artifacts").join(name));
    }
    let name = hash_of(archive)?;
    names.push((key, name.clone()));
    let surplus = names.len().saturating_sub(64);
    names.drain(..surplus);
    Ok(cache.join("artifacts").join(name))
}

/// The SHA-256 of a file, in hexadecimal.
fn hash_of(archive: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(archive)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
    }
    let digits: Vec<String> = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(digits.concat())
}

/// Unpacks an archive to `folder`, whole or not at all; one that is there is left as it is.
pub(super) fn unpack(archive: &Path, folder: &Path) -> Result<(), ArtifactError> {
    if folder.join(MANIFEST).is_file() {
        return Ok(());
    }
    let failed = |source| ArtifactError::Io { path: folder.to_path_buf(), source };
    let parent = folder.parent().unwrap_or(folder);
    fs::create_dir_all(parent).map_err(failed)?;
    let made = tempfile::Builder::new().prefix(".unpacking-").tempdir_in(parent).map_err(failed)?;
    unpack_into(File::open(archive).map_err(failed)?, made.path(), LIMITS)?;
    if !made.path().join(MANIFEST).is_file() {
        return Err(ArtifactError::Manifest { reason: "it is not at the root".to_owned() });
    }
    match fs::rename(made.path(), folder) {
        Ok(()) => {
            // It has moved: there is nothing to remove any more.
            let _ = made.keep();
            Ok(())
        }
        // Another thread or process was first.
        Err(_) if folder.join(MANIFEST).is_file() => Ok(()),
        Err(source) => Err(failed(source)),
    }
}

fn unpack_into(archive: impl Read, root: &Path, limits: Limits) -> Result<(), ArtifactError> {
    let failed = |source| ArtifactError::Io { path: root.to_path_buf(), source };
    let mut archive = Archive::new(MultiGzDecoder::new(archive));
    let (mut bytes, mut count) = (0_u64, 0_u64);
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        count += 1;
        bytes = bytes.saturating_add(entry.size());
        if bytes > limits.bytes || count > limits.entries {
            return Err(ArtifactError::TooLarge);
        }
        let name = entry.path().map_err(failed)?.into_owned();
        let Some(inside) = relative(&name) else {
            return Err(ArtifactError::Entry { path: name, reason: "leads out of its folder" });
        };
        if inside.as_os_str().is_empty() {
            continue;
        }
        place(&mut entry, root, &inside)?;
    }
    // To the end, where the checksum is: a broken upload must not pass for a whole one.
    let mut rest = archive.into_inner().take(limits.bytes);
    io::copy(&mut rest, &mut io::sink()).map_err(failed)?;
    Ok(())
}

/// A path without `.`, or `None` where it is absolute or goes up.
fn relative(path: &Path) -> Option<PathBuf> {
    let mut found = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => found.push(part),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(found)
}

fn place(entry: &mut Entry<'_, impl Read>, root: &Path, inside: &Path) -> Result<(), ArtifactError> {
    let refused = |reason| ArtifactError::Entry { path: inside.to_path_buf(), reason };
    let failed = |source| ArtifactError::Io { path: root.join(inside), source };
    let path = root.join(inside);
    let parent = inside.parent().unwrap_or(Path::new(""));
    make_folders(root, parent)?;
    match entry.header().entry_type() {
        EntryType::Directory => make_folders(root, inside),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let is_program = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
            remove_file(&path).map_err(failed)?;
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(if is_program { 0o755 } else { 0o644 })
                .open(&path)
                .map_err(failed)?;
            io::copy(entry, &mut file).map_err(failed)?;
            file.flush().map_err(failed)
        }
        EntryType::Symlink => {
            let target = entry.link_name().map_err(failed)?.ok_or_else(|| refused("links to nothing"))?;
            if !stays_inside(&target, parent.components().count()) {
                return Err(refused("links to a place outside of its folder"));
            }
            remove_file(&path).map_err(failed)?;
            symlink(target, &path).map_err(failed)
        }
        EntryType::Link => {
            let target = entry.link_name().map_err(failed)?.ok_or_else(|| refused("links to nothing"))?;
            let target =
                relative(&target).ok_or_else(|| refused("links to a place outside of its folder"))?;
            make_folders(root, target.parent().unwrap_or(Path::new("")))?;
            let source = root.join(target);
            if !fs::symlink_metadata(&source).map_err(failed)?.is_file() {
                return Err(refused("links to what is no file"));
            }
            remove_file(&path).map_err(failed)?;
            fs::copy(source, &path).map_err(failed)?;
            Ok(())
        }
        // Of the archive, not of its files.
        EntryType::XGlobalHeader => Ok(()),
        _ => Err(refused("is neither a file, a folder nor a link")),
    }
}

/// Makes the folders on the way; none may be a link, which could lead anywhere.
fn make_folders(root: &Path, inside: &Path) -> Result<(), ArtifactError> {
    let mut path = root.to_path_buf();
    for part in inside {
        path.push(part);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                let reason = "lies below what is no folder";
                return Err(ArtifactError::Entry { path: inside.to_path_buf(), reason });
            }
            Err(_) => {
                let failed = |source| ArtifactError::Io { path: path.clone(), source };
                fs::create_dir(&path).map_err(failed)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
            }
        }
    }
    Ok(())
}

/// A later entry of the same name replaces an earlier one, as tar has it.
fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether a link that lies `depth` folders deep stays inside: it may go up first, and no further
/// than the root. Later it may not, since what is gone down into may be a link itself.
fn stays_inside(target: &Path, depth: usize) -> bool {
    let (mut up, mut is_down) = (0, false);
    for component in target.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(_) => is_down = true,
            Component::ParentDir if !is_down && up < depth => up += 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

/// Checks that the unpacked build has this resource.
pub(super) fn check_resource(folder: &Path, resource: &str) -> Result<(), ArtifactError> {
    let unreadable = |reason: String| ArtifactError::Manifest { reason };
    let text = fs::read(folder.join(MANIFEST)).map_err(|error| unreadable(error.to_string()))?;
    let manifest: Value = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
    let resources =
        manifest["resources"].as_object().ok_or_else(|| unreadable("it has no `resources`".to_owned()))?;
    if resources.contains_key(resource) {
        return Ok(());
    }
    let known = resources.keys().cloned().collect();
    Err(ArtifactError::Resource { resource: resource.to_owned(), known })
}

/// Requirements for the packages of the build that were compiled for another Python than `version`:
/// builds are made for the image's Python, which need not be the one here.
pub(super) fn foreign_packages(folder: &Path, version: (u8, u8)) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let infos =
        entries.map(|entry| entry.path()).filter(|path| path.to_string_lossy().ends_with(".dist-info"));
    let mut found: Vec<String> = infos
        .filter(|info| {
            let record = fs::read_to_string(info.join("RECORD")).unwrap_or_default();
            record.lines().any(|line| is_foreign(line.split(',').next().unwrap_or_default(), version))
        })
        .filter_map(|info| {
            let metadata = fs::read_to_string(info.join("METADATA")).ok()?;
            let field = |name: &str| {
                metadata.lines().take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix(name))
            };
            Some(format!("{}=={}", field("Name: ")?.trim(), field("Version: ")?.trim()))
        })
        .collect();
    found.sort();
    found
}

/// Whether a file is an extension module of another Python.
fn is_foreign(file: &str, (major, minor): (u8, u8)) -> bool {
    let Some((_, tag)) = file.strip_suffix(".so").and_then(|name| name.split_once(".cpython-")) else {
        return false;
    };
    tag.split('-').next() != Some(&format!("{major}{minor}"))
}

fn quoted(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{Builder, Header};

    use super::*;

    enum Part<'a> {
        File(&'a str, &'a str),
        Link(EntryType, &'a str, &'a str),
    }

    fn archive(parts: &[Part<'_>]) -> Vec<u8> {
        let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for part in parts {
            let mut header = Header::new_gnu();
            header.set_mode(0o4755);
            let (name, data) = match part {
                Part::File(name, text) => {
                    header.set_entry_type(EntryType::Regular);
                    (name, text.as_bytes())
                }
                Part::Link(kind, name, target) => {
                    header.set_entry_type(*kind);
                    let field = &mut header.as_old_mut().linkname;
                    field[..target.len()].copy_from_slice(target.as_bytes());
                    (name, &b""[..])
                }
            };
            // Past the checks that the builder's own methods make.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(data.len() as u64);
            header.set_cksum();
            builder.append(&header, data).expect("appends");
        }
        builder.into_inner().expect("archive").finish().expect("gzip")
    }

    fn unpacked(parts: &[Part<'_>]) -> Result<tempfile::TempDir, ArtifactError> {
        let folder = tempfile::tempdir().expect("folder");
        unpack_into(&archive(parts)[..], folder.path(), LIMITS)?;
        Ok(folder)
    }

    #[test]
    fn files_folders_and_inner_links_are_unpacked() {
        let folder = unpacked(&[
            Part::File("./app.py", "x = 1"),
            Part::File("./pkg/sub/__init__.py", ""),
            Part::Link(EntryType::Symlink, "./pkg/sub/app.py", "../../app.py"),
            Part::Link(EntryType::Link, "./copy.py", "./app.py"),
            Part::File("./app.py", "x = 2"),
        ])
        .expect("unpacks");
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect(name);
        assert_eq!(
            (read("app.py"), read("pkg/sub/app.py"), read("copy.py")),
            ("x = 2".into(), "x = 2".into(), "x = 1".into())
        );
        let mode = fs::metadata(folder.path().join("app.py")).expect("file").permissions().mode();
        assert_eq!(mode & 0o7022, 0, "{mode:o}");
    }

    #[test]
    fn entries_that_lead_out_are_refused() {
        let hostile: [&[Part<'_>]; 8] = [
            &[Part::File("../evil", "")],
            &[Part::File("/tmp/evil", "")],
            &[Part::File("a/../../evil", "")],
            &[Part::Link(EntryType::Symlink, "etc", "/etc")],
            &[Part::Link(EntryType::Symlink, "up", "..")],
            &[
                Part::Link(EntryType::Symlink, "pkg/here", ".."),
                Part::Link(EntryType::Symlink, "out", "pkg/here/../.."),
            ],
            &[Part::Link(EntryType::Link, "shadow", "../../etc/shadow")],
            &[Part::Link(EntryType::Symlink, "inner", "other"), Part::File("inner/evil", "")],
        ];
        for parts in hostile {
            assert!(matches!(unpacked(parts), Err(ArtifactError::Entry { .. })));
        }
        let fifo = [Part::Link(EntryType::Fifo, "pipe", "")];
        assert!(matches!(unpacked(&fifo), Err(ArtifactError::Entry { .. })));
    }

    #[test]
    fn archive_that_holds_too_much_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let parts = [Part::File("a", "0123456789"), Part::File("b", "0123456789")];
        for limits in [Limits { bytes: 19, entries: 9 }, Limits { bytes: 99, entries: 1 }] {
            let result = unpack_into(&archive(&parts)[..], folder.path(), limits);
            assert!(matches!(result, Err(ArtifactError::TooLarge)));
        }
    }

    #[test]
    fn broken_archive_leaves_nothing() {
        let cache = tempfile::tempdir().expect("folder");
        let file = cache.path().join("upload.tar.gz");
        let mut bytes = archive(&[Part::File("flash_manifest.json", "{}"), Part::File("a", "0123456789")]);
        bytes.truncate(bytes.len() - 12);
        fs::write(&file, bytes).expect("writes");
        let folder = folder_of(&file, cache.path()).expect("hash");
        assert!(matches!(unpack(&file, &folder), Err(ArtifactError::Io { .. })));
        assert!(!folder.exists());
        assert_eq!(fs::read_dir(folder.parent().expect("parent")).expect("reads").count(), 0);
    }

    #[test]
    fn resource_that_is_not_in_the_build_is_named() {
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join(MANIFEST), r#"{"resources": {"w1": {}}}"#).expect("writes");
        assert!(check_resource(folder.path(), "w1").is_ok());
        let error = check_resource(folder.path(), "w2").expect_err("refused").to_string();
        assert_eq!(error, "the build has no endpoint `w2`; it has `w1`");
    }

    #[test]
    fn packages_compiled_for_another_python_are_required_anew() {
        let folder = tempfile::tempdir().expect("folder");
        let add = |name: &str, record: &str| {
            let info = folder.path().join(format!("{name}-1.0.dist-info"));
            fs::create_dir(&info).expect("folder");
            fs::write(info.join("RECORD"), record).expect("writes");
            fs::write(
                info.join("METADATA"),
                format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n\nText"),
            )
            .expect("writes");
        };
        add("compiled", "compiled/_x.cpython-312-x86_64-linux-gnu.so,sha256=0,1\n");
        add("pure", "pure/__init__.py,sha256=0,1\n");
        add("stable", "stable/_x.abi3.so,sha256=0,1\n");
        assert_eq!(foreign_packages(folder.path(), (3, 11)), ["compiled==1.0"]);
        assert!(foreign_packages(folder.path(), (3, 12)).is_empty());
    }
}
