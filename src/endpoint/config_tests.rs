//! Tests of `EndpointConfig::from_arguments`, parameter by parameter.

use rstest::rstest;

use super::config::{EndpointConfig, EndpointKind, GpuChoice, Hardware, Workers};
use super::error::{ConfigError, describe};
use super::value::Value;

fn text(value: &str) -> Value {
    Value::Str(value.to_owned())
}

fn member(class: &str, member: &str) -> Value {
    Value::Member { class: class.to_owned(), member: member.to_owned() }
}

fn volume(fields: &[(&str, Value)]) -> Value {
    object("NetworkVolume", fields)
}

fn object(class: &str, fields: &[(&str, Value)]) -> Value {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Value::Object { class: class.to_owned(), fields }
}

fn config(arguments: &[(&str, Value)]) -> Result<EndpointConfig, Vec<ConfigError>> {
    let arguments: Vec<_> =
        arguments.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    EndpointConfig::from_arguments(&arguments)
}

fn message(arguments: &[(&str, Value)]) -> String {
    let errors = config(arguments).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].message.clone()
}

#[test]
fn config_without_arguments_has_the_defaults_of_1_21() {
    let config = config(&[]).unwrap();
    assert_eq!(
        config.hardware,
        Hardware::Gpu {
            choices: vec![GpuChoice::Group("ANY".to_owned())],
            count: 1,
            min_cuda_version: Some("12.8".to_owned()),
        }
    );
    assert_eq!(config.workers, Workers { min: 0, max: 1 });
    assert_eq!((config.idle_timeout, config.execution_timeout_ms), (Some(60), 0));
    assert_eq!((config.scaler_type.as_deref(), config.scaler_value), (None, 4));
    assert_eq!(config.scaler_type_for(EndpointKind::Queue), "QUEUE_DELAY");
    assert_eq!(config.scaler_type_for(EndpointKind::LoadBalanced), "REQUEST_COUNT");
    assert!(config.flashboot && config.accelerate_downloads && !config.is_client() && !config.is_cpu());
    assert_eq!((config.max_concurrency, config.datacenters, config.env), (1, None, None));
}

#[test]
fn calls_per_worker_follow_the_scaler() {
    let value = ("scaler_value", Value::Int(7));
    let by_delay = config(&[value.clone(), ("max_concurrency", Value::Int(3))]).unwrap();
    assert_eq!(by_delay.calls_per_worker(EndpointKind::Queue), 3);
    assert_eq!(by_delay.calls_per_worker(EndpointKind::LoadBalanced), 7);
    let by_count = config(&[value, ("scaler_type", text("REQUEST_COUNT"))]).unwrap();
    assert_eq!(by_count.calls_per_worker(EndpointKind::Queue), 7);
}

#[rstest]
#[case(Value::Int(3), (0, 3))]
#[case(Value::Int(0), (0, 0))]
#[case(Value::Bool(true), (0, 1))]
#[case(Value::None, (0, 1))]
#[case(Value::Tuple(vec![Value::Int(1), Value::Int(5)]), (1, 5))]
#[case(Value::List(vec![Value::Float(1.9), text("5")]), (1, 5))]
fn workers_are_normalised(#[case] workers: Value, #[case] expected: (u32, u32)) {
    let workers = config(&[("workers", workers)]).unwrap().workers;
    assert_eq!((workers.min, workers.max), expected);
}

#[rstest]
#[case(Value::Int(-1), "workers cannot be negative: (0, -1)")]
#[case(Value::Tuple(vec![Value::Int(3), Value::Int(1)]), "workers min (3) cannot exceed max (1)")]
#[case(text("3"), "workers must be an int or (min, max) tuple, got str: '3'")]
#[case(Value::Float(1.5), "workers must be an int or (min, max) tuple, got float: 1.5")]
#[case(Value::Tuple(vec![Value::Int(3)]), "workers must be an int or (min, max) tuple, got tuple: (3)")]
#[case(
    Value::Tuple(vec![Value::None, Value::Int(1)]),
    "workers must be an int or (min, max) tuple, got tuple: (None, 1)"
)]
fn wrong_workers_are_refused(#[case] workers: Value, #[case] expected: &str) {
    assert_eq!(message(&[("workers", workers)]), expected);
}

