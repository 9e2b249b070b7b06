//! A validated endpoint configuration.

use super::error::ConfigError;
use super::hardware::{read_data_centers, read_hardware};
use super::name::check_name;
use super::parameters;
use super::reader::{Reader, truncated, whole_number};
use super::storage::{read_template, read_volumes};
use super::value::{Arguments, Value, quoted};
pub use crate::catalog::GpuChoice;
use crate::catalog::{DEFAULT_WORKERS_MAX, DEFAULT_WORKERS_MIN, enum_table, suggest};

/// How an endpoint takes its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointKind {
    /// Jobs wait in a queue: a decorated function or class.
    Queue,
    /// Requests go to a worker directly: an object with routes.
    LoadBalanced,
    /// A client for something that exists already (`id=`) or an image (`image=`).
    Client,
}

/// What an endpoint runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hardware {
    /// GPUs.
    Gpu {
        /// In the order given; `[Group("ANY")]` when nothing was said.
        choices: Vec<GpuChoice>,
        /// GPUs per worker.
        count: u32,
        /// Minimum CUDA version value, such as `12.8`.
        min_cuda_version: Option<String>,
    },
    /// CPUs.
    Cpu {
        /// Instance values, such as `cpu3c-1-2`.
        instances: Vec<String>,
    },
}

/// Worker limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workers {
    /// Workers kept when idle.
    pub min: u32,
    /// Most workers at once.
    pub max: u32,
}

/// A network volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Name, when given.
    pub name: Option<String>,
    /// ID, when given.
    pub id: Option<String>,
    /// Size in GB.
    pub size: Option<u32>,
    /// Data center value, such as `US-CA-2`.
    pub data_center: String,
}

/// An endpoint as declared, checked and normalised.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointConfig {
    /// Name; `None` until the decorated function gives it.
    pub name: Option<String>,
    /// ID of an existing endpoint (client mode).
    pub id: Option<String>,
    /// Container image of the user's own (client mode).
    pub image: Option<String>,
    /// GPUs or CPUs.
    pub hardware: Hardware,
    /// Worker limits.
    pub workers: Workers,
    /// Seconds before an idle worker stops; `None` leaves Runpod's default.
    pub idle_timeout: Option<u32>,
    /// Milliseconds a job may run; 0 is no limit.
    pub execution_timeout_ms: u64,
    /// Quick restart of workers.
    pub flashboot: bool,
    /// Jobs one worker takes at a time.
    pub max_concurrency: u32,
    /// `QUEUE_DELAY` or `REQUEST_COUNT` when said; the kind decides otherwise.
    pub scaler_type: Option<String>,
    /// Scaler's value.
    pub scaler_value: i64,
    /// Environment variables: `Value::Str`, `Value::Environment` or `Value::Template`; `None` when not given.
    pub env: Option<Vec<(String, Value)>>,
    /// PEP 508 requirements.
    pub dependencies: Vec<String>,
    /// System packages.
    pub system_dependencies: Vec<String>,
    /// Whether downloads are accelerated on Runpod.
    pub accelerate_downloads: bool,
    /// Network volumes.
    pub volumes: Vec<Volume>,
    /// Data center values in the order given; `None` when not restricted.
    pub datacenters: Option<Vec<String>>,
    /// `PodTemplate(...)` fields as given.
    pub template: Option<Vec<(String, Value)>>,
}

impl EndpointConfig {
    /// Checks arguments and brings them into one form.
    ///
    /// # Errors
    /// All problems at once, in the order of the checks of 1.21 where it has them.
    pub fn from_arguments(arguments: &Arguments) -> Result<Self, Vec<ConfigError>> {
        let mut reader = Reader::new(arguments);
        for (keyword, _) in arguments {
            if let Err(error) = parameters::check_keyword(keyword) {
                reader.refuse(error);
            }
        }
        let hardware = read_hardware(&mut reader);
        let (name, id, image) = read_identity(&mut reader);
        let max_concurrency = reader.integer("max_concurrency", 1, 1, i64::from(u32::MAX));
        let workers = read_workers(&mut reader);
        let datacenters = read_data_centers(&mut reader, &hardware);
        let config = Self {
            volumes: read_volumes(&mut reader, datacenters.as_deref()),
            template: read_template(&mut reader, &hardware),
            idle_timeout: read_idle_timeout(&mut reader),
            execution_timeout_ms: reader
                .integer("execution_timeout_ms", 0, 0, i64::MAX)
                .try_into()
                .unwrap_or_default(),
            flashboot: reader.truth("flashboot", true),
            max_concurrency: u32::try_from(max_concurrency).unwrap_or(1),
            scaler_type: read_scaler_type(&mut reader),
            scaler_value: reader.integer("scaler_value", 4, 1, i64::MAX),
            env: read_env(&mut reader),
            dependencies: reader.texts("dependencies"),
            system_dependencies: reader.texts("system_dependencies"),
            accelerate_downloads: reader.truth("accelerate_downloads", true),
            name,
            id,
            image,
            hardware,
            workers,
            datacenters,
        };
        if let Some(name) = &config.name
            && let Err(error) = check_name(name, config.flashboot)
        {
            reader.refuse(error);
        }
        if reader.errors.is_empty() { Ok(config) } else { Err(reader.errors) }
    }

