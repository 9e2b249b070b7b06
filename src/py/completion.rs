//! Awaitables: a future of the running loop that a task of our runtime completes.
//!
//! Results of one loop are collected in its mailbox and handed over together: however many calls
//! end at once, the loop is woken once. They are made on the loop's own thread, so user code that
//! unpickling runs is where the user expects it. Any asyncio loop will do (uvloop, anyio), several
//! of them on several threads as well.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use tokio::task::AbortHandle;

use super::buffer;
use super::runtime::{self, Context};

type Finish = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// A call that has ended.
struct Ended {
    future: Py<PyAny>,
    finish: Finish,
}

/// What has ended for one loop.
struct Mailbox {
    context: &'static Context,
    event_loop: Py<PyAny>,
    ended: Mutex<Vec<Ended>>,
}

/// Mailboxes of loops that wait for something, by the loop's address; each keeps its loop alive, so
/// that no address is used twice.
#[derive(Default)]
pub(super) struct Mailboxes(Mutex<HashMap<usize, Weak<Mailbox>>>);

impl Mailboxes {
    fn of(&self, context: &'static Context, event_loop: &Bound<'_, PyAny>) -> Arc<Mailbox> {
        let key = event_loop.as_ptr() as usize;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = all.get(&key).and_then(Weak::upgrade) {
            return found;
        }
        let event_loop = event_loop.clone().unbind();
        let made = Arc::new(Mailbox { context, event_loop, ended: Mutex::default() });
        all.insert(key, Arc::downgrade(&made));
        made
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let key = self.event_loop.as_ptr() as usize;
        let mut all = self.context.mailboxes.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(&key).is_some_and(|other| other.strong_count() == 0) {
            all.remove(&key);
        }
    }
}

impl Mailbox {
    /// Takes something that has ended; the first one since the loop has looked wakes it.
    fn put(self: &Arc<Self>, ended: Ended) {
        let mut all = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(ended);
        if all.len() > 1 {
            return;
        }
        drop(all);
        let mailbox = Arc::clone(self);
        self.context.deliver(move |py| {
            let wake = Wake { mailbox: Arc::clone(&mailbox) };
            let woken = Py::new(py, wake).and_then(|wake| {
                mailbox.event_loop.call_method1(py, intern!(py, "call_soon_threadsafe"), (wake,))
            });
            if woken.is_err() {
                // The loop is closed: nobody can await these any more.
                mailbox.take();
            }
        });
    }

    fn take(&self) -> Vec<Ended> {
        std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Called by a loop: gives it what has ended.
#[pyclass(frozen, module = "runpod_flash._core")]
struct Wake {
    mailbox: Arc<Mailbox>,
}

#[pymethods]
impl Wake {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        for Ended { future, finish } in self.mailbox.take() {
            let future = future.bind(py);
            // Cancelled meanwhile: the result is for nobody.
            if future.call_method0(intern!(py, "done"))?.is_truthy()? {
                continue;
            }
            match finish(py) {
                Ok(value) => future.call_method1(intern!(py, "set_result"), (value,))?,
                Err(error) => fail(future, error)?,
            };
        }
        buffer::release_waiting(py);
        Ok(())
    }
}

fn fail<'py>(future: &Bound<'py, PyAny>, error: PyErr) -> PyResult<Bound<'py, PyAny>> {
    let py = future.py();
    let set = intern!(py, "set_exception");
    // A future refuses `StopIteration`, and says so.
    future.call_method1(set, (error,)).or_else(|refusal| future.call_method1(set, (refusal,)))
}

/// Called by a future that is done: one that was cancelled ends its call.
#[pyclass(frozen, module = "runpod_flash._core")]
struct Abort {
    task: AbortHandle,
}

#[pymethods]
impl Abort {
    fn __call__(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        if future.call_method0(intern!(future.py(), "cancelled"))?.is_truthy()? {
            self.task.abort();
        }
        Ok(())
    }
}

/// Returns an awaitable of the running loop. `future` runs on tokio, and is dropped where the
/// awaitable is cancelled; `finish` makes the result on the loop's thread.
///
/// # Errors
/// Where no asyncio loop runs in this thread, or the program is ending.
pub(super) fn awaitable<T: Send + 'static>(
    py: Python<'_>,
    future: impl Future<Output = T> + Send + 'static,
    finish: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
) -> PyResult<Bound<'_, PyAny>> {
    let context = runtime::context(py)?;
    if context.is_stopped() {
        return Err(PyRuntimeError::new_err("the program is ending: no more calls can be made"));
    }
    let event_loop = running_loop(py)?;
    let mailbox = context.mailboxes.of(context, &event_loop);
    let awaited = event_loop.call_method0(intern!(py, "create_future"))?;
    let waiting = awaited.clone().unbind();
    let task = context.handle().spawn(async move {
        let outcome = future.await;
        mailbox.put(Ended { future: waiting, finish: Box::new(move |py| finish(py, outcome)) });
    });
    let abort = Py::new(py, Abort { task: task.abort_handle() })?;
    awaited.call_method1(intern!(py, "add_done_callback"), (abort,))?;
    Ok(awaited)
}

fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static FIND: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let found = FIND.import(py, "asyncio", "_get_running_loop")?.call0()?;
    if found.is_none() {
        return Err(PyRuntimeError::new_err(
            "no running asyncio event loop; await calls below asyncio (uvloop, or anyio with its asyncio backend). \
             Elsewhere use the blocking methods, or a thread of its own: trio.to_thread.run_sync(asyncio.run, call)",
        ));
    }
    Ok(found)
}
