//! A worker without Python: this test binary, executed again, speaks frames as the real one does.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::wire::frame::{FROM_WORKER, read_prefix};
use crate::wire::message::{
    AnswerHead, CallHead, CallableDescription, ChunkHead, ErrorReport, Failure, HttpHead, HttpStartHead,
    Input, LoadHead, ReadyHead,
};
use crate::wire::{Frame, FrameKind};

#[derive(Clone)]
struct Link {
    socket: Arc<Mutex<UnixStream>>,
    cancelled: Arc<Mutex<HashSet<u64>>>,
    answers: Arc<Mutex<HashMap<u64, mpsc::Sender<Frame>>>>,
    endpoint: String,
}

impl Link {
    fn send(&self, frame: &Frame) {
        let _ = frame.write_to(&mut *self.socket.lock().unwrap());
    }

    fn answer(&self, id: u64, head: &AnswerHead, buffers: Vec<Bytes>) {
        self.send(&Frame::new(FrameKind::Answer, id, head, buffers).unwrap());
    }

    fn json(&self, id: u64, value: &Value) {
        self.answer(id, &AnswerHead::Json, vec![value.to_string().into()]);
    }

    fn fail(&self, id: u64, failure: Failure, message: &str) {
        let mut report = ErrorReport::new(failure, "ValueError", message);
        report.traceback = "Traceback (most recent call last): …".to_owned();
        self.answer(id, &AnswerHead::Failed(Box::new(report)), Vec::new());
    }

    fn is_cancelled(&self, id: u64) -> bool {
        self.cancelled.lock().unwrap().contains(&id)
    }
}

/// The program of a fake worker process; does nothing as a test.
#[test]
#[ignore = "runs as a worker process of the other tests"]
fn worker_process() {
    let Ok(descriptor) = std::env::var("FLASH_WORKER_FD") else { return };
    #[expect(unsafe_code, reason = "the socket is inherited by number")]
    // SAFETY: the number is that of a socket that this process inherited and nobody else here uses.
    let mut socket = unsafe { UnixStream::from_raw_fd(descriptor.parse().unwrap()) };
    let mut link = Link {
        socket: Arc::new(Mutex::new(socket.try_clone().unwrap())),
        cancelled: Arc::default(),
        answers: Arc::default(),
        endpoint: String::new(),
    };
    while let Some(frame) = read(&mut socket) {
        match frame.kind {
            FrameKind::Load => load(&mut link, &frame.parse_head().unwrap()),
            FrameKind::Call => {
                let link = link.clone();
                thread::spawn(move || call(&link, &frame));
            }
            FrameKind::Cancel => {
                link.cancelled.lock().unwrap().insert(frame.call_id);
            }
            FrameKind::Stop => quit(0),
            _ if frame.flags & FROM_WORKER != 0 => {
                if let Some(waiting) = link.answers.lock().unwrap().get(&frame.call_id) {
                    let _ = waiting.send(frame);
                }
            }
            _ => {}
        }
    }
    quit(0);
}

#[expect(clippy::exit, reason = "this is a process of its own")]
fn quit(code: i32) -> ! {
    std::process::exit(code)
}

fn read(socket: &mut UnixStream) -> Option<Frame> {
    let (header, head, lengths) = read_prefix(socket).ok()?;
    let mut buffers = Vec::new();
    for length in lengths {
        let mut buffer = vec![0; length];
        socket.read_exact(&mut buffer).ok()?;
        buffers.push(buffer.into());
    }
    Some(Frame {
        kind: header.kind,
        flags: header.flags,
        call_id: header.call_id,
        head: head.into(),
        buffers,
    })
}

