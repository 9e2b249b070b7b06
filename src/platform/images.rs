//! What a worker image means on this machine: our own worker program, a command, or nothing.
//!
//! Containers are not run here. The four Flash images hold a worker program whose protocol ours
//! speaks (`wire.md` 1.2 to 1.10, 2.1 and 6), so an endpoint made with one of them runs on ours.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::artifact::{self, ArtifactError};
use super::spec::{CommandRuntime, FlashRuntime, Runtime};
use crate::catalog::images::ImageKind;
use crate::endpoint::EndpointKind;
use crate::requirements::{EnvironmentState, Environments, HostPython};
use crate::wire::message::{LoadHead, Source};

/// Set on every endpoint of a deployed app (`wire.md` 4.7), and on no live one.
const RESOURCE_VARIABLE: &str = "FLASH_RESOURCE_NAME";

/// What is known of an endpoint when its workers are decided on.
#[derive(Debug, Clone)]
pub struct ImageRequest<'a> {
    /// The endpoint's ID.
    pub endpoint_id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its kind.
    pub kind: EndpointKind,
    /// Image of its template, such as `runpod/flash-cpu:py3.12-latest`; empty where there is none.
    pub image: &'a str,
    /// Variables of its template.
    pub env: &'a BTreeMap<String, String>,
    /// A command that stands in for the image.
    pub command: Option<CommandRuntime>,
    /// Archive (`tar.gz`) of the build that its environment serves.
    pub artifact: Option<PathBuf>,
    /// Folder of its network volume.
    pub volume: Option<PathBuf>,
    /// Jobs that a worker takes at a time.
    pub max_concurrency: u32,
}

/// Decides what the workers of an endpoint are, and begins to prepare what they need.
///
/// What takes time (an archive is unpacked, packages are installed) goes on beside it: until then
/// jobs wait.
pub fn runtime(request: &ImageRequest<'_>, environments: &Arc<Environments>) -> Runtime {
    if let Some(command) = &request.command {
        return Runtime::Command(with_volume(command, request.volume.as_deref(), environments.host()));
    }
    if !is_flash(request.image, |name| std::env::var(name).ok()) {
        return Runtime::Unavailable { reason: unknown_image(request.image) };
    }
    if let Some(resource) = request.env.get(RESOURCE_VARIABLE) {
        if let Some(archive) = &request.artifact {
            return deployed(request, resource, archive, environments);
        }
        let reason = format!(
            "no build is deployed for `{resource}`: `FLASH_RESOURCE_NAME` says that this endpoint belongs to an app"
        );
        return Runtime::Unavailable { reason };
    }
    live(request, environments)
}

/// The command, behind a program that shows it its network volume.
fn with_volume(command: &CommandRuntime, volume: Option<&Path>, host: &HostPython) -> CommandRuntime {
    let Some(volume) = volume else { return command.clone() };
    let program = host.package.join("worker").join("volume.py");
    // In a plain interpreter: what the command's own variables say of Python is not for it.
    let mut argv = vec![text(&host.executable), "-IS".to_owned(), text(&program), absolute(volume)];
    argv.extend(command.argv.iter().cloned());
    CommandRuntime { argv, directory: command.directory.clone() }
}

/// A worker that runs the source that each call brings.
fn live(request: &ImageRequest<'_>, environments: &Environments) -> Runtime {
    let source = Source::Live { volume: request.volume.as_deref().map(absolute) };
    flash(request, request.name, source, environments.prepare(request.name, &[], &[]))
}

/// A worker that serves one resource of a deployed app.
fn deployed(
    request: &ImageRequest<'_>,
    resource: &str,
    archive: &Path,
    environments: &Arc<Environments>,
) -> Runtime {
    let folder = environments.cache_folder().map_err(|error| error.to_string()).and_then(|cache| {
        artifact::folder_of(archive, &cache)
            .map_err(|error| format!("the build `{}` cannot be read: {error}", archive.display()))
    });
    let folder = match folder {
        Ok(folder) => folder,
        Err(reason) => return Runtime::Unavailable { reason },
    };
    let source = Source::Artifact {
        root: text(&folder),
        resource: resource.to_owned(),
        volume: request.volume.as_deref().map(absolute),
    };
    let preparing = EnvironmentState::Preparing { message: "unpacking the build".to_owned() };
    let (sender, environment) = watch::channel(preparing);
    let (name, resource) = (request.name.to_owned(), resource.to_owned());
    let runtime = flash(request, &resource, source, environment);
    let (archive, environments) = (archive.to_path_buf(), Arc::clone(environments));
    let unpacking = move || {
        let state = prepared(&archive, &folder, &name, &resource, &environments)
            .unwrap_or_else(|error| EnvironmentState::Failed { message: error.to_string(), hint: None });
        sender.send_replace(state);
        // Who waits for a further change must not find the channel closed.
        std::mem::forget(sender);
    };
    match std::thread::Builder::new().name("flash-unpack".to_owned()).spawn(unpacking) {
        Ok(_) => runtime,
        Err(error) => Runtime::Unavailable { reason: format!("no thread can be started: {error}") },
    }
}

