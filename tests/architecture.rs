//! Keeps the code as `docs/architecture.md` draws it.
//!
//! Reads the sources as text: who uses whom, who names Python, how long files are, and whether the
//! map in the docs has the folders that exist.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms and their floors; a room uses floors below its own.
const FLOORS: &[(&str, u8)] = &[
    ("catalog", 1),
    ("endpoint", 2),
    ("project", 3),
    ("requirements", 3),
    ("server", 3),
    ("wire", 3),
    ("worker", 3),
    ("manifest", 4),
    ("platform", 5),
    ("runpod", 5),
    ("dev", 6),
    ("cli", 7),
    ("py", 8),
];

/// Rooms of one floor that one other room of it may use: both ends of a socket share its frames.
const SIBLINGS: &[(&str, &str)] = &[("worker", "wire"), ("server", "wire")];

/// Crates that only `py` may name.
const PYTHON_CRATES: &[&str] = &["pyo3", "pyo3_async_runtimes", "pythonize"];

/// A file this long holds more than one concept.
const LONGEST_FILE: usize = 600;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// All files below `folder` with one of `extensions`, in order.
fn files_below(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| extensions.iter().any(|wanted| end == *wanted)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The Rust sources: room, path from the repository's root, text.
fn sources() -> Vec<(String, String, String)> {
    let top = repository();
    files_below(&top.join("src"), &["rs"])
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&top).unwrap().to_str().unwrap().to_owned();
            let room = name.split('/').nth(1).unwrap().trim_end_matches(".rs").to_owned();
            (room, name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

/// Drops comments, line by line; good enough for sources that rustfmt has laid out.
fn code_of(text: &str) -> String {
    text.lines()
        .map(|line| line.split_once("//").map_or(line, |(code, _)| code))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The first names after every `crate::` in `code`, groups opened: `crate::{a, b::c}` gives `a`, `b`.
fn rooms_named(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (position, matched) in code.match_indices("crate::") {
        let before = code[..position].chars().next_back();
        if before.is_some_and(|character| character.is_alphanumeric() || character == '_') {
            continue;
        }
        let rest = &code[position + matched.len()..];
        let mut depth = 0_i32;
        let mut expects_name = true;
        let mut name = String::new();
        for character in rest.chars() {
            if character.is_alphanumeric() || character == '_' {
                if expects_name {
                    name.push(character);
                }
                continue;
            }
            if !name.is_empty() {
                rooms.insert(std::mem::take(&mut name));
                expects_name = false;
            }
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => expects_name = true,
                character if character.is_whitespace() || character == ':' => {}
                _ if depth == 0 => break,
                _ => {}
            }
            if depth <= 0 {
                break;
            }
        }
    }
    rooms
}

fn names_crate(code: &str, wanted: &str) -> bool {
    code.split(|character: char| !(character.is_alphanumeric() || character == '_'))
        .any(|word| word == wanted)
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn use_groups_are_opened() {
    let code =
        "use crate::{endpoint::{Route, Value}, wire};\nlet x = crate::cli::main(a, b);\nmacro_crate::no";
    let expected = ["cli", "endpoint", "wire"].map(str::to_owned);
    assert_eq!(rooms_named(code), BTreeSet::from(expected));
}

#[test]
fn rooms_use_only_floors_below_their_own() {
    let mut problems = Vec::new();
    for (room, name, text) in sources() {
        let Some(own) = floor(&room) else { continue };
        for used in rooms_named(&code_of(&text)) {
            let Some(other) = floor(&used) else { continue };
            let is_sibling = own == other && used != room;
            if other > own || (is_sibling && !SIBLINGS.contains(&(room.as_str(), used.as_str()))) {
                problems.push(format!("{name}: `{room}` (floor {own}) uses `{used}` (floor {other})"));
            }
        }
    }
    report(&problems);
}

#[test]
fn every_folder_has_its_floor() {
    let known: BTreeSet<String> = FLOORS.iter().map(|(room, _)| (*room).to_owned()).collect();
    let found: BTreeSet<String> =
        sources().into_iter().map(|(room, ..)| room).filter(|room| room != "lib").collect();
    assert_eq!(found, known);
}

#[test]
fn python_is_named_in_py_alone() {
    let mut problems = Vec::new();
    for (room, name, text) in sources().into_iter().filter(|(room, ..)| room != "py") {
        let code = code_of(&text);
        for python in PYTHON_CRATES.iter().filter(|python| names_crate(&code, python)) {
            problems.push(format!("{name}: `{room}` names `{python}`"));
        }
    }
    report(&problems);
}

#[test]
fn rust_files_begin_with_their_purpose() {
    let without = sources().into_iter().filter(|(_, _, text)| !text.starts_with("//! "));
    report(&without.map(|(_, name, _)| format!("{name}: no `//!` on the first line")).collect::<Vec<_>>());
}

#[test]
fn files_stay_short() {
    let root = repository();
    let mut problems = Vec::new();
    for folder in ["src", "python", "tests", "benches"] {
        for path in files_below(&root.join(folder), &["rs", "py", "pyi"]) {
            // One table of every public name; it is generated.
            if path.ends_with("_core.pyi") {
                continue;
            }
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            if lines > LONGEST_FILE {
                problems.push(format!("{}: {lines} lines", path.strip_prefix(&root).unwrap().display()));
            }
        }
    }
    report(&problems);
}

#[test]
fn map_in_the_docs_names_the_folders_that_exist() {
    let page = fs::read_to_string(repository().join("docs/architecture.md")).unwrap();
    let mapped: BTreeSet<(u8, String)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter_map(|row| {
            let mut cells = row.split(" | ");
            let floor: u8 = cells.next()?.trim().parse().ok()?;
            Some((floor, cells.next()?.trim().trim_matches('`').trim_end_matches('/').to_owned()))
        })
        .collect();
    let rooms: BTreeSet<(u8, String)> =
        FLOORS.iter().map(|(room, floor)| (*floor, (*room).to_owned())).collect();
    assert_eq!(mapped, rooms);
    for (_, room) in rooms {
        assert!(page.contains(&format!("src/{room}/")), "the drawing does not show src/{room}/");
    }
}

#[test]
fn pages_of_the_docs_are_reachable_from_the_readme_or_the_map() {
    let root = repository();
    let index = fs::read_to_string(root.join("README.md")).unwrap()
        + &fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let lost = files_below(&root.join("docs"), &["md"])
        .into_iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "architecture.md" && !index.contains(name.as_str()));
    report(&lost.map(|name| format!("docs/{name}: no link leads there")).collect::<Vec<_>>());
}
