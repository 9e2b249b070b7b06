//! What a pickle says of its own form, read while it goes by: opcodes, lengths, and where it keeps what it repeats.
//!
//! `CPython`'s unpickler makes room for a memo as large as the pickle claims, so that six bytes take 64 GB. Pickles
//! are looked at before it sees them; nothing is made or executed here.

/// How far an index may be beyond what was kept: picklers count up.
const MEMO_AHEAD: u64 = 1 << 16;
/// The newest protocol that is known.
const PROTOCOL: u64 = 5;
/// Digits of the largest index.
const LONGEST_INDEX: usize = 20;

/// Why a pickle is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// No protocol that is known has the opcode.
    #[error("its pickle has the unknown opcode {code:#04x} at byte {at}")]
    Opcode {
        /// The opcode.
        code: u8,
        /// Bytes before it.
        at: u64,
    },
    /// The pickle is of a protocol that is not known.
    #[error("its pickle is of protocol {version}; {PROTOCOL} is the newest that can be read")]
    Protocol {
        /// The protocol.
        version: u64,
    },
    /// A length is negative.
    #[error("its pickle has a negative length at byte {at}")]
    Negative {
        /// Bytes before the opcode.
        at: u64,
    },
    /// Something is to be kept at an index far beyond what was kept.
    #[error("its pickle keeps a value at index {index} after {kept} values")]
    Memo {
        /// The index.
        index: u64,
        /// How many values were kept.
        kept: u64,
    },
}

/// What is read next.
#[derive(Debug, Clone, Copy)]
enum Place {
    Opcode,
    /// A number, the lowest byte first.
    Number {
        meaning: Meaning,
        left: u8,
        shift: u32,
        value: u64,
    },
    /// Bytes that are nothing but a value.
    Data(u64),
    /// Lines of old protocols.
    Lines(u8),
    /// The line that says where a value is kept.
    Index {
        digits: usize,
        value: u64,
    },
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Protocol,
    /// Where the last value is kept.
    Index,
    Length,
    /// A length that has a sign.
    SignedLength,
}

/// Looks at one pickle.
#[derive(Debug)]
pub struct Guard {
    place: Place,
    /// Bytes that were seen.
    seen: u64,
    /// Bytes before the current opcode.
    opcode_at: u64,
    /// Values that were kept.
    kept: u64,
}

impl Default for Guard {
    fn default() -> Self {
        Self { place: Place::Opcode, seen: 0, opcode_at: 0, kept: 0 }
    }
}

