//! Bodies made of JSON text and binary segments, which travel as base64 and are never joined.

use std::sync::Arc;

use bytes::Bytes;

/// One part of a body.
#[derive(Debug, Clone)]
pub enum Part {
    /// Bytes that go as they are.
    Text(Bytes),
    /// Segments whose concatenation goes as one base64 text (standard alphabet, padded), without
    /// quotes.
    Base64(Vec<Bytes>),
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
}

impl Part {
    /// Returns how many bytes it adds to the body.
    pub fn len(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Base64(segments) => {
                let raw: u64 = segments.iter().map(|segment| segment.len() as u64).sum();
                raw.div_ceil(3) * 4
            }
        }
    }

    /// Returns whether it adds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_counts_segments_as_one_base64_text() {
        let segments = vec![Bytes::from_static(b"ab"), Bytes::from_static(b"cde")];
        let payload = Payload::new(vec![Part::Text("{}".into()), Part::Base64(segments)], Vec::new());
        assert_eq!(payload.len(), 2 + 8);
    }
}
