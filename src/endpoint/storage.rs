//! `volume=` and `template=`.

use super::config::{Hardware, Volume};
use super::error::ConfigError;
use super::hardware::unknown_data_center;
use super::reader::{Reader, unknown_member, whole_number};
use super::value::{Value, quoted};
use crate::catalog::{self, cpu, data_center};

const MIN_SIZE: i64 = 10;
const MAX_SIZE: i64 = 4096;
/// Container disk of a template that does not say otherwise, in GB.
pub const DEFAULT_DISK_GB: i64 = 64;

/// Reads `volume=`.
pub(super) fn read_volumes(reader: &mut Reader<'_>, data_centers: Option<&[String]>) -> Vec<Volume> {
    const NAME: &str = "volume";
    let Some(value) = reader.get(NAME) else { return Vec::new() };
    let mut volumes = Vec::new();
    match &*value {
        Value::None => {}
        Value::Object { class, fields } if class == "NetworkVolume" => {
            volumes.extend(read_volume(reader, fields, None));
        }
        Value::List(items) if items.is_empty() => {
            reader.refuse(
                ConfigError::new(NAME, "volume list must not be empty").with_hint("leave volume out"),
            );
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                if let Value::Object { class, fields } = item
                    && class == "NetworkVolume"
                {
                    volumes.extend(read_volume(reader, fields, Some(index)));
                } else {
                    let message = format!(
                        "volume list elements must be NetworkVolume; element at index {index} is {}",
                        item.type_name()
                    );
                    reader.refuse(ConfigError::new(NAME, message).at(Some(index)));
                }
            }
        }
        other => {
            let message =
                format!("volume must be a NetworkVolume or list of NetworkVolume, got {}", other.type_name());
            let hint = match other {
                Value::Str(text) if !text.is_empty() => {
                    format!(
                        "write volume=NetworkVolume(id={0}) or volume=NetworkVolume(name={0})",
                        quoted(text)
                    )
                }
                _ => "write volume=NetworkVolume(name=\"models\", size=100)".to_owned(),
            };
            reader.refuse(ConfigError::new(NAME, message).with_hint(hint));
        }
    }
    check_places(reader, &volumes, data_centers);
    volumes
}

fn check_places(reader: &mut Reader<'_>, volumes: &[Volume], data_centers: Option<&[String]>) {
    let label = |volume: &Volume| volume.name.clone().or_else(|| volume.id.clone()).unwrap_or_default();
    for (index, volume) in volumes.iter().enumerate() {
        if let Some(first) = volumes[..index].iter().find(|other| other.data_center == volume.data_center) {
            let message = format!(
                "Multiple volumes in datacenter {} ('{}' and '{}'). Only one network volume is allowed per \
                 datacenter.",
                volume.data_center,
                label(first),
                label(volume)
            );
            reader.refuse(ConfigError::new("volume", message).at(Some(index)));
        }
        if let Some(centers) = data_centers
            && !centers.contains(&volume.data_center)
        {
            let message = format!(
                "Network volume datacenter ({}) is not in the endpoint's datacenter list ({})",
                volume.data_center,
                centers.join(", ")
            );
            reader.refuse(
                ConfigError::new("volume", message).at(Some(index)).with_hint(
                    "a volume is reached only from its own data center: add that one to datacenter=",
                ),
            );
        }
    }
}

fn read_volume(reader: &mut Reader<'_>, fields: &[(String, Value)], index: Option<usize>) -> Option<Volume> {
    let before = reader.errors.len();
    let mut volume = Volume {
        name: None,
        id: None,
        size: Some(100),
        data_center: data_center::DEFAULT_VOLUME_DATA_CENTER.to_owned(),
    };
    let refuse = |reader: &mut Reader<'_>, message: String| {
        reader.refuse(ConfigError::new("volume", format!("NetworkVolume: {message}")).at(index));
    };
    let has_center = fields.iter().any(|(name, value)| name == "dataCenterId" && *value != Value::None);
    for (name, value) in fields {
        let value = value.resolved();
        match (name.as_str(), &*value) {
            ("name", Value::Str(text)) if text.trim().is_empty() => {
                refuse(reader, "name must not be empty or whitespace-only".to_owned());
            }
            ("name", Value::Str(text)) => volume.name = Some(text.clone()),
            ("id", Value::Str(text)) if !text.is_empty() => volume.id = Some(text.clone()),
            ("size", Value::None) => volume.size = None,
            ("size", value) => match whole_number(value) {
                Some(size) if (MIN_SIZE..=MAX_SIZE).contains(&size) => volume.size = u32::try_from(size).ok(),
                _ => refuse(
                    reader,
                    format!("size must be between {MIN_SIZE} and {MAX_SIZE} GB, got {}", value.repr()),
                ),
            },
            ("datacenter", _) if has_center => {}
            ("name" | "id" | "datacenter", Value::None) => {}
            ("dataCenterId" | "datacenter", Value::Member { class, member }) if class == "DataCenter" => {
                match catalog::enum_table(class).and_then(|table| table.value_of(member)) {
                    Some(center) => center.clone_into(&mut volume.data_center),
                    None => refuse(reader, unknown_member(class, member)),
                }
            }
            ("dataCenterId" | "datacenter", Value::Str(text)) => match data_center::find_data_center(text) {
                Some(center) => center.value.clone_into(&mut volume.data_center),
                None => reader.refuse(unknown_data_center("volume", text).at(index)),
            },
            ("name" | "id" | "dataCenterId" | "datacenter", other) => {
                refuse(reader, format!("{name} has a wrong value: {}", other.repr()));
            }
            _ => refuse(reader, format!("unknown field {}", quoted(name))),
        }
    }
    if reader.errors.len() == before && volume.name.is_none() && volume.id.is_none() {
        refuse(reader, "either 'name' or 'id' must be provided".to_owned());
    }
    (reader.errors.len() == before).then_some(volume)
}

/// Reads `template=`, and checks the container disk against what CPU instances have.
pub(super) fn read_template(reader: &mut Reader<'_>, hardware: &Hardware) -> Option<Vec<(String, Value)>> {
    const NAME: &str = "template";
    let value = reader.get(NAME)?;
    let fields = match &*value {
        Value::None => return None,
        Value::Object { class, fields } if class == "PodTemplate" => fields.clone(),
        other => {
            let message =
                format!("template must be a PodTemplate, got {}: {}", other.type_name(), other.repr());
            reader.refuse(
                ConfigError::new(NAME, message)
                    .with_hint("write template=PodTemplate(containerDiskInGb=100)"),
            );
            return None;
        }
    };
    let disk = fields
        .iter()
        .find(|(name, _)| name == "containerDiskInGb")
        .and_then(|(_, value)| whole_number(value));
    if let (Hardware::Cpu { instances }, Some(disk)) = (hardware, disk)
        && let Some(limit) = catalog::cpu_max_disk(instances)
        && disk != DEFAULT_DISK_GB
        && disk > i64::from(limit)
    {
        let limits: Vec<_> = instances
            .iter()
            .filter_map(|value| cpu::instance_by_value(value))
            .map(|instance| format!("{}: max {}GB", instance.value, instance.max_disk_gb))
            .collect();
        let message = format!(
            "Container disk size {disk}GB exceeds the maximum allowed for CPU instances. Instance limits: {}. \
             Maximum allowed: {limit}GB",
            limits.join(", ")
        );
        reader.refuse(
            ConfigError::new(NAME, message)
                .with_hint(format!("write containerDiskInGb={limit} or choose a larger instance")),
        );
    }
    Some(fields)
}
