//! CPU instance types and what they hold.

/// A CPU instance type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuInstance {
    /// Member name in `CpuInstanceType`.
    pub member: &'static str,
    /// Value on the wire.
    pub value: &'static str,
    /// Virtual CPUs.
    pub vcpu: u32,
    /// Memory in GB.
    pub ram_gb: u32,
    /// Largest container disk in GB.
    pub max_disk_gb: u32,
}

const fn instance(
    member: &'static str,
    value: &'static str,
    vcpu: u32,
    ram_gb: u32,
    disk_per_vcpu: u32,
) -> CpuInstance {
    CpuInstance { member, value, vcpu, ram_gb, max_disk_gb: vcpu * disk_per_vcpu }
}

/// All instance types, in the order in which the enum lists them.
pub const CPU_INSTANCES: &[CpuInstance] = &[
    instance("CPU3G_1_4", "cpu3g-1-4", 1, 4, 10),
    instance("CPU3G_2_8", "cpu3g-2-8", 2, 8, 10),
    instance("CPU3G_4_16", "cpu3g-4-16", 4, 16, 10),
    instance("CPU3G_8_32", "cpu3g-8-32", 8, 32, 10),
    instance("CPU3C_1_2", "cpu3c-1-2", 1, 2, 10),
    instance("CPU3C_2_4", "cpu3c-2-4", 2, 4, 10),
    instance("CPU3C_4_8", "cpu3c-4-8", 4, 8, 10),
    instance("CPU3C_8_16", "cpu3c-8-16", 8, 16, 10),
    instance("CPU5C_1_2", "cpu5c-1-2", 1, 2, 15),
    instance("CPU5C_2_4", "cpu5c-2-4", 2, 4, 15),
    instance("CPU5C_4_8", "cpu5c-4-8", 4, 8, 15),
    instance("CPU5C_8_16", "cpu5c-8-16", 8, 16, 15),
];

/// Returns the largest container disk in GB that all of these instances (by value) allow;
/// `None` where none of them is known.
pub fn cpu_max_disk<S: AsRef<str>>(instances: &[S]) -> Option<u32> {
    instances
        .iter()
        .filter_map(|value| instance_by_value(value.as_ref()))
        .map(|instance| instance.max_disk_gb)
        .min()
}

/// Returns an instance type by its value.
pub fn instance_by_value(value: &str) -> Option<&'static CpuInstance> {
    CPU_INSTANCES.iter().find(|instance| instance.value == value)
}

/// Returns an instance type by its member name.
pub fn instance_by_member(member: &str) -> Option<&'static CpuInstance> {
    CPU_INSTANCES.iter().find(|instance| instance.member == member)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&["cpu3c-1-2"], Some(10))]
    #[case(&["cpu5c-8-16"], Some(120))]
    #[case(&["cpu5c-8-16", "cpu3g-2-8"], Some(20))]
    #[case(&[], None)]
    fn max_disk_is_the_smallest_of_the_instances(#[case] instances: &[&str], #[case] expected: Option<u32>) {
        assert_eq!(cpu_max_disk(instances), expected);
    }

    #[test]
    fn values_say_what_the_columns_say() {
        for instance in CPU_INSTANCES {
            assert!(instance.value.ends_with(&format!("-{}-{}", instance.vcpu, instance.ram_gb)));
            assert_eq!(instance.member, instance.value.to_uppercase().replace('-', "_"));
        }
    }
}
