//! How much a set of packages has to download, and what is said before a large one.

use serde::Deserialize;

/// From here on a download is announced with its size, in bytes.
pub const LARGE: u64 = 200_000_000;

/// Packages whose index states no size, in bytes: `+cpu` builds of torch's own index, then others.
const KNOWN: [(&str, u64, u64); 4] = [
    ("torch", 200_000_000, 900_000_000),
    ("torchvision", 2_000_000, 8_000_000),
    ("torchaudio", 2_000_000, 4_000_000),
    ("triton", 200_000_000, 200_000_000),
];

/// A package and what it downloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageSize {
    /// Name.
    pub name: String,
    /// Bytes; an estimate where the index states none.
    pub bytes: u64,
}

#[derive(Deserialize)]
struct PyLock {
    #[serde(default)]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: Option<String>,
    #[serde(default)]
    wheels: Vec<Archive>,
    sdist: Option<Archive>,
}

#[derive(Deserialize)]
struct Archive {
    size: Option<u64>,
}

/// Reads sizes from a `pylock.toml`; nothing where it cannot be read, since sizes only inform.
pub fn sizes_in(pylock: &str) -> Vec<PackageSize> {
    let Ok(lock) = toml::from_str::<PyLock>(pylock) else { return Vec::new() };
    lock.packages
        .into_iter()
        .map(|package| {
            let stated = package
                .wheels
                .iter()
                .filter_map(|wheel| wheel.size)
                .max()
                .or_else(|| package.sdist.as_ref().and_then(|sdist| sdist.size));
            let bytes = stated.or_else(|| known_size(&package)).unwrap_or(0);
            PackageSize { name: package.name, bytes }
        })
        .collect()
}

/// The line that is shown before a large download; `None` where it is not large.
pub fn notice(sizes: &[PackageSize]) -> Option<String> {
    let total: u64 = sizes.iter().map(|size| size.bytes).sum();
    if total < LARGE {
        return None;
    }
    let mut largest: Vec<&PackageSize> = sizes.iter().filter(|size| size.bytes > total / 20).collect();
    largest.sort_by_key(|size| std::cmp::Reverse(size.bytes));
    let parts: Vec<String> =
        largest.iter().take(3).map(|size| format!("{} {}", size.name, human(size.bytes))).collect();
    Some(format!(
        "up to {} to download ({}); `--deps host` uses the packages that this Python already has instead",
        human(total),
        parts.join(", ")
    ))
}

fn known_size(package: &Package) -> Option<u64> {
    let is_cpu = package.version.as_deref().is_some_and(|version| version.ends_with("+cpu"));
    KNOWN
        .iter()
        .find(|(name, _, _)| *name == package.name)
        .map(|(_, cpu, other)| if is_cpu { *cpu } else { *other })
}

/// Decimal units, one digit after the point from a gigabyte on.
fn human(bytes: u64) -> String {
    if bytes >= 1_000_000_000 {
        format!("{}.{} GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000)
    } else {
        format!("{} MB", bytes.div_ceil(1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_from_the_lock_or_from_what_is_known() {
        let lock = r#"
lock-version = "1.0"
[[packages]]
name = "torch"
version = "2.9.0+cpu"
wheels = [{ url = "https://x/torch.whl", hashes = { sha256 = "0" } }]
[[packages]]
name = "numpy"
version = "2.0"
sdist = { url = "https://x/numpy.tar.gz", size = 20000000 }
wheels = [{ url = "https://x/numpy.whl", size = 16000000 }]
"#;
        let sizes = sizes_in(lock);
        assert_eq!(sizes.iter().map(|size| size.bytes).collect::<Vec<_>>(), [200_000_000, 16_000_000]);
        assert_eq!(
            notice(&sizes).as_deref(),
            Some(
                "up to 216 MB to download (torch 200 MB, numpy 16 MB); `--deps host` uses the packages that \
                 this Python already has instead"
            )
        );
        assert_eq!(notice(&sizes[1..]), None);
        assert_eq!(sizes_in("not toml ["), []);
    }

    #[test]
    fn sizes_are_said_in_round_numbers() {
        assert_eq!(human(2_749_000_000), "2.7 GB");
        assert_eq!(human(899_500_000), "900 MB");
    }
}
