//! PEP 508 requirements: parsing, merging, conflicts.
//!
//! The parser is hidden here, so that it can be replaced without touching anything else.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use pep508_rs::pep440_rs::{Operator, Version, VersionSpecifiers};
use pep508_rs::{MarkerEnvironment, VerbatimUrl, VersionOrUrl};

use super::error::RequirementError;

/// Never installed into an environment: workers get the runtime of the `flash` that started them.
const OURSELVES: &str = "runpod-flash";

/// Options of requirement files that are handed on to `uv`.
const OPTIONS: [&str; 7] =
    ["--index-url", "-i", "--extra-index-url", "--find-links", "-f", "--no-index", "--pre"];

/// One requirement, such as `numpy>=2`.
#[derive(Debug, Clone)]
pub struct Requirement {
    parsed: pep508_rs::Requirement<VerbatimUrl>,
    /// What `uv` is told: normalised, but a URL stays as written (it may name `${TOKEN}`).
    text: String,
    origin: &'static str,
}

/// What one environment must hold.
#[derive(Debug, Clone, Default)]
pub struct RequirementSet {
    /// Sorted by name.
    requirements: Vec<Requirement>,
    /// Lines such as `--extra-index-url https://…`, in the order given.
    options: Vec<String>,
}

impl Requirement {
    /// Parses one requirement; the error names the string and the place in it.
    pub fn parse(text: &str, origin: &'static str) -> Result<Self, RequirementError> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(RequirementError::Parse {
                text: text.to_owned(),
                column: 1,
                reason: "it is empty".to_owned(),
            });
        }
        match pep508_rs::Requirement::<VerbatimUrl>::from_str(trimmed) {
            Ok(parsed) => Ok(Self::new(parsed, trimmed, origin)),
            Err(error) => {
                let before = trimmed.get(..error.start).unwrap_or(trimmed);
                let reason = error.message.to_string();
                let reason = reason.lines().next().unwrap_or_default().trim_end_matches('.').to_owned();
                Err(RequirementError::Parse {
                    text: trimmed.to_owned(),
                    column: before.chars().count() + 1,
                    reason: lower_first(&reason),
                })
            }
        }
    }

    fn new(parsed: pep508_rs::Requirement<VerbatimUrl>, written: &str, origin: &'static str) -> Self {
        let is_url = matches!(parsed.version_or_url, Some(VersionOrUrl::Url(_)));
        let text = if is_url { written.to_owned() } else { parsed.to_string() };
        Self { parsed, text, origin }
    }

    /// Normalised name, such as `scikit-learn`.
    pub fn name(&self) -> &str {
        self.parsed.name.as_ref()
    }

    /// Whether it is wanted at all where `markers` hold.
    pub fn applies_to(&self, markers: &MarkerEnvironment) -> bool {
        self.parsed.evaluate_markers(markers, &[])
    }

    /// Whether an installed version will do. One that was asked for by URL is taken on trust.
    pub fn is_met_by(&self, version: &Version) -> bool {
        match &self.parsed.version_or_url {
            None | Some(VersionOrUrl::Url(_)) => true,
            Some(VersionOrUrl::VersionSpecifier(specifiers)) => specifiers.contains(version),
        }
    }

    /// One requirement in place of two of one package, where that can be said.
    fn merge(self, other: Self) -> Result<(Self, Option<Self>), RequirementError> {
        if self.text == other.text {
            return Ok((self, None));
        }
        if self.parsed.marker != other.parsed.marker {
            return Ok((self, Some(other)));
        }
        let (left, right) = match (&self.parsed.version_or_url, &other.parsed.version_or_url) {
            (Some(VersionOrUrl::Url(left)), Some(VersionOrUrl::Url(right))) if left != right => {
                return Err(conflict(&self, &other));
            }
            (Some(VersionOrUrl::Url(_)), _) | (_, Some(VersionOrUrl::Url(_))) => {
                return Ok((self, Some(other)));
            }
            (left, right) => (specifiers_of(left.as_ref()), specifiers_of(right.as_ref())),
        };
        if excludes(&left, &right) || excludes(&right, &left) {
            return Err(conflict(&self, &other));
        }
        let mut parsed = self.parsed;
        let mut both: Vec<_> = left.iter().cloned().collect();
        both.extend(right.iter().filter(|specifier| !left.contains_specifier(specifier)).cloned());
        parsed.version_or_url =
            (!both.is_empty()).then(|| VersionOrUrl::VersionSpecifier(both.into_iter().collect()));
        parsed.extras.extend(other.parsed.extras);
        parsed.extras.sort();
        parsed.extras.dedup();
        Ok((Self::new(parsed, "", self.origin), None))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl RequirementSet {
    /// Merges an endpoint's requirements with its project's.
    ///
    /// `runpod-flash` itself is left out, doubles are joined, comments and blank lines are dropped.
    pub fn merge(endpoint: &[String], project: &[String]) -> Result<Self, RequirementError> {
        let mut options = Vec::new();
        let mut by_name: BTreeMap<String, Vec<Requirement>> = BTreeMap::new();
        let lines = endpoint
            .iter()
            .map(|line| (line, "the endpoint's `dependencies`"))
            .chain(project.iter().map(|line| (line, "the project's requirements")));
        for (line, origin) in lines {
            let line = without_comment(line);
            if line.is_empty() && origin.starts_with("the project") {
                continue;
            }
            if line.starts_with('-') {
                let option = line.split([' ', '=']).next().unwrap_or(line);
                if !OPTIONS.contains(&option) {
                    return Err(RequirementError::Option { text: line.to_owned() });
                }
                if !options.iter().any(|known| known == line) {
                    options.push(line.to_owned());
                }
                continue;
            }
            let requirement = Requirement::parse(line, origin)?;
            if requirement.name() == OURSELVES {
                continue;
            }
            let known = by_name.entry(requirement.name().to_owned()).or_default();
            let mut kept = Vec::new();
            let mut pending = Some(requirement);
            for earlier in known.drain(..) {
                match pending.take() {
                    Some(newer) => {
                        let (merged, rest) = earlier.merge(newer)?;
                        kept.push(merged);
                        pending = rest;
                    }
                    None => kept.push(earlier),
                }
            }
            kept.extend(pending);
            *known = kept;
        }
        Ok(Self { requirements: by_name.into_values().flatten().collect(), options })
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Requirements, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Requirement> {
        self.requirements.iter()
    }

    /// Lines such as `--extra-index-url https://…`.
    pub fn options(&self) -> impl Iterator<Item = &str> {
        self.options.iter().map(String::as_str)
    }

    /// The set as a requirements file; equal sets give equal text.
    pub fn to_file(&self) -> String {
        let mut text = String::new();
        for line in self.options.iter().map(String::as_str).chain(self.iter().map(|item| item.text.as_str()))
        {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// A short list for people, such as `numpy, pandas and 3 more`.
    pub fn summary(&self) -> String {
        summary(&self.requirements.iter().map(Requirement::to_string).collect::<Vec<_>>())
    }

    /// Those requirements (in backticks) that a resolver's reason speaks of; all where it names none.
    pub fn named_in(&self, reason: &str) -> String {
        let words: Vec<String> = reason
            .split(|character: char| !(character.is_alphanumeric() || "-_.".contains(character)))
            .map(|word| word.trim_matches('.').to_lowercase().replace(['_', '.'], "-"))
            .collect();
        let is_named = |item: &&Requirement| words.iter().any(|word| word == item.name());
        let mut named: Vec<&Requirement> = self.iter().filter(is_named).collect();
        if named.is_empty() {
            named = self.iter().collect();
        }
        named.iter().map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ")
    }
}

/// A short list for people, such as `numpy, pandas and 3 more`.
pub fn summary(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Whether one side demands an exact version that the other side refuses.
fn excludes(exact: &VersionSpecifiers, other: &VersionSpecifiers) -> bool {
    exact
        .iter()
        .filter(|specifier| *specifier.operator() == Operator::Equal)
        .any(|specifier| !other.contains(specifier.version()))
}

fn specifiers_of(value: Option<&VersionOrUrl<VerbatimUrl>>) -> VersionSpecifiers {
    match value {
        Some(VersionOrUrl::VersionSpecifier(specifiers)) => specifiers.clone(),
        _ => VersionSpecifiers::empty(),
    }
}

fn conflict(first: &Requirement, second: &Requirement) -> RequirementError {
    RequirementError::Conflict {
        first: first.text.clone(),
        first_origin: first.origin,
        second: second.text.clone(),
        second_origin: second.origin,
    }
}

fn without_comment(line: &str) -> &str {
    let line = line.trim();
    if line.starts_with('#') {
        return "";
    }
    line.find(" #").map_or(line, |at| line.get(..at).unwrap_or(line)).trim_end()
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

/// Small help that the version crate does not give.
trait ContainsSpecifier {
    fn contains_specifier(&self, specifier: &pep508_rs::pep440_rs::VersionSpecifier) -> bool;
}

impl ContainsSpecifier for VersionSpecifiers {
    fn contains_specifier(&self, specifier: &pep508_rs::pep440_rs::VersionSpecifier) -> bool {
        self.iter().any(|known| known == specifier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    fn merged(endpoint: &[&str], project: &[&str]) -> Result<String, String> {
        RequirementSet::merge(&strings(endpoint), &strings(project))
            .map(|set| set.to_file())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn requirement_nonsense_names_string_and_position() {
        let error = Requirement::parse("numpy >> 2", "x").expect_err("refused").to_string();
        assert!(error.starts_with("`numpy >> 2` is not a requirement: "), "{error}");
        assert!(error.ends_with("(at character 7)"), "{error}");
        for text in ["", "  ", "numpy==", "🦀", "a b", "./wheel.whl", "x @ http://[", "é é", "n[", "a;b"]
        {
            let error = Requirement::parse(text, "x").expect_err(text);
            assert!(matches!(error, RequirementError::Parse { .. }), "{text}: {error}");
        }
    }

    #[test]
    fn set_equal_in_other_order_and_spelling_gives_equal_text() {
        let one = merged(&["Numpy >=2", "scikit_learn"], &["six"]);
        let two = merged(&["scikit-learn", "numpy>=2"], &["six", "six"]);
        assert_eq!(one, two);
        assert_eq!(one.as_deref(), Ok("numpy>=2\nscikit-learn\nsix\n"));
    }

    #[test]
    fn set_doubles_are_joined_and_we_are_left_out() {
        assert_eq!(
            merged(&["uvicorn[standard]>=0.30", "runpod_flash[x]>=1"], &["uvicorn<1", "# note", "six # why"]),
            Ok("six\nuvicorn[standard]>=0.30,<1\n".to_owned())
        );
    }

    #[test]
    fn set_versions_that_exclude_each_other_name_both_places() {
        let error = merged(&["six==1.16.0"], &["six==1.17.0"]).expect_err("conflict");
        assert_eq!(
            error,
            "`six==1.16.0` (the endpoint's `dependencies`) and `six==1.17.0` (the project's requirements) \
             cannot both be met"
        );
        assert!(merged(&["six==1.16.0", "six>=1.17"], &[]).is_err());
        assert!(merged(&["six==1.16.0", "six>=1.16"], &[]).is_ok());
    }

    #[test]
    fn set_other_markers_stay_apart() {
        let text = merged(&["six==1.16; python_version<'3.0'", "six==1.17; python_version>='3.0'"], &[]);
        assert_eq!(text.map(|text| text.lines().count()), Ok(2));
    }

    #[test]
    fn set_options_pass_and_unknown_ones_are_refused() {
        assert_eq!(
            merged(&[], &["--extra-index-url https://a/simple", "six"]),
            Ok("--extra-index-url https://a/simple\nsix\n".to_owned())
        );
        assert_eq!(merged(&[], &["-e ."]), Err("`-e .` is not supported among requirements".to_owned()));
    }

    #[test]
    fn reason_names_the_requirements_it_speaks_of() {
        let set = RequirementSet::merge(&strings(&["six==99", "numpy"]), &[]).expect("merges");
        assert_eq!(set.named_in("Because there is no version of six==99 and you"), "`six==99`");
        assert_eq!(set.named_in("no route to host"), "`numpy`, `six==99`");
    }
}
