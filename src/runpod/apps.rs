//! Flash apps, their environments and builds (`wire.md` 5.5, 5.7). GraphQL alone has them.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::Client;
use super::control::{Graph, Operation, Sender};
use super::error::{ErrorKind, RunpodError};
use super::upload;
pub use super::upload::Progress;

/// An app; lists that were not asked for are empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct App {
    /// ID.
    pub id: String,
    /// Name.
    #[serde(default)]
    pub name: String,
    /// Environments.
    #[serde(default)]
    pub flash_environments: Vec<Environment>,
    /// Builds.
    #[serde(default)]
    pub flash_builds: Vec<Build>,
}

/// An environment of an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Environment {
    /// ID.
    pub id: String,
    /// Name.
    #[serde(default)]
    pub name: String,
    /// State, in Runpod's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Build that it runs.
    #[serde(default)]
    pub active_build_id: Option<String>,
    /// Time of its making.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// Its endpoints, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<Named>>,
    /// Its network volumes, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_volumes: Option<Vec<Named>>,
    /// What it was deployed with just now. The address to load it from, a secret, is not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_artifact: Option<Value>,
}

/// Something with an ID and a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// ID.
    pub id: String,
    /// Name.
    #[serde(default)]
    pub name: String,
}

/// A build of an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Build {
    /// ID.
    pub id: String,
    /// Where its artifact is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_key: Option<String>,
    /// Time of its making.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// Manifest, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Value>,
}

/// A permission to upload. Its address is a secret, and it has no `Debug` form.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactUpload {
    /// Address to put the artifact to.
    pub upload_url: String,
    /// Where it will be kept.
    pub object_key: String,
    /// Until when the address works.
    #[serde(default)]
    pub expires_at: Option<String>,
}

/// Manages apps with a client's key.
#[derive(Debug, Clone)]
pub struct Apps {
    graph: Graph,
    client: Client,
}

impl Apps {
    /// Manages the apps of a client's account.
    pub fn new(client: Client) -> Self {
        Self { graph: Graph { sender: Sender::new(client.clone()) }, client }
    }

    /// Returns all apps, with environments and builds.
    ///
    /// # Errors
    /// By [`ErrorKind`], as of all functions here.
    pub async fn list(&self) -> Result<Vec<App>, RunpodError> {
        let query = "query getFlashApps { myself { flashApps { id name \
                     flashEnvironments { id name state createdAt activeBuildId } flashBuilds { id createdAt } } } }";
        let what = "list apps";
        let mut data = self.graph.ask(Operation::query(what, query, json!({}))).await?;
        read(what, data["myself"]["flashApps"].take())
    }

    /// Returns an app by its ID, `None` where there is none.
    pub async fn by_id(&self, id: &str) -> Result<Option<App>, RunpodError> {
        let query = "query getFlashApp($input: String!) { flashApp(flashAppId: $input) { id name \
                     flashEnvironments { id name state } flashBuilds { id objectKey createdAt } } }";
        self.find(&format!("look app `{id}` up"), query, json!({ "input": id }), &["flashApp"]).await
    }

    /// Returns an app by its name, `None` where there is none.
    pub async fn by_name(&self, name: &str) -> Result<Option<App>, RunpodError> {
        let query = "query getFlashAppByName($flashAppName: String!) { flashAppByName(flashAppName: $flashAppName) { \
                     id name flashEnvironments { id name state activeBuildId createdAt } \
                     flashBuilds { id objectKey createdAt } } }";
        let what = format!("look app `{name}` up");
        self.find(&what, query, json!({ "flashAppName": name }), &["flashAppByName"]).await
    }

    /// Makes an app.
    pub async fn create(&self, name: &str) -> Result<App, RunpodError> {
        let query = "mutation createFlashApp($input: CreateFlashAppInput!) { createFlashApp(input: $input) { id name } }";
        let what = format!("create app `{name}`");
        let mut data = self.mutate(&what, query, json!({ "input": { "name": name } })).await?;
        read(&what, data["createFlashApp"].take())
    }

