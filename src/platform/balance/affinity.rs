//! Which worker a request wants: the header `X-Runpod-Worker-Id` (`platform.md` 3.4).

use http::HeaderName;

/// Header of requests that want a worker, and of all answers.
pub(in crate::platform) const WORKER_ID: HeaderName = HeaderName::from_static("x-runpod-worker-id");

/// Which worker a request wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::platform) enum Affinity {
    /// Any.
    Any,
    /// This one if it has a place.
    Prefer(String),
    /// This one alone.
    Only {
        /// Worker ID.
        worker: String,
        /// Whether it is started again where it was stopped for want of work.
        resume: bool,
    },
}

impl Affinity {
    /// Reads the header's value.
    pub(in crate::platform) fn parse(value: Option<&[u8]>) -> Self {
        let text = value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default().trim();
        let only = |worker: &str, resume| Self::Only { worker: worker.trim().to_owned(), resume };
        match text.split_once(char::is_whitespace) {
            Some(("strict", worker)) => only(worker, false),
            Some(("strict-resume", worker)) => only(worker, true),
            _ if text.is_empty() => Self::Any,
            _ => Self::Prefer(text.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_a_worker_softly_or_strictly() {
        let only = |resume| Affinity::Only { worker: "w1".to_owned(), resume };
        for (value, wanted) in [
            ("", Affinity::Any),
            ("w1", Affinity::Prefer("w1".to_owned())),
            ("strict w1", only(false)),
            ("strict-resume  w1", only(true)),
        ] {
            assert_eq!(Affinity::parse(Some(value.as_bytes())), wanted, "{value}");
        }
        assert_eq!(Affinity::parse(None), Affinity::Any);
    }
}
