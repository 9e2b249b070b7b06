//! What becomes of a template at an update: variables are replaced, Runpod's own stay.

use serde::Deserialize;

use super::input::{API_KEY, EndpointInput, EnvironmentVariable, TemplateInput};

/// A template as Runpod has it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LiveTemplate {
    pub(super) name: Option<String>,
    pub(super) image_name: Option<String>,
    pub(super) container_disk_in_gb: Option<i64>,
    pub(super) docker_args: Option<String>,
    pub(super) ports: Option<String>,
    /// Goes back as it is.
    pub(super) readme: Option<String>,
    pub(super) env: Vec<EnvironmentVariable>,
}

/// Returns the template to save, `None` where the live one says the same already.
pub(super) fn changed(
    live: &LiveTemplate,
    wanted: &TemplateInput,
    before: Option<&EndpointInput>,
    needs_key: bool,
) -> Option<TemplateInput> {
    let same = |live: &Option<String>, wanted: &str| live.as_deref().unwrap_or_default() == wanted;
    let env = variables(&live.env, &wanted.env, before, needs_key);
    let is_same = same(&live.image_name, &wanted.image_name)
        && live.container_disk_in_gb.is_none_or(|disk| disk == wanted.container_disk_in_gb)
        && same(&live.docker_args, &wanted.docker_args)
        && same(&live.ports, &wanted.ports)
        && is_same_set(&live.env, &env);
    if is_same {
        return None;
    }
    let mut template = TemplateInput { env, ..wanted.clone() };
    if let Some(name) = live.name.as_ref().filter(|_| template.name.is_empty()) {
        template.name.clone_from(name);
    }
    Some(template)
}

/// The variables to write: those wanted, then those that are there and were not ours.
///
/// 1.21 wrote the account's key into every template; it stays where somebody put it there by
/// name, and goes where we did.
pub(super) fn variables(
    live: &[EnvironmentVariable],
    wanted: &[EnvironmentVariable],
    before: Option<&EndpointInput>,
    needs_key: bool,
) -> Vec<EnvironmentVariable> {
    let mut env = wanted.to_vec();
    let ours = before.and_then(|before| before.template.as_ref()).map_or(&[][..], |template| &template.env);
    let key_is_anothers = before.is_some_and(|before| !before.needs_key) && !needs_key;
    for variable in live {
        let named = |list: &[EnvironmentVariable]| list.iter().any(|known| known.key == variable.key);
        if named(wanted) || named(ours) || (variable.key == API_KEY && !key_is_anothers) {
            continue;
        }
        env.push(variable.clone());
    }
    env
}

fn is_same_set(one: &[EnvironmentVariable], other: &[EnvironmentVariable]) -> bool {
    one.len() == other.len() && one.iter().all(|variable| other.contains(variable))
}
