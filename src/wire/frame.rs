//! Frames between the parent and a worker process.
//!
//! Layout, little-endian: magic `FL`, version (u8), kind (u8), flags (u16), buffer count (u16),
//! call ID (u64), head length (u32), reserved (u32); then one u64 length per buffer; then the head;
//! then the buffers. A buffer length with the top bit set is reserved for descriptors of shared
//! memory, so that the fast path changes no caller.

use std::io::{Read, Write};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::error::WireError;

const MAGIC: [u8; 2] = *b"FL";
/// Version of the frame layout and of the heads.
pub const VERSION: u8 = 1;
/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 24;
const MAX_HEAD: usize = 64 << 20;
const MAX_BUFFER: u64 = 1 << 46;
/// Flag: the call that this frame belongs to was made by the worker (a nested call).
pub const FROM_WORKER: u16 = 1;

/// What a frame carries. Heads are the structs of [`super::message`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Parent → worker: load user code (`LoadHead`).
    Load = 1,
    /// Worker → parent: loaded (`ReadyHead`).
    Ready = 2,
    /// Worker → parent: the code could not be loaded (`ErrorReport`).
    LoadFailed = 3,
    /// Either way: a call (`CallHead`).
    Call = 4,
    /// Either way: the end of a call (`AnswerHead`).
    Answer = 5,
    /// Either way: one item of a generator (`ChunkHead`).
    Chunk = 6,
    /// Either way: the caller no longer waits (empty head).
    Cancel = 7,
    /// Worker → parent: a line of output (`OutputHead`, the text in buffer 0).
    Output = 8,
    /// Worker → parent: status and headers of an HTTP answer (`HttpStartHead`).
    HttpStart = 9,
    /// Worker → parent: a piece of an HTTP body (empty head, bytes in buffer 0).
    HttpChunk = 10,
    /// Parent → worker: finish what runs, then exit (empty head).
    Stop = 11,
    /// Worker → parent: packages are needed (`EnvironmentHead`); answered like a nested call, with
    /// the interpreter's path as JSON.
    Environment = 12,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Load,
            2 => Self::Ready,
            3 => Self::LoadFailed,
            4 => Self::Call,
            5 => Self::Answer,
            6 => Self::Chunk,
            7 => Self::Cancel,
            8 => Self::Output,
            9 => Self::HttpStart,
            10 => Self::HttpChunk,
            11 => Self::Stop,
            12 => Self::Environment,
            _ => return None,
        })
    }
}

/// One frame with its buffers in memory.
#[derive(Debug, Clone)]
pub struct Frame {
    /// What it carries.
    pub kind: FrameKind,
    /// Flags, see [`FROM_WORKER`].
    pub flags: u16,
    /// The call it belongs to; 0 for none.
    pub call_id: u64,
    /// `MessagePack` head.
    pub head: Bytes,
    /// Raw buffers.
    pub buffers: Vec<Bytes>,
}

/// A parsed header: what follows and how long it is.
#[derive(Debug, Clone)]
pub struct Header {
    /// What the frame carries.
    pub kind: FrameKind,
    /// Flags.
    pub flags: u16,
    /// Call ID.
    pub call_id: u64,
    /// Bytes of the head.
    pub head_len: usize,
    /// Number of buffers.
    pub buffer_count: usize,
}

impl Frame {
    /// Builds a frame from a serialisable head.
    ///
    /// # Errors
    /// [`WireError::Malformed`] when the head cannot be serialised or is longer than 64 MiB, or when
    /// there are more than 65,535 buffers.
    pub fn new<H: serde::Serialize>(
        kind: FrameKind,
        call_id: u64,
        head: &H,
        buffers: Vec<Bytes>,
    ) -> Result<Self, WireError> {
        let head = rmp_serde::to_vec_named(head)
            .map_err(|error| WireError::Malformed { reason: error.to_string() })?;
        if head.len() > MAX_HEAD {
            return Err(WireError::Malformed {
                reason: format!("a head of {} bytes is too long", head.len()),
            });
        }
        if buffers.len() > usize::from(u16::MAX) {
            let reason = format!("{} buffers are too many for one call", buffers.len());
            return Err(WireError::Malformed { reason });
        }
        Ok(Self { kind, flags: 0, call_id, head: head.into(), buffers })
    }

    /// Builds a frame without head or buffers.
    pub fn empty(kind: FrameKind, call_id: u64) -> Self {
        Self { kind, flags: 0, call_id, head: Bytes::new(), buffers: Vec::new() }
    }

    /// Reads the head.
    ///
    /// # Errors
    /// [`WireError::Malformed`] when the head is not an `H`.
    pub fn parse_head<H: serde::de::DeserializeOwned>(&self) -> Result<H, WireError> {
        rmp_serde::from_slice(&self.head)
            .map_err(|error| WireError::Malformed { reason: format!("{:?} head: {error}", self.kind) })
    }

    /// Returns header, buffer lengths and head as one piece; the buffers follow it on the socket.
    pub fn encode_prefix(&self) -> Vec<u8> {
        let lengths: Vec<usize> = self.buffers.iter().map(Bytes::len).collect();
        self.encode_prefix_for(&lengths)
    }

