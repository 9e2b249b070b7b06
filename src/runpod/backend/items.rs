//! Items of generators that run on Runpod.
//!
//! Our workers give each as it comes, as a pickle in base64; official ones know nothing of that, and
//! give all of them as the result. Runpod gives each item once.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_bytes::ByteBuf;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::answer::{decoded, pickled_list, report, response, result_of};
use super::base64;
use crate::runpod::client::Client;
use crate::runpod::error::{ErrorKind, RunpodError};
use crate::runpod::job::{CallOptions, EndpointRef, Output};
use crate::wire::job::raw_list;
use crate::wire::message::ErrorReport;

/// How long one round of asking for items takes at most, where the server does not hold requests.
const ROUND: Duration = Duration::from_secs(10);
/// Pause between two requests that the server answered at once, with nothing.
const PAUSE: Duration = Duration::from_millis(250);

/// Items of one job that were taken from Runpod, and not given to anybody yet.
#[derive(Debug, Default)]
pub(super) struct Items {
    /// Who has it asks Runpod.
    turn: tokio::sync::Mutex<()>,
    ready: Mutex<Ready>,
}

#[derive(Debug, Default)]
struct Ready {
    items: VecDeque<Bytes>,
    have_come: bool,
    is_over: bool,
}

impl Items {
    fn ready(&self) -> std::sync::MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what Runpod gave; nothing more comes from a job that has ended and gives nothing.
    fn add(&self, texts: &[Bytes], has_ended: bool) {
        let mut ready = self.ready();
        ready.is_over = texts.is_empty() && has_ended;
        ready.have_come |= !texts.is_empty();
        ready.items.extend(texts.iter().map(json_item));
    }

    /// Takes what is there, and tells whether there will be no more.
    pub(super) fn take(&self) -> (Vec<Bytes>, bool) {
        let mut ready = self.ready();
        (ready.items.drain(..).collect(), ready.is_over)
    }

    /// Takes the elements of a job's output, once, where its worker streamed nothing.
    pub(super) fn take_output(&self, output: &Bytes) -> Vec<Bytes> {
        let mut ready = self.ready();
        if std::mem::replace(&mut ready.have_come, true) {
            return Vec::new();
        }
        let elements = raw_list(output).unwrap_or_default();
        elements.into_iter().map(|element| output.slice_ref(element.get().as_bytes())).collect()
    }

    /// Asks Runpod until there is an item, the job has ended, or a while has passed.
    pub(super) async fn ask(self: Arc<Self>, client: Client, endpoint: EndpointRef, job: String) {
        let _turn = self.turn.lock().await;
        let begun = Instant::now();
        loop {
            {
                let ready = self.ready();
                if !ready.items.is_empty() || ready.is_over {
                    return;
                }
            }
            let asked = Instant::now();
            let Ok((status, texts)) = client.items(&endpoint, &job, &CallOptions::default()).await else {
                // The job's state says what is wrong.
                return;
            };
            let is_empty = texts.is_empty();
            self.add(&texts, status.is_terminal());
            if begun.elapsed() > ROUND {
                return;
            }
            if is_empty && asked.elapsed() < PAUSE {
                sleep(PAUSE).await;
            }
        }
    }
}

/// Passes the items of a call from Python on; one that nobody reads any more is cancelled.
pub(super) async fn pass_on(
    client: Client,
    endpoint: EndpointRef,
    job: String,
    sender: mpsc::Sender<Result<Vec<Bytes>, ErrorReport>>,
    stopped: impl Future<Output = String>,
) {
    let passing = async {
        let mut items = pin!(client.stream(endpoint.clone(), job.clone(), CallOptions::default()));
        while let Some(Ok(item)) = items.next().await {
            if sender.send(Ok(vec![pickled_item(&item)?])).await.is_err() {
                return Ok(());
            }
        }
        // Where it failed, its state says it best.
        let state = client.wait(&endpoint, &job, &CallOptions::default()).await?;
        let Output::Json(text) = result_of(state)? else {
            return Err(RunpodError::new(ErrorKind::Malformed, "the worker answered nothing"));
        };
        let response = response(&text)?;
        if response.success && response.streamed.is_some() {
            return Ok(());
        }
        for item in pickled_list(&decoded(&response)?)? {
            if sender.send(Ok(vec![item])).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    };
    let failed = tokio::select! {
        biased;
        () = sender.closed() => None,
        reason = stopped => Some(RunpodError::new(ErrorKind::JobCancelled, reason)),
        passed = passing => match passed {
            Ok(()) => return,
            Err(error) => {
                // Its reader may be gone.
                let _ = sender.send(Err(report(&error))).await;
                return;
            }
        },
    };
    if let Some(error) = failed {
        let _ = sender.send(Err(report(&error))).await;
    }
    let options = CallOptions { timeout: Some(Duration::from_mins(1)), ..CallOptions::default() };
    if let Err(error) = client.cancel(&endpoint, &job, &options).await {
        tracing::warn!(job, %error, "a job that nobody waits for is not cancelled");
    }
}

/// The pickle that an item's JSON text has: of `bytes`, which are the item's own.
fn pickled_item(text: &[u8]) -> Result<Bytes, RunpodError> {
    let wrong =
        |why: String| RunpodError::new(ErrorKind::Malformed, format!("an item cannot be read: {why}"));
    let text: String = serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?;
    let item: ByteBuf = serde_pickle::from_slice(&base64(&text)?, serde_pickle::DeOptions::new())
        .map_err(|error| wrong(error.to_string()))?;
    Ok(Bytes::from(item.into_vec()))
}

/// An item's own JSON: what our worker pickled is that text. An item of another worker stays as it is.
fn json_item(text: &Bytes) -> Bytes {
    let read = || {
        let base64_text: String = serde_json::from_slice(text).ok()?;
        let pickled = base64(&base64_text).ok()?;
        serde_pickle::from_slice::<String>(&pickled, serde_pickle::DeOptions::new()).ok()
    };
    read().map_or_else(|| text.clone(), Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_our_worker_are_the_texts_that_it_pickled() {
        let items = Items::default();
        // `pickle.dumps('{"n":1}')`, protocol 5.
        let ours = Bytes::from_static(b"\"gAWVCwAAAAAAAACMB3sibiI6MX2ULg==\"");
        items.add(&[ours, Bytes::from_static(b"[2]")], false);
        assert_eq!(items.take(), (vec!["{\"n\":1}".into(), "[2]".into()], false));
        items.add(&[], true);
        assert_eq!(items.take(), (Vec::new(), true));
        assert!(items.take_output(&Bytes::from_static(b"[1]")).is_empty());
    }

    #[test]
    fn output_of_a_worker_that_streams_nothing_is_its_items_once() {
        let items = Items::default();
        items.add(&[], true);
        let output = Bytes::from_static(b"[1, {\"a\": 2}]");
        assert_eq!(items.take_output(&output), ["1", "{\"a\": 2}"]);
        assert!(items.take_output(&output).is_empty());
        assert!(Items::default().take_output(&Bytes::from_static(b"7")).is_empty());
    }
}
