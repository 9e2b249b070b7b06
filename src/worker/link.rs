//! The writing half of a worker's connection.
//!
//! A small frame is written at once by the thread that has it, so that a line printed just before
//! a crash has left the process; what the socket does not take goes to a writer thread, which
//! keeps the event loop free while large results leave.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use serde::Serialize;

use super::error::WorkerError;
use crate::wire::{Frame, FrameKind};

/// Frames up to this many bytes are tried at once.
const INLINE: usize = 128 * 1024;
/// Senders wait while more bytes than this are queued.
const QUEUE_LIMIT: usize = 16 << 20;

/// Bytes that stay where their owner put them until they are written.
pub trait Segment: Send {
    /// The bytes; the same memory on every call.
    fn bytes(&self) -> &[u8];
}

impl Segment for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl Segment for bytes::Bytes {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// The writing half; shared by every thread that sends.
pub struct Link {
    socket: Arc<UnixStream>,
    state: Mutex<State>,
    wake: Condvar,
    drained: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Outgoing>,
    queued: usize,
    writing: bool,
    closed: bool,
}

struct Outgoing {
    segments: Vec<Box<dyn Segment>>,
    length: usize,
    written: usize,
}

impl Outgoing {
    fn rest(&self) -> Vec<IoSlice<'_>> {
        let mut skip = self.written;
        let mut slices = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            let bytes = segment.bytes();
            if skip >= bytes.len() {
                skip -= bytes.len();
            } else {
                slices.push(IoSlice::new(&bytes[skip..]));
                skip = 0;
            }
        }
        slices
    }

    fn is_done(&self) -> bool {
        self.written >= self.length
    }
}

/// Takes over the descriptor that the supervisor passed.
///
/// # Errors
/// What the system reports when it is not an open descriptor.
pub fn adopt_descriptor(descriptor: RawFd) -> io::Result<UnixStream> {
    if descriptor <= 2 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    #[expect(unsafe_code, reason = "the supervisor passes the socket as a number")]
    // SAFETY: the supervisor opened this descriptor for this process alone and nothing here has
    // used it yet; a number that is not open is refused by the first system call on it.
    let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
    rustix::io::fcntl_setfd(&owned, rustix::io::FdFlags::CLOEXEC)?;
    Ok(UnixStream::from(owned))
}

impl Link {
    /// Starts the writer thread on `socket`; it calls `released` after it has dropped a frame's
    /// segments, so that their owner can take its memory back.
    ///
    /// # Errors
    /// [`WorkerError::Process`] when the thread cannot be started.
    pub fn start(
        socket: Arc<UnixStream>,
        released: impl Fn() + Send + 'static,
    ) -> Result<Arc<Self>, WorkerError> {
        let link = Arc::new(Self {
            socket,
            state: Mutex::new(State::default()),
            wake: Condvar::new(),
            drained: Condvar::new(),
        });
        let writer = Arc::clone(&link);
        std::thread::Builder::new()
            .name("flash-writer".to_owned())
            .spawn(move || writer.write_queue(&released))
            .map_err(WorkerError::Process)?;
        Ok(link)
    }

    /// Sends a frame whose buffers are `segments`; may wait while too much is queued.
    ///
    /// # Errors
    /// [`WorkerError::Wire`] when the head cannot be serialised or the socket failed,
    /// [`WorkerError::Closed`] after [`Link::close`].
    pub fn send<H: Serialize>(
        &self,
        kind: FrameKind,
        flags: u16,
        call_id: u64,
        head: &H,
        segments: Vec<Box<dyn Segment>>,
    ) -> Result<(), WorkerError> {
        let frame = Frame::new(kind, call_id, head, Vec::new())?;
        self.push(frame, flags, segments)
    }

    /// Sends a frame without a head.
    ///
    /// # Errors
    /// As [`Link::send`].
    pub fn send_empty(
        &self,
        kind: FrameKind,
        flags: u16,
        call_id: u64,
        segments: Vec<Box<dyn Segment>>,
    ) -> Result<(), WorkerError> {
        self.push(Frame::empty(kind, call_id), flags, segments)
    }

