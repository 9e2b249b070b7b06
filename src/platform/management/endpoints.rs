//! Endpoints: making, changing and removing them.

use std::path::PathBuf;

use super::error::ManagementError;
use super::model::{
    Endpoint, EndpointType, FlashBoot, ScalerType, State, Template, find, insert, new_id, new_key, owned,
};
use super::templates::TemplateChange;

/// Most workers that one endpoint may have.
const MOST_WORKERS: u32 = 1000;
/// Longest execution time-out: a week.
const LONGEST_TIMEOUT_MS: u64 = 7 * 24 * 60 * 60 * 1000;
const SHORTEST_TIMEOUT_MS: u64 = 5000;

/// What is to be different about an endpoint; `None` leaves it.
#[derive(Default)]
pub(super) struct EndpointChange {
    pub(super) name: Option<String>,
    pub(super) kind: Option<EndpointType>,
    pub(super) template_id: Option<String>,
    /// Changes of its own template, which is made when there is none.
    pub(super) template: Option<TemplateChange>,
    pub(super) gpu_ids: Option<String>,
    pub(super) gpu_count: Option<u32>,
    pub(super) instance_ids: Option<Vec<String>>,
    pub(super) volume_ids: Option<Vec<String>>,
    pub(super) locations: Option<String>,
    pub(super) idle_timeout: Option<u32>,
    pub(super) scaler_type: Option<ScalerType>,
    pub(super) scaler_value: Option<f64>,
    pub(super) workers_min: Option<u32>,
    pub(super) workers_max: Option<u32>,
    pub(super) workers_pfb_target: Option<u32>,
    pub(super) execution_timeout_ms: Option<u64>,
    pub(super) allowed_cuda_versions: Option<String>,
    pub(super) min_cuda_version: Option<String>,
    pub(super) flash_boot: Option<FlashBoot>,
    /// The empty text takes the endpoint out of its environment.
    pub(super) environment_id: Option<String>,
    pub(super) model_references: Option<Vec<String>>,
    pub(super) command: Option<Vec<String>>,
    pub(super) directory: Option<PathBuf>,
}

/// An endpoint with the defaults of `platform.md` 4.1.
fn new_endpoint(account: &str, now: u64) -> Endpoint {
    Endpoint {
        id: new_id(14),
        account: account.to_owned(),
        created_at: now,
        version: 0,
        key: new_key(),
        name: String::new(),
        kind: EndpointType::Queue,
        template_id: String::new(),
        gpu_ids: String::new(),
        gpu_count: 1,
        instance_ids: Vec::new(),
        volume_ids: Vec::new(),
        locations: String::new(),
        idle_timeout: 5,
        scaler_type: ScalerType::QueueDelay,
        scaler_value: 4.0,
        workers_min: 0,
        workers_max: 3,
        workers_pfb_target: 0,
        execution_timeout_ms: 0,
        allowed_cuda_versions: String::new(),
        min_cuda_version: String::new(),
        flash_boot: FlashBoot::Off,
        environment_id: None,
        model_references: Vec::new(),
        command: Vec::new(),
        directory: None,
    }
}

impl State {
    /// Makes an endpoint and returns its ID.
    pub(super) fn create_endpoint(
        &mut self,
        account: &str,
        now: u64,
        change: EndpointChange,
    ) -> Result<String, ManagementError> {
        let mut endpoint = new_endpoint(account, now);
        if change.kind == Some(EndpointType::LoadBalanced) {
            endpoint.scaler_type = ScalerType::RequestCount;
        }
        if change.name.as_deref().unwrap_or_default().trim().is_empty() {
            return Err(ManagementError::Invalid("an endpoint needs a name".to_owned()));
        }
        let has_image = change.template.as_ref().is_some_and(|template| template.image.is_some());
        let has_command = change.command.as_ref().is_some_and(|command| !command.is_empty());
        if change.template_id.as_deref().unwrap_or_default().is_empty() && !has_image && !has_command {
            let text = "an endpoint needs a template, an image, or on this machine a command";
            return Err(ManagementError::Invalid(text.to_owned()));
        }
        self.alter(&mut endpoint, now, change)?;
        let id = endpoint.id.clone();
        insert(&mut self.endpoints, endpoint);
        Ok(id)
    }

