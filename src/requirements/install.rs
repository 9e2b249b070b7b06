//! Makes one environment: resolve, say its size, install, put it in its place.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::cache::{self, Cache};
use super::error::EnvironmentError;
use super::host::HostPython;
use super::index::IndexSettings;
use super::installed;
use super::process::Children;
use super::requirement::{RequirementSet, summary};
use super::size;
use super::uv::{Uv, UvFailure};

/// For attempts that another way follows: whoever has no network should not wait for all retries.
const ONE_RETRY: [(&str, &str); 1] = [("UV_HTTP_RETRIES", "1")];

/// What making an environment needs to know.
#[derive(Debug)]
pub struct Recipe<'a> {
    /// Interpreter that environments are based on.
    pub host: &'a HostPython,
    /// Where they are kept.
    pub cache: &'a Cache,
    /// Where packages come from.
    pub settings: &'a IndexSettings,
    /// What is wanted.
    pub set: &'a RequirementSet,
    /// First-level key, see [`request_key`].
    pub request: &'a str,
    /// Where processes are entered while they run.
    pub children: &'a Children,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// An environment of its own.
    Environment {
        /// Its interpreter.
        python: PathBuf,
        /// Packages in it.
        packages: usize,
        /// Whether it was there already.
        was_there: bool,
    },
    /// There is no network, but the host has what is needed.
    Host,
}

/// What is told on the way.
pub trait Steps {
    /// A step begins.
    fn step(&self, text: String);
    /// Something worth knowing.
    fn notice(&self, text: String);
}

/// A resolution: one pinned requirement a line.
struct Resolved {
    lines: Vec<String>,
    /// `--torch-backend`'s value, unless the user's own variable says it.
    torch_backend: Option<&'static str>,
    is_offline: bool,
}

/// Key of a set of requirements before it is resolved: what is asked for, of which indexes, for
/// which interpreter and accelerator.
pub fn request_key(host: &HostPython, settings: &IndexSettings, set: &RequirementSet) -> String {
    let accelerator = if has_nvidia_driver() { "nvidia" } else { "cpu" };
    let torch = std::env::var("UV_TORCH_BACKEND").unwrap_or_default();
    cache::key_of(&[
        &set.to_file(),
        &cache::interpreter_identity(host),
        &settings.identity,
        accelerator,
        &torch,
    ])
}

/// Makes the environment, or finds it made by another process meanwhile. Blocks until it is there.
pub fn make(recipe: &Recipe<'_>, steps: &dyn Steps) -> Result<Made, EnvironmentError> {
    let waiting = || steps.step("waiting for another `flash` that installs the same packages".to_owned());
    let _request = recipe.cache.lock("resolutions", recipe.request, waiting)?;
    if let Some(python) = recipe.cache.resolved(recipe.request) {
        return Ok(Made::Environment { python, packages: recipe.set.iter().count(), was_there: true });
    }
    let uv = Uv::find(recipe.host, recipe.settings.clone())?;
    let resolved = match resolve(recipe, &uv, steps)? {
        Ok(resolved) => resolved,
        Err(failure) if failure.is_network() => return without_network(recipe, &failure, steps),
        Err(failure) => return Err(failed(recipe, &failure)),
    };
    let identity = cache::interpreter_identity(recipe.host);
    let key = cache::key_of(&[&resolved.lines.join("\n"), &identity]);
    let waiting = || steps.step("waiting for another `flash` that installs the same packages".to_owned());
    let _environment = recipe.cache.lock("environments", &key, waiting)?;
    let (python, was_there) = match recipe.cache.environment(&key) {
        Some(python) => (python, true),
        None => (install(recipe, &uv, &resolved, &key, steps)?, false),
    };
    recipe.cache.remember(recipe.request, recipe.set.iter().map(ToString::to_string).collect(), &key)?;
    Ok(Made::Environment { python, packages: resolved.lines.len(), was_there })
}

