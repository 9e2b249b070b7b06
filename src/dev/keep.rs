//! What stays served while files are broken.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use crate::project::{Diagnostic, Project, ProjectFile, Severity};

/// Returns `next` with the last good version of what it could not read.
///
/// A file with an error of its own is replaced whole by its last version: with that version's hash
/// and closure, so that its workers are not replaced by ones that cannot load. An endpoint that an
/// error elsewhere took out (a name declared twice) stays where it was. Files that are gone are
/// gone.
pub(super) fn last_good(previous: &Project, next: &Project) -> Project {
    let errors = || next.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    let broken: HashSet<&Path> =
        errors().filter_map(|error| error.primary.as_ref()).map(|label| label.span.file.as_path()).collect();
    let touched: HashSet<&Path> =
        errors().flat_map(|error| &error.secondary).map(|label| label.span.file.as_path()).collect();
    let exists = |file: &Path| next.root.join(file).exists();
    let known = |path: &Path| previous.files.iter().find(|file| file.path == path);

    let mut files: Vec<Arc<ProjectFile>> = Vec::with_capacity(next.files.len());
    for file in &next.files {
        let kept = known(&file.path);
        files.push(match kept {
            Some(kept) if broken.contains(file.path.as_path()) => Arc::clone(kept),
            Some(kept) if touched.contains(file.path.as_path()) => with_missing(file, kept),
            _ => Arc::clone(file),
        });
    }
    // A file that cannot even be parsed may be missing from the list.
    for file in &previous.files {
        let is_listed = next.files.iter().any(|other| other.path == file.path);
        if !is_listed && broken.contains(file.path.as_path()) && exists(&file.path) {
            files.push(Arc::clone(file));
        }
    }
    files.sort_by(|left, right| left.path.cmp(&right.path));
    drop_repeated_endpoints(&mut files, &broken);
    Project { files, ..next.clone() }
}

/// Returns a project's errors, without its warnings.
pub(super) fn errors(project: &Project) -> impl Iterator<Item = &Diagnostic> {
    project.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error)
}

fn with_missing(file: &Arc<ProjectFile>, kept: &ProjectFile) -> Arc<ProjectFile> {
    let missing: Vec<_> = kept
        .endpoints
        .iter()
        .filter(|endpoint| file.endpoints.iter().all(|other| other.name != endpoint.name))
        .cloned()
        .collect();
    if missing.is_empty() {
        return Arc::clone(file);
    }
    let mut file = ProjectFile::clone(file);
    file.endpoints.extend(missing);
    Arc::new(file)
}

/// An endpoint that moved out of a file which is broken now is served by its new file only.
fn drop_repeated_endpoints(files: &mut [Arc<ProjectFile>], broken: &HashSet<&Path>) {
    let fresh: HashSet<String> = files
        .iter()
        .filter(|file| !broken.contains(file.path.as_path()))
        .flat_map(|file| file.endpoints.iter().map(|endpoint| endpoint.name.clone()))
        .collect();
    for file in files.iter_mut().filter(|file| broken.contains(file.path.as_path())) {
        if file.endpoints.iter().any(|endpoint| fresh.contains(&endpoint.name)) {
            Arc::make_mut(file).endpoints.retain(|endpoint| !fresh.contains(&endpoint.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::project::samples::{file, project, queue, with_error};

    fn names(project: &Project) -> Vec<(&str, &str)> {
        project
            .files
            .iter()
            .flat_map(|file| {
                file.endpoints
                    .iter()
                    .map(|endpoint| (file.path.to_str().unwrap_or("?"), endpoint.name.as_str()))
            })
            .collect()
    }

    #[test]
    fn broken_file_keeps_its_last_version() {
        let before = project(vec![
            file("a.py", vec![queue("a", "run", &[])]),
            file("b.py", vec![queue("b", "run", &[])]),
        ]);
        let mut changed = file("a.py", Vec::new());
        changed.hash = [7; 32];
        let next = with_error(project(vec![changed]), "a.py");
        let kept = last_good(&before, &next);
        assert_eq!(names(&kept), [("a.py", "a")]);
        assert_eq!(kept.files[0].hash, [0; 32]);
        assert_eq!(kept.diagnostics.len(), 1);
    }

    #[test]
    fn broken_file_that_is_not_listed_is_kept_while_it_exists() {
        let folder = tempfile::tempdir().expect("folder");
        let mut before = project(vec![file("a.py", vec![queue("a", "run", &[])])]);
        before.root = folder.path().to_owned();
        let mut next = with_error(project(Vec::new()), "a.py");
        next.root = folder.path().to_owned();
        assert_eq!(names(&last_good(&before, &next)), []);
        fs::write(folder.path().join("a.py"), "def").expect("write");
        assert_eq!(names(&last_good(&before, &next)), [("a.py", "a")]);
    }

    #[test]
    fn endpoint_moved_out_of_a_broken_file_is_served_once() {
        let before = project(vec![file("a.py", vec![queue("a", "run", &[])])]);
        let next = with_error(
            project(vec![file("a.py", Vec::new()), file("b.py", vec![queue("a", "run", &[])])]),
            "a.py",
        );
        assert_eq!(names(&last_good(&before, &next)), [("b.py", "a")]);
    }
}
