//! `gpu=`, `cpu=`, `gpu_count=`, `min_cuda_version=` and `datacenter=`.

use std::fmt::Write as _;

use super::config::{GpuChoice, Hardware};
use super::error::ConfigError;
use super::reader::Reader;
use super::value::{Value, quoted};
use crate::catalog::{self, cpu, cuda, data_center, gpu, suggest};

/// Reads what the endpoint runs on; problems go to the reader.
pub(super) fn read_hardware(reader: &mut Reader<'_>) -> Hardware {
    let gpus = reader.get("gpu").filter(|value| **value != Value::None);
    let cpus = reader.get("cpu").filter(|value| **value != Value::None);
    if gpus.is_some() && cpus.is_some() {
        reader.refuse(
            ConfigError::new("cpu", "gpu and cpu are mutually exclusive. specify one or neither.")
                .with_hint("drop gpu= to run on CPUs, or cpu= to run on GPUs"),
        );
    }
    let choices = gpus.map(|value| read_gpus(reader, &value));
    let instances = cpus.map(|value| read_cpus(reader, &value));
    let count = reader.integer("gpu_count", 1, 1, i64::from(u32::MAX));
    let min_cuda_version = read_cuda(reader);
    match instances {
        Some(instances) => Hardware::Cpu { instances },
        None => Hardware::Gpu {
            choices: choices.unwrap_or_else(|| vec![GpuChoice::Group(gpu::ANY.0.to_owned())]),
            count: u32::try_from(count).unwrap_or(1),
            min_cuda_version,
        },
    }
}

fn read_gpus(reader: &mut Reader<'_>, value: &Value) -> Vec<GpuChoice> {
    match value {
        Value::Member { class, .. } if is_gpu_enum(class) => {
            read_gpu(reader, value, None).into_iter().collect()
        }
        Value::List(items) if items.is_empty() => {
            reader.refuse(
                ConfigError::new("gpu", "gpu list must not be empty")
                    .with_hint("leave gpu out, or write gpu=GpuGroup.ANY, for any GPU"),
            );
            Vec::new()
        }
        Value::List(items) => {
            items.iter().enumerate().filter_map(|(index, item)| read_gpu(reader, item, Some(index))).collect()
        }
        other => {
            let mut message = format!(
                "gpu must be a GpuGroup, GpuType, or list, got {}: {}",
                other.type_name(),
                other.repr()
            );
            if let Value::Str(text) = other
                && let Some(meant) = suggest_gpu(text)
            {
                _ = write!(message, "; did you mean `{meant}`?");
            }
            reader.refuse(
                ConfigError::new("gpu", message)
                    .with_hint("write gpu=GpuType.NVIDIA_L4, gpu=GpuGroup.AMPERE_24, or a list of them"),
            );
            Vec::new()
        }
    }
}

fn is_gpu_enum(class: &str) -> bool {
    class == "GpuGroup" || class == "GpuType"
}

fn read_gpu(reader: &mut Reader<'_>, value: &Value, index: Option<usize>) -> Option<GpuChoice> {
    match value {
        Value::Member { class, member } if class == "GpuGroup" => match gpu::group_by_member(member) {
            Some(group) => Some(GpuChoice::Group(group.member.to_owned())),
            None => reader.refuse_member("gpu", class, member, index),
        },
        Value::Member { class, member } if class == "GpuType" => match gpu::type_by_member(member) {
            Some(gpu) => Some(GpuChoice::Type(gpu.member.to_owned())),
            None => reader.refuse_member("gpu", class, member, index),
        },
        Value::Str(text) => {
            if let Some(group) = gpu::group_by_value(text) {
                return Some(GpuChoice::Group(group.member.to_owned()));
            }
            if let Some(gpu) = gpu::type_by_value(text) {
                return Some(GpuChoice::Type(gpu.member.to_owned()));
            }
            let mut message = format!("gpu: {} is not a GPU that Runpod offers", quoted(text));
            if let Some(meant) = suggest_gpu(text) {
                _ = write!(message, "; did you mean `{meant}`?");
            }
            reader.refuse(
                ConfigError::new("gpu", message)
                    .at(index)
                    .with_hint("use members of GpuType or GpuGroup; docs/configuration.md lists them"),
            );
            None
        }
        other => {
            let message = format!(
                "gpu list elements must be GpuGroup or GpuType, got {}: {}",
                other.type_name(),
                other.repr()
            );
            reader.refuse(ConfigError::new("gpu", message).at(index));
            None
        }
    }
}

