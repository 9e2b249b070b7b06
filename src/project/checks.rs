//! Rules that look at the whole project: every endpoint has a name of its own.

use std::collections::{BTreeSet, HashMap};

use super::config;
use super::declarations::Draft;
use super::diagnostic::{Diagnostic, Label};
use crate::endpoint::{EndpointKind, bare_name};

/// Takes out endpoints whose name another one has; what was declared first stays.
pub(super) fn check_names(drafts: Vec<Draft>, problems: &mut Vec<Diagnostic>) -> Vec<Draft> {
    let mut kept: Vec<Draft> = Vec::with_capacity(drafts.len());
    let mut by_name: HashMap<String, usize> = HashMap::new();
    let mut ordered = drafts;
    ordered
        .sort_by(|left, right| (&left.file, left.name_span.start).cmp(&(&right.file, right.name_span.start)));
    for draft in ordered {
        let key = bare(&draft.endpoint.name);
        match by_name.get(&key) {
            None => {
                by_name.insert(key, kept.len());
                kept.push(draft);
            }
            Some(first) => {
                // The same `image=` endpoint imported and declared again is one client, as in 1.21.
                let first = &kept[*first];
                let is_same_client = first.endpoint.kind == EndpointKind::Client
                    && draft.endpoint.kind == EndpointKind::Client
                    && first.endpoint.config.image == draft.endpoint.config.image
                    && first.file != draft.file;
                if !is_same_client {
                    problems.push(conflict(first, &draft));
                }
            }
        }
    }
    kept
}

/// What stays of a name without all its prefixes and suffixes.
fn bare(name: &str) -> String {
    let mut name = name;
    loop {
        let shorter = bare_name(name);
        if shorter == name || shorter.is_empty() {
            return name.to_owned();
        }
        name = shorter;
    }
}

fn conflict(first: &Draft, second: &Draft) -> Diagnostic {
    let (one, two) = (&first.endpoint, &second.endpoint);
    let rule;
    let message;
    let hint;
    let mut labels = ("first declared here", "declared again here");
    match (one.kind, two.kind) {
        _ if one.name != two.name => {
            rule = "similar-endpoints";
            message = format!("endpoints `{}` and `{}` are one on Runpod", one.name, two.name);
            hint = "names must differ by more than a `live-` in front or a `-fb` at the end".to_owned();
            labels = ("also declared here", "declared here");
        }
        (EndpointKind::Queue, EndpointKind::Queue) => {
            rule = "duplicate-endpoint";
            message = format!("endpoint `{}` is declared twice", two.name);
            hint = "each queue-based function needs its own name; for several routes on one endpoint use `api = Endpoint(...)` and `@api.post(\"/path\")`".to_owned();
        }
        (EndpointKind::LoadBalanced, EndpointKind::LoadBalanced) if first.file != second.file => {
            rule = "duplicate-endpoint";
            message = format!("load-balanced endpoint `{}` has routes in two files", two.name);
            hint = format!(
                "keep all routes of one endpoint in one file, or rename one: `Endpoint(name=\"{}-2\", ...)`",
                two.name
            );
        }
        (EndpointKind::Queue, EndpointKind::LoadBalanced)
        | (EndpointKind::LoadBalanced, EndpointKind::Queue) => {
            rule = "duplicate-endpoint";
            message = format!("endpoint `{}` is both queue-based and load-balanced", two.name);
            hint = "an endpoint has one kind: give the function and the object with routes different names"
                .to_owned();
            let kind =
                |kind| if kind == EndpointKind::Queue { "queue-based here" } else { "load-balanced here" };
            labels = (kind(one.kind), kind(two.kind));
        }
        _ => {
            rule = "duplicate-endpoint";
            message = format!("endpoint `{}` is declared twice", two.name);
            hint = "give one of them another name".to_owned();
        }
    }
    let place = |draft: &Draft, other: &Draft| {
        // One variable that decorates two functions has one name: show the functions.
        if draft.name_span == other.name_span {
            draft
                .endpoint
                .callables
                .first()
                .map_or_else(|| draft.name_span.clone(), |callable| callable.span.clone())
        } else {
            draft.name_span.clone()
        }
    };
    let mut problem = config::error(rule, message, place(second, first), labels.1, Some(hint));
    problem.secondary.push(Label { span: place(first, second), text: labels.0.to_owned() });
    problem
}

/// Names of all functions and classes behind endpoints, for calls between them.
pub(super) fn callable_names(drafts: &[Draft]) -> BTreeSet<String> {
    drafts.iter().flat_map(|draft| &draft.endpoint.callables).map(|callable| callable.name.clone()).collect()
}
