//! From bytes to text, as Python reads a source file: byte order mark, PEP 263 cookie.

/// Why bytes are not a source text; `offset` is where in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DecodeProblem {
    pub(super) offset: usize,
    pub(super) message: String,
    pub(super) hint: &'static str,
}

const UTF8_HINT: &str = "save the file as UTF-8";

/// Decodes a source file; the text never begins with a byte order mark.
pub(super) fn decode(bytes: &[u8]) -> Result<String, DecodeProblem> {
    let (bytes, skipped) = match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => (rest, 3),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
            return Err(DecodeProblem {
                offset: 0,
                message: "file is UTF-16, which Python does not read".to_owned(),
                hint: UTF8_HINT,
            });
        }
        _ => (bytes, 0),
    };
    if let Some(offset) = memchr::memchr(0, bytes) {
        return Err(DecodeProblem {
            offset: offset + skipped,
            message: "file holds null bytes".to_owned(),
            hint: "is this a Python file? rename it, or list it in `.gitignore`",
        });
    }
    let Some(name) = cookie(bytes) else {
        return std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| DecodeProblem {
            offset: error.valid_up_to() + skipped,
            message: format!("byte 0x{:02x} is not UTF-8", bytes.get(error.valid_up_to()).unwrap_or(&0)),
            hint: "save the file as UTF-8, or name its encoding in the first line: `# -*- coding: latin-1 -*-`",
        });
    };
    match name.as_str() {
        "latin-1" | "latin1" | "iso-8859-1" | "iso8859-1" | "l1" => {
            Ok(bytes.iter().map(|byte| char::from(*byte)).collect())
        }
        "cp1252" | "windows-1252" => Ok(bytes.iter().map(|byte| cp1252(*byte)).collect()),
        "iso-8859-15" | "latin-9" | "latin9" => Ok(bytes.iter().map(|byte| latin9(*byte)).collect()),
        _ => Err(DecodeProblem {
            offset: 0,
            message: format!("encoding `{name}` is not read here"),
            hint: UTF8_HINT,
        }),
    }
}

/// The encoding that the first two lines name, unless it is UTF-8 (or ASCII, a part of it).
fn cookie(bytes: &[u8]) -> Option<String> {
    for line in bytes.split(|byte| *byte == b'\n').take(2) {
        let line = line.trim_ascii_start();
        if line.first() != Some(&b'#') {
            if line.is_empty() {
                continue;
            }
            return None;
        }
        let Some(at) = memchr::memmem::find(line, b"coding") else { continue };
        let rest = &line[at + 6..];
        let (Some(b':' | b'='), rest) = (rest.first(), rest.get(1..).unwrap_or_default()) else { continue };
        let name: String = rest
            .trim_ascii_start()
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
            .map(|byte| char::from(byte.to_ascii_lowercase()))
            .collect();
        let name = name.replace('_', "-");
        let is_utf8 = matches!(name.as_str(), "" | "utf-8" | "utf8" | "utf-8-sig" | "ascii" | "us-ascii");
        return (!is_utf8).then_some(name);
    }
    None
}

fn cp1252(byte: u8) -> char {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
        '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => HIGH[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

fn latin9(byte: u8) -> char {
    match byte {
        0xa4 => '€',
        0xa6 => 'Š',
        0xa8 => 'š',
        0xb4 => 'Ž',
        0xb8 => 'ž',
        0xbc => 'Œ',
        0xbd => 'œ',
        0xbe => 'Ÿ',
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_with_a_byte_order_mark_loses_it() {
        assert_eq!(decode(b"\xEF\xBB\xBFx = 1\n").unwrap(), "x = 1\n");
    }

    #[test]
    fn text_with_a_latin1_cookie_is_decoded() {
        assert_eq!(
            decode(b"#!/bin/python\n# -*- coding: latin-1 -*-\nx = '\xe9'\n").unwrap().chars().last(),
            Some('\n')
        );
        assert!(decode(b"# coding=latin_1\nx = '\xe9'\n").unwrap().contains('é'));
    }

    #[test]
    fn text_that_is_not_utf8_says_where() {
        let problem = decode(b"x = '\xe9'\n").unwrap_err();
        assert_eq!((problem.offset, problem.message.as_str()), (5, "byte 0xe9 is not UTF-8"));
    }

    #[test]
    fn text_in_an_unknown_encoding_names_it() {
        assert_eq!(decode(b"# coding: koi8-r\n").unwrap_err().message, "encoding `koi8-r` is not read here");
    }
}
