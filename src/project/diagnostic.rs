//! Located findings about a user's project.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{Annotation, AnnotationKind, Level, Origin, Renderer, Snippet};

use super::model::Project;

/// A byte range in a file of the project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// File, relative to the project root.
    pub file: PathBuf,
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The endpoint or file is left out.
    Error,
    /// Worth knowing.
    Warning,
}

/// A span with what to say beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// Text beside the underline; may be empty.
    pub text: String,
}

/// One finding: what is wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Severity.
    pub severity: Severity,
    /// Rule, such as `duplicate-endpoint`.
    pub rule: &'static str,
    /// One line, lower case, without a final period.
    pub message: String,
    /// Where it is; `None` only where no file can be named.
    pub primary: Option<Label>,
    /// Other places that matter.
    pub secondary: Vec<Label>,
    /// What to do.
    pub hint: Option<String>,
}

/// Renders a finding with its source lines: what is wrong, where, and what to do.
///
/// Columns count characters. The text of a file that was not read as part of the project
/// (`pyproject.toml`) is read again for its line.
pub fn render(diagnostic: &Diagnostic, project: &Project, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Ascii);
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let places: Vec<(&Label, AnnotationKind)> = diagnostic
        .primary
        .iter()
        .map(|label| (label, AnnotationKind::Primary))
        .chain(diagnostic.secondary.iter().map(|label| (label, AnnotationKind::Context)))
        .collect();
    let mut files: Vec<&Path> = Vec::new();
    for (label, _) in &places {
        if !files.contains(&label.span.file.as_path()) {
            files.push(&label.span.file);
        }
    }
    let texts: Vec<(String, Option<Arc<str>>)> = files
        .iter()
        .map(|file| (file.to_string_lossy().replace('\\', "/"), text_of(project, file)))
        .collect();
    let mut group = level
        .primary_title(diagnostic.message.as_str())
        .elements(std::iter::empty::<Snippet<'_, Annotation<'_>>>());
    for (file, (path, text)) in files.iter().zip(&texts) {
        let Some(text) = text.as_ref().filter(|text| !text.is_empty()) else {
            group = group.element(Origin::path(path.as_str()));
            continue;
        };
        let annotations =
            places.iter().filter(|(label, _)| label.span.file == **file).map(|(label, kind)| {
                let annotation = kind.span(visible(text, &label.span));
                if label.text.is_empty() { annotation } else { annotation.label(label.text.as_str()) }
            });
        group =
            group.element(Snippet::source(&**text).path(path.as_str()).fold(true).annotations(annotations));
    }
    let mut shown = renderer.render(&[group]);
    if let Some(hint) = &diagnostic.hint {
        let label = if color { "\u{1b}[1;36mhint\u{1b}[0m" } else { "hint" };
        shown.push_str("\n\n");
        shown.push_str(label);
        shown.push_str(": ");
        shown.push_str(hint);
    }
    shown
}

fn text_of(project: &Project, file: &Path) -> Option<Arc<str>> {
    match project.files.iter().find(|known| known.path == file) {
        Some(known) => Some(Arc::clone(&known.text)),
        None => std::fs::read_to_string(project.root.join(file)).ok().map(Arc::from),
    }
}

/// A span that can be underlined: inside the text, on character borders, and of one line where it
/// is longer (a call over ten lines says enough with its first).
fn visible(text: &str, span: &Span) -> std::ops::Range<usize> {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = span.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    let line = text[start..end].find(['\n', '\r']).map_or(end, |at| start + at);
    start..line.max(start)
}
