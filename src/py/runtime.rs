//! The runtime behind awaitables: one per process, made at the first call.
//!
//! `pyo3_async_runtimes::tokio` keeps its runtime through `fork`, where a child hangs, and past the
//! end of the interpreter, where it crashes. This one is checked by process ID and stopped by
//! `atexit` before Python takes its threads down. Python code never runs on a tokio thread: what
//! needs the interpreter goes through one delivery thread, in order.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3_async_runtimes::TaskLocals;
use pyo3_async_runtimes::generic::{self, ContextExt, JoinError, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::embedded::Embedded;
use super::{buffer, unpickle};

type Delivery = Box<dyn FnOnce(Python<'_>) + Send>;

/// How long the runtime's threads get to end at exit.
const STOP: Duration = Duration::from_secs(2);

/// What one process runs its calls with.
pub(super) struct Context {
    process: u32,
    handle: tokio::runtime::Handle,
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
    deliveries: Mutex<Option<mpsc::Sender<Delivery>>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    /// The platform of a process that is no worker.
    pub(super) embedded: OnceLock<Embedded>,
}

static CURRENT: AtomicPtr<Context> = AtomicPtr::new(std::ptr::null_mut());

/// Returns this process's context, made now if need be; a forked child gets its own.
///
/// # Errors
/// Where the system gives no threads.
pub(super) fn context() -> PyResult<&'static Context> {
    if let Some(context) = existing() {
        return Ok(context);
    }
    let seen = CURRENT.load(Ordering::Acquire);
    let made = Box::into_raw(Box::new(Context::new()?));
    // A parent's context is left as it is: its threads are not in this process, and its locks may
    // be held for ever.
    if CURRENT.compare_exchange(seen, made, Ordering::AcqRel, Ordering::Acquire).is_err() {
        #[expect(unsafe_code, reason = "takes back the box that lost the race")]
        // SAFETY: it was made above and never published.
        drop(unsafe { Box::from_raw(made) });
    }
    existing().ok_or_else(|| PyRuntimeError::new_err("the runtime could not be made"))
}

/// Returns this process's context if it has one.
pub(super) fn existing() -> Option<&'static Context> {
    #[expect(unsafe_code, reason = "published contexts live for ever")]
    // SAFETY: a published context is never freed, so a pointer that is not null stays valid.
    let context = unsafe { CURRENT.load(Ordering::Acquire).as_ref() };
    context.filter(|context| context.process == std::process::id())
}

impl Context {
    fn new() -> PyResult<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("flash-runtime")
            .enable_all()
            .build()?;
        let (sender, receiver) = mpsc::channel::<Delivery>();
        let thread = std::thread::Builder::new()
            .name("flash-delivery".to_owned())
            .spawn(move || deliver(&receiver))?;
        Ok(Self {
            process: std::process::id(),
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            deliveries: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
            embedded: OnceLock::new(),
        })
    }

    /// Returns the handle to spawn futures with.
    pub(super) fn handle(&self) -> &tokio::runtime::Handle {
        &self.handle
    }

    /// Runs something with the interpreter, after all that was handed over before; not at all once
    /// the process is ending.
    pub(super) fn deliver(&self, delivery: impl FnOnce(Python<'_>) + Send + 'static) {
        let sender = self.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender {
            _ = sender.send(Box::new(delivery));
        }
    }

    /// Ends the runtime and the delivery thread; what was delivered before is still run.
    pub(super) fn stop(&self) {
        if let Some(runtime) = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_timeout(STOP);
            unpickle::wait_for_end(STOP);
        }
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            _ = thread.join();
        }
    }
}

fn deliver(receiver: &mpsc::Receiver<Delivery>) {
    while let Ok(first) = receiver.recv() {
        let attached = Python::try_attach(|py| {
            // What a call pinned is free again when its result is there.
            buffer::release_waiting(py);
            first(py);
            while let Ok(next) = receiver.try_recv() {
                next(py);
            }
            buffer::release_waiting(py);
        });
        if attached.is_none() {
            return;
        }
    }
}

/// Returns an awaitable of the running loop. `future` runs on tokio; `finish` makes the result with
/// the interpreter, unless the loop is closed by then.
pub(super) fn awaitable<T: Send + 'static>(
    py: Python<'_>,
    future: impl Future<Output = T> + Send + 'static,
    finish: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
) -> PyResult<Bound<'_, PyAny>> {
    let context = context()?;
    let locals = TaskLocals::with_running_loop(py)?;
    let event_loop = locals.event_loop(py).unbind();
    generic::future_into_py_with_locals::<FlashRuntime, _, Py<PyAny>>(py, locals, async move {
        let outcome = future.await;
        let (sender, receiver) = oneshot::channel();
        context.deliver(move |py| {
            let is_closed = event_loop.call_method0(py, "is_closed").and_then(|closed| closed.is_truthy(py));
            if !is_closed.unwrap_or(true) {
                _ = sender.send(finish(py, outcome));
            }
        });
        match receiver.await {
            Ok(result) => result,
            // Nobody can await it any more, and saying so would only print a traceback.
            Err(_) => std::future::pending().await,
        }
    })
}

/// The runtime as `pyo3_async_runtimes` sees it.
struct FlashRuntime;

struct Joined(tokio::task::JoinError);

impl JoinError for Joined {
    fn is_panic(&self) -> bool {
        self.0.is_panic()
    }

    fn into_panic(self) -> Box<dyn std::any::Any + Send + 'static> {
        self.0.into_panic()
    }
}

/// A spawned task as `pyo3_async_runtimes` awaits it.
struct Task(JoinHandle<()>);

impl Future for Task {
    type Output = Result<(), Joined>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_err(Joined)
    }
}

tokio::task_local! {
    static LOCALS: TaskLocals;
}

impl Runtime for FlashRuntime {
    type JoinError = Joined;
    type JoinHandle = Task;

    fn spawn<F>(future: F) -> Task
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match existing() {
            Some(context) => Task(context.handle.spawn(future)),
            // Only reached from a task of the runtime itself, which then is the current one.
            None => Task(tokio::spawn(future)),
        }
    }

    fn spawn_blocking<F>(work: F) -> Task
    where
        F: FnOnce() + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel::<()>();
        if let Some(context) = existing() {
            context.deliver(move |_py| {
                work();
                _ = sender.send(());
            });
        }
        Self::spawn(async move { _ = receiver.await })
    }
}

impl ContextExt for FlashRuntime {
    fn scope<F, R>(locals: TaskLocals, future: F) -> Pin<Box<dyn Future<Output = R> + Send>>
    where
        F: Future<Output = R> + Send + 'static,
    {
        Box::pin(LOCALS.scope(locals, future))
    }

    fn get_task_locals() -> Option<TaskLocals> {
        LOCALS.try_with(Clone::clone).ok()
    }
}
