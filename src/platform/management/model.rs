//! What an account has: documents, each in a table by its ID.
//!
//! Documents are kept as JSON; new fields need `#[serde(default)]` so that older ones can be read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ManagementError;

/// Something that is kept.
pub(super) trait Document: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Kind that it is kept under.
    const KIND: &'static str;
    /// What people call it.
    const NAME: &'static str;

    fn id(&self) -> &str;
    /// Account that it belongs to.
    fn account(&self) -> &str;
    /// Milliseconds since the Unix epoch.
    fn created_at(&self) -> u64;
}

/// Documents of one kind by ID.
pub(super) type Table<T> = BTreeMap<String, Arc<T>>;

/// All documents.
#[derive(Debug, Default, Clone)]
pub(super) struct State {
    pub(super) accounts: Table<Account>,
    pub(super) endpoints: Table<Endpoint>,
    pub(super) templates: Table<Template>,
    pub(super) volumes: Table<Volume>,
    pub(super) registries: Table<Registry>,
    pub(super) apps: Table<App>,
    pub(super) environments: Table<AppEnvironment>,
    pub(super) builds: Table<Build>,
}

macro_rules! document {
    ($type:ty, $kind:literal, $name:literal) => {
        impl Document for $type {
            const KIND: &'static str = $kind;
            const NAME: &'static str = $name;

            fn id(&self) -> &str {
                &self.id
            }

            fn account(&self) -> &str {
                &self.account
            }

            fn created_at(&self) -> u64 {
                self.created_at
            }
        }
    };
}

document!(Account, "account", "account");
document!(Endpoint, "endpoint", "endpoint");
document!(Template, "template", "template");
document!(Volume, "volume", "network volume");
document!(Registry, "registry", "registry auth");
document!(App, "app", "app");
document!(AppEnvironment, "environment", "environment");
document!(Build, "build", "build");

/// An isolated account, or the settings of the main one (which has no token here).
#[derive(Clone, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "every document says whose it is")]
pub(super) struct Account {
    pub(super) id: String,
    /// Itself: what belongs to an account goes with it.
    pub(super) account: String,
    pub(super) created_at: u64,
    pub(super) token: Option<String>,
    pub(super) public_key: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Account").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How work reaches an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum EndpointType {
    #[serde(rename = "QB")]
    Queue,
    #[serde(rename = "LB")]
    LoadBalanced,
}

/// What decides that another worker is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum ScalerType {
    QueueDelay,
    RequestCount,
}

impl ScalerType {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::QueueDelay => "QUEUE_DELAY",
            Self::RequestCount => "REQUEST_COUNT",
        }
    }
}

/// Whether idle workers are kept asleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum FlashBoot {
    Off,
    Flashboot,
    PriorityFlashboot,
}

impl FlashBoot {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Off => "OFF",
            Self::Flashboot => "FLASHBOOT",
            Self::PriorityFlashboot => "PRIORITY_FLASHBOOT",
        }
    }
}

/// A serverless endpoint.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Endpoint {
    pub(super) id: String,
    pub(super) account: String,
    pub(super) created_at: u64,
    /// Raised by each change.
    pub(super) version: u64,
    /// Its own key (`aiKey`).
    pub(super) key: String,
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: EndpointType,
    pub(super) template_id: String,
    pub(super) gpu_ids: String,
    pub(super) gpu_count: u32,
    pub(super) instance_ids: Vec<String>,
    pub(super) volume_ids: Vec<String>,
    pub(super) locations: String,
    /// Seconds.
    pub(super) idle_timeout: u32,
    pub(super) scaler_type: ScalerType,
    pub(super) scaler_value: f64,
    pub(super) workers_min: u32,
    pub(super) workers_max: u32,
    pub(super) workers_pfb_target: u32,
    /// 0: Runpod's default.
    pub(super) execution_timeout_ms: u64,
    pub(super) allowed_cuda_versions: String,
    pub(super) min_cuda_version: String,
    pub(super) flash_boot: FlashBoot,
    /// App environment whose active build it runs.
    pub(super) environment_id: Option<String>,
    pub(super) model_references: Vec<String>,
    /// A program on this machine that is its worker.
    pub(super) command: Vec<String>,
    /// Where that program is started.
    pub(super) directory: Option<PathBuf>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Endpoint").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A variable; their order is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Variable {
    pub(super) key: String,
    pub(super) value: String,
}

/// What workers are made from.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Template {
    pub(super) id: String,
    pub(super) account: String,
    pub(super) created_at: u64,
    pub(super) name: String,
    pub(super) image: String,
    pub(super) docker_args: String,
    pub(super) container_disk_gb: u32,
    pub(super) volume_gb: u32,
    pub(super) volume_mount_path: String,
    pub(super) ports: String,
    pub(super) env: Vec<Variable>,
    pub(super) start_script: String,
    pub(super) readme: String,
    pub(super) registry_id: String,
    pub(super) is_serverless: bool,
    pub(super) is_public: bool,
    /// The endpoint that it was made with, and goes with.
    pub(super) owner: Option<String>,
}

