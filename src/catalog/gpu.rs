//! GPU types, the pools that Runpod groups them in, and the `gpuIds` string.

use std::collections::BTreeSet;

/// One entry of `gpu=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuChoice {
    /// A member of `GpuGroup`, by member name (`ANY` included).
    Group(String),
    /// A member of `GpuType`, by member name (`ANY` included).
    Type(String),
}

/// A pool of GPU types that Runpod schedules as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuGroup {
    /// Member name in `GpuGroup`.
    pub member: &'static str,
    /// Value on the wire.
    pub value: &'static str,
    /// Memory of each GPU in GB; 0 for `ANY`.
    pub vram_gb: u32,
}

/// A GPU type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuType {
    /// Member name in `GpuType`.
    pub member: &'static str,
    /// Value on the wire.
    pub value: &'static str,
    /// Value of its pool; empty for `ANY`.
    pub pool: &'static str,
    /// Memory in GB; 0 for `ANY`.
    pub vram_gb: u32,
    /// Architecture; empty for `ANY`.
    pub architecture: &'static str,
}

/// Member name and value of "no preference" in both enums.
pub const ANY: (&str, &str) = ("ANY", "any");

const fn group(member: &'static str, vram_gb: u32) -> GpuGroup {
    GpuGroup { member, value: member, vram_gb }
}

const fn gpu(
    member: &'static str,
    value: &'static str,
    pool: &'static str,
    vram_gb: u32,
    architecture: &'static str,
) -> GpuType {
    GpuType { member, value, pool, vram_gb, architecture }
}

/// All pools, `ANY` first, in the order in which the enum lists them.
pub const GPU_GROUPS: &[GpuGroup] = &[
    GpuGroup { member: ANY.0, value: ANY.1, vram_gb: 0 },
    group("ADA_24", 24),
    group("ADA_32_PRO", 32),
    group("ADA_48_PRO", 48),
    group("ADA_80_PRO", 80),
    group("AMPERE_16", 16),
    group("AMPERE_24", 24),
    group("AMPERE_48", 48),
    group("AMPERE_80", 80),
    group("HOPPER_141", 141),
    group("BLACKWELL_96", 96),
    group("BLACKWELL_180", 180),
];

/// All GPU types, `ANY` first, in the order in which the enum lists them.
pub const GPU_TYPES: &[GpuType] = &[
    gpu(ANY.0, ANY.1, "", 0, ""),
    gpu("NVIDIA_GEFORCE_RTX_4090", "NVIDIA GeForce RTX 4090", "ADA_24", 24, "Ada"),
    gpu("NVIDIA_GEFORCE_RTX_5090", "NVIDIA GeForce RTX 5090", "ADA_32_PRO", 32, "Blackwell"),
    gpu("NVIDIA_RTX_6000_ADA_GENERATION", "NVIDIA RTX 6000 Ada Generation", "ADA_48_PRO", 48, "Ada"),
    gpu(
        "NVIDIA_RTX_PRO_6000_BLACKWELL_SERVER_EDITION",
        "NVIDIA RTX PRO 6000 Blackwell Server Edition",
        "BLACKWELL_96",
        96,
        "Blackwell",
    ),
    gpu(
        "NVIDIA_RTX_PRO_6000_BLACKWELL_WORKSTATION_EDITION",
        "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
        "BLACKWELL_96",
        96,
        "Blackwell",
    ),
    gpu(
        "NVIDIA_RTX_PRO_6000_BLACKWELL_MAX_Q_WORKSTATION_EDITION",
        "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition",
        "BLACKWELL_96",
        96,
        "Blackwell",
    ),
    gpu("NVIDIA_H100_80GB_HBM3", "NVIDIA H100 80GB HBM3", "ADA_80_PRO", 80, "Hopper"),
    gpu("NVIDIA_RTX_A4000", "NVIDIA RTX A4000", "AMPERE_16", 16, "Ampere"),
    gpu("NVIDIA_RTX_A4500", "NVIDIA RTX A4500", "AMPERE_16", 20, "Ampere"),
    gpu("NVIDIA_RTX_4000_ADA_GENERATION", "NVIDIA RTX 4000 Ada Generation", "AMPERE_16", 16, "Ada"),
    gpu("NVIDIA_RTX_2000_ADA_GENERATION", "NVIDIA RTX 2000 Ada Generation", "AMPERE_16", 16, "Ada"),
    gpu("NVIDIA_RTX_A5000", "NVIDIA RTX A5000", "AMPERE_24", 24, "Ampere"),
    gpu("NVIDIA_L4", "NVIDIA L4", "AMPERE_24", 24, "Ada"),
    gpu("NVIDIA_GEFORCE_RTX_3090", "NVIDIA GeForce RTX 3090", "AMPERE_24", 24, "Ampere"),
    gpu("NVIDIA_A40", "NVIDIA A40", "AMPERE_48", 48, "Ampere"),
    gpu("NVIDIA_RTX_A6000", "NVIDIA RTX A6000", "AMPERE_48", 48, "Ampere"),
    gpu("NVIDIA_A100_80GB_PCIe", "NVIDIA A100 80GB PCIe", "AMPERE_80", 80, "Ampere"),
    gpu("NVIDIA_A100_SXM4_80GB", "NVIDIA A100-SXM4-80GB", "AMPERE_80", 80, "Ampere"),
    gpu("NVIDIA_H200", "NVIDIA H200", "HOPPER_141", 141, "Hopper"),
    gpu("NVIDIA_B200", "NVIDIA B200", "BLACKWELL_180", 180, "Blackwell"),
];

