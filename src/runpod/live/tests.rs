//! Provisioning against a control plane that a test steers.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rstest::rstest;

use super::remove::Removal;
use super::*;
use crate::endpoint::value::Value;
use crate::endpoint::{EndpointConfig, EndpointKind};
use crate::runpod::control::{ControlPlane, EnvironmentVariable, RemoteEndpoint, VolumeInput};
use crate::runpod::error::ErrorKind;

/// An account whose failures are chosen.
#[derive(Default)]
struct Account {
    endpoints: Mutex<Vec<RemoteEndpoint>>,
    created: AtomicUsize,
    updated: AtomicUsize,
    deleted: AtomicUsize,
    /// What fails next, and whether the work is done all the same.
    failing: Mutex<Vec<(&'static str, ErrorKind, bool)>>,
    price: Option<f64>,
}

impl Account {
    fn fail(&self, what: &'static str, kind: ErrorKind, is_done: bool) {
        self.failing.lock().expect("lock").push((what, kind, is_done));
    }

    fn failure(&self, what: &'static str) -> Option<(ErrorKind, bool)> {
        let mut failing = self.failing.lock().expect("lock");
        let place = failing.iter().position(|(name, _, _)| *name == what)?;
        let (_, kind, is_done) = failing.remove(place);
        Some((kind, is_done))
    }

    fn answer<T>(&self, what: &'static str, work: impl FnOnce() -> T) -> Result<T, RunpodError> {
        match self.failure(what) {
            Some((kind, is_done)) => {
                if is_done {
                    work();
                }
                Err(RunpodError::new(kind, "no answer"))
            }
            None => Ok(work()),
        }
    }

    fn counts(&self) -> (usize, usize, usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        (count(&self.created), count(&self.updated), count(&self.deleted))
    }
}

impl ControlPlane for Account {
    fn name(&self) -> &'static str {
        "a test"
    }

    fn create_endpoint<'a>(
        &'a self,
        input: &'a EndpointInput,
    ) -> BoxFuture<'a, Result<RemoteEndpoint, RunpodError>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.answer("create", || {
                let number = self.created.fetch_add(1, Ordering::SeqCst);
                let made = RemoteEndpoint {
                    id: format!("ep{number}"),
                    name: input.name.clone(),
                    ..Default::default()
                };
                self.endpoints.lock().expect("lock").push(made.clone());
                made
            })
        })
    }

    fn update_endpoint<'a>(
        &'a self,
        existing: &'a RemoteEndpoint,
        _: &'a EndpointInput,
        _: Option<&'a EndpointInput>,
    ) -> BoxFuture<'a, Result<RemoteEndpoint, RunpodError>> {
        Box::pin(async move {
            self.answer("update", || {
                self.updated.fetch_add(1, Ordering::SeqCst);
                existing.clone()
            })
        })
    }

    fn delete_endpoint<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, RunpodError>> {
        Box::pin(async move {
            self.answer("delete", || {
                self.deleted.fetch_add(1, Ordering::SeqCst);
                let mut endpoints = self.endpoints.lock().expect("lock");
                let before = endpoints.len();
                endpoints.retain(|endpoint| endpoint.id != id);
                endpoints.len() < before
            })
        })
    }

    fn endpoint<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<RemoteEndpoint>, RunpodError>> {
        Box::pin(async move {
            self.answer("endpoint", || {
                self.endpoints.lock().expect("lock").iter().find(|endpoint| endpoint.id == id).cloned()
            })
        })
    }

    fn endpoints(&self) -> BoxFuture<'_, Result<Vec<RemoteEndpoint>, RunpodError>> {
        Box::pin(async move { self.answer("endpoints", || self.endpoints.lock().expect("lock").clone()) })
    }

    fn ensure_volume<'a>(
        &'a self,
        volume: &'a VolumeInput,
    ) -> BoxFuture<'a, Result<VolumeAnswer, RunpodError>> {
        let missing = RunpodError::new(ErrorKind::NotFound, format!("no volume {:?}", volume.name));
        Box::pin(async move { Err(missing) })
    }

    fn price_per_hour<'a>(&'a self, _: &'a EndpointInput) -> BoxFuture<'a, Result<Option<f64>, RunpodError>> {
        Box::pin(async move { self.answer("price", || self.price) })
    }
}

type VolumeAnswer = crate::runpod::control::RemoteVolume;