/// Unpacks a build and installs what of it was compiled for another Python.
fn prepared(
    archive: &Path,
    folder: &Path,
    name: &str,
    resource: &str,
    environments: &Environments,
) -> Result<EnvironmentState, ArtifactError> {
    artifact::unpack(archive, folder)?;
    artifact::check_resource(folder, resource)?;
    let (major, minor, _) = environments.host().version;
    let packages = artifact::foreign_packages(folder, (major, minor));
    let mut state = environments.prepare(name, &packages, &[]);
    let waiting = tokio::runtime::Builder::new_current_thread().build();
    let waiting = waiting.map_err(|source| ArtifactError::Io { path: folder.to_path_buf(), source })?;
    let settled = |state: &EnvironmentState| !matches!(state, EnvironmentState::Preparing { .. });
    let last = waiting.block_on(async { state.wait_for(settled).await.map(|state| state.clone()) });
    Ok(last.unwrap_or_else(|_| EnvironmentState::Failed {
        message: "the installation was interrupted".to_owned(),
        hint: None,
    }))
}

fn flash(
    request: &ImageRequest<'_>,
    endpoint: &str,
    source: Source,
    environment: watch::Receiver<EnvironmentState>,
) -> Runtime {
    let max_concurrency = request.max_concurrency.max(1);
    Runtime::Flash(Box::new(FlashRuntime {
        load: LoadHead {
            endpoint: endpoint.to_owned(),
            kind: request.kind,
            source,
            callables: Vec::new(),
            routes: Vec::new(),
            max_concurrency,
            env: request.env.clone(),
            working_directory: None,
        },
        max_concurrency,
        environment,
        unset: Vec::new(),
    }))
}