#[test]
fn gpu_list_keeps_order_and_takes_values() {
    let gpus =
        Value::List(vec![member("GpuType", "NVIDIA_L4"), text("ADA_24"), text("NVIDIA H200"), text("any")]);
    let Hardware::Gpu { choices, .. } = config(&[("gpu", gpus)]).unwrap().hardware else { panic!() };
    assert_eq!(
        choices,
        [
            GpuChoice::Type("NVIDIA_L4".to_owned()),
            GpuChoice::Group("ADA_24".to_owned()),
            GpuChoice::Type("NVIDIA_H200".to_owned()),
            GpuChoice::Group("ANY".to_owned()),
        ]
    );
}

#[rstest]
#[case(
    text("NVIDIA L4"),
    "gpu must be a GpuGroup, GpuType, or list, got str: 'NVIDIA L4'; did you mean `GpuType.NVIDIA_L4`?"
)]
#[case(
    member("GpuType", "NVIDIA_A100"),
    "GpuType has no member `NVIDIA_A100`; did you mean `NVIDIA_A100_80GB_PCIe`?"
)]
#[case(
    Value::List(vec![text("A100")]),
    "gpu: 'A100' is not a GPU that Runpod offers; did you mean `GpuType.NVIDIA_A100_80GB_PCIe`?"
)]
#[case(Value::List(vec![]), "gpu list must not be empty")]
#[case(
    member("CpuInstanceType", "CPU3C_1_2"),
    "gpu must be a GpuGroup, GpuType, or list, got CpuInstanceType: CpuInstanceType.CPU3C_1_2"
)]
fn wrong_gpu_is_refused(#[case] gpu: Value, #[case] expected: &str) {
    assert_eq!(message(&[("gpu", gpu)]), expected);
}

#[rstest]
#[case(text("cpu5c-4-8"), &["cpu5c-4-8"])]
#[case(member("CpuInstanceType", "CPU3C_1_2"), &["cpu3c-1-2"])]
#[case(Value::List(vec![text("cpu3g-2-8"), member("CpuInstanceType", "CPU3C_1_2")]), &["cpu3g-2-8", "cpu3c-1-2"])]
fn cpu_becomes_instances(#[case] cpu: Value, #[case] expected: &[&str]) {
    let Hardware::Cpu { instances } = config(&[("cpu", cpu)]).unwrap().hardware else { panic!() };
    assert_eq!(instances, expected);
}

#[rstest]
#[case(text("cpu3c-1-3"), "'cpu3c-1-3' is not a valid CpuInstanceType; did you mean 'cpu3c-1-2'?")]
#[case(Value::Int(4), "cpu must be a CpuInstanceType, string, or list, got int: 4")]
#[case(Value::List(vec![Value::Int(4)]), "cpu list elements must be CpuInstanceType or string, got int: 4")]
fn wrong_cpu_is_refused(#[case] cpu: Value, #[case] expected: &str) {
    assert_eq!(message(&[("cpu", cpu)]), expected);
}