    /// Removes an app with all that belongs to it.
    pub async fn delete(&self, id: &str) -> Result<(), RunpodError> {
        let query =
            "mutation deleteFlashApp($flashAppId: String!) { deleteFlashApp(flashAppId: $flashAppId) }";
        self.mutate(&format!("delete app `{id}`"), query, json!({ "flashAppId": id })).await.map(drop)
    }

    /// Makes an environment of an app.
    pub async fn create_environment(&self, app: &str, name: &str) -> Result<Environment, RunpodError> {
        let query = "mutation createFlashEnvironment($input: CreateFlashEnvironmentInput!) { \
                     createFlashEnvironment(input: $input) { id name } }";
        let what = format!("create environment `{name}`");
        let variables = json!({ "input": { "flashAppId": app, "name": name } });
        let mut data = self.mutate(&what, query, variables).await?;
        read(&what, data["createFlashEnvironment"].take())
    }

    /// Removes an environment.
    pub async fn delete_environment(&self, id: &str) -> Result<(), RunpodError> {
        let query = "mutation deleteFlashEnvironment($flashEnvironmentId: String!) { \
                     deleteFlashEnvironment(flashEnvironmentId: $flashEnvironmentId) }";
        let what = format!("delete environment `{id}`");
        self.mutate(&what, query, json!({ "flashEnvironmentId": id })).await.map(drop)
    }

    /// Returns an environment by its ID, with endpoints and volumes.
    pub async fn environment(&self, id: &str) -> Result<Option<Environment>, RunpodError> {
        let query = "query getFlashEnvironment($flashEnvironmentId: String!) { \
                     flashEnvironment(flashEnvironmentId: $flashEnvironmentId) { id name state activeBuildId \
                     createdAt endpoints { id name } networkVolumes { id name } } }";
        let what = format!("look environment `{id}` up");
        self.find(&what, query, json!({ "flashEnvironmentId": id }), &["flashEnvironment"]).await
    }

    /// Returns an environment of an app by its name, with endpoints and volumes.
    pub async fn environment_by_name(
        &self,
        app: &str,
        name: &str,
    ) -> Result<Option<Environment>, RunpodError> {
        let query = "query getFlashEnvironmentByName($input: FlashEnvironmentByNameInput!) { \
                     flashEnvironmentByName(input: $input) { id name state activeBuildId endpoints { id name } \
                     networkVolumes { id name } } }";
        let variables = json!({ "input": { "flashAppId": app, "name": name } });
        self.find(&format!("look environment `{name}` up"), query, variables, &["flashEnvironmentByName"])
            .await
    }

    /// Returns the environments of an app.
    pub async fn environments(&self, app: &str) -> Result<Vec<Environment>, RunpodError> {
        let query = "query listFlashEnvironments($flashAppId: String!) { flashApp(flashAppId: $flashAppId) { \
                     flashEnvironments { id name state activeBuildId createdAt } } }";
        let what = format!("list environments of app `{app}`");
        let variables = json!({ "flashAppId": app });
        let found = self.find(&what, query, variables, &["flashApp", "flashEnvironments"]).await?;
        found.ok_or_else(|| no_app(&what))
    }

    /// Returns the builds of an app.
    pub async fn builds(&self, app: &str) -> Result<Vec<Build>, RunpodError> {
        let query = "query listFlashBuilds($flashAppId: String!) { flashApp(flashAppId: $flashAppId) { \
                     flashBuilds { id objectKey createdAt } } }";
        let what = format!("list builds of app `{app}`");
        let found =
            self.find(&what, query, json!({ "flashAppId": app }), &["flashApp", "flashBuilds"]).await?;
        found.ok_or_else(|| no_app(&what))
    }

    /// Returns a build with its manifest.
    pub async fn build(&self, id: &str) -> Result<Option<Build>, RunpodError> {
        let query =
            "query getFlashBuild($input: String!) { flashBuild(flashBuildId: $input) { id manifest } }";
        self.find(&format!("look build `{id}` up"), query, json!({ "input": id }), &["flashBuild"]).await
    }

