//! Folders and files of what accounts have: artifacts of builds, network volumes.

use std::path::PathBuf;

use super::Management;
use super::model::{Build, State};

impl Management {
    /// The archive of a build.
    pub(super) fn artifact(&self, build: &Build) -> PathBuf {
        self.options.folder.join("builds").join(format!("{}.tar.gz", build.id))
    }

    /// The folder of a network volume.
    pub(super) fn volume_folder(&self, id: &str) -> PathBuf {
        self.options.folder.join("volumes").join(id)
    }

    /// Removes the files of what is gone. Workers that still finish something have them open, or
    /// fail to find them, as on Runpod.
    pub(super) fn clear(&self, before: &State, after: &State) {
        for build in before.builds.values().filter(|build| !after.builds.contains_key(&build.id)) {
            let _ = std::fs::remove_file(self.artifact(build));
        }
        for id in before.volumes.keys().filter(|id| !after.volumes.contains_key(*id)) {
            let _ = std::fs::remove_dir_all(self.volume_folder(id));
        }
    }
}
