//! "Did you mean": the nearest right name to a wrong one.

use super::tables::enum_table;

/// Returns the member name of a public enum (by class name) that is nearest to a wrong member
/// name or value, if any is near enough to be meant.
///
/// ```
/// use runpod_flash::catalog::suggest;
/// assert_eq!(suggest("GpuType", "NVIDIA_A100"), Some("NVIDIA_A100_80GB_PCIe".to_owned()));
/// ```
pub fn suggest(class: &str, text: &str) -> Option<String> {
    let members = enum_table(class)?.members();
    let wanted = simplify(text);
    if wanted.is_empty() {
        return None;
    }
    members
        .iter()
        .map(|(member, value)| {
            let score = score(&wanted, &simplify(member)).max(score(&wanted, &simplify(value)));
            (score, *member)
        })
        .filter(|(score, _)| *score >= THRESHOLD)
        // Among equals the first of the table wins.
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, member)| member.to_owned())
}

/// Returns the candidate nearest to a wrong word, if any is near enough to be meant.
pub fn suggest_among<'a>(candidates: impl IntoIterator<Item = &'a str>, text: &str) -> Option<&'a str> {
    let wanted = simplify(text);
    if wanted.is_empty() {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (score(&wanted, &simplify(candidate)), candidate))
        .filter(|(score, _)| *score >= THRESHOLD)
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, candidate)| candidate)
}

const THRESHOLD: f64 = 0.6;

/// Case and punctuation are what people get wrong without noticing.
fn simplify(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Similarity from 0 to 1. A name that begins or contains the other one (`A100`, `RTX4090`) is
/// what its writer meant, however long the full name is.
fn score(wanted: &str, candidate: &str) -> f64 {
    let distance = strsim::normalized_damerau_levenshtein(wanted, candidate);
    // `L4`, `H200`: the maker's name is what people leave out.
    let short = candidate.trim_start_matches("nvidia").trim_start_matches("geforce");
    let distance = distance.max(strsim::normalized_damerau_levenshtein(wanted, short));
    // Two letters are in many names by chance: `l9` in `blackwell96`.
    let part = if wanted.len() >= 3 && candidate.contains(wanted) { 0.9 } else { 0.0 };
    let start = strsim::jaro_winkler(wanted, candidate) - 0.25;
    distance.max(part).max(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("GpuType", "NVIDIA_A100", Some("NVIDIA_A100_80GB_PCIe"))]
    #[case("GpuType", "A100", Some("NVIDIA_A100_80GB_PCIe"))]
    #[case("GpuType", "NVIDIA_A100_80GB_PCIE", Some("NVIDIA_A100_80GB_PCIe"))]
    #[case("GpuType", "L4", Some("NVIDIA_L4"))]
    #[case("GpuType", "H200s", Some("NVIDIA_H200"))]
    #[case("GpuGroup", "L9", None)]
    #[case("GpuType", "RTX4090", Some("NVIDIA_GEFORCE_RTX_4090"))]
    #[case("GpuType", "NVIDIA H10", Some("NVIDIA_H100_80GB_HBM3"))]
    #[case("GpuGroup", "AMPERE_42", Some("AMPERE_24"))]
    #[case("CpuInstanceType", "cpu3c-1-3", Some("CPU3C_1_2"))]
    #[case("CudaVersion", "12.99", Some("V12_9"))]
    #[case("DataCenter", "us-ca-1", Some("US_CA_2"))]
    #[case("DataCenter", "moon", None)]
    #[case("ServerlessScalerType", "QUEUE", Some("QUEUE_DELAY"))]
    #[case("GpuType", "", None)]
    #[case("NoSuchEnum", "x", None)]
    fn suggestion_is_the_nearest_member(
        #[case] class: &str,
        #[case] text: &str,
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(suggest(class, text).as_deref(), expected);
    }

    #[rstest]
    #[case("gpus", Some("gpu"))]
    #[case("dependancies", Some("dependencies"))]
    #[case("worker", Some("workers"))]
    #[case("zzz", None)]
    fn parameter_suggestion_is_the_nearest_one(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(suggest_among(["gpu", "dependencies", "workers", "name"], text), expected);
    }
}