fn load(link: &mut Link, head: &LoadHead) {
    link.endpoint.clone_from(&head.endpoint);
    match head.env.get("FAKE_LOAD").map(String::as_str) {
        Some("fail") => {
            let report = ErrorReport::new(Failure::Load, "ModuleNotFoundError", "no module named `torch`");
            return link.send(&Frame::new(FrameKind::LoadFailed, 0, &report, Vec::new()).unwrap());
        }
        Some("exit") => quit(7),
        Some("hang") => return,
        _ => {}
    }
    let callables = head.callables.iter().map(|name| CallableDescription {
        name: name.clone(),
        input_schema: json!({}),
        output_schema: None,
        doc: None,
        is_generator: false,
    });
    let ready = ReadyHead {
        pid: std::process::id(),
        python: "none".to_owned(),
        callables: callables.collect(),
        openapi: None,
        load_ms: 0,
    };
    link.send(&Frame::new(FrameKind::Ready, 0, &ready, Vec::new()).unwrap());
}

fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn raise(signal: rustix::process::Signal) -> ! {
    // Rust's own handler swallows the first SIGSEGV that no memory access caused.
    loop {
        let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
        thread::sleep(Duration::from_millis(1));
    }
}

fn call(link: &Link, frame: &Frame) {
    let head: CallHead = frame.parse_head().unwrap();
    let id = frame.call_id;
    let input = match &head.input {
        Input::Python { .. } => {
            if head.callable == "echo" {
                return link.answer(id, &AnswerHead::Python, frame.buffers.clone());
            }
            serde_json::from_slice(&frame.buffers[0]).unwrap_or(Value::Null)
        }
        Input::Json => serde_json::from_slice(&frame.buffers[0]).unwrap(),
        Input::Http(http) => return request(link, id, http, &frame.buffers[0]),
    };
    match head.callable.as_str() {
        "echo" | "C.run" | "C.info" => link.json(id, &input),
        "job" => link.json(id, &json!(head.job)),
        "sleep" => {
            for _ in 0..input.as_u64().unwrap_or(0) / 5 {
                if link.is_cancelled(id) {
                    return link.fail(id, Failure::Cancelled, "cancelled");
                }
                thread::sleep(Duration::from_millis(5));
            }
            link.json(id, &input);
        }
        "hang" => thread::sleep(Duration::from_hours(1)),
        "exit" => {
            say("about to exit");
            quit(3);
        }
        "segfault" => raise(rustix::process::Signal::SEGV),
        "kill" => raise(rustix::process::Signal::KILL),
        "kill_once" => {
            let marker = input.as_str().unwrap();
            if std::fs::File::create_new(marker).is_ok() {
                raise(rustix::process::Signal::KILL);
            }
            link.json(id, &json!("survived"));
        }
        "hang_once" => {
            if std::fs::File::create_new(input.as_str().unwrap()).is_ok() {
                thread::sleep(Duration::from_hours(1));
            }
            link.json(id, &json!("survived"));
        }
        "garbage" => {
            use std::io::Write;
            link.socket.lock().unwrap().write_all(&[7; 100]).unwrap();
        }
        "system_exit" => {
            let report = ErrorReport::new(Failure::Raised, "SystemExit", "the function called sys.exit(3)");
            link.answer(id, &AnswerHead::Failed(Box::new(report)), Vec::new());
        }
        "raise" => link.fail(id, Failure::Raised, "boom"),
        "pid" => link.json(id, &json!(std::process::id())),
        "variables" => {
            let value = |name: &Value| json!(std::env::var(name.as_str().unwrap()).ok());
            let values: Vec<Value> = input.as_array().unwrap().iter().map(value).collect();
            link.json(id, &values.into());
        }
        "print" => {
            say(input.as_str().unwrap());
            link.json(id, &Value::Null);
        }
        "child" => {
            let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
            link.json(id, &json!(child.id()));
            let _ = child.wait();
        }
        "items" => {
            let is_json = head.input == Input::Json;
            for number in 0..input.as_u64().unwrap() {
                let kind = if is_json { ChunkHead::Json } else { ChunkHead::Python };
                let item = vec![number.to_string().into()];
                link.send(&Frame::new(FrameKind::Chunk, id, &kind, item).unwrap());
            }
            link.answer(id, &AnswerHead::End, Vec::new());
        }
        "endless" => {
            for number in 0u64.. {
                if link.is_cancelled(id) {
                    return link.fail(id, Failure::Cancelled, "cancelled");
                }
                let item = vec![number.to_string().into()];
                link.send(&Frame::new(FrameKind::Chunk, id, &ChunkHead::Python, item).unwrap());
                thread::sleep(Duration::from_millis(1));
            }
        }
        "progress" => {
            let update = vec![Bytes::from_static(b"\"half\"")];
            link.send(&Frame::new(FrameKind::Chunk, id, &ChunkHead::Progress, update).unwrap());
            while !link.is_cancelled(id) {
                thread::sleep(Duration::from_millis(2));
            }
            link.fail(id, Failure::Cancelled, "cancelled");
        }
        "openai" => openai(link, id, &input),
        "nested" => nested(link, id, &head, &input),
        other => link.fail(id, Failure::NotFound, other),
    }
}

