//! Base64 in pieces: an encoder and a decoder that keep what a border cut off.
//!
//! Whole groups go through SIMD straight from the caller's memory into the caller's memory; at most
//! three bytes or four characters are ever held.

use base64_simd::{AsOut as _, STANDARD};

/// Groups that are decoded at once: where one is wrong, all of them go by hand.
const BLOCK: usize = 4096;

/// Encodes pieces as one text (standard alphabet, padded).
#[derive(Debug, Default)]
pub struct Encoder {
    held: [u8; 3],
    count: usize,
}

impl Encoder {
    /// Appends the text of all whole groups; up to two bytes wait for the next piece.
    pub fn push(&mut self, mut piece: &[u8], text: &mut Vec<u8>) {
        while self.count > 0 {
            let Some((&byte, rest)) = piece.split_first() else { return };
            self.held[self.count] = byte;
            self.count += 1;
            piece = rest;
            if self.count == 3 {
                STANDARD.encode_append(self.held, text);
                self.count = 0;
            }
        }
        let (whole, rest) = piece.split_at(piece.len() / 3 * 3);
        STANDARD.encode_append(whole, text);
        self.held[..rest.len()].copy_from_slice(rest);
        self.count = rest.len();
    }

    /// Appends the last group with its padding.
    pub fn finish(&mut self, text: &mut Vec<u8>) {
        STANDARD.encode_append(&self.held[..self.count], text);
        self.count = 0;
    }
}

/// Why a text is not base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Base64Error {
    /// Not of the alphabet.
    #[error("base64 text has the byte {byte:#04x} after {at} characters")]
    Character {
        /// What was found.
        byte: u8,
        /// How many characters came before it.
        at: u64,
    },
    /// Something after the padding.
    #[error("base64 text goes on after its padding, {at} characters in")]
    AfterEnd {
        /// How many characters came before it.
        at: u64,
    },
    /// The last group has fewer than four characters.
    #[error("base64 text of {length} characters ends within a group of four")]
    Truncated {
        /// How many characters there were.
        length: u64,
    },
}

/// Decodes a text that comes in pieces into buffers of any length.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Characters of a group that is not whole yet.
    group: [u8; 4],
    grouped: usize,
    /// Bytes of a group that did not fit into the last buffer.
    spare: [u8; 3],
    spare_start: usize,
    spare_end: usize,
    seen: u64,
    is_ended: bool,
}

impl Decoder {
    /// Decodes as much of `text` as fits into `buffer`; returns characters read and bytes written.
    ///
    /// Blanks and line ends are skipped. Nothing is read once the buffer is full.
    ///
    /// # Errors
    /// Where the text is not base64.
    pub fn pull(&mut self, text: &[u8], buffer: &mut [u8]) -> Result<(usize, usize), Base64Error> {
        let (mut read, mut written) = (0, 0);
        // Characters that SIMD has refused: they go by hand.
        let mut refused = 0_usize;
        loop {
            written += self.take_spare(&mut buffer[written..]);
            if written == buffer.len() || read == text.len() {
                return Ok((read, written));
            }
            if self.grouped == 0 && !self.is_ended && refused == 0 {
                let groups = whole_groups(&text[read..], buffer.len() - written);
                let (from, to) = (&text[read..read + groups * 4], &mut buffer[written..written + groups * 3]);
                if groups > 0 && STANDARD.decode(from, to.as_out()).is_ok_and(|made| made.len() == groups * 3)
                {
                    read += groups * 4;
                    written += groups * 3;
                    self.seen += (groups * 4) as u64;
                    continue;
                }
                refused = groups * 4;
            }
            // One group by hand: at a border, with padding or blanks, or wrong.
            while read < text.len() && self.spare_start == self.spare_end {
                self.character(text[read])?;
                read += 1;
                refused = refused.saturating_sub(1);
            }
        }
    }

    /// Checks that the text ended with a whole group.
    ///
    /// # Errors
    /// Where it did not.
    pub fn finish(&self) -> Result<(), Base64Error> {
        if self.grouped == 0 { Ok(()) } else { Err(Base64Error::Truncated { length: self.seen }) }
    }

