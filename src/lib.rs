//! Core of `runpod_flash`: endpoints, projects, manifests, workers, and Runpod on this machine.
//!
//! Two flows meet in `flash run`. *Reading a project* goes `project` → `manifest` → `dev`;
//! *making a call* goes `endpoint` → `wire` → a backend (`runpod` | `platform`) → a worker process and back.
//! A room uses the floors below it: `catalog` (1), `endpoint` (2), `project`, `requirements`,
//! `worker`, `wire`, `server` (3), `manifest` (4), `platform`, `runpod` (5), `dev` (6), `cli` (7), `py` (8).
//! `py` is the only room that names `pyo3`; all others build and test without Python.

pub mod catalog;
pub mod cli;
pub mod dev;
pub mod endpoint;
pub mod manifest;
pub mod platform;
pub mod project;
#[cfg(feature = "python")]
mod py;
pub mod requirements;
pub mod runpod;
pub mod server;
pub mod wire;
pub mod worker;
