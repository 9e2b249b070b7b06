//! Calls that code in a worker makes: they come up its socket and go to their endpoint's queue.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, Weak};

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::supervisor::Supervisor;
use super::{EndpointSpec, Platform};
use crate::requirements::{EnvironmentState, Environments};
use crate::wire::backend::{Backend, Call, Reply};
use crate::wire::frame::FROM_WORKER;
use crate::wire::message::{AnswerHead, CallHead, ChunkHead, EnvironmentHead, ErrorReport, Failure};
use crate::wire::{Frame, FrameKind, WireError};

/// How many calls may wait for each other.
const MAX_DEPTH: usize = 16;

/// The nested calls of one worker.
#[derive(Debug, Default)]
pub(super) struct Nested {
    calls: HashMap<u64, AbortHandle>,
}

impl Nested {
    /// Makes a call for the worker of `caller` and sends the answer to it.
    pub(super) fn call(
        &mut self,
        platform: &Weak<Platform>,
        caller: &str,
        frame: Frame,
        frames: mpsc::UnboundedSender<Frame>,
    ) -> Result<(), WireError> {
        let mut head: CallHead = frame.parse_head()?;
        if head.chain.last().map(String::as_str) != Some(caller) {
            head.chain.push(caller.to_owned());
        }
        self.calls.retain(|_, call| !call.is_finished());
        let (platform, call_id) = (platform.clone(), frame.call_id);
        let mut call = Call { head, buffers: frame.buffers };
        let caller = caller.to_owned();
        let task = tokio::spawn(async move {
            let result = match platform.upgrade() {
                Some(platform) => {
                    if let Some(id) = platform.neighbour(&caller, &call.head.endpoint) {
                        call.head.endpoint = id;
                    }
                    match platform.way_out() {
                        Some(backend) => match check_chain(&call.head.chain, &call.head.endpoint) {
                            Ok(()) => backend.call(call).await,
                            Err(report) => Err(*report),
                        },
                        None => platform.call(call).await,
                    }
                }
                None => Err(ErrorReport::new(Failure::Cancelled, "CancelledError", "the platform is gone")),
            };
            answer(call_id, result, &frames).await;
        });
        self.calls.insert(call_id, task.abort_handle());
        Ok(())
    }

    /// Makes an environment for a worker and tells it the interpreter.
    pub(super) fn environment(
        &mut self,
        environments: Option<Arc<Environments>>,
        caller: &str,
        frame: &Frame,
        frames: mpsc::UnboundedSender<Frame>,
    ) -> Result<(), WireError> {
        let head: EnvironmentHead = frame.parse_head()?;
        let (call_id, caller) = (frame.call_id, caller.to_owned());
        let task = tokio::spawn(async move {
            let result = match environments {
                Some(environments) => prepared(&environments, &caller, &head.dependencies).await,
                None => Err(no_environment("packages are not installed here", None)),
            };
            let frame = match result {
                Ok(python) => {
                    let text = serde_json::to_vec(&python).unwrap_or_default();
                    Frame::new(FrameKind::Answer, call_id, &AnswerHead::Json, vec![text.into()])
                }
                Err(report) => {
                    Frame::new(FrameKind::Answer, call_id, &AnswerHead::Failed(Box::new(report)), Vec::new())
                }
            };
            if let Ok(mut frame) = frame {
                frame.flags |= FROM_WORKER;
                let _ = frames.send(frame);
            }
        });
        self.calls.insert(call_id, task.abort_handle());
        Ok(())
    }

    /// The worker no longer waits for a call: dropping its future cancels it.
    pub(super) fn cancel(&mut self, call_id: u64) {
        if let Some(call) = self.calls.remove(&call_id) {
            call.abort();
        }
    }

    /// The worker is gone.
    pub(super) fn abort(&mut self) {
        for (_, call) in self.calls.drain() {
            call.abort();
        }
    }
}

/// Waits for an environment; the path is empty where the worker's own interpreter has it all.
async fn prepared(
    environments: &Environments,
    endpoint: &str,
    dependencies: &[String],
) -> Result<String, ErrorReport> {
    let mut state = environments.prepare(endpoint, dependencies, &[]);
    let settled = state.wait_for(|state| !matches!(state, EnvironmentState::Preparing { .. })).await;
    match settled.as_deref() {
        Ok(EnvironmentState::Ready(interpreter)) if interpreter.is_host => Ok(String::new()),
        Ok(EnvironmentState::Ready(interpreter)) => Ok(interpreter.python.to_string_lossy().into_owned()),
        Ok(EnvironmentState::Failed { message, hint }) => Err(no_environment(message, hint.clone())),
        Ok(EnvironmentState::Preparing { .. }) | Err(_) => {
            Err(no_environment("the installation was interrupted", None))
        }
    }
}

