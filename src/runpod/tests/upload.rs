//! Uploads to a store that fails on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rstest::rstest;

use super::server::{Act, Server, refuse};
use crate::runpod::error::{ErrorKind, RunpodError};
use crate::runpod::upload::{check, put};

/// What the store gets, how many bytes were told of, and the outcome.
struct Outcome {
    sent: Vec<Vec<u8>>,
    told: u64,
    result: Result<(), RunpodError>,
}

/// Uploads more than one piece to a store that does this with each attempt; the last one stays.
async fn upload(acts: Vec<Act>) -> (Outcome, Vec<u8>) {
    let folder = tempfile::tempdir().expect("a folder");
    let artifact = folder.path().join("artifact.tar.gz");
    let mut content = vec![0x1f, 0x8b];
    content.extend((0..700_000_u32).map(|number| (number % 251) as u8));
    std::fs::write(&artifact, &content).expect("written");
    let size = check(&artifact).expect("an artifact");
    let server = Server::start(move |_, before| acts[before.min(acts.len() - 1)].clone()).await;
    let address = format!("http://{}/store/build?expires=1&signature=SECRETSIGNATURE", server.address);
    let told = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&told);
    let progress = Arc::new(move |more| {
        counted.fetch_add(more, Ordering::SeqCst);
    });
    let result = put(&server.client(), &address, &artifact, size, Some(progress)).await;
    let sent = server.requests().into_iter().map(|request| request.body).collect();
    (Outcome { sent, told: told.load(Ordering::SeqCst), result }, content)
}

fn done() -> Act {
    Act::Answer(200, Vec::new(), String::new())
}

#[rstest]
#[case::failure(refuse(503, None))]
#[case::busy(refuse(429, None))]
#[case::reset(Act::Reset)]
#[case::reset_before_the_body(Act::ResetBeforeBody)]
#[tokio::test]
async fn upload_is_sent_again_whole_and_no_byte_is_told_of_twice(#[case] trouble: Act) {
    let (outcome, content) = upload(vec![trouble.clone(), trouble, done()]).await;
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    assert_eq!(outcome.sent.len(), 3);
    assert_eq!(outcome.sent[2], content);
    assert_eq!(outcome.told, content.len() as u64);
}

#[rstest]
#[case::expired(refuse(403, None), ErrorKind::InvalidRequest, 1, "answered 403")]
#[case::too_large(refuse(413, None), ErrorKind::InvalidRequest, 1, "answered 413")]
#[case::outage(refuse(500, None), ErrorKind::Unavailable, 3, "answered 500")]
#[case::reset(Act::Reset, ErrorKind::Connection, 3, "the connection to 127.0.0.1 broke")]
#[tokio::test]
async fn upload_that_fails_says_why_without_its_address(
    #[case] trouble: Act,
    #[case] kind: ErrorKind,
    #[case] attempts: usize,
    #[case] reason: &str,
) {
    let (outcome, _) = upload(vec![trouble]).await;
    let error = outcome.result.expect_err("a failure");
    assert_eq!((error.kind, outcome.sent.len()), (kind, attempts), "{error}");
    assert!(error.message.starts_with("cannot upload `"), "{error}");
    assert!(error.message.contains(reason), "{error}");
    assert_eq!(error.hint.is_some_and(|hint| hint.contains("expired")), reason.ends_with("403"));
    assert!(!format!("{:?}{:?}", error.message, error.exchange).contains("SIGNATURE"));
}
