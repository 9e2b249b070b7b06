//! Bodies made of JSON text and binary segments, which travel as base64 and are never joined.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::base64::Encoder;

/// Raw bytes of one piece of a body: a multiple of three, and its text still in the cache.
const CHUNK: usize = 48 * 1024;

/// Bytes that are gathered from somewhere while they are sent.
pub trait Source: Send + Sync {
    /// Returns how many there are.
    fn len(&self) -> u64;

    /// Returns whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `into` with what begins at `offset`; the caller asks for nothing beyond the end.
    fn read_at(&self, offset: u64, into: &mut [u8]);
}

/// A run of bytes of a value.
#[derive(Clone)]
pub enum Segment {
    /// Bytes that lie in a row: small ones of their own, large ones pinned where they are.
    Bytes(Bytes),
    /// Bytes that do not: a strided array's.
    Source(Arc<dyn Source>),
}

impl Segment {
    /// Returns how many bytes it has.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Source(source) => source.len(),
        }
    }

    /// Returns whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Bytes> for Segment {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if matches!(self, Self::Bytes(_)) { "Bytes" } else { "Source" };
        write!(formatter, "{name}({} bytes)", self.len())
    }
}

/// One part of a body.
#[derive(Debug, Clone)]
pub enum Part {
    /// Bytes that go as they are.
    Text(Bytes),
    /// Segments whose concatenation goes as one base64 text (standard alphabet, padded), without
    /// quotes.
    Base64(Vec<Segment>),
}

/// A request body whose length is known and which can be sent again.
///
/// Clones share the memory; segments are released when the last clone goes.
#[derive(Debug, Clone, Default)]
pub struct Payload {
    parts: Arc<Vec<Part>>,
    /// What each argument adds to the body, for messages about limits: name and bytes.
    sizes: Arc<Vec<(String, u64)>>,
}

impl Payload {
    /// Makes a body of parts; `sizes` says what each argument adds.
    pub fn new(parts: Vec<Part>, sizes: Vec<(String, u64)>) -> Self {
        Self { parts: Arc::new(parts), sizes: Arc::new(sizes) }
    }

    /// Makes a body of JSON text.
    pub fn json(text: impl Into<Bytes>) -> Self {
        Self::new(vec![Part::Text(text.into())], Vec::new())
    }

    /// Returns the parts in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Returns what each argument adds to the body, name and bytes.
    pub fn sizes(&self) -> &[(String, u64)] {
        &self.sizes
    }

    /// Returns the length of the body in bytes.
    pub fn len(&self) -> u64 {
        self.parts.iter().map(Part::len).sum()
    }

    /// Returns whether the body is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the whole body, for what takes one piece only.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(usize::try_from(self.len()).unwrap_or_default());
        let mut body = self.body();
        while let Some(piece) = body.next_piece() {
            text.extend_from_slice(&piece);
        }
        text
    }

    /// Returns the body from its beginning, one for each attempt to send it.
    ///
    /// It is encoded piece by piece as the connection takes it.
    pub fn body(&self) -> PayloadBody {
        PayloadBody {
            left: self.len(),
            payload: self.clone(),
            part: 0,
            segment: 0,
            offset: 0,
            encoder: Encoder::default(),
            gathered: Vec::new(),
            buffers: Buffers::default(),
        }
    }
}

impl Part {
    /// Returns how many bytes it adds to the body.
    pub fn len(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Base64(segments) => {
                let raw: u64 = segments.iter().map(Segment::len).sum();
                raw.div_ceil(3) * 4
            }
        }
    }

    /// Returns whether it adds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A [`Payload`] on its way, of exactly known length.
pub struct PayloadBody {
    payload: Payload,
    left: u64,
    part: usize,
    segment: usize,
    /// Bytes of the segment that are done.
    offset: u64,
    encoder: Encoder,
    /// A piece of a segment that does not lie in a row.
    gathered: Vec<u8>,
    buffers: Buffers,
}

impl PayloadBody {
    fn next_piece(&mut self) -> Option<Bytes> {
        while let Some(part) = self.payload.parts.get(self.part) {
            match part {
                Part::Text(text) => {
                    self.part += 1;
                    if !text.is_empty() {
                        return Some(text.clone());
                    }
                }
                Part::Base64(_) => {
                    let piece = self.encode();
                    if !piece.is_empty() {
                        return Some(piece);
                    }
                }
            }
        }
        None
    }

