//! What a command finds around it: the environment that Runpod gives a worker (`platform.md` 2.2).
//!
//! Nothing of the shell but what a process needs to run and to reach the network: a worker gets
//! its endpoint's variables alone.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

/// Milliseconds between two pings of a worker.
pub(super) const PING_INTERVAL_MS: u64 = 10_000;

/// Variables of the shell that every worker gets, by name.
const PASSED: [&str; 17] = [
    "PATH",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
];

/// How a worker and this server reach each other.
pub(super) enum Calls {
    /// It asks for work here.
    Polls {
        /// This server.
        base_url: String,
        /// Opens the worker API for it.
        token: String,
    },
    /// It listens.
    Listens {
        /// This server.
        base_url: String,
        /// Port that it is to listen on.
        port: u16,
        /// Port that its health is asked on.
        health: u16,
    },
    /// By frames, over a socket that it was started with.
    Frames {
        /// This server, for what its code calls; `None` where it has no address yet.
        base_url: Option<String>,
    },
}

/// Returns the whole environment of a worker: the least of the shell, `env` of its endpoint, and
/// what Runpod sets, which `env` cannot override.
pub(super) fn pod_environment(
    shell: impl IntoIterator<Item = (OsString, OsString)>,
    home: &Path,
    env: &BTreeMap<String, String>,
    identity: (&str, &str),
    calls: &Calls,
) -> Vec<(OsString, OsString)> {
    let shell: BTreeMap<OsString, OsString> = shell.into_iter().collect();
    let mut variables: BTreeMap<OsString, OsString> = BTreeMap::new();
    let is_passed = |name: &OsStr| {
        PASSED.iter().any(|passed| name == *passed) || name.as_encoded_bytes().starts_with(b"LC_")
    };
    variables.extend(
        shell.iter().filter(|(name, _)| is_passed(name)).map(|(name, value)| (name.clone(), value.clone())),
    );
    // Packages installed for the user stay importable although the home folder is another.
    let user_base = shell.get(OsStr::new("PYTHONUSERBASE")).map(PathBuf::from).or_else(|| {
        let own = Path::new(shell.get(OsStr::new("HOME"))?).join(".local");
        Some(own)
    });
    if let Some(base) = user_base {
        variables.insert("PYTHONUSERBASE".into(), base.into());
    }
    // Lines show when they are written, and a crash loses none.
    variables.insert("PYTHONUNBUFFERED".into(), "1".into());
    variables.insert("HOME".into(), home.into());
    for name in ["NO_PROXY", "no_proxy"] {
        let own = shell.get(OsStr::new(name)).and_then(|value| value.to_str()).unwrap_or_default();
        let separator = if own.is_empty() { "" } else { "," };
        variables.insert(name.into(), format!("{own}{separator}127.0.0.1,localhost,::1").into());
    }
    // A name with `=` or NUL, or a value with NUL, cannot be passed at all and would fail the start.
    let is_possible =
        |name: &str, value: &str| !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
    let own = env.iter().filter(|(name, value)| is_possible(name, value));
    variables.extend(own.map(|(name, value)| (name.into(), value.into())));
    let set = pod_variables(identity, calls);
    variables.extend(set.into_iter().map(|(name, value)| (name.into(), value.into())));
    variables.into_iter().collect()
}