    /// Changes what is named.
    pub(super) fn update_endpoint(
        &mut self,
        account: &str,
        id: &str,
        now: u64,
        change: EndpointChange,
    ) -> Result<(), ManagementError> {
        let mut endpoint = Endpoint::clone(find(&self.endpoints, account, id)?);
        self.alter(&mut endpoint, now, change)?;
        insert(&mut self.endpoints, endpoint);
        Ok(())
    }

    /// Changes what is named and gives all else its default, except for what a client cannot
    /// know: ID, key, type, and the template where none is given.
    pub(super) fn replace_endpoint(
        &mut self,
        account: &str,
        id: &str,
        now: u64,
        change: EndpointChange,
    ) -> Result<(), ManagementError> {
        let known = Endpoint::clone(find(&self.endpoints, account, id)?);
        let mut endpoint = Endpoint {
            id: known.id,
            created_at: known.created_at,
            version: known.version,
            key: known.key,
            name: known.name,
            kind: known.kind,
            template_id: known.template_id,
            command: known.command,
            directory: known.directory,
            ..new_endpoint(account, now)
        };
        if endpoint.kind == EndpointType::LoadBalanced {
            endpoint.scaler_type = ScalerType::RequestCount;
        }
        self.alter(&mut endpoint, now, change)?;
        insert(&mut self.endpoints, endpoint);
        Ok(())
    }

    /// Removes an endpoint, and the template that was made with it.
    pub(super) fn delete_endpoint(&mut self, account: &str, id: &str) -> Result<(), ManagementError> {
        find(&self.endpoints, account, id)?;
        self.endpoints.remove(id);
        self.drop_templates_of(id);
        Ok(())
    }

    fn drop_templates_of(&mut self, endpoint: &str) {
        let others: Vec<String> = self.endpoints.values().map(|other| other.template_id.clone()).collect();
        self.templates.retain(|id, template| {
            template.owner.as_deref() != Some(endpoint) || others.iter().any(|used| used == id)
        });
    }

    fn alter(
        &mut self,
        endpoint: &mut Endpoint,
        now: u64,
        change: EndpointChange,
    ) -> Result<(), ManagementError> {
        let account = endpoint.account.clone();
        if let Some(kind) = change.kind
            && endpoint.version > 0
            && kind != endpoint.kind
        {
            return Err(ManagementError::Conflict("the type of an endpoint cannot be changed".to_owned()));
        }
        set(&mut endpoint.name, change.name);
        set(&mut endpoint.kind, change.kind);
        set(&mut endpoint.gpu_ids, change.gpu_ids);
        set(&mut endpoint.gpu_count, change.gpu_count);
        set(&mut endpoint.instance_ids, change.instance_ids);
        set(&mut endpoint.volume_ids, change.volume_ids);
        set(&mut endpoint.locations, change.locations);
        set(&mut endpoint.idle_timeout, change.idle_timeout);
        set(&mut endpoint.scaler_type, change.scaler_type);
        set(&mut endpoint.scaler_value, change.scaler_value);
        set(&mut endpoint.workers_min, change.workers_min);
        set(&mut endpoint.workers_max, change.workers_max);
        set(&mut endpoint.workers_pfb_target, change.workers_pfb_target);
        set(&mut endpoint.execution_timeout_ms, change.execution_timeout_ms);
        set(&mut endpoint.allowed_cuda_versions, change.allowed_cuda_versions);
        set(&mut endpoint.min_cuda_version, change.min_cuda_version);
        set(&mut endpoint.flash_boot, change.flash_boot);
        set(&mut endpoint.model_references, change.model_references);
        set(&mut endpoint.command, change.command);
        if change.directory.is_some() {
            endpoint.directory = change.directory;
        }
        if let Some(environment) = change.environment_id {
            endpoint.environment_id = if environment.is_empty() {
                None
            } else {
                Some(find(&self.environments, &account, &environment)?.id.clone())
            };
        }
        endpoint.volume_ids.retain(|id| !id.is_empty());
        for volume in &endpoint.volume_ids {
            find(&self.volumes, &account, volume)?;
        }
        check(endpoint)?;
        self.alter_template(endpoint, now, change.template_id, change.template)?;
        endpoint.version += 1;
        Ok(())
    }

