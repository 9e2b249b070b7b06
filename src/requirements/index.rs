//! Where packages come from: pip's settings, said in `uv`'s words.
//!
//! `uv` reads its own variables and none of pip's; a company mirror is usually named in pip's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Variables to set for `uv`, computed from pip's settings; what the user set for `uv` itself wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexSettings {
    /// Name and value.
    pub variables: BTreeMap<&'static str, String>,
    /// `--no-index` was asked for in pip's settings.
    pub no_index: bool,
    /// Everything that decides what a name resolves to, for the cache's key.
    pub identity: String,
}

/// pip's setting, `uv`'s variables that overrule it, the one we set, and what joins several values.
const SETTINGS: [(&str, &[&str], &str, &str); 8] = [
    ("index-url", &["UV_DEFAULT_INDEX", "UV_INDEX_URL"], "UV_DEFAULT_INDEX", " "),
    ("extra-index-url", &["UV_INDEX", "UV_EXTRA_INDEX_URL"], "UV_INDEX", " "),
    ("find-links", &["UV_FIND_LINKS"], "UV_FIND_LINKS", ","),
    ("trusted-host", &["UV_INSECURE_HOST"], "UV_INSECURE_HOST", " "),
    ("constraint", &["UV_CONSTRAINT"], "UV_CONSTRAINT", " "),
    ("cert", &["SSL_CERT_FILE"], "SSL_CERT_FILE", " "),
    ("proxy", &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"], "HTTPS_PROXY", " "),
    ("timeout", &["UV_HTTP_TIMEOUT"], "UV_HTTP_TIMEOUT", " "),
];

/// Variables of `uv` that decide what a name resolves to.
const DECIDING: [&str; 11] = [
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
    "UV_CONSTRAINT",
    "UV_OVERRIDE",
    "UV_PRERELEASE",
    "UV_RESOLUTION",
    "UV_EXCLUDE_NEWER",
];

impl IndexSettings {
    /// Reads pip's variables and configuration files, as pip would, for the interpreter at `prefix`.
    pub fn read(prefix: Option<&Path>) -> Self {
        let files: Vec<String> =
            pip_files(prefix).into_iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect();
        Self::from_parts(&files, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_parts(files: &[String], variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut configured = BTreeMap::new();
        for text in files {
            configured.extend(parse_ini(text));
        }
        let pip = |name: &str| {
            let upper = format!("PIP_{}", name.to_ascii_uppercase().replace('-', "_"));
            variable(&upper).or_else(|| configured.get(name).cloned())
        };
        // pip knows this one under two names.
        let timeout = pip("timeout").or_else(|| pip("default-timeout"));
        let mut settings = Self::default();
        for (name, overruling, target, join) in SETTINGS {
            if overruling.iter().any(|name| variable(name).is_some()) {
                continue;
            }
            let value = if name == "timeout" { timeout.clone() } else { pip(name) };
            if let Some(value) = value {
                let value = value.split_whitespace().collect::<Vec<_>>().join(join);
                settings.variables.insert(target, value);
            }
        }
        settings.no_index = pip("no-index").is_some_and(|value| is_true(&value));
        for name in DECIDING {
            let value = settings.variables.get(name).cloned().or_else(|| variable(name));
            if let Some(value) = value {
                settings.identity.extend([name, "=", &value, "\n"]);
            }
        }
        if settings.no_index {
            settings.identity.push_str("no-index\n");
        }
        settings
    }
}

/// pip's configuration files, weakest first.
fn pip_files(prefix: Option<&Path>) -> Vec<PathBuf> {
    let named = std::env::var_os("PIP_CONFIG_FILE");
    if named.as_ref().is_some_and(|name| name == "/dev/null") {
        return Vec::new();
    }
    let mut files = vec![PathBuf::from("/etc/pip.conf")];
    if let Some(home) = dirs::home_dir() {
        files.push(home.join(".pip/pip.conf"));
    }
    if let Some(folder) = dirs::config_dir() {
        files.push(folder.join("pip/pip.conf"));
    }
    if let Some(prefix) = prefix {
        files.push(prefix.join("pip.conf"));
    }
    files.extend(named.map(PathBuf::from));
    files
}

/// Reads `[global]` and `[install]` of pip's configuration; a value may go on on indented lines.
fn parse_ini(text: &str) -> BTreeMap<String, String> {
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let mut is_ours = false;
    let mut last: Option<String> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            is_ours = matches!(section.trim(), "global" | "install");
            last = None;
        } else if line.starts_with([' ', '\t']) {
            if let Some(value) = last.as_ref().and_then(|name| values.get_mut(name)) {
                value.push(' ');
                value.push_str(trimmed);
            }
        } else if let Some((name, value)) = trimmed.split_once(['=', ':']).filter(|_| is_ours) {
            let name = name.trim().to_ascii_lowercase().replace('_', "-");
            values.insert(name.clone(), value.trim().to_owned());
            last = Some(name);
        }
    }
    values
}

fn is_true(value: &str) -> bool {
    matches!(value.trim().to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str, variables: &[(&str, &str)]) -> IndexSettings {
        let find = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        IndexSettings::from_parts(&[file.to_owned()], find)
    }

    #[test]
    fn pip_variables_are_said_in_uv_words() {
        let settings = read(
            "",
            &[
                ("PIP_INDEX_URL", "https://mirror/simple"),
                ("PIP_EXTRA_INDEX_URL", "https://a/simple  https://b/simple"),
                ("PIP_FIND_LINKS", "/wheels /more"),
            ],
        );
        assert_eq!(settings.variables["UV_DEFAULT_INDEX"], "https://mirror/simple");
        assert_eq!(settings.variables["UV_INDEX"], "https://a/simple https://b/simple");
        assert_eq!(settings.variables["UV_FIND_LINKS"], "/wheels,/more");
    }

    #[test]
    fn pip_file_is_read_and_variables_win() {
        let file = "[global]\nindex-url = https://file/simple\nextra-index-url =\n  https://a\n  https://b\n\
                    no-index = true\n[list]\nindex-url = https://wrong\n";
        let settings = read(file, &[("PIP_INDEX_URL", "https://variable/simple")]);
        assert_eq!(settings.variables["UV_DEFAULT_INDEX"], "https://variable/simple");
        assert_eq!(settings.variables["UV_INDEX"], "https://a https://b");
        assert!(settings.no_index);
    }

    #[test]
    fn uv_variables_overrule_pip_and_change_the_identity() {
        let settings = read("", &[("PIP_INDEX_URL", "https://pip"), ("UV_INDEX_URL", "https://uv")]);
        assert!(settings.variables.is_empty());
        assert_eq!(settings.identity, "UV_INDEX_URL=https://uv\n");
        assert_ne!(settings.identity, read("", &[]).identity);
    }
}
