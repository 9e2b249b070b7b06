//! Data centers.

/// A data center.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataCenter {
    /// Member name in `DataCenter`.
    pub member: &'static str,
    /// Value on the wire.
    pub value: &'static str,
    /// Whether CPU endpoints run there.
    pub has_cpu: bool,
    /// Whether the official 1.21 knows it: storage and S3 are there, and an endpoint that names no
    /// data center may run there. The others are named by its docs, and accepted where given.
    pub is_default: bool,
}

const fn center(member: &'static str, value: &'static str) -> DataCenter {
    DataCenter { member, value, has_cpu: false, is_default: true }
}

const fn documented(member: &'static str, value: &'static str) -> DataCenter {
    DataCenter { member, value, has_cpu: false, is_default: false }
}

/// All data centers: the official members first and in their order.
pub const DATA_CENTERS: &[DataCenter] = &[
    center("US_CA_2", "US-CA-2"),
    center("US_IL_1", "US-IL-1"),
    center("US_KS_2", "US-KS-2"),
    center("US_MO_1", "US-MO-1"),
    center("US_MO_2", "US-MO-2"),
    center("US_NC_2", "US-NC-2"),
    center("US_NE_1", "US-NE-1"),
    center("US_WA_1", "US-WA-1"),
    center("EU_CZ_1", "EU-CZ-1"),
    DataCenter { member: "EU_RO_1", value: "EU-RO-1", has_cpu: true, is_default: true },
    center("EUR_NO_1", "EUR-NO-1"),
    documented("US_GA_2", "US-GA-2"),
    documented("US_MD_1", "US-MD-1"),
    documented("US_NC_1", "US-NC-1"),
    documented("EUR_IS_1", "EUR-IS-1"),
];

/// Where a network volume is made when nothing is said.
pub const DEFAULT_VOLUME_DATA_CENTER: &str = "EU-RO-1";

/// Returns a data center by its value in any case, with `_` or `-`, surrounding blanks ignored.
pub fn find_data_center(text: &str) -> Option<&'static DataCenter> {
    let value = text.trim().to_uppercase().replace('_', "-");
    DATA_CENTERS.iter().find(|center| center.value == value)
}

/// Returns the values of the data centers that a GPU endpoint may use when it names none.
pub fn default_data_centers() -> impl Iterator<Item = &'static str> {
    DATA_CENTERS.iter().filter(|center| center.is_default).map(|center| center.value)
}

/// Returns the values of the data centers where CPU endpoints run.
pub fn cpu_data_centers() -> impl Iterator<Item = &'static str> {
    DATA_CENTERS.iter().filter(|center| center.has_cpu).map(|center| center.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("US-CA-2", Some("US-CA-2"))]
    #[case(" us_ca_2 ", Some("US-CA-2"))]
    #[case("us-ga-2", Some("US-GA-2"))]
    #[case("MARS-1", None)]
    fn data_center_is_found_in_any_spelling(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(find_data_center(text).map(|center| center.value), expected);
    }
}
