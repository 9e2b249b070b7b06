//! What Runpod offers: GPU types and pools, CPU flavours, data centers, CUDA versions.
//!
//! Tables and look-ups only; every public enum, stub, suggestion and docs table comes from here.
//! Knows nothing of any other room.