fn suggest_gpu(text: &str) -> Option<String> {
    if let Some(group) = gpu::group_by_member(text) {
        return Some(format!("GpuGroup.{}", group.member));
    }
    suggest("GpuType", text)
        .map(|member| format!("GpuType.{member}"))
        .or_else(|| suggest("GpuGroup", text).map(|member| format!("GpuGroup.{member}")))
}

fn read_cpus(reader: &mut Reader<'_>, value: &Value) -> Vec<String> {
    match value {
        Value::Str(_) => read_cpu(reader, value, None).into_iter().collect(),
        Value::Member { class, .. } if class == "CpuInstanceType" => {
            read_cpu(reader, value, None).into_iter().collect()
        }
        Value::List(items) if items.is_empty() => {
            reader.refuse(
                ConfigError::new("cpu", "cpu list must not be empty")
                    .with_hint("write cpu=\"cpu3g-2-8\", or leave cpu out to run on GPUs"),
            );
            Vec::new()
        }
        Value::List(items) => {
            items.iter().enumerate().filter_map(|(index, item)| read_cpu(reader, item, Some(index))).collect()
        }
        other => {
            let message = format!(
                "cpu must be a CpuInstanceType, string, or list, got {}: {}",
                other.type_name(),
                other.repr()
            );
            reader.refuse(
                ConfigError::new("cpu", message)
                    .with_hint("write cpu=CpuInstanceType.CPU3C_1_2, cpu=\"cpu3c-1-2\", or a list of them"),
            );
            Vec::new()
        }
    }
}

fn read_cpu(reader: &mut Reader<'_>, value: &Value, index: Option<usize>) -> Option<String> {
    match value {
        Value::Member { class, member } if class == "CpuInstanceType" => {
            match cpu::instance_by_member(member) {
                Some(instance) => Some(instance.value.to_owned()),
                None => reader.refuse_member("cpu", class, member, index),
            }
        }
        Value::Str(text) => {
            if let Some(instance) = cpu::instance_by_value(text) {
                Some(instance.value.to_owned())
            } else {
                let meant = suggest("CpuInstanceType", text)
                    .and_then(|member| cpu::instance_by_member(&member))
                    .map(|instance| format!("; did you mean {}?", quoted(instance.value)));
                let message =
                    format!("{} is not a valid CpuInstanceType{}", quoted(text), meant.unwrap_or_default());
                let all: Vec<_> = cpu::CPU_INSTANCES.iter().map(|instance| instance.value).collect();
                reader.refuse(
                    ConfigError::new("cpu", message)
                        .at(index)
                        .with_hint(format!("instances are {}", all.join(", "))),
                );
                None
            }
        }
        other => {
            let message = format!(
                "cpu list elements must be CpuInstanceType or string, got {}: {}",
                other.type_name(),
                other.repr()
            );
            reader.refuse(ConfigError::new("cpu", message).at(index));
            None
        }
    }
}

