//! An answer with jobs: what could not be written to its worker is taken back.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use serde_json::json;

use crate::platform::polls::{Answer, Handed};
use crate::platform::supervisor::Supervisor;
use crate::wire::job::json_string;

/// Answers a worker's request.
pub(super) fn deliver(supervisor: Arc<Supervisor>, worker: u64, answer: Answer, is_batch: bool) -> Response {
    let text = match &answer {
        Answer::Nothing | Answer::Asleep => Vec::new(),
        Answer::Stops(jobs) => json!({ "jobsToStop": jobs }).to_string().into_bytes(),
        Answer::Jobs(jobs) => jobs_json(jobs, is_batch),
    };
    let body = Delivery { supervisor, worker, answer, text: Some(text.into()) };
    ([(header::CONTENT_TYPE, "application/json")], Body::new(body)).into_response()
}

/// Jobs as their worker gets them: a list, or the only one.
fn jobs_json(jobs: &[Handed], is_batch: bool) -> Vec<u8> {
    let mut text = Vec::with_capacity(jobs.iter().map(|job| job.input.len() + 128).sum());
    if is_batch {
        text.push(b'[');
    }
    for (index, job) in jobs.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        text.extend_from_slice(format!("{{\"id\":{},\"input\":", json_string(&job.id)).as_bytes());
        text.extend_from_slice(&job.input);
        if let Some(webhook) = &job.webhook {
            text.extend_from_slice(format!(",\"webhook\":{}", json_string(webhook)).as_bytes());
        }
        if let Some(config) = &job.s3_config {
            text.extend_from_slice(b",\"s3Config\":");
            text.extend_from_slice(config);
        }
        text.push(b'}');
    }
    if is_batch {
        text.push(b']');
    }
    text
}

/// The body of such an answer. The server asks for it once it can write; a connection that ended
/// before drops it unread.
struct Delivery {
    supervisor: Arc<Supervisor>,
    worker: u64,
    answer: Answer,
    text: Option<Bytes>,
}

impl http_body::Body for Delivery {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.answer = Answer::Nothing;
        Poll::Ready(self.text.take().map(|text| Ok(Frame::data(text))))
    }

    fn is_end_stream(&self) -> bool {
        self.text.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.text.as_ref().map_or(0, |text| text.len() as u64))
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let answer = std::mem::take(&mut self.answer);
        self.supervisor.take_back(self.worker, answer);
    }
}
