//! How large a body may be, known before anything is sent (`platform.md` 1.2, 4).

use std::fmt::Write as _;

use super::payload::{Part, Payload};

/// The setting's name.
pub const VARIABLE: &str = "FLASH_PAYLOAD_LIMIT_MB";
/// What limits count in; Runpod's own messages do too.
const MB: f64 = 1_048_576.0;

/// What is read of an answer where nothing is set, in MB.
const ANSWER: f64 = 512.0;

/// Where a body goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `/run` of a queue.
    Run,
    /// `/runsync` of a queue.
    RunSync,
    /// A load-balanced endpoint.
    Balanced,
}

impl Route {
    /// What Runpod takes there, in MB.
    fn documented(self) -> f64 {
        match self {
            Self::Run => 10.0,
            Self::RunSync => 20.0,
            Self::Balanced => 30.0,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Run => "`/run`",
            Self::RunSync => "`/runsync`",
            Self::Balanced => "a load-balanced endpoint",
        }
    }
}

/// Why a body is not sent.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LimitError {
    /// The setting is no number of megabytes.
    #[error("{VARIABLE}=`{value}` is not a number of megabytes")]
    Setting {
        /// Its value.
        value: String,
    },
    /// The body is over the limit; nothing was sent.
    #[error("{}", describe(*.size, *.limit, *.route, sizes, *.is_encoded))]
    TooLarge {
        /// Bytes of the body.
        size: u64,
        /// Bytes that are taken.
        limit: u64,
        /// Where it was to go.
        route: Route,
        /// What each argument adds: name and bytes.
        sizes: Vec<(String, u64)>,
        /// Whether they are base64 there, and not JSON.
        is_encoded: bool,
    },
}

impl LimitError {
    /// Returns what to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Setting { .. } => format!("{VARIABLE}=20 is 20 MB, {VARIABLE}=0 is no limit"),
            Self::TooLarge { .. } => format!(
                "put large data into S3 or onto a network volume and pass its URL or path, send fewer values or a \
                 smaller dtype (float32, uint8), or set {VARIABLE} (0: no limit) where Runpod takes more"
            ),
        }
    }
}

/// The limits of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// MB for every route instead of the documented ones; 0 is none.
    setting: Option<f64>,
}

impl Limits {
    /// Reads [`VARIABLE`] as it is now.
    ///
    /// # Errors
    /// Where its value is no number.
    pub fn from_environment() -> Result<Self, LimitError> {
        Self::parse(std::env::var(VARIABLE).ok().as_deref())
    }

    /// Reads the setting's text; a blank one counts as unset.
    ///
    /// # Errors
    /// Where it is no number.
    pub fn parse(value: Option<&str>) -> Result<Self, LimitError> {
        let Some(value) = value.map(str::trim).filter(|value| !value.is_empty()) else {
            return Ok(Self::default());
        };
        match value.parse::<f64>() {
            Ok(megabytes) if megabytes.is_finite() && megabytes >= 0.0 => {
                Ok(Self { setting: Some(megabytes) })
            }
            _ => Err(LimitError::Setting { value: value.to_owned() }),
        }
    }

    /// Returns how many bytes a route takes; `None` where everything is sent.
    pub fn of(self, route: Route) -> Option<u64> {
        let megabytes = self.setting.unwrap_or_else(|| route.documented());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "finite and not negative, and a float saturates"
        )]
        (megabytes > 0.0).then_some((megabytes * MB) as u64)
    }

    /// Returns how many bytes of an answer are read; `None` where all are.
    ///
    /// Runpod gives no more than 20 MB, a server on this machine may give more.
    pub fn of_answer(self) -> Option<u64> {
        let least = Route::RunSync.documented();
        let most = self.setting.map_or(ANSWER, |most| if most > 0.0 { most.max(least) } else { most });
        Self { setting: Some(most) }.of(Route::RunSync)
    }

    /// Checks a body.
    ///
    /// # Errors
    /// Where it is over the route's limit.
    pub fn check(self, payload: &Payload, route: Route) -> Result<(), LimitError> {
        let size = payload.len();
        match self.of(route) {
            Some(limit) if size > limit => {
                let is_encoded = payload.parts().iter().any(|part| matches!(part, Part::Base64(_)));
                Err(LimitError::TooLarge { size, limit, route, sizes: payload.sizes().to_vec(), is_encoded })
            }
            _ => Ok(()),
        }
    }
}

