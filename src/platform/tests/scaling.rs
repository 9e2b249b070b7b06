//! How many workers there are, and which.

use serde_json::json;

use super::*;

fn starting(event: &Event) -> bool {
    matches!(event, Event::WorkerStarting { .. })
}

#[tokio::test]
async fn minimum_workers_start_before_any_call() {
    let fixture = Fixture::new(vec![with_workers(spec("e"), 2, 3)]);
    fixture
        .log
        .until("two workers", |events| events.iter().filter(|event| is_ready(event)).count() == 2)
        .await;
    assert_eq!(fixture.platform.health("e").await.unwrap().workers_idle, 2);
}

#[tokio::test]
async fn idle_worker_stops_after_its_time_but_not_below_the_minimum() {
    let clock = Arc::new(ManualClock::new());
    let options = PlatformOptions { clock: Arc::clone(&clock) as _, ..options() };
    let fixture = Fixture::with(options, vec![with_workers(spec("e"), 1, 2)]);
    let (first, second) =
        tokio::join!(fixture.call("e", "sleep", json!(300)), fixture.call("e", "sleep", json!(300)));
    first.unwrap();
    second.unwrap();
    let endpoint = fixture.platform.endpoint("e").unwrap();
    clock.advance(Duration::from_secs(59));
    endpoint.tick();
    assert_eq!(fixture.platform.health("e").await.unwrap().workers_idle, 2);
    clock.advance(Duration::from_secs(1));
    fixture.log.until_event("stop", is_stopped).await;
    clock.advance(Duration::from_secs(1000));
    endpoint.tick();
    assert_eq!(fixture.platform.health("e").await.unwrap().workers_idle, 1);
}

#[tokio::test]
async fn calls_share_workers_up_to_the_maximum() {
    let fixture = Fixture::new(vec![with_workers(spec("e"), 0, 2)]);
    let calls = (0..6).map(|_| fixture.call("e", "sleep", json!(50)));
    for result in futures_util::future::join_all(calls).await {
        result.unwrap();
    }
    assert_eq!(fixture.log.count(starting), 2);
}

#[tokio::test]
async fn calls_run_together_on_one_worker_up_to_its_concurrency() {
    let fixture = Fixture::new(vec![with_concurrency(spec("e"), 8)]);
    let pids = futures_util::future::join_all((0..8).map(|_| async {
        fixture.call("e", "sleep", json!(100)).await.unwrap();
        fixture.call("e", "pid", json!(null)).await.unwrap()
    }));
    let pids = pids.await;
    assert!(pids.iter().all(|pid| *pid == pids[0]));
}

#[tokio::test]
async fn workers_beyond_what_the_machine_bears_are_held_back_and_it_is_said_once() {
    let options = PlatformOptions { max_workers: Some(2), ..options() };
    let fixture = Fixture::with(options, vec![with_workers(spec("a"), 0, 5), spec("b")]);
    let calls = (0..4).map(|_| fixture.call("a", "sleep", json!(150)));
    let throttled = async {
        fixture.log.until_event("note", |event| matches!(event, Event::Note { .. })).await;
        let health = fixture.platform.health("a").await.unwrap();
        assert!(health.workers_throttled > 0, "{health:?}");
        // The first worker of an endpoint always starts: calls between endpoints must not block.
        assert_eq!(fixture.call("b", "echo", json!(1)).await.unwrap(), json!(1));
    };
    let (results, ()) = tokio::join!(futures_util::future::join_all(calls), throttled);
    for result in results {
        result.unwrap();
    }
    assert_eq!(fixture.log.count(|event| matches!(event, Event::Note { .. })), 1);
    assert_eq!(fixture.log.count(starting), 3);
}

#[tokio::test]
async fn workers_that_idle_do_not_hold_others_back() {
    let options = PlatformOptions { max_workers: Some(2), ..options() };
    let idle = ["a", "b", "c"].map(|name| with_workers(spec(name), 1, 1));
    let fixture = Fixture::with(options, [idle.to_vec(), vec![with_workers(spec("e"), 0, 2)]].concat());
    fixture
        .log
        .until("three workers", |events| events.iter().filter(|event| is_ready(event)).count() == 3)
        .await;
    let calls = (0..2).map(|_| fixture.call("e", "sleep", json!(150)));
    for result in futures_util::future::join_all(calls).await {
        result.unwrap();
    }
    assert_eq!(fixture.log.count(starting), 5);
}

#[tokio::test]
async fn new_generation_serves_new_calls_while_the_old_one_finishes() {
    let fixture = Fixture::new(vec![spec("e")]);
    let old = fixture.call("e", "pid", json!(null)).await.unwrap();
    let long = fixture.submit("e", "sleep", json!(300)).await;
    fixture.started("e", &long).await;
    fixture.platform.apply(vec![EndpointSpec { fingerprint: "2".to_owned(), ..spec("e") }]);
    let new = fixture.call("e", "pid", json!(null)).await.unwrap();
    assert_ne!(old, new);
    let long = fixture.finished("e", &long).await;
    assert_eq!((long.status, long.retries), (JobStatus::Completed, 0));
    gone(old.as_u64().unwrap()).await;
    assert!(is_alive(new.as_u64().unwrap()));
}

#[tokio::test]
async fn same_fingerprint_keeps_workers() {
    let fixture = Fixture::new(vec![spec("e")]);
    let pid = fixture.call("e", "pid", json!(null)).await.unwrap();
    fixture.platform.apply(vec![spec("e"), spec("f")]);
    assert_eq!(fixture.call("e", "pid", json!(null)).await.unwrap(), pid);
}

