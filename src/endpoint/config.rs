//! A validated endpoint configuration.

use super::value::Value;
pub use crate::catalog::GpuChoice;

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
    /// Environment variables: `Value::Str` or `Value::Environment`; `None` when not given.
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
