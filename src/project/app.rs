//! Which deployed app the program in a folder belongs to.

use std::fs;
use std::path::Path;

/// Returns the app's name: `[tool.flash] app` of the nearest `pyproject.toml` upward, else the
/// folder's name.
pub fn app_of(folder: &Path) -> String {
    let text = folder.ancestors().find_map(|folder| fs::read_to_string(folder.join("pyproject.toml")).ok());
    let named = text.and_then(|text| {
        let table: toml::Table = text.parse().ok()?;
        Some(table.get("tool")?.get("flash")?.get("app")?.as_str()?.to_owned())
    });
    let folder_name = || folder.file_name().map(|name| name.to_string_lossy().into_owned());
    named.filter(|name| !name.is_empty()).or_else(folder_name).unwrap_or_else(|| "app".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_is_what_the_nearest_pyproject_says_else_the_folders_name() {
        let root = tempfile::tempdir().expect("a folder");
        let inner = root.path().join("workers");
        fs::create_dir(&inner).expect("made");
        assert_eq!(app_of(&inner), "workers");
        fs::write(root.path().join("pyproject.toml"), "[tool.flash]\napp = \"shop\"\n").expect("written");
        assert_eq!(app_of(&inner), "shop");
        fs::write(inner.join("pyproject.toml"), "[project]\nname = \"x\"\n").expect("written");
        assert_eq!(app_of(&inner), "workers");
    }
}