/// Resolves, in up to four attempts: as it should be; without torch's own index where that cannot
/// be reached; from `uv`'s cache where there is no network; and with all of `uv`'s retries.
fn resolve(
    recipe: &Recipe<'_>,
    uv: &Uv,
    steps: &dyn Steps,
) -> Result<Result<Resolved, UvFailure>, EnvironmentError> {
    if recipe.set.is_empty() {
        return Ok(Ok(Resolved { lines: Vec::new(), torch_backend: None, is_offline: false }));
    }
    steps.step(format!("resolving {}", recipe.set.summary()));
    let is_torch_chosen = std::env::var_os("UV_TORCH_BACKEND").is_some();
    let mut torch_backend = (!is_torch_chosen).then_some("auto");
    let mut failure = match compile(recipe, uv, torch_backend, false, &ONE_RETRY)? {
        Ok(lines) => return Ok(Ok(Resolved { lines, torch_backend, is_offline: false })),
        Err(failure) => failure,
    };
    if failure.is_torch_index() && torch_backend.take().is_some() {
        steps.notice(
            "the index of torch's CPU wheels (download.pytorch.org) cannot be reached; the normal index is used"
                .to_owned(),
        );
        failure = match compile(recipe, uv, torch_backend, false, &ONE_RETRY)? {
            Ok(lines) => return Ok(Ok(Resolved { lines, torch_backend, is_offline: false })),
            Err(failure) => failure,
        };
    }
    if !failure.is_network() {
        return Ok(Err(failure));
    }
    for backend in [torch_backend, None] {
        if let Ok(lines) = compile(recipe, uv, backend, true, &[])? {
            return Ok(Ok(Resolved { lines, torch_backend: backend, is_offline: true }));
        }
    }
    if std::env::var_os("UV_OFFLINE").is_some() {
        return Ok(Err(failure));
    }
    steps.step("the package index cannot be reached, trying again".to_owned());
    Ok(compile(recipe, uv, torch_backend, false, &[])?.map(|lines| Resolved {
        lines,
        torch_backend,
        is_offline: false,
    }))
}

fn compile(
    recipe: &Recipe<'_>,
    uv: &Uv,
    torch_backend: Option<&str>,
    is_offline: bool,
    variables: &[(&str, &str)],
) -> Result<Result<Vec<String>, UvFailure>, EnvironmentError> {
    let mut arguments: Vec<OsString> = ["pip", "compile", "-", "--no-header", "--no-annotate", "--python"]
        .into_iter()
        .map(OsString::from)
        .collect();
    arguments.push(recipe.host.executable.clone().into());
    add_sources(&mut arguments, uv, torch_backend, is_offline);
    let output = uv.run(arguments, &recipe.set.to_file(), variables, recipe.children)?;
    Ok(output.map(|output| {
        let is_pin = |line: &&str| !line.is_empty() && !line.starts_with(['#', '-', ' ']);
        output.stdout.lines().map(str::trim_end).filter(is_pin).map(str::to_owned).collect()
    }))
}

fn install(
    recipe: &Recipe<'_>,
    uv: &Uv,
    resolved: &Resolved,
    key: &str,
    steps: &dyn Steps,
) -> Result<PathBuf, EnvironmentError> {
    let made = recipe.cache.begin(key)?;
    let result = install_into(recipe, uv, resolved, &made, steps)
        .and_then(|()| recipe.cache.finish(key, &made, recipe.host, &resolved.lines));
    if result.is_err() {
        // The next attempt would remove it, too.
        let _ = std::fs::remove_dir_all(&made);
    }
    result
}

fn install_into(
    recipe: &Recipe<'_>,
    uv: &Uv,
    resolved: &Resolved,
    made: &Path,
    steps: &dyn Steps,
) -> Result<(), EnvironmentError> {
    // Relocatable, since it is renamed when it is whole.
    let mut arguments: Vec<OsString> =
        ["venv", "--relocatable", "--no-project", "--python"].into_iter().map(OsString::from).collect();
    arguments.push(recipe.host.executable.clone().into());
    arguments.push(made.into());
    uv.run(arguments, "", &[], recipe.children)?.map_err(|failure| failed(recipe, &failure))?;
    if resolved.lines.is_empty() {
        return Ok(());
    }

    let pins = made.join("flash-requirements.txt");
    let options: Vec<&str> = recipe.set.options().collect();
    let text = options.iter().copied().chain(resolved.lines.iter().map(String::as_str));
    let text: String = text.flat_map(|line| [line, "\n"]).collect();
    std::fs::write(&pins, text).map_err(|source| EnvironmentError::Cache { path: pins.clone(), source })?;

    let mut arguments: Vec<OsString> =
        ["pip", "install", "--no-deps", "--python"].into_iter().map(OsString::from).collect();
    arguments.push(made.join("bin/python").into());
    arguments.push("-r".into());
    arguments.push(pins.clone().into());
    add_sources(&mut arguments, uv, resolved.torch_backend, resolved.is_offline);

    if !resolved.is_offline {
        announce_size(recipe, uv, resolved, &pins, &arguments, steps)?;
    }
    let names: Vec<String> = resolved.lines.iter().map(|line| name_of(line).to_owned()).collect();
    let count = names.len();
    let plural = if count == 1 { "package" } else { "packages" };
    steps.step(format!("installing {count} {plural}: {}", summary(&names)));
    let result = uv.run(arguments, "", &[], recipe.children)?;
    // Indexes may be named with passwords.
    std::fs::remove_file(&pins).map_err(|source| EnvironmentError::Cache { path: pins, source })?;
    result.map(drop).map_err(|failure| failed(recipe, &failure))
}

