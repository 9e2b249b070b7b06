//! `flash_manifest.json`: schema and builder (project → manifest).
//!
//! Keys, values and order are those of the official 1.21; what it drops (GPU count, execution
//! timeout, flashboot, dependencies …) follows after them. Must never know servers.

mod fingerprint;
mod json;
mod resource;

use std::io;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use crate::catalog;
use crate::endpoint::EndpointKind;
use crate::project::{DeclaredEndpoint, Project, ProjectFile};

/// Version of the format.
const FORMAT: &str = "1.0";

/// A project's manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    content: Map<String, Json>,
}

impl Manifest {
    /// Builds the manifest of a project; endpoints with errors are not in it.
    pub fn from_project(project: &Project) -> Self {
        let python = catalog::images::DEFAULT_PYTHON_VERSION;
        let mut declared: Vec<(&ProjectFile, &DeclaredEndpoint)> = project
            .files
            .iter()
            .flat_map(|file| file.endpoints.iter().map(move |endpoint| (&**file, endpoint)))
            .collect();
        // Clients come last, each part by name.
        declared.sort_by_key(|(_, endpoint)| (endpoint.kind == EndpointKind::Client, endpoint.name.clone()));
        let mut resources = Map::new();
        let mut registry = Map::new();
        let mut routes = Map::new();
        for (file, endpoint) in declared {
            for callable in &endpoint.callables {
                // Two functions of one name are fine: the second goes by its module as well.
                let key = match registry.get(&callable.name) {
                    Some(known) if *known != json!(endpoint.name) => {
                        format!("{}.{}", file.module, callable.name)
                    }
                    _ => callable.name.clone(),
                };
                registry.insert(key, json!(endpoint.name));
            }
            if endpoint.kind == EndpointKind::LoadBalanced {
                let own: Map<String, Json> = endpoint
                    .callables
                    .iter()
                    .filter_map(|callable| {
                        let (method, path) = callable.route.as_ref()?;
                        Some((format!("{method} {path}"), json!(callable.name)))
                    })
                    .collect();
                routes.insert(endpoint.name.clone(), Json::Object(own));
            }
            resources.insert(endpoint.name.clone(), Json::Object(resource::describe(file, endpoint, python)));
        }
        let mut content = Map::new();
        content.insert("version".to_owned(), json!(FORMAT));
        content.insert("python_version".to_owned(), json!(python));
        content.insert("generated_at".to_owned(), json!(now()));
        content.insert("project_name".to_owned(), json!(project.app));
        content.insert("resources".to_owned(), Json::Object(resources));
        content.insert("function_registry".to_owned(), Json::Object(registry));
        if !routes.is_empty() {
            content.insert("routes".to_owned(), Json::Object(routes));
        }
        content.insert("source_fingerprint".to_owned(), json!(fingerprint::of(&project.root)));
        content.insert("requirements".to_owned(), json!(project.requirements));
        Self { content }
    }

    /// Adds the version of the Python that `flash` itself runs in, which 1.21 does not record.
    #[must_use]
    pub fn with_host_python(mut self, version: (u8, u8, u8)) -> Self {
        let text = format!("{}.{}.{}", version.0, version.1, version.2);
        self.content.insert("host_python_version".to_owned(), json!(text));
        self
    }

    /// Returns the manifest as JSON text: two spaces of indent, non-ASCII escaped, no final newline.
    pub fn to_json(&self) -> String {
        json::to_text(&self.content)
    }

    /// Writes the manifest: beside the file first, then renamed, so that nobody reads half of it.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        json::write_atomically(path, self.to_json().as_bytes())
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
