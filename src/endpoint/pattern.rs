//! Path patterns of load-balanced routes, matched as Starlette matches them.
//!
//! `{name}` takes one segment, `{name:path}` anything; `int`, `float` and `uuid` take what their
//! names say. Only *whether* a path fits matters here: the worker's FastAPI reads the values.

/// What a parameter of a path accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Segment,
    Path,
    Int,
    Float,
    Uuid,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Parameter(Kind),
}

/// A compiled path pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pieces: Vec<Piece>,
}

impl Pattern {
    /// Compiles a path in FastAPI's syntax. What is not a well-formed parameter is literal text.
    pub fn new(path: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = path;
        while let Some((literal, name, kind, after)) = next_parameter(rest) {
            debug_assert!(!name.is_empty());
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
            }
            pieces.push(Piece::Parameter(kind));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.to_owned()));
        }
        Self { pieces }
    }

    /// A pattern that only this very path fits.
    pub fn literal(path: &str) -> Self {
        Self { pieces: vec![Piece::Literal(path.to_owned())] }
    }

    /// Compiles a path below a prefix of literal text.
    pub fn below(prefix: &str, path: &str) -> Self {
        let mut pattern = Self::new(path);
        pattern.pieces.insert(0, Piece::Literal(prefix.to_owned()));
        pattern
    }

    /// Returns whether a percent-decoded path fits as a whole.
    pub fn matches(&self, path: &str) -> bool {
        matches(&self.pieces, path)
    }
}

/// Finds the next `{name}` or `{name:kind}`: text before, name, kind, text after.
fn next_parameter(text: &str) -> Option<(&str, &str, Kind, &str)> {
    let mut from = 0;
    while let Some(open) = text[from..].find('{').map(|at| from + at) {
        let close = open + text[open..].find('}')?;
        let inner = &text[open + 1..close];
        let (name, kind) = inner.split_once(':').unwrap_or((inner, "str"));
        let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        let kind = match kind {
            "str" => Some(Kind::Segment),
            "path" => Some(Kind::Path),
            "int" => Some(Kind::Int),
            "float" => Some(Kind::Float),
            "uuid" => Some(Kind::Uuid),
            _ => None,
        };
        if let (true, Some(kind)) = (is_name, kind) {
            return Some((&text[..open], name, kind, &text[close + 1..]));
        }
        from = open + 1;
    }
    None
}

fn matches(pieces: &[Piece], path: &str) -> bool {
    match pieces {
        [] => path.is_empty(),
        [Piece::Literal(literal), rest @ ..] => {
            path.strip_prefix(literal.as_str()).is_some_and(|after| matches(rest, after))
        }
        [Piece::Parameter(kind), rest @ ..] => {
            // Longest first, as a greedy regular expression tries them.
            let limit = longest(*kind, path);
            let mut ends: Vec<usize> =
                path.char_indices().map(|(at, _)| at).chain([path.len()]).filter(|at| *at <= limit).collect();
            ends.reverse();
            ends.into_iter().any(|end| accepts(*kind, &path[..end]) && matches(rest, &path[end..]))
        }
    }
}

/// The furthest byte that a parameter of this kind can reach.
fn longest(kind: Kind, path: &str) -> usize {
    match kind {
        Kind::Path => path.len(),
        _ => path.find('/').unwrap_or(path.len()),
    }
}

fn accepts(kind: Kind, text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match kind {
        Kind::Path => true,
        Kind::Segment => !text.is_empty(),
        Kind::Int => digits(text),
        Kind::Float => match text.split_once('.') {
            Some((whole, fraction)) => digits(whole) && digits(fraction),
            None => digits(text),
        },
        Kind::Uuid => {
            let hex: String = text.chars().filter(|letter| *letter != '-').collect();
            hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::Pattern;

    #[rstest]
    #[case("/items", "/items", true)]
    #[case("/items", "/items/", false)]
    #[case("/items/{id}", "/items/7", true)]
    #[case("/items/{id}", "/items/", false)]
    #[case("/items/{id}", "/items/7/x", false)]
    #[case("/items/{id}/parts/{part}", "/items/a/parts/b", true)]
    #[case("/files/{rest:path}", "/files/a/b.txt", true)]
    #[case("/files/{rest:path}", "/files/", true)]
    #[case("/files/{rest:path}/raw", "/files/a/b/raw", true)]
    #[case("/n/{n:int}", "/n/12", true)]
    #[case("/n/{n:int}", "/n/x", false)]
    #[case("/f/{f:float}", "/f/1.5", true)]
    #[case("/u/{u:uuid}", "/u/123e4567-e89b-12d3-a456-426614174000", true)]
    #[case("/v{major}.{minor}", "/v1.2", true)]
    #[case("/odd/{", "/odd/{", true)]
    #[case("/ä/{name}", "/ä/ö", true)]
    fn pattern_path_matches_as_starlette(#[case] pattern: &str, #[case] path: &str, #[case] expected: bool) {
        assert_eq!(Pattern::new(pattern).matches(path), expected);
    }
}