fn provisioner(
    account: &Arc<Account>,
    root: &Path,
    is_temporary: bool,
) -> (Provisioner, Arc<Mutex<Vec<String>>>) {
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = Arc::clone(&said);
    let provisioner = Provisioner::new(ProvisionerOptions {
        control: Arc::clone(account) as _,
        api: "https://api.example".to_owned(),
        root: root.to_owned(),
        is_temporary,
        needs_price: false,
        say: Arc::new(move |line| told.lock().expect("lock").push(line.to_owned())),
    });
    (provisioner, said)
}

fn arguments(values: &[(&str, Value)]) -> EndpointConfig {
    let arguments = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    EndpointConfig::from_arguments(&arguments).expect("right arguments")
}

fn gpu(name: &str, values: &[(&str, Value)]) -> EndpointInput {
    input_of(&arguments(values), name, EndpointKind::Queue, true).expect("an input")
}

#[tokio::test]
async fn hundred_first_calls_make_one_endpoint() {
    let (folder, account) = (tempfile::tempdir().expect("folder"), Arc::default());
    let (provisioner, said) = provisioner(&account, folder.path(), true);
    let input = gpu("a", &[]);
    let all = futures_util::future::join_all((0..100).map(|_| provisioner.ensure(&input))).await;
    assert!(all.iter().all(|live| live.as_ref().expect("made").id == "ep0"));
    assert_eq!(account.counts(), (1, 0, 0));
    assert_eq!(said.lock().expect("lock").len(), 1);
}

#[tokio::test]
async fn hundred_first_calls_share_one_failure_and_the_next_one_tries_again() {
    let (folder, account) = (tempfile::tempdir().expect("folder"), Arc::<Account>::default());
    let (provisioner, _) = provisioner(&account, folder.path(), true);
    account.fail("create", ErrorKind::InvalidRequest, false);
    let input = gpu("a", &[]);
    let all = futures_util::future::join_all((0..100).map(|_| provisioner.ensure(&input))).await;
    assert!(all.iter().all(|live| live.as_ref().unwrap_err().message.contains("no answer")));
    assert_eq!(account.counts(), (0, 0, 0));
    assert!(provisioner.ensure(&input).await.expect("made").is_new);
}

#[tokio::test]
async fn two_processes_make_one_endpoint() {
    let (folder, account) = (tempfile::tempdir().expect("folder"), Arc::default());
    let (first, _) = provisioner(&account, folder.path(), true);
    let (second, _) = provisioner(&account, folder.path(), true);
    let input = gpu("a", &[]);
    let (one, two) = tokio::join!(first.ensure(&input), second.ensure(&input));
    assert_eq!(one.expect("made").id, two.expect("found").id);
    assert_eq!(account.counts(), (1, 0, 0));
    // The one that ends first leaves it to the other.
    let removed = first.remove_own().await.expect("read");
    assert!(matches!(removed[0].1, Removal::Shared(_)), "{removed:?}");
    let removed = second.remove_own().await.expect("read");
    assert!(matches!(removed[0].1, Removal::Done), "{removed:?}");
    assert_eq!(account.counts(), (1, 0, 1));
    assert!(first.store().load().expect("read").endpoints.is_empty());
}