impl std::fmt::Debug for Template {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Template").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A network volume: a folder that workers share.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Volume {
    pub(super) id: String,
    pub(super) account: String,
    pub(super) created_at: u64,
    pub(super) name: String,
    /// GB; not enforced on this machine.
    pub(super) size: u32,
    pub(super) data_center_id: String,
}

/// Credentials of a container registry.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Registry {
    pub(super) id: String,
    pub(super) account: String,
    pub(super) created_at: u64,
    pub(super) name: String,
    pub(super) username: String,
    pub(super) password: String,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Registry").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A Flash app.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct App {
    pub(super) id: String,
    pub(super) account: String,
    pub(super) created_at: u64,
    pub(super) name: String,
}

/// An environment of an app, such as `production`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AppEnvironment {
    pub(super) id: String,
    pub(super) account: String,
    pub(super) created_at: u64,
    pub(super) app_id: String,
    pub(super) name: String,
    /// Build that its endpoints run.
    pub(super) active_build: Option<String>,
}

/// An uploaded artifact of an app, from the permission to upload it on.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Build {
    pub(super) id: String,
    pub(super) account: String,
    pub(super) created_at: u64,
    pub(super) app_id: String,
    pub(super) object_key: String,
    /// What its addresses are signed with.
    pub(super) secret: String,
    /// Bytes that were announced.
    pub(super) announced: u64,
    /// Hash of what was uploaded.
    pub(super) sha256: Option<String>,
    /// `None` until it is finalized: only then it is a build.
    pub(super) manifest: Option<Value>,
}

impl std::fmt::Debug for Build {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Build").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A document's change: what is to be stored, or `None` when it goes.
pub(super) type Change = (&'static str, String, Option<String>);

impl State {
    /// What must be stored to come from `self` to `next`: first what others refer to.
    pub(super) fn changes(&self, next: &Self) -> Vec<Change> {
        let mut puts = Vec::new();
        let mut deletes = Vec::new();
        compare(&self.accounts, &next.accounts, &mut puts, &mut deletes);
        compare(&self.volumes, &next.volumes, &mut puts, &mut deletes);
        compare(&self.registries, &next.registries, &mut puts, &mut deletes);
        compare(&self.apps, &next.apps, &mut puts, &mut deletes);
        compare(&self.builds, &next.builds, &mut puts, &mut deletes);
        compare(&self.environments, &next.environments, &mut puts, &mut deletes);
        compare(&self.templates, &next.templates, &mut puts, &mut deletes);
        compare(&self.endpoints, &next.endpoints, &mut puts, &mut deletes);
        deletes.reverse();
        puts.extend(deletes);
        puts
    }
}

fn compare<T: Document>(
    before: &Table<T>,
    after: &Table<T>,
    puts: &mut Vec<Change>,
    deletes: &mut Vec<Change>,
) {
    for (id, document) in after {
        if before.get(id).is_none_or(|known| !Arc::ptr_eq(known, document)) {
            // Strings, numbers and lists always have JSON.
            let json = serde_json::to_string(&**document).unwrap_or_default();
            puts.push((T::KIND, id.clone(), Some(json)));
        }
    }
    let gone = before.keys().filter(|id| !after.contains_key(*id));
    deletes.extend(gone.map(|id| (T::KIND, id.clone(), None)));
}

/// The account's document with this ID.
pub(super) fn find<'a, T: Document>(
    table: &'a Table<T>,
    account: &str,
    id: &str,
) -> Result<&'a Arc<T>, ManagementError> {
    table
        .get(id)
        .filter(|document| document.account() == account)
        .ok_or_else(|| ManagementError::not_found(T::NAME, id))
}

/// The account's documents, oldest first.
pub(super) fn owned<'a, T: Document>(table: &'a Table<T>, account: &str) -> Vec<&'a Arc<T>> {
    let mut documents: Vec<_> = table.values().filter(|document| document.account() == account).collect();
    documents.sort_by_key(|document| document.created_at());
    documents
}

/// Adds a document, or puts a changed one in its place.
pub(super) fn insert<T: Document>(table: &mut Table<T>, document: T) {
    table.insert(document.id().to_owned(), Arc::new(document));
}

/// A random ID of lower-case letters and digits: never one of the API's own words, which are
/// shorter or have hyphens.
pub(super) fn new_id(length: usize) -> String {
    const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut id = String::with_capacity(length);
    while id.len() < length {
        let mut number = uuid::Uuid::new_v4().as_u128() >> 64 ^ uuid::Uuid::new_v4().as_u128();
        for _ in 0..12 {
            if id.len() < length {
                id.push(char::from(LETTERS[(number % 36) as usize]));
            }
            number /= 36;
        }
    }
    id
}

/// A random key that opens an endpoint or an account.
pub(super) fn new_key() -> String {
    format!("rpa_{}", new_id(40).to_uppercase())
}