/// What Runpod sets.
fn pod_variables((endpoint, worker): (&str, &str), calls: &Calls) -> Vec<(&'static str, String)> {
    let cores = available_parallelism().map_or(1, usize::from);
    let mut variables = vec![
        ("RUNPOD_ENDPOINT_ID", endpoint.to_owned()),
        ("RUNPOD_POD_ID", worker.to_owned()),
        ("RUNPOD_POD_HOSTNAME", worker.to_owned()),
        ("RUNPOD_DC_ID", "local".to_owned()),
        ("RUNPOD_PUBLIC_IP", "127.0.0.1".to_owned()),
        ("RUNPOD_GPU_COUNT", "0".to_owned()),
        ("RUNPOD_CPU_COUNT", cores.to_string()),
        // The first dials a server on the internet; the second needs a GPU (`platform.md` 2.14).
        ("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "true".to_owned()),
        ("RUNPOD_SKIP_GPU_CHECK", "true".to_owned()),
        // Inputs may come from this machine.
        ("RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS", "true".to_owned()),
    ];
    match calls {
        Calls::Polls { base_url, token } => {
            let base = format!("{base_url}/v2/{}", urlencoding::encode(endpoint));
            variables.extend([
                ("RUNPOD_WEBHOOK_GET_JOB", format!("{base}/job-take/$ID?gpu=local")),
                ("RUNPOD_WEBHOOK_POST_OUTPUT", format!("{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=local")),
                ("RUNPOD_WEBHOOK_POST_STREAM", format!("{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=local")),
                ("RUNPOD_WEBHOOK_PING", format!("{base}/ping/$RUNPOD_POD_ID")),
                ("RUNPOD_PING_INTERVAL", PING_INTERVAL_MS.to_string()),
                ("RUNPOD_AI_API_KEY", token.clone()),
                ("RUNPOD_ENDPOINT_BASE_URL", format!("{base_url}/v2")),
            ]);
        }
        Calls::Listens { base_url, port, health } => variables.extend([
            ("PORT", port.to_string()),
            ("PORT_HEALTH", health.to_string()),
            ("RUNPOD_ENDPOINT_BASE_URL", format!("{base_url}/v2")),
        ]),
        Calls::Frames { base_url } => {
            variables.push(("FLASH_TARGET", "local".to_owned()));
            variables.extend(base_url.iter().map(|url| ("RUNPOD_ENDPOINT_BASE_URL", format!("{url}/v2"))));
        }
    }
    variables
}

/// Finds the program that a command names: in `path`, or from `directory` when it has a `/`.
/// Where the path has no `python`, it is the one that runs this.
///
/// # Errors
/// Says that there is none.
pub(super) fn find_program(
    name: &str,
    directory: &Path,
    path: Option<&OsStr>,
    python: &Path,
) -> io::Result<PathBuf> {
    if name.contains('/') {
        return Ok(directory.join(name));
    }
    let is_program = |file: &Path| {
        file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    let folders = path.map(std::env::split_paths).into_iter().flatten();
    if let Some(found) = folders.map(|folder| folder.join(name)).find(|file| is_program(file)) {
        return Ok(found);
    }
    if matches!(name, "python" | "python3") {
        return Ok(python.to_owned());
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no program `{name}` in PATH")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(shell: &[(&str, &str)], env: &[(&str, &str)]) -> BTreeMap<String, String> {
        let shell = shell.iter().map(|(name, value)| (name.into(), value.into()));
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let calls = Calls::Polls { base_url: "http://127.0.0.1:7".to_owned(), token: "t".to_owned() };
        let all = pod_environment(shell, Path::new("/tmp/h"), &env, ("e p", "w1"), &calls);
        let text = |value: OsString| value.into_string().unwrap();
        all.into_iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn environment_of_command_has_nothing_of_the_shell_but_what_is_needed() {
        let shell =
            [("PATH", "/p"), ("LC_ALL", "C"), ("SECRET", "s"), ("RUNPOD_API_KEY", "k"), ("HOME", "/h")];
        let found = environment(&shell, &[("MODE", "x"), ("RUNPOD_POD_ID", "forged")]);
        assert_eq!(found["PATH"], "/p");
        assert_eq!(found["LC_ALL"], "C");
        assert_eq!(found["HOME"], "/tmp/h");
        assert_eq!(found["PYTHONUSERBASE"], "/h/.local");
        assert_eq!(found["MODE"], "x");
        assert_eq!(found["RUNPOD_POD_ID"], "w1");
        assert!(!found.contains_key("SECRET") && !found.contains_key("RUNPOD_API_KEY"));
    }

    #[test]
    fn urls_of_worker_have_a_query_and_an_encoded_endpoint() {
        let found = environment(&[], &[]);
        assert_eq!(found["RUNPOD_WEBHOOK_GET_JOB"], "http://127.0.0.1:7/v2/e%20p/job-take/$ID?gpu=local");
        assert!(found["RUNPOD_WEBHOOK_POST_OUTPUT"].ends_with("/job-done/$RUNPOD_POD_ID/$ID?gpu=local"));
        assert!(found["RUNPOD_WEBHOOK_PING"].ends_with("/ping/$RUNPOD_POD_ID"));
    }

    #[test]
    fn program_is_found_in_the_path_or_named_in_the_error() {
        let find =
            |name| find_program(name, Path::new("/d"), Some(OsStr::new("/nowhere:/bin")), Path::new("/py"));
        assert_eq!(find("sh").unwrap(), Path::new("/bin/sh"));
        assert_eq!(find("./run").unwrap(), Path::new("/d/./run"));
        assert!(find("no-such-program").unwrap_err().to_string().contains("no-such-program"));
    }
}