#[tokio::test]
async fn outage_is_an_error_and_never_a_second_endpoint() {
    let (folder, account) = (tempfile::tempdir().expect("folder"), Arc::<Account>::default());
    let input = gpu("a", &[]);
    provisioner(&account, folder.path(), false).0.ensure(&input).await.expect("made");
    let (later, _) = provisioner(&account, folder.path(), false);
    account.fail("endpoint", ErrorKind::Unavailable, false);
    assert_eq!(later.ensure(&input).await.unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(later.ensure(&input).await.expect("found").id, "ep0");
    assert_eq!(account.counts(), (1, 0, 0));
}

#[rstest]
#[tokio::test]
async fn creation_without_an_answer_is_looked_for(#[values(true, false)] can_look_at_once: bool) {
    let (folder, account) = (tempfile::tempdir().expect("folder"), Arc::<Account>::default());
    account.endpoints.lock().expect("lock").push(RemoteEndpoint {
        id: "another-one's".to_owned(),
        name: "live-a".to_owned(),
        ..Default::default()
    });
    let input = gpu("a", &[]);
    account.fail("create", ErrorKind::Connection, true);
    let (first, _) = provisioner(&account, folder.path(), true);
    if can_look_at_once {
        assert_eq!(first.ensure(&input).await.expect("found").id, "ep0");
    } else {
        // The look before the creation succeeds; the one after it does not.
        let cut_off = provisioner_on(Arc::new(FailingLook(Arc::clone(&account))), folder.path());
        assert_eq!(cut_off.ensure(&input).await.unwrap_err().kind, ErrorKind::Provisioning);
        assert_eq!(first.store().load().expect("read").endpoints[0].id, None);
        // As another process would: the first one was killed.
        let (second, said) = provisioner(&account, folder.path(), true);
        assert_eq!(second.ensure(&input).await.expect("found").id, "ep0");
        assert!(said.lock().expect("lock").iter().any(|line| line.contains("found `live-a` (ep0)")));
    }
    assert_eq!(account.counts().0, 1);
    assert_eq!(first.store().load().expect("read").endpoints[0].id.as_deref(), Some("ep0"));
}

/// Cannot list endpoints once one was asked for.
struct FailingLook(Arc<Account>);

fn provisioner_on(control: Arc<dyn ControlPlane>, root: &Path) -> Provisioner {
    let options = ProvisionerOptions {
        control,
        api: "https://api.example".to_owned(),
        root: root.to_owned(),
        is_temporary: true,
        needs_price: false,
        say: Arc::new(|_| {}),
    };
    Provisioner::new(options)
}

impl ControlPlane for FailingLook {
    fn name(&self) -> &'static str {
        "a test"
    }

    fn create_endpoint<'a>(
        &'a self,
        input: &'a EndpointInput,
    ) -> BoxFuture<'a, Result<RemoteEndpoint, RunpodError>> {
        self.0.fail("endpoints", ErrorKind::Connection, false);
        self.0.create_endpoint(input)
    }

    fn update_endpoint<'a>(
        &'a self,
        existing: &'a RemoteEndpoint,
        input: &'a EndpointInput,
        before: Option<&'a EndpointInput>,
    ) -> BoxFuture<'a, Result<RemoteEndpoint, RunpodError>> {
        self.0.update_endpoint(existing, input, before)
    }

    fn delete_endpoint<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, RunpodError>> {
        self.0.delete_endpoint(id)
    }

    fn endpoint<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<RemoteEndpoint>, RunpodError>> {
        self.0.endpoint(id)
    }

    fn endpoints(&self) -> BoxFuture<'_, Result<Vec<RemoteEndpoint>, RunpodError>> {
        self.0.endpoints()
    }

    fn ensure_volume<'a>(
        &'a self,
        volume: &'a VolumeInput,
    ) -> BoxFuture<'a, Result<VolumeAnswer, RunpodError>> {
        self.0.ensure_volume(volume)
    }

    fn price_per_hour<'a>(
        &'a self,
        input: &'a EndpointInput,
    ) -> BoxFuture<'a, Result<Option<f64>, RunpodError>> {
        self.0.price_per_hour(input)
    }
}

#[rstest]
#[case("cpu", Value::Str("cpu3c-2-4".to_owned()), "instanceIds")]
#[case("workers", Value::Int(3), "workersMax 1 → 3")]
#[case("env", Value::Dict(vec![(Value::Str("A".to_owned()), Value::Str("2".to_owned()))]), "env A")]
#[case("template", template(20), "containerDiskInGb")]
#[tokio::test]
async fn every_change_is_told(#[case] name: &str, #[case] value: Value, #[case] words: &str) {
    let (folder, account) = (tempfile::tempdir().expect("folder"), Arc::<Account>::default());
    let cpu = |name: &str| ("cpu", Value::Str(name.to_owned()));
    let before = gpu("a", &[cpu("cpu3c-1-2")]);
    let after = if name == "cpu" { vec![(name, value)] } else { vec![cpu("cpu3c-1-2"), (name, value)] };
    let (first, _) = provisioner(&account, folder.path(), false);
    if name == "template" {
        // Smaller than what the instance has.
        first.ensure(&gpu("a", &[cpu("cpu3c-4-8"), ("template", template(30))])).await.expect("made");
    } else {
        first.ensure(&before).await.expect("made");
    }
    let after: Vec<_> = after
        .into_iter()
        .map(|pair| if name == "template" && pair.0 == "cpu" { cpu("cpu3c-4-8") } else { pair })
        .collect();
    let (second, said) = provisioner(&account, folder.path(), false);
    let input = gpu("a", &after);
    assert!(!second.ensure(&input).await.expect("changed").is_new);
    assert_eq!(account.counts(), (1, 1, 0));
    let said = said.lock().expect("lock").join("\n");
    assert!(said.contains(words), "{said}");
    let (third, _) = provisioner(&account, folder.path(), false);
    third.ensure(&input).await.expect("found");
    assert_eq!(account.counts(), (1, 1, 0));
}

