//! The reading half: takes frames off the socket and hands them to the interpreter.
//!
//! A call's buffers are read straight into memory that the interpreter owns, so that numpy views
//! what the socket delivered.

use std::io::{self, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use bytes::Bytes;

use super::error::WorkerError;
use super::link::Link;
use super::nested::Nested;
use crate::wire::frame::{FROM_WORKER, Header, read_prefix};
use crate::wire::message::{AnswerHead, CallHead, ErrorReport, Failure, LoadHead};
use crate::wire::{Frame, FrameKind, WireError};

/// What the loop needs of the interpreter that runs user code.
///
/// Methods are called from the reader's thread, in the order of the frames, and must only hand
/// over: user code runs elsewhere.
pub trait Interpreter {
    /// Memory of the interpreter that the socket is read into.
    type Memory: AsMut<[u8]>;

    /// Makes one piece of memory for each length, in bytes.
    ///
    /// # Errors
    /// [`WorkerError::Memory`] when there is not enough, [`WorkerError::Finished`] at shutdown.
    fn allocate(&self, lengths: &[usize]) -> Result<Vec<Self::Memory>, WorkerError>;

    /// Load user code.
    ///
    /// # Errors
    /// [`WorkerError::Finished`] at shutdown; so for the other methods.
    fn load(&self, head: LoadHead) -> Result<(), WorkerError>;

    /// Run a call; exactly one `Answer` must follow.
    ///
    /// # Errors
    /// As for [`Interpreter::load`].
    fn call(&self, id: u64, head: CallHead, buffers: Vec<Self::Memory>) -> Result<(), WorkerError>;

    /// The caller of a call no longer waits.
    ///
    /// # Errors
    /// As for [`Interpreter::load`].
    fn cancel(&self, id: u64) -> Result<(), WorkerError>;

    /// Finish what runs, then exit.
    ///
    /// # Errors
    /// As for [`Interpreter::load`].
    fn stop(&self) -> Result<(), WorkerError>;
}

/// Reads frames until the connection ends; starts no thread of its own.
///
/// # Errors
/// What ended it: [`WireError::Closed`] when the parent closed the connection between two frames.
pub fn run<I: Interpreter>(
    socket: &UnixStream,
    interpreter: &I,
    link: &Arc<Link>,
    nested: &Arc<Nested>,
) -> Result<(), WorkerError> {
    let mut reader = BufReader::with_capacity(16 * 1024, socket);
    let ended = loop {
        if let Err(error) = next(&mut reader, interpreter, link, nested) {
            break error;
        }
    };
    nested.close();
    Err(ended)
}

fn next<I: Interpreter>(
    reader: &mut impl Read,
    interpreter: &I,
    link: &Link,
    nested: &Nested,
) -> Result<(), WorkerError> {
    let (header, head, lengths) = read_prefix(reader)?;
    let is_nested = header.flags & FROM_WORKER != 0;
    match header.kind {
        FrameKind::Call if !is_nested => call(reader, interpreter, link, &header, head, &lengths),
        FrameKind::Answer | FrameKind::Chunk if is_nested => {
            let buffers =
                lengths.into_iter().map(|length| read_owned(reader, length)).collect::<Result<_, _>>()?;
            let frame = Frame {
                kind: header.kind,
                flags: header.flags,
                call_id: header.call_id,
                head: head.into(),
                buffers,
            };
            nested.receive(&frame);
            Ok(())
        }
        kind => {
            discard(reader, &lengths)?;
            match kind {
                FrameKind::Load => interpreter.load(parse(&header, head)?),
                FrameKind::Cancel if !is_nested => interpreter.cancel(header.call_id),
                FrameKind::Stop => interpreter.stop(),
                // A kind that a newer parent sends and this worker has no use for.
                _ => Ok(()),
            }
        }
    }
}

fn call<I: Interpreter>(
    reader: &mut impl Read,
    interpreter: &I,
    link: &Link,
    header: &Header,
    head: Vec<u8>,
    lengths: &[usize],
) -> Result<(), WorkerError> {
    let refuse = |error: &dyn std::error::Error, kind: &str| {
        let report = ErrorReport::new(Failure::Internal, kind, error.to_string());
        link.send(FrameKind::Answer, 0, header.call_id, &AnswerHead::Failed(Box::new(report)), Vec::new())
    };
    let mut buffers = match interpreter.allocate(lengths) {
        Ok(buffers) => buffers,
        Err(error @ WorkerError::Memory { .. }) => {
            discard(reader, lengths)?;
            return refuse(&error, "MemoryError");
        }
        Err(error) => return Err(error),
    };
    for buffer in &mut buffers {
        reader.read_exact(buffer.as_mut()).map_err(WireError::from)?;
    }
    match parse::<CallHead>(header, head) {
        Ok(head) => interpreter.call(header.call_id, head, buffers),
        Err(error) => refuse(&error, "WireError"),
    }
}

fn parse<H: serde::de::DeserializeOwned>(header: &Header, head: Vec<u8>) -> Result<H, WireError> {
    let mut frame = Frame::empty(header.kind, header.call_id);
    frame.head = head.into();
    frame.parse_head()
}

fn read_owned(reader: &mut impl Read, length: usize) -> Result<Bytes, WireError> {
    let mut buffer = Vec::with_capacity(length.min(1 << 30));
    let read = reader.take(length as u64).read_to_end(&mut buffer)?;
    if read < length {
        return Err(WireError::Closed);
    }
    Ok(buffer.into())
}

fn discard(reader: &mut impl Read, lengths: &[usize]) -> Result<(), WireError> {
    let total: u64 = lengths.iter().map(|length| *length as u64).sum();
    let copied = io::copy(&mut reader.take(total), &mut io::sink())?;
    if copied < total { Err(WireError::Closed) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;
    use crate::endpoint::EndpointKind;
    use crate::wire::message::{Input, Source};

    #[derive(Default)]
    struct Recorder {
        seen: Mutex<Vec<String>>,
        limit: usize,
    }

    impl Recorder {
        fn note(&self, what: String) {
            self.seen.lock().unwrap().push(what);
        }
    }

    impl Interpreter for Recorder {
        type Memory = Vec<u8>;

        fn allocate(&self, lengths: &[usize]) -> Result<Vec<Vec<u8>>, WorkerError> {
            let bytes = lengths.iter().sum();
            if bytes > self.limit {
                return Err(WorkerError::Memory { bytes });
            }
            Ok(lengths.iter().map(|length| vec![0; *length]).collect())
        }

        fn load(&self, head: LoadHead) -> Result<(), WorkerError> {
            self.note(format!("load {}", head.endpoint));
            Ok(())
        }

        fn call(&self, id: u64, head: CallHead, buffers: Vec<Vec<u8>>) -> Result<(), WorkerError> {
            let sizes: Vec<usize> = buffers.iter().map(Vec::len).collect();
            self.note(format!("call {id} {} {sizes:?}", head.callable));
            Ok(())
        }

        fn cancel(&self, id: u64) -> Result<(), WorkerError> {
            self.note(format!("cancel {id}"));
            Ok(())
        }

        fn stop(&self) -> Result<(), WorkerError> {
            self.note("stop".to_owned());
            Ok(())
        }
    }

    fn call_frame(id: u64, buffers: Vec<Bytes>) -> Frame {
        let head = CallHead {
            endpoint: "e".to_owned(),
            callable: "f".to_owned(),
            input: Input::Json,
            job: None,
            chain: Vec::new(),
            stream: false,
        };
        Frame::new(FrameKind::Call, id, &head, buffers).unwrap()
    }

    /// Sends `frames`, closes, and returns what the interpreter saw and what was answered.
    fn exchange(frames: Vec<Frame>, limit: usize) -> (Vec<String>, Option<Frame>) {
        let (mut parent, worker) = UnixStream::pair().unwrap();
        let worker = Arc::new(worker);
        let link = Link::start(Arc::clone(&worker), || ()).unwrap();
        let nested = Nested::new(Arc::clone(&link));
        let sender = std::thread::spawn(move || {
            for frame in frames {
                frame.write_to(&mut parent).unwrap();
            }
            parent.shutdown(std::net::Shutdown::Write).unwrap();
            parent
        });
        let recorder = Recorder { limit, ..Recorder::default() };
        let ended = run(&worker, &recorder, &link, &nested);
        assert!(matches!(ended, Err(WorkerError::Wire(WireError::Closed))), "{ended:?}");
        link.close();
        let mut parent = sender.join().unwrap();
        drop((nested, link, worker));
        let answer = read_prefix(&mut parent).ok().map(|(header, head, _)| {
            let mut frame = Frame::empty(header.kind, header.call_id);
            frame.head = head.into();
            frame
        });
        (recorder.seen.into_inner().unwrap(), answer)
    }

    #[test]
    fn frames_reach_the_interpreter_in_order() {
        let load = LoadHead {
            endpoint: "e".to_owned(),
            kind: EndpointKind::Queue,
            source: Source::Value { sys_path: Vec::new() },
            callables: Vec::new(),
            routes: Vec::new(),
            max_concurrency: 1,
            env: BTreeMap::new(),
            working_directory: None,
        };
        let frames = vec![
            Frame::new(FrameKind::Load, 0, &load, Vec::new()).unwrap(),
            call_frame(5, vec![Bytes::from_static(b"{}"), Bytes::from(vec![1; 100_000])]),
            Frame::empty(FrameKind::Cancel, 5),
            Frame::empty(FrameKind::Stop, 0),
        ];
        let (seen, _) = exchange(frames, usize::MAX);
        assert_eq!(seen, ["load e", "call 5 f [2, 100000]", "cancel 5", "stop"]);
    }

    #[test]
    fn input_that_does_not_fit_in_memory_fails_that_call_only() {
        let frames = vec![
            call_frame(1, vec![Bytes::from(vec![0; 1000])]),
            call_frame(2, vec![Bytes::from_static(b"{}")]),
        ];
        let (seen, answer) = exchange(frames, 500);
        assert_eq!(seen, ["call 2 f [2]"]);
        let answer = answer.unwrap();
        let AnswerHead::Failed(report) = answer.parse_head().unwrap() else { panic!("not a failure") };
        assert_eq!((answer.call_id, report.error_type.as_str()), (1, "MemoryError"));
    }
}
