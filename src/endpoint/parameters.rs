//! The parameters of `Endpoint(...)`: one table for checks, suggestions and the docs.

use super::error::ConfigError;
use super::value::quoted;
use crate::catalog::suggest_among;

/// A parameter of `Endpoint(...)`.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Name; the first one may be given by position.
    pub name: &'static str,
    /// Type as a reader writes it.
    pub accepts: &'static str,
    /// Default as written in Python.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
}

const fn parameter(
    name: &'static str,
    accepts: &'static str,
    default: &'static str,
    doc: &'static str,
) -> Parameter {
    Parameter { name, accepts, default, doc }
}

/// All parameters, in the order of the signature.
pub const PARAMETERS: &[Parameter] = &[
    parameter(
        "name",
        "`str`",
        "the function's name",
        "Name of the endpoint. Needed for routes. Not empty, no `/`, no control characters.",
    ),
    parameter("id", "`str`", "`None`", "ID of an endpoint that exists already: makes this object a client."),
    parameter(
        "gpu",
        "`GpuGroup`, `GpuType`, or a list of them",
        "any GPU",
        "GPUs that will do. Excludes `cpu`.",
    ),
    parameter(
        "cpu",
        "`CpuInstanceType`, its value, or a list of them",
        "`None`",
        "CPU instances that will do. Excludes `gpu`.",
    ),
    parameter(
        "workers",
        "`int` or `(min, max)`",
        "`(0, 1)`",
        "Fewest and most workers; one number is the most.",
    ),
    parameter(
        "idle_timeout",
        "`int`, 1 to 3600",
        "`60`",
        "Seconds that a worker above the minimum stays without work.",
    ),
    parameter(
        "dependencies",
        "list of `str`",
        "`None`",
        "Python packages that a worker needs, as PEP 508 requirements.",
    ),
    parameter("system_dependencies", "list of `str`", "`None`", "System packages that a worker needs."),
    parameter("accelerate_downloads", "`bool`", "`True`", "Whether Runpod speeds up downloads."),
    parameter(
        "volume",
        "`NetworkVolume` or a list",
        "`None`",
        "Network volumes, at most one per data center.",
    ),
    parameter(
        "datacenter",
        "`DataCenter`, its value, or a list of them",
        "all with storage",
        "Where workers may run. CPU endpoints: only where CPUs are offered.",
    ),
    parameter("env", "`dict[str, str]`", "`None`", "Environment variables of the workers."),
    parameter("gpu_count", "`int`, at least 1", "`1`", "GPUs per worker."),
    parameter(
        "execution_timeout_ms",
        "`int`, at least 0",
        "`0`",
        "Milliseconds that a job may run; 0 is no limit.",
    ),
    parameter("flashboot", "`bool`", "`True`", "Quick restart of workers on Runpod."),
    parameter("image", "`str`", "`None`", "A container image of your own: makes this object a client."),
    parameter(
        "scaler_type",
        "`ServerlessScalerType`",
        "by kind",
        "What makes Runpod start more workers: `QUEUE_DELAY` for queues, `REQUEST_COUNT` for routes.",
    ),
    parameter("scaler_value", "`int`, at least 1", "`4`", "The scaler's threshold: seconds or requests."),
    parameter("template", "`PodTemplate`", "`None`", "Container settings, such as the disk."),
    parameter(
        "min_cuda_version",
        "`CudaVersion` or its value",
        "`CudaVersion.V12_8`",
        "Oldest CUDA version that will do; `None` for any. GPU endpoints only.",
    ),
    parameter("max_concurrency", "`int`, at least 1", "`1`", "Calls that one worker takes at a time."),
];

/// What people write for what they mean.
const MISTAKEN: &[(&str, &str)] = &[
    ("gpus", "gpu=[...]"),
    ("gpu_type", "gpu=GpuType...."),
    ("gpu_ids", "gpu=[...]"),
    ("cpus", "cpu=[...]"),
    ("instance_ids", "cpu=[...]"),
    ("volumes", "volume=[...]"),
    ("network_volume", "volume=..."),
    ("datacenters", "datacenter=[...]"),
    ("data_center", "datacenter=..."),
    ("location", "datacenter=..."),
    ("locations", "datacenter=[...]"),
    ("region", "datacenter=..."),
    ("min_workers", "workers=(min, max)"),
    ("max_workers", "workers=(min, max)"),
    ("workers_min", "workers=(min, max)"),
    ("workers_max", "workers=(min, max)"),
    ("timeout", "execution_timeout_ms=..."),
    ("execution_timeout", "execution_timeout_ms=..."),
    ("requirements", "dependencies=[...]"),
    ("packages", "dependencies=[...]"),
    ("concurrency", "max_concurrency=..."),
    ("environment", "env={...}"),
    ("image_name", "image=..."),
    ("cuda_version", "min_cuda_version=..."),
];

/// Returns a parameter by its name.
pub fn find(name: &str) -> Option<&'static Parameter> {
    PARAMETERS.iter().find(|parameter| parameter.name == name)
}

/// Checks that a keyword is a parameter.
///
/// # Errors
/// Names the nearest one where it is not.
pub fn check_keyword(name: &str) -> Result<(), ConfigError> {
    if find(name).is_some() {
        return Ok(());
    }
    let base = format!("Endpoint() got an unexpected keyword argument {}", quoted(name));
    if name == "python_version" {
        return Err(ConfigError::new(name, base).with_hint(
            "an endpoint takes no Python version: workers run the version of the image, and on this \
             machine the one that runs `flash`",
        ));
    }
    let meant = MISTAKEN
        .iter()
        .find(|(wrong, _)| *wrong == name)
        .map(|(_, right)| *right)
        .or_else(|| suggest_among(PARAMETERS.iter().map(|parameter| parameter.name), name));
    Err(if let Some(right) = meant {
        ConfigError::new(name, format!("{base}; did you mean `{right}`?"))
    } else {
        let all: Vec<_> = PARAMETERS.iter().map(|parameter| parameter.name).collect();
        ConfigError::new(name, base).with_hint(format!("parameters are {}", all.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("gpus", "; did you mean `gpu=[...]`?")]
    #[case("dependancies", "; did you mean `dependencies`?")]
    #[case("idle_time", "; did you mean `idle_timeout`?")]
    #[case("zzz", "")]
    fn unknown_keyword_names_the_nearest(#[case] name: &str, #[case] end: &str) {
        let error = check_keyword(name).unwrap_err();
        assert_eq!(error.message, format!("Endpoint() got an unexpected keyword argument '{name}'{end}"));
    }

    #[test]
    fn mistaken_names_lead_to_parameters() {
        for (wrong, right) in MISTAKEN {
            assert!(find(wrong).is_none(), "{wrong} is a parameter");
            let name = right.split('=').next().unwrap();
            assert!(find(name).is_some(), "{right} is no parameter");
        }
    }
}
