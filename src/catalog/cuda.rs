//! CUDA versions.

/// Minimum version of a GPU endpoint that does not say otherwise.
pub const DEFAULT_MIN_CUDA_VERSION: &str = "12.8";

/// How many of [`CUDA_VERSIONS`] the official 1.21 has; those after them are named only by its docs.
pub const OFFICIAL_CUDA_VERSIONS: usize = 12;

/// Member names of `CudaVersion` with their values. The official members come first and in their
/// order, so that a program that lists them sees the same beginning.
pub const CUDA_VERSIONS: &[(&str, &str)] = &[
    ("V11_8", "11.8"),
    ("V12_0", "12.0"),
    ("V12_1", "12.1"),
    ("V12_2", "12.2"),
    ("V12_3", "12.3"),
    ("V12_4", "12.4"),
    ("V12_5", "12.5"),
    ("V12_6", "12.6"),
    ("V12_7", "12.7"),
    ("V12_8", "12.8"),
    ("V12_9", "12.9"),
    ("V13_0", "13.0"),
    ("V11_1", "11.1"),
    ("V11_4", "11.4"),
    ("V11_7", "11.7"),
];