    /// Returns the calls in flight for which this machine wants one worker.
    ///
    /// `REQUEST_COUNT`, the only scaler of load-balanced endpoints, is `scaler_value` as on Runpod.
    /// `QUEUE_DELAY` lets calls wait before it adds a worker, which pays for a start of minutes; here
    /// one takes half a second, so each call that no worker can take now wants its own.
    pub fn calls_per_worker(&self, kind: EndpointKind) -> u32 {
        let counts_requests =
            kind == EndpointKind::LoadBalanced || self.scaler_type.as_deref() == Some("REQUEST_COUNT");
        if counts_requests {
            u32::try_from(self.scaler_value).unwrap_or(u32::MAX)
        } else {
            self.max_concurrency
        }
    }

    /// Returns whether this is a client of an endpoint or image, and decorates nothing.
    pub fn is_client(&self) -> bool {
        self.id.is_some() || self.image.is_some()
    }

    /// Returns whether it runs on CPUs.
    pub fn is_cpu(&self) -> bool {
        matches!(self.hardware, Hardware::Cpu { .. })
    }

    /// Returns what scales the endpoint: what was said, else what fits its kind.
    pub fn scaler_type_for(&self, kind: EndpointKind) -> &str {
        self.scaler_type.as_deref().unwrap_or(match kind {
            EndpointKind::LoadBalanced => "REQUEST_COUNT",
            EndpointKind::Queue | EndpointKind::Client => "QUEUE_DELAY",
        })
    }
}

fn read_identity(reader: &mut Reader<'_>) -> (Option<String>, Option<String>, Option<String>) {
    // An empty name is `check_name`'s to refuse, with its own hint.
    let name = match reader.get("name").as_deref() {
        Some(Value::Str(text)) if text.is_empty() => Some(String::new()),
        _ => reader.text("name"),
    };
    let id = reader.text("id");
    let image = reader.text("image");
    if id.is_some() && image.is_some() {
        reader.refuse(
            ConfigError::new("image", "id and image are mutually exclusive. specify one or neither.")
                .with_hint("id= is for an endpoint that exists; image= makes one from a container image"),
        );
    }
    if image.is_some() && name.is_none() && id.is_none() {
        reader.refuse(
            ConfigError::new("name", "name or id is required when image= is set.")
                .with_hint("write Endpoint(name=\"...\", image=...)"),
        );
    }
    (name, id, image)
}

fn read_workers(reader: &mut Reader<'_>) -> Workers {
    const NAME: &str = "workers";
    let default = Workers { min: DEFAULT_WORKERS_MIN, max: DEFAULT_WORKERS_MAX };
    let Some(value) = reader.get(NAME) else { return default };
    let number = |value: &Value| match value {
        Value::Float(number) => truncated(*number),
        other => whole_number(other),
    };
    let limits = match &*value {
        Value::None => return default,
        Value::Int(_) | Value::Bool(_) => number(&value).map(|most| (i64::from(DEFAULT_WORKERS_MIN), most)),
        Value::Tuple(items) | Value::List(items) => match items.as_slice() {
            [least, most] => number(&least.resolved()).zip(number(&most.resolved())),
            _ => None,
        },
        _ => None,
    };
    let Some((least, most)) = limits else {
        let message = format!(
            "workers must be an int or (min, max) tuple, got {}: {}",
            value.type_name(),
            value.repr()
        );
        reader.refuse(
            ConfigError::new(NAME, message)
                .with_hint("write workers=3 for at most three, or workers=(1, 3) to keep one"),
        );
        return default;
    };
    if least < 0 || most < 0 {
        reader.refuse(
            ConfigError::new(NAME, format!("workers cannot be negative: ({least}, {most})"))
                .with_hint("write workers=0 to hold all jobs back, or workers=(0, 3)"),
        );
        return default;
    }
    if least > most {
        reader.refuse(
            ConfigError::new(NAME, format!("workers min ({least}) cannot exceed max ({most})"))
                .with_hint(format!("write workers=({most}, {least})")),
        );
        return default;
    }
    let (Ok(min), Ok(max)) = (u32::try_from(least), u32::try_from(most)) else {
        reader.refuse(ConfigError::new(NAME, format!("workers are too many: ({least}, {most})")));
        return default;
    };
    Workers { min, max }
}

