//! Finds `uv` and runs it.
//!
//! Only verbs whose form is stable are used, always without progress bars and colour; the exit
//! status says what kind of failure it was, and the text is for people.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::EnvironmentError;
use super::host::HostPython;
use super::index::IndexSettings;
use super::process::Children;
use super::system::{find_on_path, is_executable};

/// First version with everything that is used here.
const MINIMUM: (u32, u32, u32) = (0, 7, 0);

/// Variables that would make `uv` look at another interpreter or project than the one it is told,
/// and credentials that builds of packages have no business with.
const REMOVED: [&str; 13] = [
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONHOME",
    "PYTHONPATH",
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "UV_PROJECT",
    "UV_PROJECT_ENVIRONMENT",
    "UV_WORKING_DIRECTORY",
    "UV_WORKING_DIR",
    "RUNPOD_API_KEY",
    "RUNPOD_AI_API_KEY",
    "FLASH_PLATFORM_TOKEN",
];

/// A usable `uv`.
#[derive(Debug, Clone)]
pub struct Uv {
    path: PathBuf,
    settings: IndexSettings,
}

/// What a run of `uv` that ended well wrote.
#[derive(Debug, Clone)]
pub struct UvOutput {
    /// Data.
    pub stdout: String,
    /// Messages.
    pub stderr: String,
}

/// How a run of `uv` ended badly.
#[derive(Debug, Clone)]
pub struct UvFailure {
    /// Exit status: 1 is "no", 2 is trouble; `None` where a signal ended it.
    pub code: Option<i32>,
    /// What it wrote.
    pub stderr: String,
}

impl Uv {
    /// Finds `uv`: `FLASH_UV`, beside the host's Python, on `PATH`, then in the package `uv`.
    pub fn find(host: &HostPython, settings: IndexSettings) -> Result<Self, EnvironmentError> {
        let path = if let Some(named) = std::env::var_os("FLASH_UV").filter(|value| !value.is_empty()) {
            let path = PathBuf::from(named);
            if !is_executable(&path) {
                return Err(EnvironmentError::UvMissing { looked: format!("FLASH_UV={}", path.display()) });
            }
            path
        } else {
            find_program(host)?
        };
        check_version(&path)?;
        Ok(Self { path, settings })
    }

    /// Runs `uv` to its end and returns what it printed.
    pub fn run<I, S>(
        &self,
        arguments: I,
        input: &str,
        variables: &[(&str, &str)],
        children: &Children,
    ) -> Result<Result<UvOutput, UvFailure>, EnvironmentError>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new(&self.path);
        command.args(arguments).args(["--no-progress", "--color", "never", "--no-python-downloads"]);
        for name in REMOVED {
            command.env_remove(name);
        }
        // What the user set for `uv` wins over what we would rather have.
        let is_set =
            |name: &str| std::env::var_os(name).is_some() || self.settings.variables.contains_key(name);
        command.envs(variables.iter().copied().filter(|(name, _)| !is_set(name)));
        command.envs(&self.settings.variables).env("NO_PROXY", no_proxy());
        let finished = children.run(&mut command, input)?;
        if finished.status.success() {
            return Ok(Ok(UvOutput { stdout: finished.stdout, stderr: finished.stderr }));
        }
        Ok(Err(UvFailure { code: finished.status.code(), stderr: finished.stderr }))
    }

    /// `--no-index`, where pip's settings ask for it.
    pub fn index_arguments(&self) -> &'static [&'static str] {
        if self.settings.no_index { &["--no-index"] } else { &[] }
    }
}

impl UvFailure {
    /// Whether no set of versions meets the requirements (as opposed to trouble on the way).
    pub fn is_unsatisfiable(&self) -> bool {
        self.code == Some(1) && !self.is_network()
    }

    /// Whether the network, or the index, could not be reached.
    pub fn is_network(&self) -> bool {
        const SIGNS: [&str; 8] = [
            "error sending request",
            "client error (Connect)",
            "dns error",
            "Network connectivity is disabled",
            "network was disabled",
            "Connection refused",
            "operation timed out",
            "Could not connect",
        ];
        SIGNS.iter().any(|sign| self.stderr.contains(sign))
    }

    /// Whether it was the index of torch's own wheels that failed.
    pub fn is_torch_index(&self) -> bool {
        self.stderr.contains("download.pytorch.org")
    }

