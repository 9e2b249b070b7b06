//! The runtime behind awaitables: one per process, made at the first call.
//!
//! A runtime that lives through `fork` hangs in the child, and one that outlives the interpreter
//! crashes. This one is checked by process ID and stopped by `atexit` before Python takes its
//! threads down. Python code never runs on a tokio thread: results are made on the loop's own
//! thread (`completion.rs`), the rest goes through one delivery thread, in order.

use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::client::Cached;
use super::completion::Mailboxes;
use super::embedded::Embedded;
use super::{buffer, unpickle};

type Delivery = Box<dyn FnOnce(Python<'_>) + Send>;

/// How long jobs whose calls were cancelled get to be cancelled at Runpod at exit: the ID of one that
/// is being submitted comes after a second.
const CANCEL: Duration = Duration::from_secs(4);
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
    /// The client of Runpod.
    pub(super) client: Mutex<Option<Cached>>,
    /// What has ended and not been told to its loop yet.
    pub(super) mailboxes: Mailboxes,
}

static CURRENT: AtomicPtr<Context> = AtomicPtr::new(std::ptr::null_mut());

/// Returns this process's context, made now if need be; a forked child gets its own.
///
/// # Errors
/// Where the system gives no threads.
pub(super) fn context(py: Python<'_>) -> PyResult<&'static Context> {
    if let Some(context) = existing() {
        return Ok(context);
    }
    end_at_exit(py)?;
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

/// Has the runtime stopped before the interpreter takes its threads down.
fn end_at_exit(py: Python<'_>) -> PyResult<()> {
    // A forked child inherits what is registered.
    static IS_REGISTERED: AtomicBool = AtomicBool::new(false);
    if !IS_REGISTERED.swap(true, Ordering::AcqRel) {
        let shutdown = py.import("runpod_flash._core")?.getattr("shutdown")?;
        py.import("atexit")?.call_method1("register", (shutdown,))?;
    }
    Ok(())
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
            client: Mutex::new(None),
            mailboxes: Mailboxes::default(),
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

    /// Whether the process is ending, so that nothing more can be called.
    pub(super) fn is_stopped(&self) -> bool {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Ends the runtime and the delivery thread; what was delivered before is still run.
    pub(super) fn stop(&self) {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((.., client)) = client.filter(|_| !self.is_stopped()) {
            // Calls that the program's end cancels: their jobs must not run on.
            _ = self.handle.block_on(async { tokio::time::timeout(CANCEL, client.end()).await });
        }
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