#[tokio::test]
async fn removed_endpoint_finishes_what_runs_and_is_gone() {
    let fixture = Fixture::new(vec![spec("e")]);
    let pid = fixture.call("e", "pid", json!(null)).await.unwrap().as_u64().unwrap();
    let running = fixture.call("e", "sleep", json!(200));
    let waiting = fixture.call("e", "echo", json!(1));
    let removing = async {
        while fixture.platform.health("e").await.unwrap().in_queue != 1 {
            tokio::task::yield_now().await;
        }
        fixture.platform.apply(Vec::new());
    };
    let (running, waiting, ()) = tokio::join!(running, waiting, removing);
    assert_eq!(running.unwrap(), json!(200));
    assert_eq!(waiting.unwrap_err().failure, Failure::Cancelled);
    assert!(fixture.platform.health("e").await.is_none());
    gone(pid).await;
}

#[tokio::test]
async fn endpoint_describes_itself_when_it_is_warmed() {
    let mut endpoint = spec("e");
    flash(&mut endpoint).load.callables = vec!["echo".to_owned()];
    let fixture = Fixture::new(vec![endpoint]);
    assert!(fixture.platform.description("e").is_none());
    fixture.platform.warm("e");
    fixture.log.until_event("ready worker", is_ready).await;
    assert_eq!(fixture.platform.description("e").unwrap().callables[0].name, "echo");
}

#[tokio::test]
async fn spare_worker_is_used_by_an_endpoint_and_replaced() {
    let options = PlatformOptions { warm_spare: true, ..options() };
    let fixture = Fixture::with(options, vec![]);
    let mut alive = fixture.platform.shared.alive.subscribe();
    let has_spare = || fixture.platform.shared.spare.lock().unwrap().is_some();
    tokio::time::timeout(PATIENCE, alive.wait_for(|count| *count == 1)).await.unwrap().unwrap();
    while !has_spare() {
        tokio::task::yield_now().await;
    }
    let own = with_env(spec("own"), "MODE", "x");
    fixture.platform.apply(vec![spec("e"), own]);
    // A spare process starts without an endpoint's variables; they come with `Load`.
    let names = json!(["FLASH_RESOURCE_NAME"]);
    assert_eq!(fixture.call("e", "variables", names.clone()).await.unwrap(), json!([null]));
    assert_eq!(fixture.call("own", "variables", names).await.unwrap(), json!(["own"]));
    tokio::time::timeout(PATIENCE, alive.wait_for(|count| *count == 3)).await.unwrap().unwrap();
    fixture.platform.shutdown(Duration::ZERO).await;
    assert_eq!(*alive.borrow(), 0);
}

#[tokio::test]
async fn workers_are_listed_with_their_state() {
    let fixture = Fixture::new(vec![spec("e")]);
    assert_eq!(fixture.platform.workers("e"), Some(Vec::new()));
    assert_eq!(fixture.platform.workers("other"), None);
    let long = fixture.submit("e", "progress", json!(null)).await;
    let status = || fixture.platform.workers("e").unwrap()[0].status;
    assert_eq!(status(), WorkerStatus::Initializing);
    fixture.started("e", &long).await;
    assert_eq!(status(), WorkerStatus::Running);
    fixture.platform.apply(vec![EndpointSpec { fingerprint: "2".to_owned(), ..spec("e") }]);
    let workers = fixture.platform.workers("e").unwrap();
    assert!(workers[0].is_stale && !workers[1].is_stale, "{workers:?}");
}

#[tokio::test]
async fn endpoint_that_is_busy_gives_way_to_one_that_waits_for_the_machine() {
    let options = PlatformOptions { max_workers: Some(4), ..options() };
    let fixture = Fixture::with(options, ["a", "b"].map(|name| with_workers(spec(name), 0, 4)).to_vec());
    let is_over = std::cell::Cell::new(false);
    // There is always more to do than its workers can take.
    let busy = futures_util::future::join_all((0..8).map(|_| async {
        while !is_over.get() {
            fixture.call("a", "sleep", json!(20)).await.unwrap();
        }
    }));
    let waiting = async {
        let ready = |events: &[Event]| events.iter().filter(|event| is_ready(event)).count() == 4;
        fixture.log.until("four workers", ready).await;
        let calls = (0..60).map(|_| fixture.call("b", "sleep", json!(20)));
        let results = futures_util::future::join_all(calls).await;
        is_over.set(true);
        results
    };
    let (_, results) = tokio::join!(busy, waiting);
    assert!(results.into_iter().all(|result| result.is_ok()));
    let is_second =
        |event: &Event| matches!(event, Event::WorkerStarting { endpoint, .. } if endpoint == "b");
    // Its first worker starts whatever the machine bears, the second by the other's giving way.
    assert!(fixture.log.count(is_second) == 2, "{}", fixture.log.count(is_second));
}

#[tokio::test]
async fn spare_worker_is_replaced_once_an_endpoint_has_routes() {
    let options = PlatformOptions { warm_spare: true, ..options() };
    let fixture = Fixture::with(options, vec![spec("e")]);
    let has_spare = || fixture.platform.shared.spare.lock().unwrap().is_some();
    let until_spare = async || {
        while !has_spare() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    until_spare().await;
    fixture.platform.put(EndpointSpec { kind: EndpointKind::LoadBalanced, ..spec("routes") });
    until_spare().await;
    let preload = fixture.call("e", "variables", json!(["FLASH_WORKER_PRELOAD"])).await.unwrap();
    assert!(preload.to_string().contains("runpod_flash.worker.http"), "{preload}");
    fixture.platform.shutdown(Duration::ZERO).await;
}
