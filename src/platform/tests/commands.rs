//! Workers that are commands, and endpoints that can have none.

use super::*;
use crate::platform::spec::CommandRuntime;

/// An endpoint whose workers are this shell script.
pub(super) fn script(name: &str, text: &str) -> EndpointSpec {
    let argv = ["sh", "-c", text].map(str::to_owned).to_vec();
    EndpointSpec { runtime: Runtime::Command(CommandRuntime { argv, directory: "/".into() }), ..spec(name) }
}

#[tokio::test(flavor = "multi_thread")]
async fn job_of_unavailable_endpoint_waits_with_the_reason() {
    let reason = "no command is known for image `a/b`";
    let unavailable =
        EndpointSpec { runtime: Runtime::Unavailable { reason: reason.to_owned() }, ..spec("image") };
    let fixture = Fixture::new(vec![unavailable]);
    let id = fixture.submit("image", "", Value::Null).await;
    let view = fixture.platform.status("image", &id).await.unwrap();
    assert_eq!(view.status, JobStatus::InQueue);
    assert_eq!(view.waiting_for.as_deref(), Some(reason));
    let health = fixture.platform.health("image").await.unwrap();
    assert_eq!((health.in_queue, health.workers_unhealthy), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn command_starts_once_the_server_listens_with_its_own_environment_alone() {
    let text =
        "echo id=$RUNPOD_POD_ID take=$RUNPOD_WEBHOOK_GET_JOB mode=$MODE cargo=$CARGO_PKG_NAME; sleep 100";
    let fixture = Fixture::new(vec![with_env(script("queue", text), "MODE", "own")]);
    fixture.submit("queue", "", Value::Null).await;
    assert_eq!(fixture.log.count(|event| matches!(event, Event::WorkerStarting { .. })), 0);
    fixture.platform.listens_at("http://127.0.0.1:9/");
    let line = |event: &Event| match event {
        Event::Output { line, .. } => {
            line.starts_with("id=w")
                && line.ends_with(" take=http://127.0.0.1:9/v2/queue/job-take/$ID?gpu=local mode=own cargo=")
        }
        _ => false,
    };
    fixture.log.until_event("line of the worker", line).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn load_balanced_command_gets_a_port_of_its_own() {
    let endpoint = EndpointSpec {
        kind: EndpointKind::LoadBalanced,
        ..script("lb", "echo port=$PORT=$PORT_HEALTH; sleep 100")
    };
    let fixture = Fixture::new(vec![with_workers(endpoint, 1, 1)]);
    fixture.platform.listens_at("http://127.0.0.1:9");
    let line = |event: &Event| match event {
        Event::Output { line, .. } => {
            let ports: Vec<u16> = line.split('=').skip(1).filter_map(|port| port.parse().ok()).collect();
            matches!(ports[..], [port, health] if port == health && port > 0)
        }
        _ => false,
    };
    fixture.log.until_event("line with the port", line).await;
}
