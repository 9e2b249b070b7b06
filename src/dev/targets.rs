//! Where each endpoint of a run is: on this machine or on Runpod, and why.

use super::console::Console;
use super::error::DevError;
use super::keep;
use crate::catalog;
use crate::endpoint::EndpointKind;
use crate::endpoint::target::{Target, parse_target};
use crate::project::Project;
use crate::runpod::live::Store;
use crate::runpod::{ErrorKind, RunpodError};

/// Name of the remembered answer.
const SETTING: &str = "target";

/// What the command line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Asked {
    /// Nothing.
    #[default]
    Nothing,
    /// `--local`.
    Local,
    /// `--remote`: all, or the named ones.
    Remote(Vec<String>),
}

/// Which endpoints run on Runpod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Targets {
    which: Which,
    /// Why, for the console.
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Which {
    None,
    All,
    Some(Vec<String>),
}

impl Targets {
    /// All on this machine: there is nothing to decide about.
    pub(super) fn here() -> Self {
        Self { which: Which::None, reason: String::new() }
    }

    /// Decides: flags, then `FLASH_TARGET`, then what was answered before; a key alone is asked
    /// about once, and without a terminal nothing leaves this machine.
    pub(super) async fn decide(
        asked: &Asked,
        variable: Option<&str>,
        has_key: bool,
        store: &Store,
        console: &Console,
    ) -> Result<Self, DevError> {
        let made = |which: Which, reason: &str| Ok(Self { which, reason: reason.to_owned() });
        match asked {
            Asked::Local => return made(Which::None, "--local"),
            Asked::Remote(names) if names.is_empty() => return made(Which::All, "--remote"),
            Asked::Remote(names) => {
                let reason = format!("--remote {}", names.join(" "));
                return made(Which::Some(names.clone()), &reason);
            }
            Asked::Nothing => {}
        }
        match parse_target(variable)? {
            Some(Target::Local) => return made(Which::None, "FLASH_TARGET=local"),
            Some(Target::Runpod) => return made(Which::All, "FLASH_TARGET=runpod"),
            None => {}
        }
        if !has_key {
            return made(Which::None, "no account needed: no Runpod key was found");
        }
        let remembered = "remembered in .flash/settings.json";
        match store.setting(SETTING).as_deref() {
            Some("local") => return made(Which::None, remembered),
            Some("runpod") => return made(Which::All, remembered),
            _ => {}
        }
        let question = "a Runpod key was found: run functions here, or on Runpod, where workers cost money \
                        while they run? [here/runpod] ";
        let Some(answer) = console.ask(question).await else {
            return made(
                Which::None,
                "a Runpod key was found and is not used; `flash run --remote` runs functions on Runpod",
            );
        };
        let is_remote = matches!(answer.trim().to_lowercase().as_str(), "runpod" | "r" | "remote");
        store.remember(SETTING, if is_remote { "runpod" } else { "local" })?;
        made(
            if is_remote { Which::All } else { Which::None },
            "answered now, and remembered in .flash/settings.json",
        )
    }

    /// Whether an endpoint runs on Runpod.
    pub(super) fn is_remote(&self, endpoint: &str) -> bool {
        match &self.which {
            Which::None => false,
            Which::All => true,
            Which::Some(names) => names.iter().any(|name| name == endpoint),
        }
    }

    /// Whether any endpoint may run on Runpod.
    pub(super) fn has_remote(&self) -> bool {
        self.which != Which::None
    }

    /// Refuses names that no endpoint has. Where files are broken, their endpoints may be meant.
    pub(super) fn check(&self, project: &Project) -> Result<(), DevError> {
        let Which::Some(names) = &self.which else { return Ok(()) };
        if keep::errors(project).next().is_some() {
            return Ok(());
        }
        let known: Vec<&str> = served(project).collect();
        match names.iter().find(|name| !known.contains(&name.as_str())) {
            Some(wrong) => {
                let list: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
                let message = format!("--remote: there is no endpoint `{wrong}` here");
                let near = catalog::suggest_among(known.iter().copied(), wrong);
                let near = near.map(|name| format!("did you mean `{name}`? ")).unwrap_or_default();
                let error = RunpodError::new(ErrorKind::Configuration, message);
                Err(error.with_hint(format!("{near}the endpoints are {}", list.join(", "))).into())
            }
            None => Ok(()),
        }
    }

    /// Says for each endpoint where it runs, and why; one line where all are at one place.
    pub(super) fn lines(&self, project: &Project) -> Vec<String> {
        let names: Vec<&str> = served(project).collect();
        match &self.which {
            Which::None => vec![format!("this machine ({})", self.reason)],
            Which::All => vec![format!("Runpod ({})", self.reason)],
            Which::Some(asked) => {
                let place = |name: &&str| {
                    if self.is_remote(name) {
                        format!("{name}: Runpod ({})", self.reason)
                    } else {
                        format!("{name}: this machine (not named by --remote)")
                    }
                };
                let missing = asked.iter().filter(|name| !names.contains(&name.as_str()));
                let missing = missing.map(|name| format!("{name}: not declared (named by --remote)"));
                names.iter().map(place).chain(missing).collect()
            }
        }
    }
}

fn served(project: &Project) -> impl Iterator<Item = &str> {
    let endpoints = project.files.iter().flat_map(|file| &file.endpoints);
    endpoints.filter(|endpoint| endpoint.kind != EndpointKind::Client).map(|endpoint| endpoint.name.as_str())
}