    /// The same for buffers of these lengths that are kept elsewhere (in a worker: by Python).
    pub fn encode_prefix_for(&self, lengths: &[usize]) -> Vec<u8> {
        let mut prefix = Vec::with_capacity(HEADER_LEN + 8 * lengths.len() + self.head.len());
        prefix.extend_from_slice(&MAGIC);
        prefix.push(VERSION);
        prefix.push(self.kind as u8);
        prefix.extend_from_slice(&self.flags.to_le_bytes());
        prefix.extend_from_slice(&u16::try_from(lengths.len()).unwrap_or(u16::MAX).to_le_bytes());
        prefix.extend_from_slice(&self.call_id.to_le_bytes());
        prefix.extend_from_slice(&u32::try_from(self.head.len()).unwrap_or(u32::MAX).to_le_bytes());
        prefix.extend_from_slice(&[0; 4]);
        for length in lengths {
            prefix.extend_from_slice(&(*length as u64).to_le_bytes());
        }
        prefix.extend_from_slice(&self.head);
        prefix
    }

    /// Writes the frame to a blocking writer.
    ///
    /// # Errors
    /// [`WireError::Io`] when the writer fails.
    pub fn write_to(&self, writer: &mut impl Write) -> Result<(), WireError> {
        writer.write_all(&self.encode_prefix())?;
        for buffer in &self.buffers {
            writer.write_all(buffer)?;
        }
        writer.flush()?;
        Ok(())
    }

    /// Writes the frame to an asynchronous writer.
    ///
    /// # Errors
    /// [`WireError::Io`] when the writer fails.
    pub async fn write_to_async(&self, writer: &mut (impl AsyncWrite + Unpin)) -> Result<(), WireError> {
        writer.write_all(&self.encode_prefix()).await?;
        for buffer in &self.buffers {
            writer.write_all(buffer).await?;
        }
        writer.flush().await?;
        Ok(())
    }

    /// Reads one frame; buffers are split out of one allocation each.
    ///
    /// # Errors
    /// [`WireError::Closed`] at end of file before a frame, otherwise what went wrong.
    pub async fn read_from(reader: &mut (impl AsyncRead + Unpin)) -> Result<Self, WireError> {
        let mut fixed = [0u8; HEADER_LEN];
        let first = reader.read(&mut fixed).await?;
        if first == 0 {
            return Err(WireError::Closed);
        }
        reader.read_exact(&mut fixed[first..]).await?;
        let header = parse_header(&fixed)?;
        let mut lengths = vec![0u8; 8 * header.buffer_count];
        reader.read_exact(&mut lengths).await?;
        let lengths = parse_lengths(&lengths)?;
        let mut head = vec![0u8; header.head_len];
        reader.read_exact(&mut head).await?;
        let mut buffers = Vec::with_capacity(lengths.len());
        for length in lengths {
            let mut buffer = Vec::new();
            buffer.try_reserve_exact(length).map_err(|_| no_memory(length))?;
            let mut rest = reader.take(length as u64);
            while buffer.len() < length {
                if rest.read_buf(&mut buffer).await? == 0 {
                    return Err(WireError::Closed);
                }
            }
            buffers.push(buffer.into());
        }
        Ok(Self {
            kind: header.kind,
            flags: header.flags,
            call_id: header.call_id,
            head: head.into(),
            buffers,
        })
    }
}