impl Guard {
    /// Looks at the next bytes.
    ///
    /// # Errors
    /// Where an unpickler should not see them. What else may be wrong, it says itself.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), PickleError> {
        while let Some((&first, rest)) = bytes.split_first() {
            let read = match &mut self.place {
                Place::End => return Ok(()),
                Place::Opcode => {
                    self.opcode_at = self.seen;
                    self.place = self.opcode(first)?;
                    1
                }
                Place::Number { meaning, left, shift, value } => {
                    *value |= u64::from(first) << *shift;
                    *shift += 8;
                    *left -= 1;
                    if *left == 0 {
                        let (meaning, value, size) = (*meaning, *value, *shift / 8);
                        self.place = self.number(meaning, value, size)?;
                    }
                    1
                }
                Place::Data(left) => {
                    let read = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                    *left -= read as u64;
                    if *left == 0 {
                        self.place = Place::Opcode;
                    }
                    read
                }
                Place::Lines(left) => {
                    let end = memchr::memchr(b'\n', bytes);
                    if end.is_some() {
                        *left -= 1;
                        if *left == 0 {
                            self.place = Place::Opcode;
                        }
                    }
                    end.map_or(bytes.len(), |end| end + 1)
                }
                Place::Index { digits, value } => {
                    if first == b'\n' {
                        let index = *value;
                        self.place = self.keep(index)?;
                    } else {
                        // What is no digit is refused by the unpickler; what has too many is too large.
                        *digits += 1;
                        let digit = u64::from(first.wrapping_sub(b'0') % 10);
                        *value = if *digits > LONGEST_INDEX {
                            u64::MAX
                        } else {
                            value.saturating_mul(10).saturating_add(digit)
                        };
                    }
                    1
                }
            };
            self.seen += read as u64;
            bytes = if read == 1 { rest } else { &bytes[read..] };
        }
        Ok(())
    }

    fn opcode(&mut self, code: u8) -> Result<Place, PickleError> {
        let number = |meaning, left| Place::Number { meaning, left, shift: 0, value: 0 };
        Ok(match code {
            b'.' => Place::End,
            b'('
            | b'0'
            | b'1'
            | b'2'
            | b'N'
            | b'Q'
            | b'R'
            | b'a'
            | b'b'
            | b'd'
            | b'e'
            | b'l'
            | b'o'
            | b's'
            | b't'
            | b'u'
            | b'}'
            | b']'
            | b')'
            | 0x81
            | 0x85..=0x89
            | 0x8f..=0x93
            | 0x97
            | 0x98 => Place::Opcode,
            0x94 => {
                self.kept += 1;
                Place::Opcode
            }
            b'K' | b'h' | 0x82 => Place::Data(1),
            b'M' | 0x83 => Place::Data(2),
            b'J' | b'j' | 0x84 => Place::Data(4),
            b'G' | 0x95 => Place::Data(8),
            0x80 => number(Meaning::Protocol, 1),
            b'q' => number(Meaning::Index, 1),
            b'r' => number(Meaning::Index, 4),
            b'C' | b'U' | 0x8a | 0x8c => number(Meaning::Length, 1),
            b'B' | b'X' => number(Meaning::Length, 4),
            b'T' | 0x8b => number(Meaning::SignedLength, 4),
            0x8d | 0x8e | 0x96 => number(Meaning::Length, 8),
            b'F' | b'I' | b'L' | b'P' | b'S' | b'V' | b'g' => Place::Lines(1),
            b'c' | b'i' => Place::Lines(2),
            b'p' => Place::Index { digits: 0, value: 0 },
            _ => return Err(PickleError::Opcode { code, at: self.opcode_at }),
        })
    }

    fn number(&mut self, meaning: Meaning, value: u64, size: u32) -> Result<Place, PickleError> {
        match meaning {
            Meaning::Protocol if value > PROTOCOL => Err(PickleError::Protocol { version: value }),
            Meaning::Protocol => Ok(Place::Opcode),
            Meaning::Index => self.keep(value),
            Meaning::SignedLength if value >> (size * 8 - 1) != 0 => {
                Err(PickleError::Negative { at: self.opcode_at })
            }
            Meaning::Length | Meaning::SignedLength if value == 0 => Ok(Place::Opcode),
            Meaning::Length | Meaning::SignedLength => Ok(Place::Data(value)),
        }
    }

    fn keep(&mut self, index: u64) -> Result<Place, PickleError> {
        if index > self.kept + MEMO_AHEAD {
            return Err(PickleError::Memo { index, kept: self.kept });
        }
        self.kept += 1;
        Ok(Place::Opcode)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn look(bytes: &[u8], cuts: &[usize]) -> Result<Guard, PickleError> {
        let mut guard = Guard::default();
        let (mut cuts, mut rest) = (cuts.iter().cycle(), bytes);
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(rest.len().min(cuts.next().copied().unwrap_or(1)));
            guard.feed(piece)?;
            rest = later;
        }
        Ok(guard)
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|value| json!(value)),
            any::<i64>().prop_map(|value| json!(value)),
            any::<f64>().prop_map(|value| json!(value)),
            "\\PC{0,300}".prop_map(|value| json!(value)),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(|items| json!(items)),
                prop::collection::hash_map("[a-z]{0,5}", inner, 0..6).prop_map(|items| json!(items)),
            ]
        })
    }

    proptest! {
        #[test]
        fn whole_pickles_pass_however_they_are_cut(value in value(), cuts in prop::collection::vec(1_usize..50, 1..4)) {
            let pickle = serde_pickle::to_vec(&value, serde_pickle::SerOptions::new()).unwrap();
            let guard = look(&pickle, &cuts).unwrap();
            prop_assert!(matches!(guard.place, Place::End));
            prop_assert_eq!(guard.seen, pickle.len() as u64);
        }

        #[test]
        fn any_bytes_have_one_outcome_however_they_are_cut(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'r'), Just(b'p'), Just(b'\n'), Just(0)], 0..300),
            cuts in prop::collection::vec(1_usize..20, 1..4),
        ) {
            let whole = look(&bytes, &[usize::MAX]).map(|guard| (guard.seen, guard.kept));
            prop_assert_eq!(look(&bytes, &cuts).map(|guard| (guard.seen, guard.kept)), whole);
        }
    }

    #[test]
    fn what_an_unpickler_must_not_see_is_refused() {
        for (bytes, error) in [
            (&b"\x80\x05Nr\xff\xff\xff\x7f."[..], PickleError::Memo { index: 0x7fff_ffff, kept: 0 }),
            (b"N\x94\x94p4000000000\n.", PickleError::Memo { index: 4_000_000_000, kept: 2 }),
            (b"Np99999999999999999999999\n.", PickleError::Memo { index: u64::MAX, kept: 0 }),
            (b"\x80\x06N.", PickleError::Protocol { version: 6 }),
            (b"\x80\x05N\x99.", PickleError::Opcode { code: 0x99, at: 3 }),
            (b"T\xff\xff\xff\xff", PickleError::Negative { at: 0 }),
            (b"N\x8b\x00\x00\x00\x80", PickleError::Negative { at: 1 }),
        ] {
            assert_eq!(look(bytes, &[usize::MAX]).map(|guard| guard.seen), Err(error));
            assert_eq!(look(bytes, &[1]).map(|guard| guard.seen), Err(error));
        }
        // An index may be a little ahead; what is data is no opcode.
        assert!(look(b"\x80\x05C\x06r\xff\xff\xff\x7f\x99r\x00\x00\x01\x00.\x99", &[3]).is_ok());
    }
}