/// Answers as the vLLM worker does: ready-made events, or one item.
fn openai(link: &Link, id: u64, input: &Value) {
    let item = |value: &Value| {
        let item = vec![value.to_string().into()];
        link.send(&Frame::new(FrameKind::Chunk, id, &ChunkHead::Json, item).unwrap());
    };
    let asked = &input["openai_input"];
    if asked["fail"] == true {
        return link.fail(id, Failure::Raised, "boom");
    }
    if asked["stream"] != true {
        item(&json!({ "route": input["openai_route"], "asked": asked }));
        return link.answer(id, &AnswerHead::End, Vec::new());
    }
    item(&json!("data: {\"n\": 1}\n\n"));
    if asked["forever"] == true {
        while !link.is_cancelled(id) {
            thread::sleep(Duration::from_millis(2));
        }
        return link.fail(id, Failure::Cancelled, "cancelled");
    }
    item(&json!("data: é\n\n"));
    item(&json!("data: [DONE]\n\n"));
    link.answer(id, &AnswerHead::End, Vec::new());
}

/// Calls another endpoint: `[endpoint, callable, input]`.
fn nested(link: &Link, id: u64, head: &CallHead, input: &Value) {
    let mut chain = head.chain.clone();
    chain.push(link.endpoint.clone());
    let inner = CallHead {
        endpoint: input[0].as_str().unwrap().to_owned(),
        callable: input[1].as_str().unwrap().to_owned(),
        input: Input::Python { constructor: None, function: None },
        job: None,
        chain,
        stream: false,
    };
    let (sender, answers) = mpsc::channel();
    link.answers.lock().unwrap().insert(id, sender);
    let mut frame = Frame::new(FrameKind::Call, id, &inner, vec![input[2].to_string().into()]).unwrap();
    frame.flags |= FROM_WORKER;
    link.send(&frame);
    let answer = answers.recv().unwrap();
    match answer.parse_head().unwrap() {
        failed @ AnswerHead::Failed(_) => link.answer(id, &failed, Vec::new()),
        _ if head.input == Input::Json => link.answer(id, &AnswerHead::Json, answer.buffers),
        _ => link.answer(id, &AnswerHead::Python, answer.buffers),
    }
}

fn request(link: &Link, id: u64, http: &HttpHead, body: &Bytes) {
    let start = HttpStartHead {
        status: 201,
        headers: vec![(b"x-path".to_vec().into(), http.path.clone().into_bytes().into())],
    };
    let chunk = |bytes: Bytes| {
        link.send(&Frame::new(FrameKind::HttpChunk, id, &(), vec![bytes]).unwrap());
    };
    if http.path == "/fail" {
        return link.fail(id, Failure::Raised, "boom");
    }
    link.send(&Frame::new(FrameKind::HttpStart, id, &start, Vec::new()).unwrap());
    match http.path.as_str() {
        "/kill" => {
            chunk(Bytes::from_static(b"first"));
            raise(rustix::process::Signal::KILL);
        }
        "/endless" => {
            while !link.is_cancelled(id) {
                chunk(Bytes::from_static(b"tick"));
                thread::sleep(Duration::from_millis(1));
            }
            return link.fail(id, Failure::Cancelled, "cancelled");
        }
        _ => chunk(body.clone()),
    }
    link.answer(id, &AnswerHead::Http, Vec::new());
}
