//! The catalog's tables, for the Python enums and the docs.

use std::collections::BTreeMap;

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;

use crate::catalog::{self, GpuChoice, cpu, data_center, gpu};
use crate::endpoint::{parameters, reader};

/// Member names and values.
type Members = Vec<(&'static str, &'static str)>;

/// Returns `(is_str, doc, [(member, value), …])` of a public enum.
#[pyfunction]
pub(super) fn enum_table(class_name: &str) -> PyResult<(bool, &'static str, Members)> {
    catalog::enum_table(class_name)
        .map(|table| (table.is_str, table.doc, table.members()))
        .ok_or_else(|| PyKeyError::new_err(class_name.to_owned()))
}

/// Returns the message for a member that an enum does not have.
#[pyfunction]
pub(super) fn unknown_member(class_name: &str, member: &str) -> String {
    reader::unknown_member(class_name, member)
}

/// Returns the member name nearest to a wrong name or value.
#[pyfunction]
pub(super) fn suggest(class_name: &str, text: &str) -> Option<String> {
    catalog::suggest(class_name, text)
}

/// Returns the `gpuIds` string of `(enum class, member name)` pairs, `ANY` taken as it is.
#[pyfunction]
pub(super) fn gpu_ids(choices: Vec<(String, String)>) -> String {
    let choices: Vec<_> = choices
        .into_iter()
        .map(
            |(class, member)| {
                if class == "GpuGroup" { GpuChoice::Group(member) } else { GpuChoice::Type(member) }
            },
        )
        .collect();
    gpu::exact_gpu_ids(&choices)
}

/// Brings a `gpuIds` string into canonical form.
#[pyfunction]
pub(super) fn normalize_gpu_ids(text: &str) -> String {
    gpu::normalize_gpu_ids(&text.split(',').collect::<Vec<_>>())
}

/// Reads a `gpuIds` string into `(enum class, member name)` pairs.
#[pyfunction]
pub(super) fn parse_gpu_ids(text: &str) -> Vec<(&'static str, String)> {
    gpu::parse_gpu_ids(text)
        .into_iter()
        .map(|choice| match choice {
            GpuChoice::Group(member) => ("GpuGroup", member),
            GpuChoice::Type(member) => ("GpuType", member),
        })
        .collect()
}

/// Returns the value of a data center in any spelling; `None` where there is none.
#[pyfunction]
pub(super) fn find_data_center(text: &str) -> Option<&'static str> {
    data_center::find_data_center(text).map(|center| center.value)
}

/// Returns the values of the data centers that an endpoint may use when it names none, and of
/// those with CPUs.
#[pyfunction]
pub(super) fn data_center_values() -> (Vec<&'static str>, Vec<&'static str>) {
    (data_center::default_data_centers().collect(), data_center::cpu_data_centers().collect())
}

/// Returns the message for a data center that there is none of.
#[pyfunction]
pub(super) fn unknown_data_center(text: &str) -> String {
    crate::endpoint::hardware::unknown_data_center("datacenter", text).message
}

/// Returns the largest container disk in GB that these instances (values) allow.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "the form in which a list comes from Python")]
pub(super) fn cpu_max_disk(instances: Vec<String>) -> Option<u32> {
    cpu::cpu_max_disk(&instances)
}

/// Returns `(name, accepts, default, doc)` of every parameter of `Endpoint(...)`.
#[pyfunction]
pub(super) fn parameter_table() -> Vec<(&'static str, &'static str, &'static str, &'static str)> {
    parameters::PARAMETERS
        .iter()
        .map(|parameter| (parameter.name, parameter.accepts, parameter.default, parameter.doc))
        .collect()
}

/// Returns the catalog's rows for the docs: GPU types, GPU pools, CPU instances, data centers.
#[pyfunction]
pub(super) fn hardware_tables() -> BTreeMap<&'static str, Vec<Vec<String>>> {
    let gb = |size: u32| if size == 0 { String::new() } else { size.to_string() };
    let types = gpu::GPU_TYPES.iter().map(|gpu| {
        [gpu.member, gpu.value, gpu.pool, &gb(gpu.vram_gb), gpu.architecture].map(str::to_owned).to_vec()
    });
    let pools = gpu::GPU_GROUPS.iter().map(|pool| {
        let members: Vec<_> = gpu::types_of_pool(pool.value).map(|gpu| gpu.value).collect();
        let members = if pool.member == gpu::ANY.0 { "every GPU".to_owned() } else { members.join(", ") };
        vec![pool.member.to_owned(), pool.value.to_owned(), gb(pool.vram_gb), members]
    });
    let instances = cpu::CPU_INSTANCES.iter().map(|cpu| {
        let sizes = [cpu.vcpu, cpu.ram_gb, cpu.max_disk_gb].map(|size| size.to_string());
        [cpu.member.to_owned(), cpu.value.to_owned()].into_iter().chain(sizes).collect()
    });
    let yes = |truth: bool| if truth { "yes" } else { "" };
    let centers = data_center::DATA_CENTERS.iter().map(|center| {
        [center.member, center.value, yes(center.has_cpu), yes(center.is_default)].map(str::to_owned).to_vec()
    });
    BTreeMap::from([
        ("cpu", instances.collect()),
        ("data_center", centers.collect()),
        ("gpu_group", pools.collect()),
        ("gpu_type", types.collect()),
    ])
}
