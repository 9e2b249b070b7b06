//! Real installations by the real `uv`, from wheels made here: no network is needed.
//!
//! Where there is no `uv` or no Python, these tests say so and do nothing.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::super::uv::Uv;
use super::*;

/// Writes wheels `NAME VERSION [REQUIRES…]` into the current folder.
const MAKE_WHEEL: &str = r#"
import sys, zipfile
name, version, *requires = sys.argv[1:]
info = f"{name}-{version}.dist-info"
with zipfile.ZipFile(f"{name}-{version}-py3-none-any.whl", "w") as wheel:
    wheel.writestr(f"{name}.py", f"version = {version!r}\n")
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {text}" for text in requires]
    wheel.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(f"{info}/RECORD", "")
"#;

/// A package whose build says that it began and waits until the file `go` is there.
const SLOW_BACKEND: &str = r#"
import os, pathlib, time, zipfile
info = "slow-1.0.dist-info"
METADATA = "Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
def prepare_metadata_for_build_wheel(folder, settings=None):
    target = pathlib.Path(folder) / info
    target.mkdir()
    (target / "METADATA").write_text(METADATA)
    (target / "WHEEL").write_text(WHEEL)
    return info
def build_wheel(folder, settings=None, metadata=None):
    here = pathlib.Path(FOLDER)
    (here / "building").write_text(str(os.getpid()))
    while not (here / "go").exists():
        time.sleep(0.02)
    with zipfile.ZipFile(pathlib.Path(folder) / "slow-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("slow.py", "version = '1.0'\n")
        wheel.writestr(f"{info}/METADATA", METADATA)
        wheel.writestr(f"{info}/WHEEL", WHEEL)
        wheel.writestr(f"{info}/RECORD", "")
    return "slow-1.0-py3-none-any.whl"
"#;

/// Longer than any step here takes; a test that waits so long has failed.
const LIMIT: Duration = Duration::from_mins(1);

/// A folder with wheels, a cache, and a host interpreter.
struct Place {
    folder: tempfile::TempDir,
    host: HostPython,
}

/// Sends every line on.
struct Lines(mpsc::Sender<Progress>);

impl Reporter for Lines {
    fn report(&self, progress: &Progress) {
        // The test may have ended.
        let _ = self.0.send(progress.clone());
    }
}

impl Place {
    fn new() -> Option<Self> {
        let in_tree = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
        let executable =
            if in_tree.exists() { in_tree } else { super::super::system::find_on_path("python3")? };
        let output = Command::new(&executable)
            .args(["-c", "import sys; print(*sys.version_info[:3])"])
            .output()
            .expect("Python starts");
        let text = String::from_utf8(output.stdout).expect("text");
        let numbers: Vec<u8> = text.split_whitespace().map(|part| part.parse().expect("number")).collect();
        let folder = tempfile::tempdir().expect("folder");
        let host = HostPython {
            executable,
            version: (numbers[0], numbers[1], numbers[2]),
            package: folder.path().join("host/runpod_flash"),
            runtime_paths: vec![folder.path().join("host")],
        };
        if let Err(error) = Uv::find(&host, IndexSettings::default()) {
            left_out(&error.to_string());
            return None;
        }
        for part in ["wheels", "host", "slow"] {
            std::fs::create_dir(folder.path().join(part)).expect("folder");
        }
        let place = Self { folder, host };
        place.wheel(&["alpha", "1.0"]);
        place.wheel(&["alpha", "2.0"]);
        place.wheel(&["beta", "1.0", "alpha<2"]);
        Some(place)
    }

    fn path(&self, part: &str) -> PathBuf {
        self.folder.path().join(part)
    }

    fn wheel(&self, arguments: &[&str]) {
        let status = Command::new(&self.host.executable)
            .args(["-c", MAKE_WHEEL])
            .args(arguments)
            .current_dir(self.path("wheels"))
            .status()
            .expect("Python starts");
        assert!(status.success());
    }

    /// Writes the slow package and returns its requirement.
    fn slow(&self) -> String {
        let folder = self.path("slow");
        let backend = SLOW_BACKEND.replace("FOLDER", &format!("{:?}", folder.display().to_string()));
        std::fs::write(folder.join("backend.py"), backend).expect("writes");
        let project = "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n\
                       [project]\nname = \"slow\"\ndynamic = [\"version\"]\n";
        std::fs::write(folder.join("pyproject.toml"), project).expect("writes");
        format!("slow @ file://{}", folder.display())
    }

    fn environments(&self, mode: DepsMode) -> (Arc<Environments>, mpsc::Receiver<Progress>) {
        environments(&self.host, mode, self.settings(), &self.path("cache"))
    }

    fn settings(&self) -> IndexSettings {
        settings(&self.path("wheels"), &self.path("uv-cache"))
    }
}

fn settings(wheels: &Path, uv_cache: &Path) -> IndexSettings {
    let mut settings = IndexSettings { no_index: true, ..IndexSettings::default() };
    settings.variables.insert("UV_FIND_LINKS", wheels.display().to_string());
    settings.variables.insert("UV_CACHE_DIR", uv_cache.display().to_string());
    settings
}

fn environments(
    host: &HostPython,
    mode: DepsMode,
    settings: IndexSettings,
    cache: &Path,
) -> (Arc<Environments>, mpsc::Receiver<Progress>) {
    let (sender, receiver) = mpsc::channel();
    let cache = Some(Cache::at(cache));
    (Environments::with(host.clone(), mode, Arc::new(Lines(sender)), settings, cache), receiver)
}

#[expect(clippy::print_stderr, reason = "a test that is left out must be named")]
fn left_out(reason: &str) {
    eprintln!("left out: {reason}");
}

fn texts(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

/// Waits for the end of a preparation.
fn outcome(mut receiver: watch::Receiver<EnvironmentState>) -> EnvironmentState {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
    runtime.block_on(async move {
        let settled = receiver.wait_for(|state| !matches!(state, EnvironmentState::Preparing { .. }));
        tokio::time::timeout(LIMIT, settled).await.expect("in time").expect("still prepared").clone()
    })
}

fn python_of(state: &EnvironmentState) -> &Path {
    match state {
        EnvironmentState::Ready(interpreter) => &interpreter.python,
        other => panic!("not ready: {other:?}"),
    }
}

fn evaluate(state: &EnvironmentState, code: &str) -> String {
    let output = Command::new(python_of(state)).args(["-c", code]).output().expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Waits for a file that another process writes; there is no event to wait for across processes.
fn wait_for_file(path: &Path) {
    let started = Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < LIMIT, "{} never came", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn endpoints_with_conflicting_versions_get_both() {
    let Some(place) = Place::new() else { return };
    let (environments, _lines) = place.environments(DepsMode::Auto);
    let one = environments.prepare("one", &texts(&["alpha==1.0"]), &[]);
    let two = environments.prepare("two", &texts(&["alpha==2.0"]), &texts(&["runpod-flash>=1"]));
    let (one, two) = (outcome(one), outcome(two));
    assert_eq!(evaluate(&one, "import alpha; print(alpha.version)"), "1.0");
    assert_eq!(evaluate(&two, "import alpha; print(alpha.version)"), "2.0");
    let isolated = "import importlib.util; print(importlib.util.find_spec('pydantic'))";
    assert_eq!(evaluate(&one, isolated), "None");
}

#[test]
fn equal_sets_share_one_installation_and_later_runs_need_no_uv() {
    let Some(place) = Place::new() else { return };
    let (environments, lines) = place.environments(DepsMode::Auto);
    let one = environments.prepare("one", &texts(&["beta", "alpha"]), &[]);
    let two = environments.prepare("two", &texts(&["Alpha", "beta"]), &[]);
    let (one, two) = (outcome(one), outcome(two));
    assert_eq!(python_of(&one), python_of(&two));
    assert_eq!(evaluate(&one, "import alpha, beta; print(alpha.version)"), "1.0");
    drop(environments);
    let lines: Vec<Progress> = lines.iter().collect();
    let installing: Vec<&str> =
        lines.iter().map(|line| line.text.as_str()).filter(|text| text.starts_with("installing")).collect();
    assert_eq!(installing, ["installing 2 packages: alpha, beta"]);
    assert!(lines.iter().any(|line| line.kind == ProgressKind::Done && line.endpoints == ["one", "two"]));

    // Ready from the start: no thread, no process, no message.
    let (later, lines) = place.environments(DepsMode::Isolated);
    let three = later.prepare("three", &texts(&["alpha", "beta"]), &[]);
    assert_eq!(*three.borrow(), one);
    assert!(lines.try_recv().is_err());

    // Another set that resolves to the same packages uses the same environment.
    let four = outcome(later.prepare("four", &texts(&["beta", "alpha<2"]), &[]));
    assert_eq!(four, one);
}

#[test]
fn failing_requirement_is_named_with_the_reason_and_fails_alone() {
    let Some(place) = Place::new() else { return };
    let (environments, lines) = place.environments(DepsMode::Auto);
    let bad = environments.prepare("bad", &texts(&["alpha==9", "beta"]), &[]);
    let worse = environments.prepare("worse", &texts(&["alpha == = 1"]), &[]);
    let good = environments.prepare("good", &texts(&["alpha"]), &[]);
    let EnvironmentState::Failed { message, hint } = outcome(bad) else { panic!("not refused") };
    assert!(message.starts_with("cannot install `alpha==9`"), "{message}");
    assert!(message.contains("there is no version of alpha==9"), "{message}");
    assert!(hint.is_some_and(|hint| hint.contains("dependencies=[...]")));
    let EnvironmentState::Failed { message, .. } = outcome(worse) else { panic!("not refused") };
    assert!(message.starts_with("`alpha == = 1` is not a requirement"), "{message}");
    assert_eq!(evaluate(&outcome(good), "import alpha; print(alpha.version)"), "2.0");
    let failures: Vec<Progress> = std::iter::from_fn(|| lines.try_recv().ok())
        .filter(|line| line.kind == ProgressKind::Failed)
        .collect();
    assert_eq!(failures.len(), 2);
}

#[test]
fn failed_set_is_tried_again_when_asked_for_again() {
    let Some(place) = Place::new() else { return };
    let (environments, _lines) = place.environments(DepsMode::Auto);
    let first = outcome(environments.prepare("one", &texts(&["gamma"]), &[]));
    assert!(matches!(first, EnvironmentState::Failed { .. }));
    place.wheel(&["gamma", "1.0"]);
    let second = outcome(environments.prepare("one", &texts(&["gamma"]), &[]));
    assert_eq!(evaluate(&second, "import gamma; print(gamma.version)"), "1.0");
}

#[test]
fn isolated_without_packages_is_an_empty_environment() {
    let Some(place) = Place::new() else { return };
    let (environments, _lines) = place.environments(DepsMode::Isolated);
    let state = outcome(environments.prepare("one", &[], &[]));
    assert_eq!(
        evaluate(&state, "import importlib.util; print(importlib.util.find_spec('pydantic'))"),
        "None"
    );
    let (environments, _lines) = place.environments(DepsMode::Auto);
    let host = environments.prepare("one", &[], &texts(&["runpod-flash"])).borrow().clone();
    assert_eq!(host, environments.shared.host_ready());
}

#[test]
fn host_mode_checks_and_none_does_not() {
    let Some(place) = Place::new() else { return };
    std::fs::create_dir(place.path("host/alpha-1.5.dist-info")).expect("metadata");
    let (environments, _lines) = place.environments(DepsMode::Host);
    let ready = environments.prepare("one", &texts(&["alpha>=1"]), &[]).borrow().clone();
    assert_eq!(ready, environments.shared.host_ready());
    let refused = environments.prepare("two", &texts(&["alpha>=2", "six"]), &[]).borrow().clone();
    let EnvironmentState::Failed { message, hint } = refused else { panic!("not refused") };
    assert_eq!(message, "the host's Python lacks `alpha>=2` (has 1.5), `six`");
    assert!(hint.is_some_and(|hint| hint.contains("pip install 'alpha>=2' six")));
    let (environments, _lines) = place.environments(DepsMode::None);
    let ready = environments.prepare("two", &texts(&["alpha>=2", "not a requirement"]), &[]);
    assert!(matches!(*ready.borrow(), EnvironmentState::Ready(_)));
}

#[test]
fn no_network_uses_the_host_or_lists_what_is_missing() {
    let Some(place) = Place::new() else { return };
    std::fs::create_dir(place.path("host/alpha-1.5.dist-info")).expect("metadata");
    let mut settings = IndexSettings::default();
    settings.variables.insert("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple".to_owned());
    settings.variables.insert("UV_CACHE_DIR", place.path("uv-cache").display().to_string());
    settings.variables.insert("UV_HTTP_RETRIES", "0".to_owned());
    let (environments, lines) = environments(&place.host, DepsMode::Auto, settings, &place.path("cache"));
    let ready = environments.prepare("one", &texts(&["alpha>=1"]), &[]);
    let refused = environments.prepare("two", &texts(&["alpha>=2", "six"]), &[]);
    assert_eq!(outcome(ready), environments.shared.host_ready());
    let EnvironmentState::Failed { message, .. } = outcome(refused) else { panic!("not refused") };
    assert!(message.contains("`alpha>=2` (has 1.5), `six`"), "{message}");
    assert!(message.starts_with("no network"), "{message}");
    let notices: Vec<String> = std::iter::from_fn(|| lines.try_recv().ok())
        .filter(|line| line.kind == ProgressKind::Notice && !line.text.starts_with("hint: "))
        .map(|line| line.text)
        .collect();
    assert_eq!(notices.len(), 1);
    assert!(notices[0].contains("packages of this Python satisfy alpha>=1"), "{notices:?}");
}

#[test]
fn closing_ends_an_installation_and_its_processes() {
    let Some(place) = Place::new() else { return };
    let (environments, _lines) = place.environments(DepsMode::Auto);
    let state = environments.prepare("one", &[place.slow()], &[]);
    wait_for_file(&place.path("slow/building"));
    environments.close();
    let EnvironmentState::Failed { message, .. } = outcome(state) else { panic!("not ended") };
    assert_eq!(message, "installing was interrupted");
    let later = outcome(environments.prepare("two", &texts(&["alpha"]), &[]));
    assert!(matches!(later, EnvironmentState::Failed { .. }));
}

/// Not a test: a process that prepares one environment, for the tests below.
#[test]
#[ignore = "started by other tests as a process of its own"]
fn process_that_prepares() {
    let Some(folder) = std::env::var_os("FLASH_TEST_FOLDER").map(PathBuf::from) else { return };
    let Some(requirement) = std::env::var("FLASH_TEST_REQUIREMENT").ok() else { return };
    let Some(host) = Place::new().map(|place| place.host.clone()) else { return };
    let settings = settings(&folder.join("wheels"), &folder.join("uv-cache"));
    let (environments, lines) = environments(&host, DepsMode::Auto, settings, &folder.join("cache"));
    let state = outcome(environments.prepare("one", &[requirement], &[]));
    assert!(matches!(state, EnvironmentState::Ready(_)), "{state:?}");
    drop(environments);
    let text: String = lines.iter().map(|line| line.text + "\n").collect();
    std::fs::write(folder.join(format!("lines-{}", std::process::id())), text).expect("writes");
}

fn start_process(place: &Place, requirement: &str) -> Child {
    Command::new(std::env::current_exe().expect("test program"))
        .args(["--exact", "requirements::environment::tests::process_that_prepares", "--ignored"])
        .env("FLASH_TEST_FOLDER", place.folder.path())
        .env("FLASH_TEST_REQUIREMENT", requirement)
        .stdout(Stdio::null())
        .spawn()
        .expect("starts")
}

#[test]
fn two_processes_install_one_set_once() {
    let Some(place) = Place::new() else { return };
    let slow = place.slow();
    let mut first = start_process(&place, &slow);
    wait_for_file(&place.path("slow/building"));
    let mut second = start_process(&place, &slow);
    std::fs::write(place.path("slow/go"), "").expect("writes");
    assert!(first.wait().expect("ends").success());
    assert!(second.wait().expect("ends").success());
    let read =
        |child: &Child| std::fs::read_to_string(place.path(&format!("lines-{}", child.id()))).expect("lines");
    assert!(read(&first).contains("installed 1 package in "), "{}", read(&first));
    assert!(!read(&second).contains("install 1"), "{}", read(&second));
    let environments = std::fs::read_dir(place.path("cache/environments")).expect("folder");
    let folders = environments.flatten().filter(|entry| entry.path().is_dir()).count();
    assert_eq!(folders, 1);
}

#[test]
fn killed_installation_is_not_taken_for_a_whole_one() {
    let Some(place) = Place::new() else { return };
    let slow = place.slow();
    let mut child = start_process(&place, &slow);
    wait_for_file(&place.path("slow/building"));
    child.kill().expect("kills");
    child.wait().expect("ends");
    std::fs::write(place.path("slow/go"), "").expect("writes");
    let (environments, _lines) = place.environments(DepsMode::Auto);
    let state = environments.prepare("one", &[slow], &[]);
    assert!(matches!(*state.borrow(), EnvironmentState::Preparing { .. }));
    assert_eq!(evaluate(&outcome(state), "import slow; print(slow.version)"), "1.0");
    let left: Vec<_> = std::fs::read_dir(place.path("cache/environments"))
        .expect("folder")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