    /// Gives the endpoint another template, or changes its own; one that others use is copied first.
    fn alter_template(
        &mut self,
        endpoint: &mut Endpoint,
        now: u64,
        template_id: Option<String>,
        change: Option<TemplateChange>,
    ) -> Result<(), ManagementError> {
        if let Some(id) = template_id.filter(|id| !id.is_empty()) {
            endpoint.template_id = find(&self.templates, &endpoint.account, &id)?.id.clone();
        }
        if change.is_none() && !endpoint.template_id.is_empty() {
            return Ok(());
        }
        let own = self.templates.get(&endpoint.template_id).map(|template| Template::clone(template));
        let mut template = match own {
            Some(own) if own.owner.as_deref() == Some(&endpoint.id) => own,
            shared => {
                let base = shared.unwrap_or_else(|| super::templates::new_template(&endpoint.account, now));
                let name = format!("{}__template__{}", endpoint.name, new_id(7));
                let owner = Some(endpoint.id.clone());
                Template { id: new_id(10), name, owner, is_serverless: true, created_at: now, ..base }
            }
        };
        if let Some(change) = change {
            self.alter_template_fields(&mut template, change)?;
        }
        endpoint.template_id.clone_from(&template.id);
        insert(&mut self.templates, template);
        Ok(())
    }

    /// The endpoint that a deployed app's resource has, newest first where a redeployment from
    /// another machine made several.
    pub(super) fn resolve(
        &self,
        account: &str,
        app: &str,
        environment: &str,
        resource: &str,
    ) -> Option<String> {
        let app = owned(&self.apps, account).into_iter().find(|known| known.name == app)?;
        let environment = owned(&self.environments, account)
            .into_iter()
            .find(|known| known.app_id == app.id && known.name == environment)?;
        let endpoints = owned(&self.endpoints, account);
        let mut there = endpoints
            .into_iter()
            .rev()
            .filter(|endpoint| endpoint.environment_id.as_deref() == Some(environment.id.as_str()));
        there.find(|endpoint| self.is_resource(endpoint, resource)).map(|endpoint| endpoint.id.clone())
    }

    fn is_resource(&self, endpoint: &Endpoint, resource: &str) -> bool {
        let variable = self
            .templates
            .get(&endpoint.template_id)
            .and_then(|template| template.env.iter().find(|variable| variable.key == "FLASH_RESOURCE_NAME"));
        let plain = |name: &str| {
            let name = name.strip_prefix("live-").unwrap_or(name);
            name.strip_suffix("-fb").unwrap_or(name).to_owned()
        };
        let wanted = plain(resource);
        variable.is_some_and(|variable| plain(&variable.value) == wanted) || plain(&endpoint.name) == wanted
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn check(endpoint: &Endpoint) -> Result<(), ManagementError> {
    let problem = if endpoint.name.trim().is_empty() || endpoint.name.len() > 191 {
        "the name must have 1 to 191 characters"
    } else if endpoint.workers_max > MOST_WORKERS {
        "there can be 1000 workers at most"
    } else if endpoint.workers_min > endpoint.workers_max {
        "the fewest workers must not be more than the most workers"
    } else if !(1..=3600).contains(&endpoint.idle_timeout) {
        "the idle timeout must be 1 to 3600 seconds"
    } else if endpoint.execution_timeout_ms != 0
        && !(SHORTEST_TIMEOUT_MS..=LONGEST_TIMEOUT_MS).contains(&endpoint.execution_timeout_ms)
    {
        "the execution timeout must be 0 (the default), or 5 seconds to 7 days"
    } else if endpoint.gpu_count == 0 {
        "there must be at least 1 GPU"
    } else if endpoint.scaler_type == ScalerType::QueueDelay
        && !(0.5..=86400.0).contains(&endpoint.scaler_value)
    {
        "the queue delay must be 0.5 seconds to a day"
    } else if endpoint.scaler_type == ScalerType::RequestCount
        && !(1.0..=1e6).contains(&endpoint.scaler_value)
    {
        "the request count must be at least 1"
    } else if endpoint.command.first().is_some_and(String::is_empty)
        || endpoint.command.iter().any(|part| part.contains('\0'))
    {
        "the command must begin with a program, and cannot have NUL characters"
    } else if endpoint.directory.as_ref().is_some_and(|directory| !directory.is_absolute()) {
        "the directory must be an absolute path"
    } else {
        return Ok(());
    };
    Err(ManagementError::Invalid(problem.to_owned()))
}