/// Reads header, buffer lengths and head from a blocking reader; the caller reads the buffers,
/// into memory of its own choice (in a worker: Python's).
///
/// # Errors
/// [`WireError::Closed`] at end of file before a frame, otherwise what went wrong.
pub fn read_prefix(reader: &mut impl Read) -> Result<(Header, Vec<u8>, Vec<usize>), WireError> {
    let mut fixed = [0u8; HEADER_LEN];
    let first = loop {
        match reader.read(&mut fixed) {
            Ok(0) => return Err(WireError::Closed),
            Ok(read) => break read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    };
    reader.read_exact(&mut fixed[first..])?;
    let header = parse_header(&fixed)?;
    let mut lengths = vec![0u8; 8 * header.buffer_count];
    reader.read_exact(&mut lengths)?;
    let lengths = parse_lengths(&lengths)?;
    let mut head = vec![0u8; header.head_len];
    reader.read_exact(&mut head)?;
    Ok((header, head, lengths))
}

fn no_memory(length: usize) -> WireError {
    WireError::Malformed { reason: format!("there is no memory for a buffer of {length} bytes") }
}

fn parse_header(fixed: &[u8; HEADER_LEN]) -> Result<Header, WireError> {
    let malformed = |reason: &str| WireError::Malformed { reason: reason.to_owned() };
    if fixed[..2] != MAGIC {
        return Err(malformed("not a frame"));
    }
    if fixed[2] != VERSION {
        return Err(malformed(&format!("frame version {} is not {VERSION}", fixed[2])));
    }
    let kind = FrameKind::from_byte(fixed[3]).ok_or_else(|| malformed("unknown kind"))?;
    let head_len = u32::from_le_bytes([fixed[16], fixed[17], fixed[18], fixed[19]]) as usize;
    if head_len > MAX_HEAD {
        return Err(malformed("head too long"));
    }
    let mut call_id = [0u8; 8];
    call_id.copy_from_slice(&fixed[8..16]);
    Ok(Header {
        kind,
        flags: u16::from_le_bytes([fixed[4], fixed[5]]),
        call_id: u64::from_le_bytes(call_id),
        head_len,
        buffer_count: usize::from(u16::from_le_bytes([fixed[6], fixed[7]])),
    })
}

fn parse_lengths(bytes: &[u8]) -> Result<Vec<usize>, WireError> {
    bytes
        .chunks_exact(8)
        .map(|chunk| {
            let mut length = [0u8; 8];
            length.copy_from_slice(chunk);
            let length = u64::from_le_bytes(length);
            usize::try_from(length)
                .ok()
                .filter(|_| length <= MAX_BUFFER)
                .ok_or_else(|| WireError::Malformed { reason: "buffer too long".to_owned() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn frame(kind: FrameKind, flags: u16, call_id: u64, head: &[u8], buffers: &[Vec<u8>]) -> Frame {
        Frame {
            kind,
            flags,
            call_id,
            head: Bytes::copy_from_slice(head),
            buffers: buffers.iter().map(|buffer| Bytes::copy_from_slice(buffer)).collect(),
        }
    }

    fn encoded(frame: &Frame) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame.write_to(&mut bytes).unwrap();
        bytes
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn read(bytes: &[u8]) -> Result<Frame, WireError> {
        block_on(Frame::read_from(&mut &*bytes))
    }

    fn kinds() -> impl Strategy<Value = FrameKind> {
        (1u8..=11).prop_filter_map("a kind", FrameKind::from_byte)
    }

    proptest! {
        #[test]
        fn frame_written_is_read_back_by_both_sides(
            kind in kinds(), flags: u16, call_id: u64,
            head in prop::collection::vec(any::<u8>(), 0..300),
            buffers in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 0..5),
        ) {
            let sent = frame(kind, flags, call_id, &head, &buffers);
            let bytes = encoded(&sent);
            let mut again = Vec::new();
            block_on(sent.write_to_async(&mut again)).unwrap();
            prop_assert_eq!(&again, &bytes);
            let got = read(&bytes).unwrap();
            prop_assert_eq!((got.kind, got.flags, got.call_id), (kind, flags, call_id));
            prop_assert_eq!((&got.head, &got.buffers), (&sent.head, &sent.buffers));
            let mut rest = &bytes[..];
            let (header, got_head, lengths) = read_prefix(&mut rest).unwrap();
            prop_assert_eq!((header.kind, header.flags, header.call_id), (kind, flags, call_id));
            prop_assert_eq!(&got_head, &head);
            prop_assert_eq!(lengths, buffers.iter().map(Vec::len).collect::<Vec<_>>());
            prop_assert_eq!(rest, buffers.concat());
        }

        #[test]
        fn frame_cut_short_is_an_error_and_never_a_frame(
            head in prop::collection::vec(any::<u8>(), 0..20),
            buffers in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..4),
            cut: prop::sample::Index,
        ) {
            let bytes = encoded(&frame(FrameKind::Call, 0, 1, &head, &buffers));
            let cut = cut.index(bytes.len());
            let is_closed = matches!(read(&bytes[..cut]), Err(WireError::Closed));
            prop_assert!(read(&bytes[..cut]).is_err());
            prop_assert!(cut > 0 || is_closed);
        }

        #[test]
        fn frame_of_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = read_prefix(&mut &bytes[..]);
        }
    }

    #[rstest]
    #[case(0, b'X', "not a frame")]
    #[case(2, 9, "frame version 9 is not 1")]
    #[case(3, 200, "unknown kind")]
    #[case(19, 0xff, "head too long")]
    #[case(31, 0xff, "buffer too long")]
    fn header_that_is_malformed_says_why(#[case] at: usize, #[case] byte: u8, #[case] expected: &str) {
        let mut bytes = encoded(&frame(FrameKind::Call, 0, 1, b"head", &[vec![1]]));
        bytes[at] = byte;
        for error in [read(&bytes).unwrap_err(), read_prefix(&mut &bytes[..]).unwrap_err()] {
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn buffer_that_does_not_fit_in_memory_is_an_error() {
        let mut bytes = encoded(&frame(FrameKind::Call, 0, 1, b"", &[vec![1]]));
        bytes[HEADER_LEN..HEADER_LEN + 8].copy_from_slice(&MAX_BUFFER.to_le_bytes());
        assert!(read(&bytes).is_err());
    }

    #[test]
    fn frame_with_too_many_buffers_is_refused_before_it_is_sent() {
        let buffers = vec![Bytes::new(); usize::from(u16::MAX) + 1];
        assert!(Frame::new(FrameKind::Call, 1, &(), buffers).is_err());
    }
}