#[rstest]
#[case(
    &[("gpu", member("GpuGroup", "ANY")), ("cpu", text("cpu3c-1-2"))],
    "gpu and cpu are mutually exclusive. specify one or neither."
)]
#[case(
    &[("id", text("a")), ("image", text("b"))],
    "id and image are mutually exclusive. specify one or neither."
)]
#[case(&[("image", text("b"))], "name or id is required when image= is set.")]
#[case(&[("max_concurrency", Value::Int(0))], "max_concurrency must be >= 1, got 0")]
#[case(&[("gpu_count", Value::Int(0))], "gpu_count must be >= 1, got 0")]
#[case(&[("execution_timeout_ms", Value::Int(-1))], "execution_timeout_ms must be >= 0, got -1")]
#[case(&[("idle_timeout", Value::Int(0))], "idle_timeout must be between 1 and 3600, got 0")]
#[case(
    &[("idle_timeout", Value::Float(1.5))],
    "idle_timeout must be a whole number between 1 and 3600, got float: 1.5"
)]
#[case(&[("name", text("a/b"))], "name must not contain `/` or control characters, got 'a/b'")]
#[case(&[("name", Value::Int(1))], "name must be a string, got int: 1")]
#[case(&[("name", text(""))], "name must not be empty")]
#[case(&[("dependencies", text("torch"))], "dependencies must be a list of strings, got str: 'torch'")]
#[case(
    &[("dependencies", Value::List(vec![text("a"), Value::Int(1)]))],
    "dependencies must be a list of strings; element at index 1 is int: 1"
)]
#[case(&[("flashboot", text("maybe"))], "flashboot must be True or False, got str: 'maybe'")]
#[case(
    &[("scaler_type", text("QUEUE"))],
    "scaler_type: 'QUEUE' is not a valid ServerlessScalerType; did you mean `ServerlessScalerType.QUEUE_DELAY`?"
)]
#[case(
    &[("min_cuda_version", Value::Float(12.4))],
    "min_cuda_version: 12.4 is not a valid CudaVersion; did you mean '12.4'?"
)]
#[case(
    &[("min_cuda_version", text("12.99"))],
    "min_cuda_version: '12.99' is not a valid CudaVersion; did you mean '12.9'?"
)]
#[case(
    &[("env", Value::Dict(vec![(text("A"), Value::Int(1))]))],
    "env['A'] must be a string, got int: 1"
)]
#[case(&[("env", Value::List(vec![]))], "env must be a dict of strings, got list: []")]
#[case(&[("template", Value::Dict(vec![]))], "template must be a PodTemplate, got dict: {}")]
#[case(
    &[("gpus", Value::List(vec![]))],
    "Endpoint() got an unexpected keyword argument 'gpus'; did you mean `gpu=[...]`?"
)]
fn wrong_argument_is_refused(#[case] arguments: &[(&str, Value)], #[case] expected: &str) {
    assert_eq!(message(arguments), expected);
}

#[rstest]
#[case(member("DataCenter", "EU_RO_1"), Some(&["EU-RO-1"][..]))]
#[case(text("us_ca_2"), Some(&["US-CA-2"][..]))]
#[case(Value::List(vec![text("US-GA-2"), member("DataCenter", "EUR_IS_1")]), Some(&["US-GA-2", "EUR-IS-1"][..]))]
#[case(Value::List(vec![]), None)]
#[case(text(""), None)]
fn data_centers_are_normalised(#[case] given: Value, #[case] expected: Option<&[&str]>) {
    let centers = config(&[("datacenter", given)]).unwrap().datacenters;
    let expected =
        expected.map(|centers| centers.iter().map(|center| (*center).to_owned()).collect::<Vec<_>>());
    assert_eq!(centers, expected);
}

#[rstest]
#[case(
    &[("cpu", text("cpu3c-1-2")), ("datacenter", text("US-CA-2"))],
    "CPU endpoints are not available in: US-CA-2. Supported CPU data centers: EU-RO-1"
)]
#[case(
    &[("datacenter", Value::Tuple(vec![]))],
    "datacenter must be a DataCenter, string, or list, got tuple: ()"
)]
fn wrong_data_center_is_refused(#[case] arguments: &[(&str, Value)], #[case] expected: &str) {
    assert_eq!(message(arguments), expected);
}

#[test]
fn unknown_data_center_names_the_nearest() {
    let found = message(&[("datacenter", text("us-ca-1"))]);
    assert!(
        found.starts_with(
            "Unknown datacenter 'us-ca-1'. Did you mean 'US-CA-2'? Valid datacenters: US-CA-2, "
        )
    );
}

