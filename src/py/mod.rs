//! Python objects: classes, conversions, exceptions, awaitables.
//!
//! The only room that names `pyo3`. A function here extracts, releases the GIL, calls one function
//! below, and converts. Holds no business logic.

mod buffer;
mod call;
mod cli;
mod client;
mod completion;
mod control;
mod credentials;
mod dotenv;
mod embedded;
mod endpoint;
mod enums;
mod errors;
mod jobs;
mod live;
mod live_provision;
mod payload;
mod pickling;
mod runtime;
mod strided;
mod text;
mod unpickle;
mod worker;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    #[pymodule_export]
    use super::call::{Items, call, declare, forked, shutdown, stream};
    #[pymodule_export]
    use super::cli::cli_main;
    #[pymodule_export]
    use super::client::{app_name, destination};
    #[pymodule_export]
    use super::control::manage;
    #[pymodule_export]
    use super::credentials::{api_key, migrate_api_key, save_api_key};
    #[pymodule_export]
    use super::dotenv::read_dotenv;
    #[pymodule_export]
    use super::endpoint::{EndpointBase, bare_name};
    #[pymodule_export]
    use super::enums::{
        cpu_max_disk, data_center_values, enum_table, find_data_center, gpu_ids, hardware_tables,
        normalize_gpu_ids, parameter_table, parse_gpu_ids, suggest, unknown_data_center, unknown_member,
    };
    #[pymodule_export]
    use super::jobs::{
        JobItems, balanced_request, call_deployed, check_size, endpoint_ask, job_ask, job_call, job_result,
        job_run, job_stream,
    };
    #[pymodule_export]
    use super::live::{
        decorated_on, json_adapter, list_adapter, live_call, live_check, live_ensure, live_submit, live_wait,
        ship_source, with_callees,
    };
    #[pymodule_export]
    use super::live_provision::{endpoint_input, forget_endpoint, provision};
    #[pymodule_export]
    use super::text::{dump_text, load_text};
    #[pymodule_export]
    use super::worker::WorkerLink;
}
