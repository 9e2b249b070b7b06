//! Awaitables: a future of the running loop that a task of our runtime completes.
//!
//! Results of one loop are collected in its mailbox and handed over together: however many calls
//! end at once, the loop is woken once, by a socket that it watches. So no thread of ours waits for
//! the interpreter. They are made on the loop's own thread, so user code that unpickling runs is
//! where the user expects it. Any asyncio loop will do (uvloop, anyio), several of them on several
//! threads as well.

use std::collections::HashMap;
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyWeakref, PyWeakrefMethods, PyWeakrefReference};
use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant, sleep_until};

use super::buffer;
use super::runtime::{self, Context};

type Finish = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// A call that has ended.
struct Ended {
    future: Py<PyAny>,
    finish: Finish,
}

/// What has ended for one loop, which owns it: it goes when the loop is closed.
struct Mailbox {
    context: &'static Context,
    key: usize,
    /// A weak reference, as the loop's address may be another's later.
    event_loop: Py<PyWeakref>,
    waiting: Mutex<Waiting>,
    bell: UnixStream,
    heard: UnixStream,
}

struct Waiting {
    ended: Vec<Ended>,
    /// When the loop was woken last.
    rung: Instant,
}

/// So often a loop is woken at most while it waits for this many calls or more: each time costs it
/// more than the results of a few calls.
const PAUSE: Duration = Duration::from_millis(1);
const MANY: usize = 32;

/// Mailboxes by the loop's address.
#[derive(Default)]
pub(super) struct Mailboxes(Mutex<HashMap<usize, Weak<Mailbox>>>);

impl Mailboxes {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Weak<Mailbox>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the mailbox of the loop that runs in this thread.
    fn of(&self, context: &'static Context, event_loop: &Bound<'_, PyAny>) -> PyResult<Arc<Mailbox>> {
        let py = event_loop.py();
        let key = event_loop.as_ptr() as usize;
        let found = self.lock().get(&key).and_then(Weak::upgrade);
        if let Some(found) = found
            && found.event_loop.bind(py).upgrade().is_some_and(|other| other.is(event_loop))
        {
            return Ok(found);
        }
        let (bell, heard) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        let watched = heard.as_raw_fd();
        let made = Arc::new(Mailbox {
            context,
            key,
            event_loop: PyWeakrefReference::new(event_loop)?.into_any().cast_into::<PyWeakref>()?.unbind(),
            waiting: Mutex::new(Waiting { ended: Vec::new(), rung: Instant::now() }),
            bell,
            heard,
        });
        let wake = Wake { mailbox: Arc::clone(&made) };
        event_loop.call_method1(intern!(py, "add_reader"), (watched, wake))?;
        self.lock().insert(key, Arc::downgrade(&made));
        Ok(made)
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let mut all = self.context.mailboxes.lock();
        if all.get(&self.key).is_some_and(|other| other.strong_count() == 0) {
            all.remove(&self.key);
        }
    }
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes something that has ended; the first one since the loop has looked wakes it.
    async fn put(self: &Arc<Self>, ended: Ended) {
        let due = {
            let mut waiting = self.lock();
            waiting.ended.push(ended);
            if waiting.ended.len() > 1 {
                return;
            }
            waiting.rung + PAUSE
        };
        // Rings also where this task is aborted meanwhile.
        let _ring = Ring(self);
        if Arc::strong_count(self) > MANY && due > Instant::now() {
            sleep_until(due).await;
        }
    }

    fn take(&self) -> Vec<Ended> {
        std::mem::take(&mut self.lock().ended)
    }
}

/// Wakes the loop when it is dropped.
struct Ring<'a>(&'a Mailbox);

impl Drop for Ring<'_> {
    fn drop(&mut self) {
        self.0.lock().rung = Instant::now();
        // Full means that the loop is about to look; a closed loop has nobody who awaits.
        let _ = (&self.0.bell).write(&[0]);
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
        // First: what is put from now on rings again.
        let _ = (&self.mailbox.heard).read(&mut [0; 64]);
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
    let mailbox = context.mailboxes.of(context, &event_loop)?;
    let awaited = event_loop.call_method0(intern!(py, "create_future"))?;
    let waiting = awaited.clone().unbind();
    let task = context.handle().spawn(async move {
        let outcome = future.await;
        mailbox.put(Ended { future: waiting, finish: Box::new(move |py| finish(py, outcome)) }).await;
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