/// Returns the canonical `gpuIds` of an endpoint; one `ANY` among the choices stands for all pools.
///
/// ```
/// use runpod_flash::catalog::{GpuChoice, gpu_ids};
/// let l4 = GpuChoice::Type("NVIDIA_L4".to_owned());
/// assert_eq!(gpu_ids(&[l4]), "AMPERE_24,-NVIDIA GeForce RTX 3090,-NVIDIA RTX A5000");
/// ```
pub fn gpu_ids(choices: &[GpuChoice]) -> String {
    let is_any = |choice: &GpuChoice| {
        let (GpuChoice::Group(member) | GpuChoice::Type(member)) = choice;
        member == ANY.0
    };
    if choices.iter().any(is_any) {
        let all = GPU_GROUPS.iter().filter(|group| group.member != ANY.0);
        return normalize_gpu_ids(&all.map(|group| group.value).collect::<Vec<_>>());
    }
    exact_gpu_ids(choices)
}

/// Returns the `gpuIds` of exactly these choices: `ANY` stands for itself as a group and for
/// nothing as a type, as `GpuGroup.to_gpu_ids_str` has it.
///
/// A type is written as its pool without the pool's other types, unless the pool itself is named.
pub fn exact_gpu_ids(choices: &[GpuChoice]) -> String {
    let mut tokens: Vec<String> = Vec::new();
    let mut named_pools = BTreeSet::new();
    let mut chosen = BTreeSet::new();
    let mut pools_through_types = BTreeSet::new();
    for choice in choices {
        match choice {
            GpuChoice::Group(member) => {
                if let Some(group) = group_by_member(member) {
                    tokens.push(group.value.to_owned());
                    named_pools.insert(group.value);
                }
            }
            GpuChoice::Type(member) => {
                if let Some(gpu) = type_by_member(member).filter(|gpu| !gpu.pool.is_empty()) {
                    tokens.push(gpu.pool.to_owned());
                    pools_through_types.insert(gpu.pool);
                    chosen.insert(gpu.value);
                }
            }
        }
    }
    for pool in pools_through_types.difference(&named_pools) {
        let others = types_of_pool(pool).filter(|gpu| !chosen.contains(gpu.value));
        tokens.extend(others.map(|gpu| format!("-{}", gpu.value)));
    }
    normalize_gpu_ids(&tokens.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Brings `gpuIds` tokens into canonical order: no duplicates, pools before exclusions, each by
/// its text without regard to case.
pub fn normalize_gpu_ids(tokens: &[&str]) -> String {
    let unique: BTreeSet<&str> =
        tokens.iter().map(|token| token.trim()).filter(|token| !token.is_empty()).collect();
    let mut sorted: Vec<&str> = unique.into_iter().collect();
    sorted.sort_by_cached_key(|token| {
        (token.starts_with('-'), token.trim_start_matches('-').to_lowercase(), (*token).to_owned())
    });
    sorted.join(",")
}

/// Reads a `gpuIds` string back into choices; tokens are taken as they are, unknown ones dropped.
///
/// A pool with exclusions becomes the types that remain, in the order of the table.
pub fn parse_gpu_ids(text: &str) -> Vec<GpuChoice> {
    let mut pools: Vec<&GpuGroup> = Vec::new();
    let mut excluded = BTreeSet::new();
    let mut types = Vec::new();
    for token in text.split(',') {
        let excluded_type = token.strip_prefix('-').and_then(type_by_value);
        if let Some(gpu) = excluded_type {
            excluded.insert(gpu.value);
        } else if let Some(gpu) = type_by_value(token).filter(|gpu| gpu.member != ANY.0) {
            types.push(GpuChoice::Type(gpu.member.to_owned()));
        } else if let Some(group) = group_by_value(token)
            && !pools.contains(&group)
        {
            pools.push(group);
        }
    }
    let mut choices = Vec::new();
    for pool in pools {
        let has_exclusion = types_of_pool(pool.value).any(|gpu| excluded.contains(gpu.value));
        if has_exclusion {
            let remaining = types_of_pool(pool.value).filter(|gpu| !excluded.contains(gpu.value));
            choices.extend(remaining.map(|gpu| GpuChoice::Type(gpu.member.to_owned())));
        } else {
            choices.push(GpuChoice::Group(pool.member.to_owned()));
        }
    }
    choices.extend(types);
    choices
}

/// Returns a pool by its member name.
pub fn group_by_member(member: &str) -> Option<&'static GpuGroup> {
    GPU_GROUPS.iter().find(|group| group.member == member)
}

/// Returns a pool by its value.
pub fn group_by_value(value: &str) -> Option<&'static GpuGroup> {
    GPU_GROUPS.iter().find(|group| group.value == value)
}