    /// `uv`'s reason in its own words, on one line, without headers and hints, at most about 600
    /// characters.
    pub fn reason(&self) -> String {
        const LONGEST: usize = 600;
        const HEADERS: [&str; 4] =
            ["error: No solution found", "No solution found", "Using CPython", "Using Python"];
        let mut sentences: Vec<String> = Vec::new();
        for line in self.stderr.lines() {
            let text = line.trim().trim_start_matches(['×', '╰', '─', '▶', '│', '├', '╭', '·']).trim();
            if text.starts_with("hint:") || text.starts_with("warning:") {
                break;
            }
            if text.is_empty() || HEADERS.iter().any(|header| text.starts_with(header)) {
                continue;
            }
            let text = ["cause:", "Caused by:", "error:"]
                .iter()
                .find_map(|label| text.strip_prefix(label))
                .unwrap_or(text)
                .trim();
            sentences.push(text.to_owned());
        }
        let mut reason = sentences.join(" ");
        if reason.is_empty() {
            reason = match self.code {
                Some(code) => format!("`uv` ended with status {code}"),
                None => "`uv` was killed".to_owned(),
            };
        }
        if reason.chars().count() > LONGEST {
            reason = reason.chars().take(LONGEST).collect::<String>() + " …";
        }
        reason.trim_end_matches('.').to_owned()
    }
}

fn find_program(host: &HostPython) -> Result<PathBuf, EnvironmentError> {
    let mut looked = Vec::new();
    let mut candidates = Vec::new();
    if let Some(folder) = host.executable.parent() {
        candidates.push(folder.join("uv"));
        looked.push(folder.display().to_string());
    }
    candidates.extend(find_on_path("uv"));
    looked.push("PATH".to_owned());
    // Where the `uv` package puts its program: `bin` of the prefix, of `--target`, of `--user`.
    for folder in &host.runtime_paths {
        candidates.extend(folder.ancestors().nth(3).map(|prefix| prefix.join("bin/uv")));
        candidates.push(folder.join("bin/uv"));
    }
    looked.push("the `uv` package".to_owned());
    candidates.extend(dirs::home_dir().map(|home| home.join(".local/bin/uv")));
    candidates
        .into_iter()
        .find(|path| is_executable(path))
        .ok_or_else(|| EnvironmentError::UvMissing { looked: looked.join(", ") })
}

fn check_version(path: &Path) -> Result<(), EnvironmentError> {
    let output = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| EnvironmentError::Start { path: path.to_owned(), source })?;
    let text = String::from_utf8_lossy(&output.stdout);
    if parse_version(&text).is_some_and(|version| version >= MINIMUM) {
        return Ok(());
    }
    let found = text.lines().next().unwrap_or_default().trim();
    Err(EnvironmentError::UvVersion {
        path: path.to_owned(),
        found: if found.is_empty() { "something else".to_owned() } else { format!("`{found}`") },
        minimum: format!("{}.{}.{}", MINIMUM.0, MINIMUM.1, MINIMUM.2),
    })
}

/// `NO_PROXY` as it is, and loopback: an index on this machine is never behind a proxy.
fn no_proxy() -> String {
    const LOOPBACK: &str = "localhost,127.0.0.1,::1";
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match set("NO_PROXY").or_else(|| set("no_proxy")) {
        Some(names) => format!("{names},{LOOPBACK}"),
        None => LOOPBACK.to_owned(),
    }
}

/// `uv 0.13.9 (…)` → `(0, 13, 9)`.
fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let version = text.strip_prefix("uv ")?.split_whitespace().next()?;
    let mut parts = version.split(['.', '+', '-']).map(|part| part.parse::<u32>().ok());
    Some((parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32, stderr: &str) -> UvFailure {
        UvFailure { code: Some(code), stderr: stderr.to_owned() }
    }

    #[test]
    fn version_of_uv_is_read() {
        assert_eq!(parse_version("uv 0.13.9 (x86_64-unknown-linux-gnu)"), Some((0, 13, 9)));
        assert_eq!(parse_version("uv 1.0.0-alpha.1"), Some((1, 0, 0)));
        assert_eq!(parse_version("Usage: uv"), None);
    }

    #[test]
    fn reason_is_the_resolvers_sentence() {
        let new = "Using CPython 3.11.7\nerror: No solution found when resolving dependencies\n  cause: Because \
                   there is no version of six==99 and you require six==99, we can conclude that your \
                   requirements are unsatisfiable.\n";
        let old = "  × No solution found when resolving dependencies:\n  ╰─▶ Because there is no version of \
                   six==99 and you require six==99,\n      we can conclude that your requirements are \
                   unsatisfiable.\n\nhint: look elsewhere";
        let expected = "Because there is no version of six==99 and you require six==99, we can conclude that \
                        your requirements are unsatisfiable";
        assert_eq!(failure(1, new).reason(), expected);
        assert_eq!(failure(1, old).reason(), expected);
        assert!(failure(1, new).is_unsatisfiable());
    }

    #[test]
    fn network_trouble_is_told_from_refusal() {
        let stderr = "error: Request failed after 3 retries in 9.6s\n  cause: Failed to fetch: \
                      https://download.pytorch.org/whl/cpu/torch/\n  cause: error sending request for url\n  \
                      cause: dns error";
        assert!(failure(2, stderr).is_network());
        assert!(failure(2, stderr).is_torch_index());
        assert!(!failure(2, stderr).is_unsatisfiable());
        assert!(failure(2, "").reason().contains("status 2"));
    }
}
