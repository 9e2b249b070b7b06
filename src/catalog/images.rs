//! Container images that Runpod's workers run in.

/// Python versions that Runpod's images exist for.
pub const PYTHON_VERSIONS: &[&str] = &["3.10", "3.11", "3.12", "3.13"];
/// Python version of an image when nothing is said.
pub const DEFAULT_PYTHON_VERSION: &str = "3.12";
/// Tag of an image when nothing is said.
pub const DEFAULT_TAG: &str = "latest";

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageKind {
    /// Queue-based endpoints.
    Queue,
    /// Load-balanced endpoints.
    LoadBalanced,
}

impl ImageKind {
    /// Returns the repository on Docker Hub.
    pub fn repository(self, is_cpu: bool) -> &'static str {
        match (self, is_cpu) {
            (Self::Queue, false) => "runpod/flash",
            (Self::Queue, true) => "runpod/flash-cpu",
            (Self::LoadBalanced, false) => "runpod/flash-lb",
            (Self::LoadBalanced, true) => "runpod/flash-lb-cpu",
        }
    }

    /// Returns the environment variable that replaces the whole image name.
    pub fn variable(self, is_cpu: bool) -> &'static str {
        match (self, is_cpu) {
            (Self::Queue, false) => "FLASH_GPU_IMAGE",
            (Self::Queue, true) => "FLASH_CPU_IMAGE",
            (Self::LoadBalanced, false) => "FLASH_LB_IMAGE",
            (Self::LoadBalanced, true) => "FLASH_CPU_LB_IMAGE",
        }
    }
}

/// Returns the image of an endpoint: the variable's, else the repository with the default Python
/// version and the tag of `FLASH_IMAGE_TAG` (`latest` where that is unset).
pub fn image_name(kind: ImageKind, is_cpu: bool) -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    image_name_with(kind, is_cpu, variable)
}

fn image_name_with(kind: ImageKind, is_cpu: bool, variable: impl Fn(&str) -> Option<String>) -> String {
    variable(kind.variable(is_cpu)).unwrap_or_else(|| {
        let tag = variable("FLASH_IMAGE_TAG").unwrap_or_else(|| DEFAULT_TAG.to_owned());
        format!("{}:py{DEFAULT_PYTHON_VERSION}-{tag}", kind.repository(is_cpu))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_name_follows_kind_and_variables() {
        let none = |_: &str| None;
        assert_eq!(image_name_with(ImageKind::Queue, false, none), "runpod/flash:py3.12-latest");
        assert_eq!(image_name_with(ImageKind::LoadBalanced, true, none), "runpod/flash-lb-cpu:py3.12-latest");
        let tag = |name: &str| (name == "FLASH_IMAGE_TAG").then(|| "dev".to_owned());
        assert_eq!(image_name_with(ImageKind::Queue, true, tag), "runpod/flash-cpu:py3.12-dev");
        let whole = |name: &str| (name == "FLASH_LB_IMAGE").then(|| "mine:1".to_owned());
        assert_eq!(image_name_with(ImageKind::LoadBalanced, false, whole), "mine:1");
    }
}