fn no_environment(message: &str, hint: Option<String>) -> ErrorReport {
    let report = ErrorReport::new(Failure::Environment, "EnvironmentError", message);
    match hint {
        Some(hint) => report.with_hint(hint),
        None => report,
    }
}

async fn answer(call_id: u64, result: Result<Reply, ErrorReport>, frames: &mpsc::UnboundedSender<Frame>) {
    let send = |frame: Result<Frame, WireError>| {
        if let Ok(mut frame) = frame {
            frame.flags |= FROM_WORKER;
            let _ = frames.send(frame);
        }
    };
    let end = |head: &AnswerHead, buffers| Frame::new(FrameKind::Answer, call_id, head, buffers);
    let failed = |report| end(&AnswerHead::Failed(Box::new(report)), Vec::new());
    match result {
        Ok(Reply::Value(buffers)) => send(end(&AnswerHead::Python, buffers)),
        Ok(Reply::Stream(mut items)) => {
            while let Some(item) = items.recv().await {
                match item {
                    Ok(buffers) => send(Frame::new(FrameKind::Chunk, call_id, &ChunkHead::Python, buffers)),
                    Err(report) => return send(failed(report)),
                }
            }
            send(end(&AnswerHead::End, Vec::new()));
        }
        Err(report) => send(failed(report)),
    }
}

/// Variables that endpoints of one deployed environment have in common.
const DEPLOYMENT: [&str; 2] = ["FLASH_APP", "FLASH_ENV"];

impl Platform {
    /// The ID of the endpoint that code of `caller` knows by `name`: of the same account and
    /// deployment, by the name that it was declared with. `None` where IDs are names.
    fn neighbour(&self, caller: &str, name: &str) -> Option<String> {
        let spec_of = |supervisor: &Supervisor| supervisor.lock().spec.clone();
        let caller = spec_of(&*self.endpoint(caller)?);
        if self.endpoint(name).is_some_and(|found| spec_of(&found).account == caller.account) {
            return None;
        }
        let is_meant = |spec: &EndpointSpec| {
            let declared = spec.env.get("FLASH_RESOURCE_NAME").unwrap_or(&spec.name);
            spec.account == caller.account
                && DEPLOYMENT.iter().all(|variable| spec.env.get(*variable) == caller.env.get(*variable))
                && (declared == name || declared.strip_prefix("live-") == Some(name))
        };
        let endpoints: Vec<Arc<Supervisor>> =
            self.endpoints.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        endpoints.iter().map(|other| spec_of(other)).find(is_meant).map(|spec| spec.id)
    }
}

/// Refuses a call that would wait for itself, or for too many others.
pub(super) fn check_chain(chain: &[String], endpoint: &str) -> Result<(), Box<ErrorReport>> {
    let path = || chain.iter().map(String::as_str).chain([endpoint]).collect::<Vec<_>>().join(" → ");
    if chain.iter().any(|waiting| waiting == endpoint) {
        let text = format!("endpoint `{endpoint}` is called by a call that it waits for: {}", path());
        let report = ErrorReport::new(Failure::Cycle, "CallCycleError", text);
        return Err(Box::new(report.with_hint("call the function with `.local(...)`, or break the circle")));
    }
    if chain.len() >= MAX_DEPTH {
        let text = format!("more than {MAX_DEPTH} calls wait for each other: {}", path());
        return Err(Box::new(ErrorReport::new(Failure::Cycle, "CallDepthError", text)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_that_comes_back_is_named() {
        let chain = ["a".to_owned(), "b".to_owned()];
        assert!(check_chain(&chain, "c").is_ok());
        let report = check_chain(&chain, "a").unwrap_err();
        assert_eq!(report.failure, Failure::Cycle);
        assert!(report.message.contains("a → b → a"), "{}", report.message);
    }

    #[test]
    fn chain_too_deep_is_refused() {
        let chain: Vec<String> = (0..MAX_DEPTH).map(|number| format!("e{number}")).collect();
        assert!(check_chain(&chain, "x").is_err());
    }
}
