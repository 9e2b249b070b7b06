//! What a worker process is started with: its environment and its folder.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::options::CommandLine;
use super::pod::{Calls, pod_environment};
use super::spec::EndpointSpec;
use crate::wire::message::{LoadHead, Source};

/// Never handed to user code: credentials, and what would make a worker act as another context.
const WITHHELD: [&str; 5] = [
    "RUNPOD_API_KEY",
    "RUNPOD_AI_API_KEY",
    "FLASH_IS_LIVE_PROVISIONING",
    "FLASH_WORKER_FD",
    "FLASH_RUNTIME_PATHS",
];

/// Names the folder that our worker program is to show as its network volume.
const VOLUME: &str = "FLASH_VOLUME";

/// Variables that say where code runs; an endpoint's own `env` cannot override them.
fn identity(endpoint: &str, worker: &str) -> [(&'static str, String); 4] {
    [
        ("FLASH_TARGET", "local".to_owned()),
        ("FLASH_RESOURCE_NAME", endpoint.to_owned()),
        ("RUNPOD_ENDPOINT_ID", endpoint.to_owned()),
        ("RUNPOD_POD_ID", worker.to_owned()),
    ]
}

/// Whether its workers get nothing of the shell: endpoints made through the management API.
pub(super) fn is_alone(load: &LoadHead) -> bool {
    matches!(load.source, Source::Live { .. } | Source::Artifact { .. })
}

/// Variables of an endpoint's worker beyond the shell's.
pub(super) fn endpoint_variables(spec: &EndpointSpec, worker: &str) -> BTreeMap<String, String> {
    let mut variables = spec.env.clone();
    variables.remove("FLASH_IS_LIVE_PROVISIONING");
    if spec.flash().is_some_and(|flash| is_alone(&flash.load)) {
        // Which resource of an app it is stands among its own.
        variables.extend([
            ("RUNPOD_ENDPOINT_ID".to_owned(), spec.id.clone()),
            ("RUNPOD_POD_ID".to_owned(), worker.to_owned()),
        ]);
        return variables;
    }
    variables.extend(identity(&spec.name, worker).map(|(name, value)| (name.to_owned(), value)));
    variables
}

/// The head of `Load`: a spare worker was started without the endpoint's variables.
pub(super) fn load_head(spec: &EndpointSpec, load: &LoadHead, worker: &str) -> LoadHead {
    let mut head = load.clone();
    head.env.extend(endpoint_variables(spec, worker));
    head
}

/// The whole environment of a worker process: the shell's variables without credentials, those of
/// its endpoint, and the command's own last.
pub(super) fn process_environment(
    shell: impl IntoIterator<Item = (OsString, OsString)>,
    endpoint: &BTreeMap<String, String>,
    command: &CommandLine,
) -> Vec<(OsString, OsString)> {
    let mut variables: BTreeMap<OsString, OsString> = shell
        .into_iter()
        .filter(|(name, _)| {
            !WITHHELD.iter().chain(command.withheld).any(|withheld| name == OsStr::new(withheld))
        })
        .collect();
    // A name with `=` or NUL, or a value with NUL, cannot be passed at all and would fail the start.
    let is_possible =
        |name: &str, value: &str| !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
    for (name, value) in endpoint {
        if is_possible(name, value) {
            variables.insert(name.into(), value.into());
        }
    }
    for (name, value) in &command.variables {
        variables.insert(name.into(), value.clone());
    }
    variables.into_iter().collect()
}

/// The whole environment of a worker that gets nothing of the shell: as that of a command, with
/// what our own program needs.
pub(super) fn own_environment(
    spec: &EndpointSpec,
    worker: &str,
    load: &LoadHead,
    home: &Path,
    base_url: Option<String>,
    command: &CommandLine,
) -> Vec<(OsString, OsString)> {
    let calls = Calls::Frames { base_url };
    let env = endpoint_variables(spec, worker);
    let identity = (spec.id.as_str(), worker);
    let pod = pod_environment(std::env::vars_os(), home, &env, identity, &calls);
    let mut variables: BTreeMap<OsString, OsString> = pod.into_iter().collect();
    for (name, value) in &command.variables {
        variables.insert(name.into(), value.clone());
    }
    if let Source::Live { volume: Some(folder) } | Source::Artifact { volume: Some(folder), .. } =
        &load.source
    {
        variables.insert(VOLUME.into(), folder.into());
    }
    variables.into_iter().collect()
}

/// The folder that a worker starts in: the one that was asked for, else the project's root.
pub(super) fn directory(load: &LoadHead) -> Option<PathBuf> {
    match (&load.working_directory, &load.source) {
        (Some(directory), _) => Some(directory.into()),
        (None, Source::Module { root, .. } | Source::Artifact { root, .. }) => Some(root.into()),
        // A folder of its own, which is its home.
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (OsString, OsString) {
        (name.into(), value.into())
    }

    #[test]
    fn environment_of_worker_has_nothing_withheld_and_endpoint_wins_over_shell() {
        let shell = [
            pair("RUNPOD_API_KEY", "secret"),
            pair("HOME", "/h"),
            pair("MODE", "shell"),
            pair("PYTHONPATH", "/p"),
        ];
        let endpoint = BTreeMap::from([("MODE".to_owned(), "endpoint".to_owned())]);
        let command = CommandLine {
            program: "p".into(),
            arguments: Vec::new(),
            variables: BTreeMap::new(),
            withheld: &["PYTHONPATH"],
        };
        let environment = process_environment(shell, &endpoint, &command);
        assert_eq!(environment, vec![pair("HOME", "/h"), pair("MODE", "endpoint")]);
    }
}
