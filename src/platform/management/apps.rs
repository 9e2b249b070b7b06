//! Flash apps: their environments and builds (`wire.md` 5.5, 5.7).

use serde_json::Value;

use super::error::ManagementError;
use super::model::{App, AppEnvironment, Build, Document, State, find, insert, new_id, owned};

/// Largest artifact, as official clients have it: 1500 MiB.
pub(super) const LARGEST_ARTIFACT: u64 = 1500 << 20;

impl State {
    /// Makes an app and returns its ID.
    pub(super) fn create_app(
        &mut self,
        account: &str,
        now: u64,
        name: &str,
    ) -> Result<String, ManagementError> {
        check_name("an app", name)?;
        if owned(&self.apps, account).iter().any(|app| app.name == name) {
            return Err(ManagementError::Conflict(format!("there is an app `{name}` already")));
        }
        let id = new_id(25);
        let app = App { id: id.clone(), account: account.to_owned(), created_at: now, name: name.to_owned() };
        insert(&mut self.apps, app);
        Ok(id)
    }

    /// The account's app of this name. Clients look for the words `app not found`.
    pub(super) fn app_by_name(&self, account: &str, name: &str) -> Result<&App, ManagementError> {
        let found = owned(&self.apps, account).into_iter().find(|app| app.name == name);
        found.map(|app| &**app).ok_or_else(|| ManagementError::NotFound { what: "flash app".to_owned() })
    }

    /// Removes an app with its environments, their endpoints, and its builds.
    pub(super) fn delete_app(&mut self, account: &str, id: &str) -> Result<(), ManagementError> {
        find(&self.apps, account, id)?;
        let of_app: Vec<String> = self
            .environments
            .values()
            .filter(|environment| environment.app_id == id)
            .map(|environment| environment.id.clone())
            .collect();
        for environment in of_app {
            self.delete_environment(account, &environment)?;
        }
        self.builds.retain(|_, build| build.app_id != id);
        self.apps.remove(id);
        Ok(())
    }

    /// Makes an environment and returns its ID.
    pub(super) fn create_environment(
        &mut self,
        account: &str,
        now: u64,
        app: &str,
        name: &str,
    ) -> Result<String, ManagementError> {
        check_name("an environment", name)?;
        find(&self.apps, account, app)?;
        if self.environments_of(account, app).iter().any(|known| known.name == name) {
            return Err(ManagementError::Conflict(format!("there is an environment `{name}` already")));
        }
        let id = new_id(25);
        insert(
            &mut self.environments,
            AppEnvironment {
                id: id.clone(),
                account: account.to_owned(),
                created_at: now,
                app_id: app.to_owned(),
                name: name.to_owned(),
                active_build: None,
            },
        );
        Ok(id)
    }

    /// Environments of an app, oldest first.
    pub(super) fn environments_of(&self, account: &str, app: &str) -> Vec<&AppEnvironment> {
        let all = owned(&self.environments, account).into_iter();
        all.map(|environment| &**environment).filter(|environment| environment.app_id == app).collect()
    }

    /// Finished builds of an app, newest first.
    pub(super) fn builds_of(&self, account: &str, app: &str) -> Vec<&Build> {
        let all = owned(&self.builds, account).into_iter().rev();
        all.map(|build| &**build).filter(|build| build.app_id == app && build.manifest.is_some()).collect()
    }

    /// A build of the account that was finalized.
    pub(super) fn build(&self, account: &str, id: &str) -> Result<&Build, ManagementError> {
        let build = find(&self.builds, account, id)?;
        if build.manifest.is_none() {
            return Err(ManagementError::not_found(Build::NAME, id));
        }
        Ok(build)
    }

    /// Removes an environment and its endpoints: without its build they could not run.
    pub(super) fn delete_environment(&mut self, account: &str, id: &str) -> Result<(), ManagementError> {
        find(&self.environments, account, id)?;
        let there: Vec<String> = self
            .endpoints
            .values()
            .filter(|endpoint| endpoint.environment_id.as_deref() == Some(id))
            .map(|endpoint| endpoint.id.clone())
            .collect();
        for endpoint in there {
            self.delete_endpoint(account, &endpoint)?;
        }
        self.environments.remove(id);
        Ok(())
    }