fn read_idle_timeout(reader: &mut Reader<'_>) -> Option<u32> {
    const NAME: &str = "idle_timeout";
    if reader.get(NAME).is_some_and(|value| *value == Value::None) {
        return None;
    }
    let before = reader.errors.len();
    let seconds = reader.integer(NAME, 60, 1, 3600);
    if let Some(error) = reader.errors.get_mut(before) {
        error.hint = Some("seconds, from 1 to 3600; longer-lived workers are workers=(1, ...)".to_owned());
    }
    u32::try_from(seconds).ok()
}

fn read_scaler_type(reader: &mut Reader<'_>) -> Option<String> {
    const NAME: &str = "scaler_type";
    let value = reader.get(NAME)?;
    match &*value {
        Value::None => None,
        Value::Member { class, member } if class == "ServerlessScalerType" => {
            match enum_table(class).and_then(|table| table.value_of(member)) {
                Some(scaler) => Some(scaler.to_owned()),
                None => reader.refuse_member(NAME, class, member, None),
            }
        }
        Value::Str(text) if enum_table("ServerlessScalerType")?.member_of(text).is_some() => {
            Some(text.clone())
        }
        other => {
            let meant = match other {
                Value::Str(text) => suggest("ServerlessScalerType", text),
                _ => None,
            };
            let meant = meant.map(|member| format!("; did you mean `ServerlessScalerType.{member}`?"));
            let message = format!(
                "scaler_type: {} is not a valid ServerlessScalerType{}",
                other.repr(),
                meant.unwrap_or_default()
            );
            reader.refuse(
                ConfigError::new(NAME, message)
                    .with_hint("QUEUE_DELAY scales by waiting time, REQUEST_COUNT by requests in flight"),
            );
            None
        }
    }
}

fn read_env(reader: &mut Reader<'_>) -> Option<Vec<(String, Value)>> {
    const NAME: &str = "env";
    let entries = match reader.get_unresolved(NAME)? {
        Value::None => return None,
        Value::Dict(entries) => entries,
        other => {
            let message =
                format!("env must be a dict of strings, got {}: {}", other.type_name(), other.repr());
            reader.refuse(ConfigError::new(NAME, message).with_hint("write env={\"HF_HOME\": \"/models\"}"));
            return None;
        }
    };
    let mut env = Vec::with_capacity(entries.len());
    for (index, (key, value)) in entries.iter().enumerate() {
        let Value::Str(key) = key else {
            let message = format!("env names must be strings, got {}: {}", key.type_name(), key.repr());
            reader.refuse(ConfigError::new(NAME, message).at(Some(index)));
            continue;
        };
        if key.is_empty() || key.contains(['=', '\0']) {
            let message = format!("env name {} cannot be an environment variable", quoted(key));
            reader.refuse(ConfigError::new(NAME, message).at(Some(index)));
            continue;
        }
        match value {
            Value::Str(_) | Value::Environment { .. } | Value::Template(_) => {
                env.push((key.clone(), value.clone()));
            }
            other => {
                let message = format!(
                    "env[{}] must be a string, got {}: {}",
                    quoted(key),
                    other.type_name(),
                    other.repr()
                );
                let mut error = ConfigError::new(NAME, message).at(Some(index));
                if matches!(other, Value::Int(_) | Value::Float(_) | Value::Bool(_)) {
                    error = error.with_hint(format!("write {}: \"{}\"", quoted(key), other.repr()));
                } else if *other == Value::None {
                    error = error.with_hint("set the variable, or leave this entry out");
                }
                reader.refuse(error);
            }
        }
    }
    Some(env)
}
