//! Many jobs at once: what they cost the server and how they are looked at.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;

use super::server::{Server, endpoint, json};
use crate::runpod::job::{CallOptions, Output, Status};
use crate::wire::payload::Payload;

const JOBS: usize = 500;

/// Each job is done at the third look at it.
#[tokio::test]
async fn jobs_share_a_few_connections_and_each_gets_its_own_result() {
    let looks: Mutex<HashMap<String, usize>> = Mutex::default();
    let server = Server::start(move |request, _| {
        if let "run" | "runsync" = request.kind() {
            // The body is read after the script: the number is in the query of this test's own header.
            let number = &request.headers["x-number"];
            return json(&format!(r#"{{"id":"j{number}","status":"IN_QUEUE"}}"#));
        }
        let job = request.path.split(['/', '?']).nth(1).expect("a job").to_owned();
        let mut looks = looks.lock().expect("not poisoned");
        let seen = looks.entry(job.clone()).or_default();
        *seen += 1;
        if *seen < 3 {
            return json(&format!(r#"{{"id":"{job}","status":"IN_PROGRESS"}}"#));
        }
        json(&format!(r#"{{"id":"{job}","status":"COMPLETED","output":"{job}"}}"#))
    })
    .await;
    let (client, ep) = (server.client(), endpoint());
    let calls = (0..JOBS).map(|number| {
        let options = CallOptions {
            headers: [("X-Number".to_owned(), number.to_string())].into(),
            timeout: Some(Duration::from_mins(2)),
            ..CallOptions::default()
        };
        let (client, ep) = (&client, &ep);
        async move { client.call(ep, &Payload::json("{}"), &options).await }
    });
    for (number, state) in join_all(calls).await.into_iter().enumerate() {
        let state = state.expect("a result");
        assert_eq!(state.status, Status::Completed);
        let expected = format!("\"j{number}\"");
        assert!(
            matches!(&state.output, Output::Json(text) if text == expected.as_bytes()),
            "{number}: {state:?}"
        );
    }
    assert_eq!(server.count("run") + server.count("runsync"), JOBS, "each was submitted once");
    assert_eq!(server.count("status") + server.count("status-sync"), 3 * JOBS, "nobody looked twice");
    assert!(server.connections() <= 64 + 32, "{} connections", server.connections());
    assert!(server.most_inside() <= 64 + 32, "{} requests at once", server.most_inside());
}

#[tokio::test]
async fn two_who_wait_for_one_job_both_learn_of_its_end() {
    let server = Server::start(|request, before| match (request.kind(), before) {
        (_, 0) => json(r#"{"id":"j1","status":"IN_PROGRESS"}"#),
        _ => json(r#"{"id":"j1","status":"COMPLETED","output":1}"#),
    })
    .await;
    let (client, ep, options) = (server.client(), endpoint(), CallOptions::default());
    let (one, other) = tokio::join!(client.wait(&ep, "j1", &options), client.wait(&ep, "j1", &options));
    assert_eq!(one.expect("an end").status, Status::Completed);
    assert_eq!(other.expect("an end").status, Status::Completed);
}