fn template(disk: i64) -> Value {
    Value::Object {
        class: "PodTemplate".to_owned(),
        fields: vec![("containerDiskInGb".to_owned(), Value::Int(disk))],
    }
}

#[tokio::test]
async fn endpoint_that_is_gone_is_made_again_and_kept_ones_are_not_removed() {
    let (folder, account) = (tempfile::tempdir().expect("folder"), Arc::<Account>::default());
    let input = gpu("a", &[]);
    provisioner(&account, folder.path(), false).0.ensure(&input).await.expect("made");
    account.endpoints.lock().expect("lock").clear();
    let (script, _) = provisioner(&account, folder.path(), false);
    assert!(script.ensure(&input).await.expect("made").is_new);
    // A run uses what a script keeps; it is not its own to remove.
    let (run, _) = provisioner(&account, folder.path(), true);
    assert!(!run.ensure(&input).await.expect("found").is_new);
    assert!(run.remove_own().await.expect("read").is_empty());
    assert_eq!(account.counts(), (2, 0, 0));
}

#[tokio::test]
async fn failed_removal_stays_tracked_and_closed_provisioner_makes_nothing() {
    let (folder, account) = (tempfile::tempdir().expect("folder"), Arc::<Account>::default());
    let input = gpu("a", &[]);
    let (run, _) = provisioner(&account, folder.path(), true);
    run.ensure(&input).await.expect("made");
    run.close("it ends").await;
    assert!(run.ensure(&input).await.unwrap_err().message.contains("it ends"));
    account.fail("delete", ErrorKind::Authentication, false);
    let removed = run.remove_own().await.expect("read");
    assert!(matches!(removed[0].1, Removal::Failed(_)), "{removed:?}");
    assert_eq!(run.store().load().expect("read").endpoints.len(), 1);
    // Its process lives, so it is not offered to others.
    assert!(run.left_behind().expect("read").is_empty());
}

#[test]
fn input_is_what_1_21_sends() {
    // Recorded from runpod-flash 1.21.0, less the account's key and the template's name.
    let values = [
        ("gpu", Value::Member { class: "GpuType".to_owned(), member: "NVIDIA_L4".to_owned() }),
        ("gpu_count", Value::Int(2)),
        ("workers", Value::Tuple(vec![Value::Int(1), Value::Int(3)])),
        ("idle_timeout", Value::Int(5)),
        ("execution_timeout_ms", Value::Int(1000)),
        ("scaler_value", Value::Int(7)),
        ("min_cuda_version", Value::Str("12.4".to_owned())),
        ("datacenter", Value::Str("US-CA-2".to_owned())),
    ];
    let mut input = gpu("live-b-fb", &values);
    input.template.as_mut().expect("template").name.clear();
    let expected = serde_json::json!({
        "executionTimeoutMs": 1000, "gpuCount": 2, "idleTimeout": 5, "minCudaVersion": "12.4",
        "locations": "US-CA-2", "name": "live-b", "scalerType": "QUEUE_DELAY", "scalerValue": 7,
        "type": "QB", "workersMax": 3, "workersMin": 1, "workersPFBTarget": 0,
        "allowedCudaVersions": "",
        "gpuIds": "AMPERE_24,-NVIDIA GeForce RTX 3090,-NVIDIA RTX A5000",
        "template": {
            "advancedStart": false, "config": {}, "containerDiskInGb": 64,
            "containerRegistryAuthId": "", "dockerArgs": "", "env": [],
            "imageName": "runpod/flash:py3.12-latest", "name": "", "ports": "", "startScript": "",
        },
        "flashBootType": "FLASHBOOT",
    });
    assert_eq!(serde_json::to_value(&input).expect("JSON"), expected);
}

#[test]
fn input_fills_variables_and_names_missing_ones() {
    let env = |name: &str| {
        let value = Value::Environment { name: name.to_owned(), default: None };
        arguments(&[("env", Value::Dict(vec![(Value::Str("A".to_owned()), value)]))])
    };
    let lookup = |name: &str| (name == "THERE").then(|| "1".to_owned());
    let input = input_with(&env("THERE"), "a", EndpointKind::Queue, true, &lookup).expect("set");
    let expected = EnvironmentVariable { key: "A".to_owned(), value: "1".to_owned() };
    assert_eq!(input.template.expect("template").env, [expected]);
    let error = input_with(&env("MISSING"), "a", EndpointKind::Queue, true, &lookup).unwrap_err();
    assert!(error.message.contains("MISSING"), "{error}");
}
