//! Moments as the APIs write them.

/// Milliseconds since the Unix epoch as RFC 3339 in UTC.
pub(super) fn text(milliseconds: u64) -> String {
    let moment =
        i64::try_from(milliseconds).ok().and_then(|moment| jiff::Timestamp::from_millisecond(moment).ok());
    moment.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn moment_is_written_in_utc_with_milliseconds() {
        assert_eq!(super::text(1_771_508_000_007), "2026-02-19T13:33:20.007Z");
    }
}