    /// Encodes the next piece of the current part; goes on to the next part at its end.
    fn encode(&mut self) -> Bytes {
        let payload = self.payload.clone();
        let Some(Part::Base64(segments)) = payload.parts.get(self.part) else { return Bytes::new() };
        let mut text = self.buffers.take();
        let mut room = CHUNK;
        while room > 0 {
            let Some(segment) = segments.get(self.segment) else {
                self.encoder.finish(&mut text);
                self.part += 1;
                self.segment = 0;
                break;
            };
            let count = usize::try_from(segment.len() - self.offset).unwrap_or(usize::MAX).min(room);
            match segment {
                Segment::Bytes(bytes) => {
                    let start = usize::try_from(self.offset).unwrap_or(usize::MAX);
                    self.encoder.push(&bytes[start..start + count], &mut text);
                }
                Segment::Source(source) => {
                    self.gathered.resize(count, 0);
                    source.read_at(self.offset, &mut self.gathered);
                    self.encoder.push(&self.gathered, &mut text);
                }
            }
            room -= count;
            self.offset += count as u64;
            if self.offset == segment.len() {
                self.segment += 1;
                self.offset = 0;
            }
        }
        self.buffers.lend(text)
    }
}

impl Body for PayloadBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.next_piece();
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Memory for pieces, used again as soon as the connection is done with one.
#[derive(Clone, Default)]
struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    fn take(&self) -> Vec<u8> {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // A group that an earlier piece left makes the text up to four characters longer.
        free.unwrap_or_else(|| Vec::with_capacity(CHUNK / 3 * 4 + 8))
    }

    fn lend(&self, text: Vec<u8>) -> Bytes {
        if text.is_empty() {
            return Bytes::new();
        }
        Bytes::from_owner(Lent { text, owner: self.clone() })
    }
}

struct Lent {
    text: Vec<u8>,
    owner: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        self.owner.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    use super::*;

    /// Every second byte.
    struct Second(Vec<u8>);

    impl Source for Second {
        fn len(&self) -> u64 {
            self.0.len() as u64 / 2
        }

        fn read_at(&self, offset: u64, into: &mut [u8]) {
            for (index, byte) in into.iter_mut().enumerate() {
                *byte = self.0[(usize::try_from(offset).unwrap() + index) * 2];
            }
        }
    }

    fn sent(payload: &Payload) -> Vec<u8> {
        let body = payload.body();
        assert_eq!(body.size_hint().exact(), Some(payload.len()));
        let collected = futures_util::future::FutureExt::now_or_never(body.collect());
        collected.expect("never waits").expect("never fails").to_bytes().to_vec()
    }

    fn segment() -> impl Strategy<Value = (bool, Vec<u8>)> {
        // Borders of pieces, and nothing at all.
        let length = prop_oneof![0_usize..20, CHUNK - 4..CHUNK + 4, 2 * CHUNK - 4..2 * CHUNK + 4];
        (any::<bool>(), length.prop_flat_map(|length| prop::collection::vec(any::<u8>(), length)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn body_is_the_text_of_its_parts_and_can_be_sent_again(
            parts in prop::collection::vec(prop::collection::vec(segment(), 0..5), 0..4)
        ) {
            let mut expected = Vec::new();
            let mut made = Vec::new();
            for segments in parts {
                made.push(Part::Text("[\"".into()));
                expected.extend_from_slice(b"[\"");
                let mut raw = Vec::new();
                let segments = segments.into_iter().map(|(lies_in_a_row, bytes)| {
                    raw.extend_from_slice(&bytes);
                    if lies_in_a_row {
                        return Segment::Bytes(bytes.into());
                    }
                    let spread = bytes.iter().flat_map(|&byte| [byte, 0]).collect();
                    Segment::Source(Arc::new(Second(spread)))
                });
                made.push(Part::Base64(segments.collect()));
                expected.extend_from_slice(base64_simd::STANDARD.encode_to_string(&raw).as_bytes());
            }
            let payload = Payload::new(made, Vec::new());
            prop_assert_eq!(payload.len(), expected.len() as u64);
            prop_assert!(sent(&payload) == expected);
            prop_assert!(sent(&payload) == expected);
        }
    }

    #[test]
    fn length_counts_segments_as_one_base64_text() {
        let segments = vec![Bytes::from_static(b"ab").into(), Bytes::from_static(b"cde").into()];
        let payload = Payload::new(vec![Part::Text("{}".into()), Part::Base64(segments)], Vec::new());
        assert_eq!(payload.len(), 2 + 8);
        assert_eq!(sent(&payload), b"{}YWJjZGU=");
    }
}