/// Workers start in other folders than this process.
fn absolute(path: &Path) -> String {
    text(&std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Whether an image is one of Flash's: by its repository, or because a variable names it.
fn is_flash(image: &str, variable: impl Fn(&str) -> Option<String>) -> bool {
    let kinds = [ImageKind::Queue, ImageKind::LoadBalanced];
    let mut all = kinds.into_iter().flat_map(|kind| [(kind, false), (kind, true)]);
    all.any(|(kind, is_cpu)| {
        repository(image) == kind.repository(is_cpu)
            || (!image.is_empty() && variable(kind.variable(is_cpu)).as_deref() == Some(image))
    })
}

/// The repository of an image name on Docker Hub: without registry, tag and digest.
fn repository(image: &str) -> &str {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    match name.rsplit_once(':') {
        // What follows a registry's port has a slash.
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

fn unknown_image(image: &str) -> String {
    if image.is_empty() {
        return "the endpoint has neither an image nor a command".to_owned();
    }
    format!(
        "containers are not run on this machine: give the endpoint the command that image `{image}` would run \
         (`\"command\": [\"python\", \"handler.py\"]`, or `flash platform run-worker`)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirements::{DepsMode, Progress, Reporter};

    struct Silent;

    impl Reporter for Silent {
        fn report(&self, _progress: &Progress) {}
    }

    fn environments() -> Arc<Environments> {
        environments_at(Path::new("/nowhere"))
    }

    fn environments_at(cache: &Path) -> Arc<Environments> {
        let host = HostPython {
            executable: "/usr/bin/python3".into(),
            version: (3, 11, 7),
            package: "/package".into(),
            runtime_paths: Vec::new(),
        };
        Environments::with_cache(host, DepsMode::Auto, Arc::new(Silent), cache)
    }

    fn request<'a>(image: &'a str, env: &'a BTreeMap<String, String>) -> ImageRequest<'a> {
        ImageRequest {
            endpoint_id: "ep1",
            name: "live-shop",
            kind: EndpointKind::Queue,
            image,
            env,
            command: None,
            artifact: None,
            volume: None,
            max_concurrency: 1,
        }
    }

    fn reason(runtime: Runtime) -> String {
        match runtime {
            Runtime::Unavailable { reason } => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flash_image_runs_live_worker_in_the_host() {
        let env = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        let runtime = runtime(&request("runpod/flash-cpu:py3.12-latest", &env), &environments());
        let Runtime::Flash(flash) = runtime else { panic!("{runtime:?}") };
        assert!(matches!(flash.load.source, Source::Live { volume: None }));
        assert_eq!(flash.load.env, env);
        assert!(matches!(&*flash.environment.borrow(), EnvironmentState::Ready(found) if found.is_host));
    }

    #[test]
    fn any_other_image_is_unavailable_and_says_what_to_do() {
        let env = BTreeMap::new();
        let reason = reason(runtime(&request("vllm/vllm-openai:v0.9", &env), &environments()));
        assert!(reason.contains("vllm/vllm-openai:v0.9") && reason.contains("command"), "{reason}");
    }

    #[test]
    fn command_stands_in_for_any_image() {
        let env = BTreeMap::new();
        let command = CommandRuntime { argv: vec!["python".into(), "h.py".into()], directory: "/w".into() };
        for image in ["", "vllm/vllm-openai:v0.9", "runpod/flash:py3.12-latest"] {
            let request = ImageRequest { command: Some(command.clone()), ..request(image, &env) };
            let runtime = runtime(&request, &environments());
            assert!(matches!(&runtime, Runtime::Command(found) if *found == command), "{runtime:?}");
        }
    }

    #[test]
    fn command_with_a_volume_runs_behind_the_program_that_shows_it() {
        let env = BTreeMap::new();
        let command = CommandRuntime { argv: vec!["python".into(), "h.py".into()], directory: "/w".into() };
        let request = ImageRequest {
            command: Some(command),
            volume: Some("/state/volumes/v1".into()),
            ..request("", &env)
        };
        let runtime = runtime(&request, &environments());
        let Runtime::Command(found) = runtime else { panic!("{runtime:?}") };
        let expected = "/usr/bin/python3 -IS /package/worker/volume.py /state/volumes/v1 python h.py";
        assert_eq!(found.argv.join(" "), expected);
    }

    #[test]
    fn deployed_endpoint_without_build_is_unavailable() {
        let env = BTreeMap::from([("FLASH_RESOURCE_NAME".to_owned(), "w1".to_owned())]);
        let reason = reason(runtime(&request("runpod/flash:py3.12-latest", &env), &environments()));
        assert!(reason.contains("`w1`"), "{reason}");
    }

    /// Waits until what a runtime needs is there, or cannot be.
    async fn settled(runtime: &Runtime) -> EnvironmentState {
        let Runtime::Flash(flash) = runtime else { panic!("{runtime:?}") };
        let mut state = flash.environment.clone();
        let settled = |state: &EnvironmentState| !matches!(state, EnvironmentState::Preparing { .. });
        state.wait_for(settled).await.unwrap().clone()
    }

    #[tokio::test]
    async fn build_is_unpacked_for_the_resource_that_the_variable_names() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("build.tar.gz");
        let gzip = flate2::write::GzEncoder::new(
            std::fs::File::create(&archive).unwrap(),
            flate2::Compression::fast(),
        );
        let manifest = br#"{"resources": {"w1": {"functions": []}}}"#;
        let mut header = tar::Header::new_gnu();
        header.set_size(manifest.len() as u64);
        header.set_mode(0o644);
        let mut builder = tar::Builder::new(gzip);
        builder.append_data(&mut header, "flash_manifest.json", &manifest[..]).unwrap();
        builder.into_inner().unwrap().finish().unwrap();

        let environments = environments_at(folder.path());
        let serve = |resource: &str| {
            let env = BTreeMap::from([("FLASH_RESOURCE_NAME".to_owned(), resource.to_owned())]);
            let request = ImageRequest {
                artifact: Some(archive.clone()),
                ..request("runpod/flash-cpu:py3.12-latest", &env)
            };
            runtime(&request, &environments)
        };
        let found = serve("w1");
        assert!(matches!(settled(&found).await, EnvironmentState::Ready(python) if python.is_host));
        let Runtime::Flash(flash) = found else { panic!("{found:?}") };
        let Source::Artifact { root, resource, .. } = &flash.load.source else { panic!("{:?}", flash.load) };
        assert_eq!((resource.as_str(), flash.load.endpoint.as_str()), ("w1", "w1"));
        assert!(Path::new(root).starts_with(folder.path()));
        assert!(Path::new(root).join("flash_manifest.json").is_file());
        let other = serve("w2");
        let EnvironmentState::Failed { message, .. } = settled(&other).await else { panic!("{other:?}") };
        assert!(message.contains("`w2`") && message.contains("`w1`"), "{message}");
    }

    #[test]
    fn flash_images_are_known_by_repository_and_by_variable() {
        let none = |_: &str| None;
        for image in ["runpod/flash", "docker.io/runpod/flash-lb:py3.10-dev", "runpod/flash-lb-cpu@sha256:00"]
        {
            assert!(is_flash(image, none), "{image}");
        }
        for image in ["", "runpod/flashy:1", "else.where:5000/runpod/flash", "runpod/worker-vllm:2"] {
            assert!(!is_flash(image, none), "{image}");
        }
        let own = |name: &str| (name == "FLASH_CPU_IMAGE").then(|| "mine/flash:1".to_owned());
        assert!(is_flash("mine/flash:1", own));
    }
}
