//! The public enums as tables of member names and values.

use super::{cpu, cuda, data_center, gpu};

/// A public enum.
#[derive(Debug, Clone, Copy)]
pub struct EnumTable {
    /// Class name.
    pub class: &'static str,
    /// Whether members are strings as well.
    pub is_str: bool,
    /// Docstring.
    pub doc: &'static str,
    members: fn() -> Vec<(&'static str, &'static str)>,
}

impl EnumTable {
    /// Returns member names and values in definition order.
    pub fn members(&self) -> Vec<(&'static str, &'static str)> {
        (self.members)()
    }

    /// Returns the value of a member.
    pub fn value_of(&self, member: &str) -> Option<&'static str> {
        self.members().into_iter().find(|(name, _)| *name == member).map(|(_, value)| value)
    }

    /// Returns the member name that has this value.
    pub fn member_of(&self, value: &str) -> Option<&'static str> {
        self.members().into_iter().find(|(_, candidate)| *candidate == value).map(|(name, _)| name)
    }
}

/// Scaler types.
pub const SCALER_TYPES: &[(&str, &str)] =
    &[("QUEUE_DELAY", "QUEUE_DELAY"), ("REQUEST_COUNT", "REQUEST_COUNT")];

/// Endpoint types.
pub const ENDPOINT_TYPES: &[(&str, &str)] = &[("QB", "QB"), ("LB", "LB")];

/// All public enums.
pub const ENUMS: &[EnumTable] = &[
    EnumTable {
        class: "GpuGroup",
        is_str: false,
        doc: "A pool of GPU types that Runpod schedules as one.",
        members: || gpu::GPU_GROUPS.iter().map(|group| (group.member, group.value)).collect(),
    },
    EnumTable {
        class: "GpuType",
        is_str: false,
        doc: "A GPU type.",
        members: || gpu::GPU_TYPES.iter().map(|gpu| (gpu.member, gpu.value)).collect(),
    },
    EnumTable {
        class: "CpuInstanceType",
        is_str: true,
        doc: "A CPU instance type: generation and class, virtual CPUs, memory in GB.",
        members: || cpu::CPU_INSTANCES.iter().map(|cpu| (cpu.member, cpu.value)).collect(),
    },
    EnumTable {
        class: "CudaVersion",
        is_str: false,
        doc: "A CUDA version.",
        members: || cuda::CUDA_VERSIONS.to_vec(),
    },
    EnumTable {
        class: "DataCenter",
        is_str: true,
        doc: "A data center.",
        members: || data_center::DATA_CENTERS.iter().map(|center| (center.member, center.value)).collect(),
    },
    EnumTable {
        class: "ServerlessScalerType",
        is_str: false,
        doc: "What makes an endpoint start more workers.",
        members: || SCALER_TYPES.to_vec(),
    },
    EnumTable {
        class: "ServerlessType",
        is_str: false,
        doc: "Queue-based or load-balanced.",
        members: || ENDPOINT_TYPES.to_vec(),
    },
];

/// Returns a public enum by its class name.
pub fn enum_table(class: &str) -> Option<&'static EnumTable> {
    ENUMS.iter().find(|table| table.class == class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_values_are_unique() {
        for table in ENUMS {
            let mut names: Vec<_> = table.members().iter().map(|(name, _)| *name).collect();
            let mut values: Vec<_> = table.members().iter().map(|(_, value)| *value).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            values.sort_unstable();
            values.dedup();
            assert_eq!((names.len(), values.len()), (count, count), "{}", table.class);
        }
    }

    #[test]
    fn member_and_value_lead_to_each_other() {
        let table = enum_table("CudaVersion").unwrap();
        assert_eq!(table.value_of("V12_4"), Some("12.4"));
        assert_eq!(table.member_of("12.4"), Some("V12_4"));
        assert_eq!(table.member_of("9.9"), None);
    }
}