#[test]
fn volume_is_read_with_its_defaults() {
    let volumes = config(&[("volume", volume(&[("name", text("models"))]))]).unwrap().volumes;
    assert_eq!(volumes.len(), 1);
    assert_eq!((volumes[0].size, volumes[0].data_center.as_str()), (Some(100), "EU-RO-1"));
}

#[rstest]
#[case(text("vol_abc"), "volume must be a NetworkVolume or list of NetworkVolume, got str")]
#[case(Value::List(vec![]), "volume list must not be empty")]
#[case(Value::List(vec![Value::Int(1)]), "volume list elements must be NetworkVolume; element at index 0 is int")]
#[case(volume(&[]), "NetworkVolume: either 'name' or 'id' must be provided")]
#[case(volume(&[("name", text("  "))]), "NetworkVolume: name must not be empty or whitespace-only")]
#[case(
    volume(&[("name", text("a")), ("size", Value::Int(5))]),
    "NetworkVolume: size must be between 10 and 4096 GB, got 5"
)]
#[case(volume(&[("name", text("a")), ("sise", Value::Int(5))]), "NetworkVolume: unknown field 'sise'")]
#[case(
    Value::List(vec![volume(&[("name", text("a"))]), volume(&[("name", text("b"))])]),
    "Multiple volumes in datacenter EU-RO-1 ('a' and 'b'). Only one network volume is allowed per datacenter."
)]
fn wrong_volume_is_refused(#[case] given: Value, #[case] expected: &str) {
    assert_eq!(message(&[("volume", given)]), expected);
}

#[test]
fn volume_outside_the_data_centers_is_refused() {
    let given = volume(&[("name", text("a")), ("datacenter", member("DataCenter", "US_CA_2"))]);
    assert_eq!(
        message(&[("volume", given), ("datacenter", text("EU-RO-1"))]),
        "Network volume datacenter (US-CA-2) is not in the endpoint's datacenter list (EU-RO-1)"
    );
}

#[test]
fn disk_larger_than_the_cpu_instance_is_refused() {
    let template = object("PodTemplate", &[("containerDiskInGb", Value::Int(11))]);
    assert_eq!(
        message(&[("cpu", text("cpu3c-1-2")), ("template", template)]),
        "Container disk size 11GB exceeds the maximum allowed for CPU instances. Instance limits: \
         cpu3c-1-2: max 10GB. Maximum allowed: 10GB"
    );
}

#[test]
fn all_problems_are_listed_at_once() {
    let errors = config(&[
        ("name", text("a/b")),
        ("workers", Value::Int(-1)),
        ("idle_timeout", Value::Int(9999)),
        ("env", Value::Dict(vec![(text("A"), Value::Int(1))])),
    ])
    .unwrap_err();
    let mut parameters: Vec<_> = errors.iter().map(|error| error.parameter.as_str()).collect();
    parameters.sort_unstable();
    assert_eq!(parameters, ["env", "idle_timeout", "name", "workers"]);
    let described = describe(&errors);
    assert!(
        described.contains("workers cannot be negative: (0, -1)\n  hint: write workers=0"),
        "{described}"
    );
}

#[test]
fn no_minimum_cuda_version_is_none() {
    let Hardware::Gpu { min_cuda_version, .. } =
        config(&[("min_cuda_version", Value::None)]).unwrap().hardware
    else {
        panic!()
    };
    assert_eq!(min_cuda_version, None);
}

#[test]
fn environment_value_is_kept_in_env_and_looked_up_elsewhere() {
    let read =
        |name: &str| Value::Environment { name: name.to_owned(), default: Some("fallback".to_owned()) };
    let config = config(&[
        ("name", read("FLASH_TEST_UNSET_VARIABLE")),
        ("env", Value::Dict(vec![(text("TOKEN"), read("FLASH_TEST_UNSET_VARIABLE"))])),
    ])
    .unwrap();
    assert_eq!(config.name.as_deref(), Some("fallback"));
    assert_eq!(config.env.unwrap()[0].1, read("FLASH_TEST_UNSET_VARIABLE"));
}