/// Returns a type by its member name.
pub fn type_by_member(member: &str) -> Option<&'static GpuType> {
    GPU_TYPES.iter().find(|gpu| gpu.member == member)
}

/// Returns a type by its value.
pub fn type_by_value(value: &str) -> Option<&'static GpuType> {
    GPU_TYPES.iter().find(|gpu| gpu.value == value)
}

/// Returns the types of a pool, in the order of the table.
pub fn types_of_pool(pool: &str) -> impl Iterator<Item = &'static GpuType> {
    GPU_TYPES.iter().filter(move |gpu| gpu.pool == pool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const ALL: &str = "ADA_24,ADA_32_PRO,ADA_48_PRO,ADA_80_PRO,AMPERE_16,AMPERE_24,AMPERE_48,\
                       AMPERE_80,BLACKWELL_180,BLACKWELL_96,HOPPER_141";

    fn choice(text: &str) -> GpuChoice {
        match group_by_member(text) {
            Some(group) if text != "ANY" => GpuChoice::Group(group.member.to_owned()),
            _ => GpuChoice::Type(text.to_owned()),
        }
    }

    #[rstest]
    #[case(&["NVIDIA_L4"], "AMPERE_24,-NVIDIA GeForce RTX 3090,-NVIDIA RTX A5000")]
    #[case(&["NVIDIA_L4", "AMPERE_24"], "AMPERE_24")]
    #[case(
        &["NVIDIA_L4", "NVIDIA_A40"],
        "AMPERE_24,AMPERE_48,-NVIDIA GeForce RTX 3090,-NVIDIA RTX A5000,-NVIDIA RTX A6000"
    )]
    #[case(
        &["AMPERE_24", "NVIDIA_RTX_4000_ADA_GENERATION"],
        "AMPERE_16,AMPERE_24,-NVIDIA RTX 2000 Ada Generation,-NVIDIA RTX A4000,-NVIDIA RTX A4500"
    )]
    #[case(&["NVIDIA_L4", "ANY"], ALL)]
    #[case(&[], "")]
    fn gpu_ids_of_choices_are_canonical(#[case] members: &[&str], #[case] expected: &str) {
        let choices: Vec<_> = members.iter().map(|member| choice(member)).collect();
        assert_eq!(gpu_ids(&choices), expected);
    }

    #[test]
    fn gpu_ids_of_every_type_are_those_of_every_pool() {
        let types: Vec<_> = GPU_TYPES[1..].iter().map(|gpu| GpuChoice::Type(gpu.member.to_owned())).collect();
        assert_eq!(gpu_ids(&types), ALL);
    }

    #[test]
    fn exact_gpu_ids_take_any_as_it_is() {
        assert_eq!(exact_gpu_ids(&[GpuChoice::Group("ANY".to_owned())]), "any");
        assert_eq!(exact_gpu_ids(&[GpuChoice::Type("ANY".to_owned())]), "");
    }

    #[test]
    fn normalized_tokens_put_exclusions_last_and_ignore_case() {
        assert_eq!(normalize_gpu_ids(&["b", "-c", " A ", "", "-B"]), "A,b,-B,-c");
    }

    #[rstest]
    #[case("ADA_24, AMPERE_48", &["ADA_24"])]
    #[case("AMPERE_24,-NVIDIA RTX A5000", &["NVIDIA_L4", "NVIDIA_GEFORCE_RTX_3090"])]
    #[case("NVIDIA L4,ADA_24", &["ADA_24", "NVIDIA_L4"])]
    #[case("", &[])]
    fn parsed_gpu_ids_become_choices(#[case] text: &str, #[case] expected: &[&str]) {
        let expected: Vec<_> = expected.iter().map(|member| choice(member)).collect();
        assert_eq!(parse_gpu_ids(text), expected);
    }

    #[test]
    fn every_type_belongs_to_a_known_pool() {
        for gpu in &GPU_TYPES[1..] {
            assert!(group_by_value(gpu.pool).is_some(), "{}", gpu.member);
        }
        for group in &GPU_GROUPS[1..] {
            assert!(types_of_pool(group.value).next().is_some(), "{}", group.member);
        }
    }
}