    fn take_spare(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.spare_end - self.spare_start);
        buffer[..count].copy_from_slice(&self.spare[self.spare_start..self.spare_start + count]);
        self.spare_start += count;
        count
    }

    fn character(&mut self, byte: u8) -> Result<(), Base64Error> {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            return Ok(());
        }
        let at = self.seen;
        self.seen += 1;
        if self.is_ended {
            return Err(Base64Error::AfterEnd { at });
        }
        let wrong = Base64Error::Character { byte, at };
        if byte == b'=' {
            // Padding is the third and fourth, or the fourth character.
            if self.grouped < 2 {
                return Err(wrong);
            }
        } else if value(byte).is_none() || self.group[..self.grouped].contains(&b'=') {
            return Err(wrong);
        }
        self.group[self.grouped] = byte;
        self.grouped += 1;
        if self.grouped == 4 {
            let bits = self
                .group
                .iter()
                .fold(0_u32, |bits, &byte| bits << 6 | u32::from(value(byte).unwrap_or_default()));
            let [_, bytes @ ..] = bits.to_be_bytes();
            let padding = usize::from(self.group[2] == b'=') + usize::from(self.group[3] == b'=');
            self.spare = bytes;
            self.spare_start = 0;
            self.spare_end = 3 - padding;
            self.is_ended = padding > 0;
            self.grouped = 0;
        }
        Ok(())
    }
}

/// How many groups without padding can go through SIMD at once.
fn whole_groups(text: &[u8], room: usize) -> usize {
    let groups = (text.len() / 4).min(room / 3).min(BLOCK);
    if groups > 0 && text[groups * 4 - 1] == b'=' { groups - 1 } else { groups }
}

fn value(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes a text cut at `cuts` into buffers of these sizes, again and again.
    fn decode(text: &[u8], cuts: &[usize], sizes: &[usize]) -> Result<Vec<u8>, Base64Error> {
        let mut decoder = Decoder::default();
        let mut bytes = Vec::new();
        let mut sizes = sizes.iter().cycle();
        let mut rest = text;
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let (mut piece, later) = rest.split_at(rest.len().min(cuts.next().copied().unwrap_or(7).max(1)));
            rest = later;
            while !piece.is_empty() {
                let mut buffer = vec![0; sizes.next().copied().unwrap_or(5).max(1)];
                let (read, written) = decoder.pull(piece, &mut buffer)?;
                bytes.extend_from_slice(&buffer[..written]);
                piece = &piece[read..];
            }
        }
        loop {
            let mut last = [0; 3];
            let (_, written) = decoder.pull(&[], &mut last)?;
            if written == 0 {
                break;
            }
            bytes.extend_from_slice(&last[..written]);
        }
        decoder.finish()?;
        Ok(bytes)
    }

    proptest! {
        #[test]
        fn pieces_encode_and_decode_as_one_text(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..12),
            cuts in prop::collection::vec(1_usize..300, 1..6),
            sizes in prop::collection::vec(1_usize..300, 1..6),
        ) {
            let (mut encoder, mut text) = (Encoder::default(), Vec::new());
            for piece in &pieces {
                encoder.push(piece, &mut text);
            }
            encoder.finish(&mut text);
            let whole = pieces.concat();
            prop_assert_eq!(&text, &STANDARD.encode_to_string(&whole).into_bytes());
            prop_assert_eq!(decode(&text, &cuts, &sizes), Ok(whole));
        }

        #[test]
        fn a_text_that_is_cut_or_damaged_is_refused(
            bytes in prop::collection::vec(any::<u8>(), 4..400),
            at in any::<prop::sample::Index>(),
            cuts in prop::collection::vec(1_usize..300, 1..6),
        ) {
            let text = STANDARD.encode_to_string(&bytes).into_bytes();
            let mut damaged = text.clone();
            let place = at.index(text.len());
            damaged[place] = b'!';
            prop_assert!(decode(&damaged, &cuts, &[64]).is_err());
            let length = place / 4 * 4 + 1 + place % 3;
            prop_assert!(decode(&text[..length.min(text.len() - 1)], &cuts, &[64]).is_err());
        }

        #[test]
        fn blanks_are_skipped(bytes in prop::collection::vec(any::<u8>(), 0..400), cuts in prop::collection::vec(1_usize..90, 1..6)) {
            let text = STANDARD.encode_to_string(&bytes);
            let lines: Vec<_> = text.as_bytes().chunks(76).collect();
            prop_assert_eq!(decode(&lines.join(&b"\r\n"[..]), &cuts, &[50, 3]), Ok(bytes));
        }
    }

    #[test]
    fn what_follows_the_padding_is_refused() {
        assert_eq!(decode(b"AA==AAAA", &[8], &[16]), Err(Base64Error::AfterEnd { at: 4 }));
        assert_eq!(decode(b"AA=A", &[8], &[16]), Err(Base64Error::Character { byte: b'A', at: 3 }));
        assert_eq!(decode(b"=AAA", &[8], &[16]), Err(Base64Error::Character { byte: b'=', at: 0 }));
    }
}