    /// Puts another manifest in the place of a build's.
    pub async fn update_manifest(&self, build: &str, manifest: &Value) -> Result<Build, RunpodError> {
        let query = "mutation updateFlashBuildManifest($input: UpdateFlashBuildManifestInput!) { \
                     updateFlashBuildManifest(input: $input) { id manifest } }";
        let what = format!("update the manifest of build `{build}`");
        let variables = json!({ "input": { "flashBuildId": build, "manifest": manifest } });
        // The same each time.
        let mut data = self.graph.ask(Operation::mutation(&what, query, variables).repeatable()).await?;
        read(&what, data["updateFlashBuildManifest"].take())
    }

    /// Makes a build the one that an environment runs.
    pub async fn deploy(&self, environment: &str, build: &str) -> Result<Environment, RunpodError> {
        let query = "mutation deployBuildToEnvironment($input: DeployBuildToEnvironmentInput!) { \
                     deployBuildToEnvironment(input: $input) { id name activeArtifact { objectKey expiresAt } } }";
        let what = format!("deploy build `{build}`");
        let variables = json!({ "input": { "flashEnvironmentId": environment, "flashBuildId": build } });
        let mut data = self.graph.ask(Operation::mutation(&what, query, variables).repeatable()).await?;
        read(&what, data["deployBuildToEnvironment"].take())
    }

    /// Asks for an address to upload an artifact of `size` bytes to.
    pub async fn prepare_upload(&self, app: &str, size: u64) -> Result<ArtifactUpload, RunpodError> {
        let query = "mutation PrepareArtifactUpload($input: PrepareFlashArtifactUploadInput!) { \
                     prepareFlashArtifactUpload(input: $input) { uploadUrl objectKey expiresAt } }";
        let what = "prepare the upload of a build";
        let variables = json!({ "input": { "flashAppId": app, "tarballSize": size } });
        let mut data = self.mutate(what, query, variables).await?;
        read(what, data["prepareFlashArtifactUpload"].take())
    }

    /// Makes what was uploaded a build.
    pub async fn finalize_upload(
        &self,
        app: &str,
        object_key: &str,
        manifest: &Value,
    ) -> Result<Build, RunpodError> {
        let query = "mutation FinalizeArtifactUpload($input: FinalizeFlashArtifactUploadInput!) { \
                     finalizeFlashArtifactUpload(input: $input) { id manifest } }";
        let what = "finish the upload of a build";
        let input = json!({ "flashAppId": app, "objectKey": object_key, "manifest": manifest });
        let mut data = self.mutate(what, query, json!({ "input": input })).await?;
        read(what, data["finalizeFlashArtifactUpload"].take())
    }

    /// Checks an artifact, uploads it and makes it a build. `progress` is told of bytes as they go.
    pub async fn upload(
        &self,
        app: &str,
        artifact: &Path,
        manifest: &Value,
        progress: Option<Progress>,
    ) -> Result<Build, RunpodError> {
        let size = upload::check(artifact)?;
        let permitted = self.prepare_upload(app, size).await?;
        upload::put(&self.client, &permitted.upload_url, artifact, size, progress).await?;
        self.finalize_upload(app, &permitted.object_key, manifest).await
    }

    /// Asks for something that need not be there; `path` leads to it in the answer.
    async fn find<T: DeserializeOwned>(
        &self,
        what: &str,
        query: &str,
        variables: Value,
        path: &[&str],
    ) -> Result<Option<T>, RunpodError> {
        let mut data = match self.graph.ask(Operation::query(what, query, variables)).await {
            Ok(data) => data,
            // GraphQL says it with an error and status 200; a 404 is another thing.
            Err(error) if error.kind == ErrorKind::NotFound && error.exchange.status == Some(200) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut found = &mut data;
        for name in path {
            found = &mut found[*name];
        }
        if found.is_null() { Ok(None) } else { read(what, found.take()).map(Some) }
    }

    async fn mutate(&self, what: &str, query: &str, variables: Value) -> Result<Value, RunpodError> {
        self.graph.ask(Operation::mutation(what, query, variables)).await
    }
}

fn no_app(what: &str) -> RunpodError {
    RunpodError::new(ErrorKind::NotFound, format!("cannot {what}: app not found"))
}

fn read<T: DeserializeOwned>(what: &str, value: Value) -> Result<T, RunpodError> {
    serde_json::from_value(value).map_err(|error| {
        RunpodError::new(ErrorKind::Malformed, format!("cannot {what}: an unexpected answer ({error})"))
    })
}
