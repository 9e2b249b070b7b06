//! Calls, streams and nested calls.

use serde_json::json;
use tokio::sync::mpsc;

use super::*;

#[tokio::test]
async fn call_reaches_a_worker_and_its_buffers_come_back() {
    let fixture = Fixture::new(vec![spec("e")]);
    let mut call = python_call("e", "echo", &json!(1));
    call.buffers = vec![Bytes::from(vec![1; 3_000_000]), Bytes::new(), Bytes::from_static(b"x")];
    let Ok(Reply::Value(buffers)) = fixture.platform.call(call.clone()).await else { panic!("no value") };
    assert_eq!(buffers, call.buffers);
}

#[tokio::test]
async fn call_that_raises_gives_the_report() {
    let fixture = Fixture::new(vec![spec("e")]);
    let report = fixture.call("e", "raise", json!(1)).await.unwrap_err();
    assert_eq!((report.failure, report.message.as_str()), (Failure::Raised, "boom"));
}

#[tokio::test]
async fn call_of_unknown_endpoint_names_the_known_ones() {
    let fixture = Fixture::new(vec![spec("a"), spec("b")]);
    let report = fixture.call("c", "echo", json!(1)).await.unwrap_err();
    assert_eq!(report.failure, Failure::NotFound);
    assert!(report.hint.unwrap().contains("`a`, `b`"));
}

async fn stream_of(
    fixture: &Fixture,
    callable: &str,
    input: Value,
) -> mpsc::Receiver<Result<Vec<Bytes>, ErrorReport>> {
    let mut call = python_call("e", callable, &input);
    call.head.stream = true;
    match fixture.platform.call(call).await {
        Ok(Reply::Stream(items)) => items,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn stream_gives_items_in_order_and_ends() {
    let fixture = Fixture::new(vec![spec("e")]);
    let mut items = stream_of(&fixture, "items", json!(2000)).await;
    let mut expected = 0;
    while let Some(item) = items.recv().await {
        assert_eq!(item.unwrap()[0], expected.to_string());
        expected += 1;
    }
    assert_eq!(expected, 2000);
    assert!(stream_of(&fixture, "items", json!(0)).await.recv().await.is_none());
}

#[tokio::test]
async fn stream_that_is_dropped_is_cancelled_and_frees_its_worker() {
    let fixture = Fixture::new(vec![spec("e")]);
    let mut items = stream_of(&fixture, "endless", json!(null)).await;
    items.recv().await.unwrap().unwrap();
    drop(items);
    let pid = fixture.call("e", "pid", json!(null));
    tokio::time::timeout(PATIENCE, pid).await.unwrap().unwrap();
    assert_eq!(fixture.log.count(is_ready), 1, "the worker was not replaced");
}

#[tokio::test]
async fn call_that_is_dropped_is_cancelled_at_the_worker() {
    let fixture = Fixture::new(vec![spec("e")]);
    let pid = fixture.call("e", "pid", json!(null)).await.unwrap();
    let call = fixture.call("e", "sleep", json!(600_000));
    assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err());
    assert_eq!(fixture.call("e", "pid", json!(null)).await.unwrap(), pid, "the same worker goes on");
}

#[tokio::test]
async fn call_that_is_dropped_and_does_not_stop_costs_its_worker() {
    let fixture = Fixture::new(vec![spec("e")]);
    let pid = fixture.call("e", "pid", json!(null)).await.unwrap().as_u64().unwrap();
    let call = fixture.call("e", "hang", json!(null));
    assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err());
    let next = fixture.call("e", "pid", json!(null)).await.unwrap().as_u64().unwrap();
    assert_ne!(pid, next);
    gone(pid).await;
}

#[tokio::test]
async fn nested_call_goes_to_the_other_endpoint() {
    let fixture = Fixture::new(vec![spec("outer"), spec("inner")]);
    let input = json!(["inner", "echo", {"deep": [1, 2]}]);
    assert_eq!(fixture.call("outer", "nested", input.clone()).await.unwrap(), json!({"deep": [1, 2]}));
    let job = fixture.run("outer", "nested", input).await;
    assert_eq!(text(job.output.as_ref()), r#"{"deep":[1,2]}"#);
}

#[tokio::test]
async fn nested_call_that_comes_back_is_a_cycle_that_is_named() {
    let fixture = Fixture::new(vec![with_workers(spec("a"), 0, 3), spec("b")]);
    let input = json!(["b", "nested", ["a", "echo", 1]]);
    let report = fixture.call("a", "nested", input).await.unwrap_err();
    assert_eq!(report.failure, Failure::Cycle);
    assert!(report.message.contains("a → b → a"), "{}", report.message);
}

#[tokio::test]
async fn nested_call_of_missing_endpoint_is_not_found() {
    let fixture = Fixture::new(vec![spec("a")]);
    let report = fixture.call("a", "nested", json!(["z", "echo", 1])).await.unwrap_err();
    assert_eq!(report.failure, Failure::NotFound);
}

#[tokio::test]
async fn worker_environment_has_identity_and_no_inherited_credentials() {
    let endpoint = with_env(with_env(spec("e"), "MODE", "x"), "FLASH_TARGET", "runpod");
    let fixture = Fixture::new(vec![endpoint]);
    let names =
        json!(["MODE", "FLASH_TARGET", "FLASH_RESOURCE_NAME", "RUNPOD_ENDPOINT_ID", "RUNPOD_API_KEY"]);
    let values = fixture.call("e", "variables", names).await.unwrap();
    assert_eq!(values, json!(["x", "local", "e", "e", null]));
}

#[tokio::test]
async fn worker_output_reaches_the_observer() {
    let fixture = Fixture::new(vec![spec("e")]);
    fixture.call("e", "print", json!("hello\nworld")).await.unwrap();
    let printed = |wanted: &'static str| move |event: &Event| matches!(event, Event::Output { endpoint, line, .. } if endpoint == "e" && line.ends_with(wanted));
    fixture.log.until_event("first line", printed("hello")).await;
    fixture.log.until_event("second line", printed("world")).await;
}