/// Checks a body against the limits of the environment, before anything is sent.
///
/// # Errors
/// Where it is over the route's limit, or the setting cannot be read.
pub fn check(payload: &Payload, route: Route) -> Result<(), LimitError> {
    Limits::from_environment()?.check(payload, route)
}

fn describe(size: u64, limit: u64, route: Route, sizes: &[(String, u64)], is_encoded: bool) -> String {
    let mut text = format!("the call is {}, and {} takes {}", human(size), route.name(), human(limit));
    let mut largest: Vec<_> = sizes.iter().filter(|(_, bytes)| *bytes > 0).collect();
    largest.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    for (index, (name, encoded)) in largest.iter().enumerate() {
        let before = if index == 0 { ": " } else { ", " };
        if is_encoded {
            // Base64 makes four characters of three bytes.
            _ = write!(text, "{before}`{name}` is {}, {} as base64", human(encoded / 4 * 3), human(*encoded));
        } else {
            _ = write!(text, "{before}`{name}` is {}", human(*encoded));
        }
    }
    text
}

/// Returns a number of bytes as people write it.
pub fn human(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let megabytes = bytes as f64 / MB;
    if bytes < 1024 {
        format!("{bytes} bytes")
    } else if megabytes < 0.95 {
        format!("{:.1} kB", megabytes * 1024.0)
    } else if megabytes < 1000.0 {
        format!("{megabytes:.1} MB")
    } else {
        format!("{:.1} GB", megabytes / 1024.0)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn payload(bytes: usize) -> Payload {
        let text = vec![b' '; bytes];
        Payload::new(
            vec![Part::Text(text.into())],
            vec![("seed".to_owned(), 24), ("image".to_owned(), bytes as u64 - 24)],
        )
    }

    #[test]
    fn documented_limits_hold_unless_they_are_set() {
        let limits = Limits::parse(None).unwrap();
        assert!(limits.check(&payload(10 << 20), Route::Run).is_ok());
        assert!(limits.check(&payload((10 << 20) + 1), Route::Run).is_err());
        assert!(limits.check(&payload(20 << 20), Route::RunSync).is_ok());
        assert!(limits.check(&payload((30 << 20) + 1), Route::Balanced).is_err());
        let none = Limits::parse(Some(" 0 ")).unwrap();
        assert!(none.check(&payload(40 << 20), Route::Run).is_ok());
        assert_eq!(Limits::parse(Some("0.5")).unwrap().of(Route::Run), Some(1 << 19));
        for wrong in ["ten", "-1", "inf", "nan"] {
            let error = Limits::parse(Some(wrong)).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("FLASH_PAYLOAD_LIMIT_MB=`{wrong}` is not a number of megabytes")
            );
        }
    }

    #[test]
    fn message_names_each_argument_the_largest_first() {
        let limits = Limits::parse(Some("2")).unwrap();
        let error = limits.check(&payload(4 << 20), Route::RunSync).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the call is 4.0 MB, and `/runsync` takes 2.0 MB: `image` is 4.0 MB, `seed` is 24 bytes"
        );
        let segments = vec![Bytes::from(vec![0; 3 << 20]).into()];
        let sizes = vec![("seed".to_owned(), 24), ("image".to_owned(), 4 << 20)];
        let encoded = Payload::new(vec![Part::Base64(segments)], sizes);
        assert_eq!(
            limits.check(&encoded, Route::RunSync).unwrap_err().to_string(),
            "the call is 4.0 MB, and `/runsync` takes 2.0 MB: `image` is 3.0 MB, 4.0 MB as base64, \
             `seed` is 18 bytes, 24 bytes as base64"
        );
        assert!(error.hint().contains("network volume"));
    }
}
