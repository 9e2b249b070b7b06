//! What Runpod offers: GPU types and pools, CPU flavours, data centers, CUDA versions.
//!
//! Tables and look-ups only; every public enum, stub, suggestion and docs table comes from here.
//! Knows nothing of any other room.

pub mod cpu;
pub mod cuda;
pub mod data_center;
pub mod gpu;
pub mod images;
pub mod suggest;
pub mod tables;

pub use cpu::cpu_max_disk;
pub use gpu::{GpuChoice, gpu_ids};
pub use images::{ImageKind, image_name};
pub use suggest::{suggest, suggest_among};
pub use tables::{ENUMS, EnumTable, enum_table};

/// Fewest workers of an endpoint that does not say otherwise.
pub const DEFAULT_WORKERS_MIN: u32 = 0;
/// Most workers of an endpoint that does not say otherwise.
pub const DEFAULT_WORKERS_MAX: u32 = 1;