fn read_cuda(reader: &mut Reader<'_>) -> Option<String> {
    const NAME: &str = "min_cuda_version";
    let Some(value) = reader.get(NAME) else {
        return Some(cuda::DEFAULT_MIN_CUDA_VERSION.to_owned());
    };
    let table = catalog::enum_table("CudaVersion")?;
    match &*value {
        Value::None => None,
        Value::Member { class, member } if class == "CudaVersion" => match table.value_of(member) {
            Some(version) => Some(version.to_owned()),
            None => reader.refuse_member(NAME, class, member, None),
        },
        Value::Str(text) if table.member_of(text).is_some() => Some(text.clone()),
        other => {
            let text = match other {
                Value::Str(text) => Some(text.clone()),
                Value::Float(_) | Value::Int(_) => Some(other.repr()),
                _ => None,
            };
            let meant = text.and_then(|text| {
                table.member_of(&text).map(str::to_owned).or_else(|| suggest("CudaVersion", &text))
            });
            let meant = meant
                .and_then(|member| table.value_of(&member))
                .map(|version| format!("; did you mean {}?", quoted(version)));
            let message = format!(
                "min_cuda_version: {} is not a valid CudaVersion{}",
                other.repr(),
                meant.unwrap_or_default()
            );
            reader.refuse(
                ConfigError::new(NAME, message)
                    .with_hint("write min_cuda_version=CudaVersion.V12_4 or min_cuda_version=\"12.4\""),
            );
            None
        }
    }
}

/// Reads `datacenter=`; `None` where nothing (or nothing in a list) was given.
pub(super) fn read_data_centers(reader: &mut Reader<'_>, hardware: &Hardware) -> Option<Vec<String>> {
    const NAME: &str = "datacenter";
    let value = reader.get(NAME)?;
    let centers: Vec<String> = match &*value {
        Value::None => return None,
        Value::Str(text) if text.is_empty() => return None,
        Value::List(items) if items.is_empty() => return None,
        Value::List(items) => items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| read_data_center(reader, item, Some(index)))
            .collect(),
        single => read_data_center(reader, single, None).into_iter().collect(),
    };
    if let Hardware::Cpu { .. } = hardware {
        let allowed: Vec<_> = data_center::cpu_data_centers().collect();
        let wrong: Vec<_> =
            centers.iter().map(String::as_str).filter(|center| !allowed.contains(center)).collect();
        if !wrong.is_empty() {
            let message = format!(
                "CPU endpoints are not available in: {}. Supported CPU data centers: {}",
                wrong.join(", "),
                allowed.join(", ")
            );
            reader.refuse(ConfigError::new(NAME, message).with_hint(format!(
                "write datacenter={}, or leave datacenter out",
                quoted(allowed.first().copied().unwrap_or_default())
            )));
        }
    }
    Some(centers)
}

fn read_data_center(reader: &mut Reader<'_>, value: &Value, index: Option<usize>) -> Option<String> {
    const NAME: &str = "datacenter";
    match value {
        Value::Member { class, member } if class == "DataCenter" => {
            match catalog::enum_table(class).and_then(|table| table.value_of(member)) {
                Some(center) => Some(center.to_owned()),
                None => reader.refuse_member(NAME, class, member, index),
            }
        }
        Value::Str(text) => {
            if let Some(center) = data_center::find_data_center(text) {
                Some(center.value.to_owned())
            } else {
                reader.refuse(unknown_data_center(NAME, text).at(index));
                None
            }
        }
        other => {
            let message = format!(
                "datacenter must be a DataCenter, string, or list, got {}: {}",
                other.type_name(),
                other.repr()
            );
            reader.refuse(
                ConfigError::new(NAME, message).at(index).with_hint(
                    "write datacenter=DataCenter.EU_RO_1, datacenter=\"EU-RO-1\", or a list of them",
                ),
            );
            None
        }
    }
}

/// Returns the error for a data center that there is none of.
pub fn unknown_data_center(parameter: &str, text: &str) -> ConfigError {
    let all: Vec<_> = data_center::DATA_CENTERS.iter().map(|center| center.value).collect();
    let meant = suggest("DataCenter", text)
        .and_then(|member| catalog::enum_table("DataCenter")?.value_of(&member))
        .map(|value| format!(" Did you mean {}?", quoted(value)));
    let message = format!(
        "Unknown datacenter {}.{} Valid datacenters: {}",
        quoted(text),
        meant.unwrap_or_default(),
        all.join(", ")
    );
    ConfigError::new(parameter, message)
}