    /// Waits until everything sent so far has been handed to the kernel.
    pub fn flush(&self) {
        let mut state = self.lock();
        while (state.writing || !state.queue.is_empty()) && !state.closed {
            state = self.drained.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Flushes, then refuses further frames.
    pub fn close(&self) {
        self.flush();
        self.lock().closed = true;
        self.wake.notify_all();
        self.drained.notify_all();
    }

    fn push(&self, mut frame: Frame, flags: u16, segments: Vec<Box<dyn Segment>>) -> Result<(), WorkerError> {
        frame.flags = flags;
        let lengths: Vec<usize> = segments.iter().map(|segment| segment.bytes().len()).collect();
        let prefix = frame.encode_prefix_for(&lengths);
        let length = prefix.len() + lengths.iter().sum::<usize>();
        let mut all: Vec<Box<dyn Segment>> = Vec::with_capacity(segments.len() + 1);
        all.push(Box::new(prefix));
        all.extend(segments);
        self.enqueue(Outgoing { segments: all, length, written: 0 })
    }

    fn enqueue(&self, mut outgoing: Outgoing) -> Result<(), WorkerError> {
        let mut state = self.lock();
        if state.closed {
            return Err(WorkerError::Closed);
        }
        if state.queue.is_empty() && !state.writing && outgoing.length <= INLINE {
            // The lock keeps the order; the call does not block.
            if let Ok(written) = self.write(&outgoing, SendFlags::DONTWAIT) {
                outgoing.written = written;
                if outgoing.is_done() {
                    return Ok(());
                }
            }
        }
        while state.queued > QUEUE_LIMIT && !state.closed {
            state = self.drained.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.queued += outgoing.length;
        if outgoing.written > 0 {
            // Its first bytes are on the socket: nothing may come between. The lock was held
            // since, unless this waited, and it only waits while the queue is not empty.
            state.queue.push_front(outgoing);
        } else {
            state.queue.push_back(outgoing);
        }
        self.wake.notify_one();
        Ok(())
    }

    fn write(&self, outgoing: &Outgoing, flags: SendFlags) -> io::Result<usize> {
        let slices = outgoing.rest();
        // The kernel takes at most this many pieces at a time.
        let slices = &slices[..slices.len().min(512)];
        Ok(sendmsg(&*self.socket, slices, &mut SendAncillaryBuffer::default(), flags)?)
    }

    fn write_queue(&self, released: &impl Fn()) {
        loop {
            let mut outgoing = {
                let mut state = self.lock();
                loop {
                    if let Some(next) = state.queue.pop_front() {
                        state.writing = true;
                        break next;
                    }
                    if state.closed {
                        return;
                    }
                    state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            };
            let mut failed = false;
            while !outgoing.is_done() && !failed {
                match self.write(&outgoing, SendFlags::empty()) {
                    Ok(written) => outgoing.written += written,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // The watchdog ends the process when the parent is gone.
                    Err(_) => failed = true,
                }
            }
            let length = outgoing.length;
            drop(outgoing);
            released();
            let mut state = self.lock();
            state.writing = false;
            state.queued = state.queued.saturating_sub(length);
            if failed {
                state.closed = true;
                state.queue.clear();
            }
            drop(state);
            self.drained.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::{OutputHead, OutputStream};

    async fn read_frames(socket: UnixStream, count: usize) -> Vec<Frame> {
        socket.set_nonblocking(true).unwrap();
        let mut socket = tokio::net::UnixStream::from_std(socket).unwrap();
        let mut frames = Vec::new();
        for _ in 0..count {
            frames.push(Frame::read_from(&mut socket).await.unwrap());
        }
        frames
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn frames_sent_by_many_threads_arrive_whole_and_in_order() {
        let (parent, worker) = UnixStream::pair().unwrap();
        let link = Link::start(Arc::new(worker), || ()).unwrap();
        let threads: Vec<_> = (0..4u64)
            .map(|thread| {
                let link = Arc::clone(&link);
                std::thread::spawn(move || {
                    for index in 0..40u64 {
                        let head = OutputHead { stream: OutputStream::Stdout, job: None };
                        let length = if index % 7 == 0 { 300_000 } else { 100 };
                        let text = vec![u8::try_from(index).unwrap(); length];
                        link.send(FrameKind::Output, 0, thread, &head, vec![Box::new(text)]).unwrap();
                    }
                })
            })
            .collect();
        let frames = read_frames(parent, 160).await;
        for thread in threads {
            thread.join().unwrap();
        }
        for thread in 0..4 {
            let seen: Vec<u8> = frames
                .iter()
                .filter(|frame| frame.call_id == thread)
                .map(|frame| frame.buffers[0][0])
                .collect();
            assert_eq!(seen, (0..40).collect::<Vec<u8>>());
        }
        assert!(frames.iter().all(|frame| frame.buffers[0].iter().all(|byte| *byte == frame.buffers[0][0])));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn closed_link_has_written_everything_and_refuses_more() {
        let (parent, worker) = UnixStream::pair().unwrap();
        let link = Link::start(Arc::new(worker), || ()).unwrap();
        let closing = Arc::clone(&link);
        let closer = std::thread::spawn(move || {
            closing.send_empty(FrameKind::HttpChunk, 0, 1, vec![Box::new(vec![7u8; 3 << 20])]).unwrap();
            closing.close();
        });
        let frames = read_frames(parent, 1).await;
        closer.join().unwrap();
        assert_eq!(frames[0].buffers[0].len(), 3 << 20);
        assert!(matches!(link.send_empty(FrameKind::Stop, 0, 0, Vec::new()), Err(WorkerError::Closed)));
    }
}
