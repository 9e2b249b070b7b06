//! Templates: image, variables and disks that workers are made from.

use super::error::ManagementError;
use super::model::{State, Template, Variable, find, insert, new_id};

/// What is to be different about a template; `None` leaves it.
#[derive(Default)]
pub(super) struct TemplateChange {
    pub(super) name: Option<String>,
    pub(super) image: Option<String>,
    pub(super) docker_args: Option<String>,
    pub(super) container_disk_gb: Option<u32>,
    pub(super) volume_gb: Option<u32>,
    pub(super) volume_mount_path: Option<String>,
    pub(super) ports: Option<String>,
    pub(super) env: Option<Vec<Variable>>,
    pub(super) start_script: Option<String>,
    pub(super) readme: Option<String>,
    pub(super) registry_id: Option<String>,
    pub(super) is_serverless: Option<bool>,
    pub(super) is_public: Option<bool>,
}

pub(super) fn new_template(account: &str, now: u64) -> Template {
    Template {
        id: new_id(10),
        account: account.to_owned(),
        created_at: now,
        name: String::new(),
        image: String::new(),
        docker_args: String::new(),
        container_disk_gb: 10,
        volume_gb: 0,
        volume_mount_path: "/workspace".to_owned(),
        ports: String::new(),
        env: Vec::new(),
        start_script: String::new(),
        readme: String::new(),
        registry_id: String::new(),
        is_serverless: false,
        is_public: false,
        owner: None,
    }
}

impl State {
    /// Makes a template and returns its ID.
    pub(super) fn create_template(
        &mut self,
        account: &str,
        now: u64,
        change: TemplateChange,
    ) -> Result<String, ManagementError> {
        let mut template = new_template(account, now);
        for (value, what) in [(&change.name, "a name"), (&change.image, "an image")] {
            if value.as_deref().unwrap_or_default().trim().is_empty() {
                return Err(ManagementError::Invalid(format!("a template needs {what}")));
            }
        }
        self.alter_template_fields(&mut template, change)?;
        let id = template.id.clone();
        insert(&mut self.templates, template);
        Ok(id)
    }

    /// Changes what is named.
    pub(super) fn update_template(
        &mut self,
        account: &str,
        id: &str,
        change: TemplateChange,
    ) -> Result<(), ManagementError> {
        let mut template = Template::clone(find(&self.templates, account, id)?);
        self.alter_template_fields(&mut template, change)?;
        insert(&mut self.templates, template);
        Ok(())
    }

    /// Removes a template that no endpoint uses.
    pub(super) fn delete_template(&mut self, account: &str, id: &str) -> Result<(), ManagementError> {
        find(&self.templates, account, id)?;
        if let Some(user) = self.endpoints.values().find(|endpoint| endpoint.template_id == id) {
            let text = format!("template `{id}` is used by endpoint `{}`", user.id);
            return Err(ManagementError::Conflict(text));
        }
        self.templates.remove(id);
        Ok(())
    }

    pub(super) fn alter_template_fields(
        &self,
        template: &mut Template,
        change: TemplateChange,
    ) -> Result<(), ManagementError> {
        if let Some(registry) = change.registry_id {
            if !registry.is_empty() {
                find(&self.registries, &template.account, &registry)?;
            }
            template.registry_id = registry;
        }
        if let Some(env) = change.env {
            let impossible = env.iter().find(|variable| {
                variable.key.is_empty() || variable.key.contains(['=', '\0']) || variable.value.contains('\0')
            });
            if let Some(variable) = impossible {
                let text =
                    format!("`{}` cannot be a variable: its name or value is impossible", variable.key);
                return Err(ManagementError::Invalid(text));
            }
            template.env = env;
        }
        set(&mut template.name, change.name);
        set(&mut template.image, change.image);
        set(&mut template.docker_args, change.docker_args);
        set(&mut template.container_disk_gb, change.container_disk_gb);
        set(&mut template.volume_gb, change.volume_gb);
        set(&mut template.volume_mount_path, change.volume_mount_path);
        set(&mut template.ports, change.ports);
        set(&mut template.start_script, change.start_script);
        set(&mut template.readme, change.readme);
        set(&mut template.is_serverless, change.is_serverless);
        set(&mut template.is_public, change.is_public);
        Ok(())
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}