    /// Permits an upload of `size` bytes; those permitted before `old` and never used go.
    pub(super) fn prepare_build(
        &mut self,
        account: &str,
        now: u64,
        old: u64,
        app: &str,
        size: u64,
    ) -> Result<Build, ManagementError> {
        find(&self.apps, account, app)?;
        if !(1..=LARGEST_ARTIFACT).contains(&size) {
            let text = format!("an artifact has 1 byte to {} MiB", LARGEST_ARTIFACT >> 20);
            return Err(ManagementError::Invalid(text));
        }
        self.builds.retain(|_, build| {
            build.account != account || build.manifest.is_some() || build.created_at >= old
        });
        let id = new_id(25);
        let build = Build {
            object_key: format!("flash/{app}/{id}.tar.gz"),
            id,
            account: account.to_owned(),
            created_at: now,
            app_id: app.to_owned(),
            secret: new_id(40),
            announced: size,
            sha256: None,
            manifest: None,
        };
        insert(&mut self.builds, build.clone());
        Ok(build)
    }

    /// Notes what was uploaded for a build that is not finalized yet.
    pub(super) fn uploaded(
        &mut self,
        account: &str,
        id: &str,
        sha256: String,
    ) -> Result<(), ManagementError> {
        let mut build = Build::clone(find(&self.builds, account, id)?);
        if build.manifest.is_some() {
            return Err(ManagementError::Conflict("the build is finished: it cannot be changed".to_owned()));
        }
        build.sha256 = Some(sha256);
        insert(&mut self.builds, build);
        Ok(())
    }

    /// Makes what was uploaded a build, and returns its ID.
    pub(super) fn finalize_build(
        &mut self,
        account: &str,
        app: &str,
        object_key: &str,
        manifest: Value,
    ) -> Result<String, ManagementError> {
        check_manifest(&manifest)?;
        find(&self.apps, account, app)?;
        let all = owned(&self.builds, account);
        let found = all.into_iter().find(|build| build.app_id == app && build.object_key == object_key);
        let mut build = Build::clone(found.ok_or_else(|| ManagementError::not_found("upload", object_key))?);
        if build.sha256.is_none() {
            let text = "nothing was uploaded to the address that was given for it".to_owned();
            return Err(ManagementError::Conflict(text));
        }
        build.manifest = Some(manifest);
        let id = build.id.clone();
        insert(&mut self.builds, build);
        Ok(id)
    }

    /// Puts another manifest in the place of a build's.
    pub(super) fn update_manifest(
        &mut self,
        account: &str,
        id: &str,
        manifest: Value,
    ) -> Result<(), ManagementError> {
        check_manifest(&manifest)?;
        let mut build = self.build(account, id)?.clone();
        build.manifest = Some(manifest);
        insert(&mut self.builds, build);
        Ok(())
    }

    /// Makes a build the one that an environment's endpoints run.
    pub(super) fn deploy(
        &mut self,
        account: &str,
        environment: &str,
        build: &str,
    ) -> Result<(), ManagementError> {
        let mut environment = AppEnvironment::clone(find(&self.environments, account, environment)?);
        let build = self.build(account, build)?;
        if build.app_id != environment.app_id {
            return Err(ManagementError::Conflict("the build is another app's".to_owned()));
        }
        environment.active_build = Some(build.id.clone());
        insert(&mut self.environments, environment);
        Ok(())
    }
}

fn check_name(what: &str, name: &str) -> Result<(), ManagementError> {
    if (1..=191).contains(&name.len()) && !name.trim().is_empty() && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(ManagementError::Invalid(format!("{what} needs a name of 1 to 191 characters")))
}

fn check_manifest(manifest: &Value) -> Result<(), ManagementError> {
    if manifest.is_object() {
        return Ok(());
    }
    Err(ManagementError::Invalid("a manifest is a JSON object".to_owned()))
}
