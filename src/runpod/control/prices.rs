//! What a worker costs, as far as Runpod says it (`wire.md` 5.5).

use serde_json::{Value, json};

use super::graphql::{Graph, Operation};
use super::input::EndpointInput;
use crate::catalog::gpu::types_of_pool;
use crate::runpod::error::RunpodError;

/// Returns the dearest price among the hardware that an endpoint may get, in US dollars per hour.
///
/// Which of them it gets is only known when a worker starts; a limit must hold for each. A price of
/// 0 is no price.
pub(super) async fn by_graphql(graph: &Graph, input: &EndpointInput) -> Result<Option<f64>, RunpodError> {
    match input.instance_ids.as_deref() {
        Some(instances @ [_, ..]) => cpu(graph, instances).await,
        _ => gpu(graph, input).await,
    }
}

async fn gpu(graph: &Graph, input: &EndpointInput) -> Result<Option<f64>, RunpodError> {
    let ids = gpu_types(input.gpu_ids.as_deref().unwrap_or_default());
    if ids.is_empty() {
        return Ok(None);
    }
    let query = "query ServerlessGpuTypes($lowestPriceInput: GpuLowestPriceInput, $gpuTypesInput: GpuTypeFilter) { \
                 gpuTypes(input: $gpuTypesInput) { lowestPrice(input: $lowestPriceInput) { uninterruptablePrice } } }";
    let variables = json!({
        "gpuTypesInput": { "ids": ids },
        "lowestPriceInput": { "gpuCount": 1, "secureCloud": true, "includeAiApi": true },
    });
    let data = graph.ask(Operation::query("look the prices of GPUs up", query, variables)).await?;
    let prices = data["gpuTypes"].as_array().into_iter().flatten();
    let dearest = dearest(prices.map(|gpu| &gpu["lowestPrice"]["uninterruptablePrice"]));
    #[expect(clippy::cast_precision_loss, reason = "a worker has few GPUs")]
    let count = input.gpu_count.unwrap_or(1).max(1) as f64;
    Ok(dearest.map(|price| price * count))
}

async fn cpu(graph: &Graph, instances: &[String]) -> Result<Option<f64>, RunpodError> {
    let query = "query SecureCpuTypes($cpuFlavorInput: CpuFlavorInput, $specificsInput: SpecificsInput) { \
                 cpuFlavors(input: $cpuFlavorInput) { specifics(input: $specificsInput) { slsPrice securePrice } } }";
    let mut prices = Vec::new();
    for instance in instances {
        let flavor = instance.split('-').next().unwrap_or_default();
        let variables =
            json!({ "cpuFlavorInput": { "id": flavor }, "specificsInput": { "instanceId": instance } });
        let mut data = graph.ask(Operation::query("look the price of CPUs up", query, variables)).await?;
        let specifics = data["cpuFlavors"][0]["specifics"].take();
        let serverless = Some(&specifics["slsPrice"]).filter(|price| price.as_f64() > Some(0.0));
        prices.push(serverless.unwrap_or(&specifics["securePrice"]).clone());
    }
    Ok(dearest(prices.iter()))
}

fn dearest<'a>(prices: impl Iterator<Item = &'a Value>) -> Option<f64> {
    prices.filter_map(Value::as_f64).filter(|price| *price > 0.0).reduce(f64::max)
}

/// The GPU types that a `gpuIds` text allows.
fn gpu_types(ids: &str) -> Vec<&str> {
    let parts = || ids.split(',').map(str::trim).filter(|part| !part.is_empty());
    let is_excluded = |gpu: &str| parts().any(|part| part.strip_prefix('-') == Some(gpu));
    parts()
        .filter(|part| !part.starts_with('-'))
        .flat_map(|pool| {
            let of_pool: Vec<&str> = types_of_pool(pool).map(|gpu| gpu.value).collect();
            if of_pool.is_empty() { vec![pool] } else { of_pool }
        })
        .filter(|gpu| !is_excluded(gpu))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_their_types_without_those_that_are_excluded() {
        assert_eq!(gpu_types("AMPERE_24,-NVIDIA GeForce RTX 3090,-NVIDIA RTX A5000"), ["NVIDIA L4"]);
        assert_eq!(gpu_types("NEW_POOL"), ["NEW_POOL"]);
    }
}
