//! Endpoint names: what is allowed, and which names are one.

use super::error::ConfigError;
use super::value::quoted;

/// Prefix of endpoints that a development run makes on Runpod.
pub const LIVE_PREFIX: &str = "live-";
/// Suffix that Runpod once added to endpoints with flashboot.
pub const FLASHBOOT_SUFFIX: &str = "-fb";

/// Returns the name as Runpod gets it: with flashboot, `-fb` at the end is dropped.
///
/// ```
/// use runpod_flash::endpoint::normalize_name;
/// assert_eq!(normalize_name("whisper-fb", true), "whisper");
/// assert_eq!(normalize_name("whisper-fb", false), "whisper-fb");
/// ```
pub fn normalize_name(name: &str, flashboot: bool) -> String {
    let mut name = name;
    while flashboot && let Some(rest) = name.strip_suffix(FLASHBOOT_SUFFIX) {
        name = rest;
    }
    name.to_owned()
}

/// Returns what two names have in common when they mean one endpoint: without one leading `live-`
/// and one trailing `-fb`.
pub fn bare_name(name: &str) -> &str {
    let name = name.strip_prefix(LIVE_PREFIX).unwrap_or(name);
    name.strip_suffix(FLASHBOOT_SUFFIX).unwrap_or(name)
}

/// Checks that a name can stand in a URL's path.
///
/// # Errors
/// Where it is empty, or has `/` or control characters.
pub fn check_name(name: &str, flashboot: bool) -> Result<(), ConfigError> {
    if name.is_empty() {
        return Err(ConfigError::new("name", "name must not be empty")
            .with_hint("leave name out to take the function's name"));
    }
    if normalize_name(name, flashboot).is_empty() {
        let message = format!("name must not consist of `{FLASHBOOT_SUFFIX}` alone, got {}", quoted(name));
        return Err(ConfigError::new("name", message).with_hint("give the endpoint a name of its own"));
    }
    if name.chars().any(|letter| letter == '/' || letter.is_control()) {
        let message = format!("name must not contain `/` or control characters, got {}", quoted(name));
        let fixed: String = name
            .chars()
            .map(|letter| if letter == '/' || letter.is_control() { '-' } else { letter })
            .collect();
        return Err(ConfigError::new("name", message).with_hint(format!("name={} works", quoted(&fixed))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("a-fb-fb", true, "a")]
    #[case("a-fb", false, "a-fb")]
    #[case("live-a", true, "live-a")]
    fn normalized_name_drops_the_suffix_of_flashboot(
        #[case] name: &str,
        #[case] flashboot: bool,
        #[case] expected: &str,
    ) {
        assert_eq!(normalize_name(name, flashboot), expected);
    }

    #[rstest]
    #[case("live-a-fb", "a")]
    #[case("a", "a")]
    #[case("live-live-a", "live-a")]
    fn bare_name_drops_one_prefix_and_one_suffix(#[case] name: &str, #[case] expected: &str) {
        assert_eq!(bare_name(name), expected);
    }

    #[rstest]
    #[case("", false)]
    #[case("-fb", false)]
    #[case("a/b", false)]
    #[case("a\nb", false)]
    #[case("a b", true)]
    #[case("größe", true)]
    fn name_is_checked(#[case] name: &str, #[case] is_right: bool) {
        assert_eq!(check_name(name, true).is_ok(), is_right);
    }
}