/// Says how much is downloaded, where it is much and not all in `uv`'s cache.
fn announce_size(
    recipe: &Recipe<'_>,
    uv: &Uv,
    resolved: &Resolved,
    pins: &Path,
    install: &[OsString],
    steps: &dyn Steps,
) -> Result<(), EnvironmentError> {
    let mut arguments: Vec<OsString> =
        ["pip", "compile", "--no-deps", "--no-header", "--format", "pylock.toml", "--python"]
            .into_iter()
            .map(OsString::from)
            .collect();
    arguments.push(recipe.host.executable.clone().into());
    arguments.push(pins.into());
    add_sources(&mut arguments, uv, resolved.torch_backend, false);
    let sizes = match uv.run(arguments, "", &[], recipe.children)? {
        Ok(lock) => size::sizes_in(&lock.stdout),
        // Sizes only inform; an older `uv` does not know the format.
        Err(_) => return Ok(()),
    };
    let Some(notice) = size::notice(&sizes) else { return Ok(()) };
    let mut arguments = install.to_vec();
    arguments.push("--dry-run".into());
    // Said once too often rather than not at all, should the words of the plan change.
    let is_cached = uv
        .run(arguments, "", &[], recipe.children)?
        .is_ok_and(|plan| plan.stderr.contains("Would install") && !plan.stderr.contains("Would download"));
    if !is_cached {
        steps.notice(notice);
    }
    Ok(())
}

/// No network: the host's packages where they satisfy, else what is missing.
fn without_network(
    recipe: &Recipe<'_>,
    failure: &UvFailure,
    steps: &dyn Steps,
) -> Result<Made, EnvironmentError> {
    match installed::check_host(recipe.host, recipe.set) {
        Ok(()) => {
            steps.notice(format!(
                "no network ({}): the packages of this Python satisfy {} and are used",
                short(&failure.reason()),
                recipe.set.summary()
            ));
            Ok(Made::Host)
        }
        Err(lacking) => Err(EnvironmentError::Offline {
            missing: installed::describe(&lacking),
            reason: short(&failure.reason()),
        }),
    }
}

fn failed(recipe: &Recipe<'_>, failure: &UvFailure) -> EnvironmentError {
    let reason = failure.reason();
    let requirements = recipe.set.named_in(&reason);
    if failure.is_unsatisfiable() {
        EnvironmentError::Unsatisfiable { requirements, reason }
    } else {
        EnvironmentError::Install { requirements, reason }
    }
}

fn add_sources(arguments: &mut Vec<OsString>, uv: &Uv, torch_backend: Option<&str>, is_offline: bool) {
    if let Some(backend) = torch_backend {
        arguments.extend(["--torch-backend".into(), backend.into()]);
    }
    if is_offline {
        arguments.push("--offline".into());
    }
    arguments.extend(uv.index_arguments().iter().map(OsString::from));
}

/// `numpy==2.1 ; marker` or `name @ url` → name.
fn name_of(pin: &str) -> &str {
    pin.split(['=', ' ', '@', '[', ';']).next().unwrap_or(pin)
}

/// The first 200 characters of a reason that stands in brackets.
fn short(reason: &str) -> String {
    reason.chars().take(200).collect()
}

fn has_nvidia_driver() -> bool {
    Path::new("/proc/driver/nvidia/version").exists() || Path::new("/dev/nvidiactl").exists()
}
