//! A query checked against the schema: which fields to give, with which arguments.
//!
//! Everything is checked before anything is done: a mutation with a mistake changes nothing.

use std::collections::HashSet;

use async_graphql_parser::Positioned;
use async_graphql_parser::parse_query;
use async_graphql_parser::types::{
    Directive, DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection,
    SelectionSet,
};
use async_graphql_value::ConstValue;
use serde_json::{Map, Value};

use super::error::QueryError;
use super::schema::{base_name, schema};
use super::values;

/// Deepest nesting of fields and fragments; more is a query made to hurt.
const DEEPEST: usize = 24;
/// Most fields once fragments are written out.
const MOST_FIELDS: usize = 5000;

/// A field to give.
#[derive(Debug)]
pub(super) struct PlanField {
    /// Its key in the answer: its alias, or its name.
    pub(super) key: String,
    pub(super) name: String,
    /// Type that it is a field of.
    pub(super) parent: String,
    pub(super) arguments: Map<String, Value>,
    /// What to give of an object; empty for a leaf.
    pub(super) selection: Vec<PlanField>,
}

/// An operation that can be carried out.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) is_mutation: bool,
    pub(super) fields: Vec<PlanField>,
}

/// Reads a query and checks it.
pub(super) fn plan(
    query: &str,
    operation: Option<&str>,
    given: &Map<String, Value>,
) -> Result<Plan, QueryError> {
    let document = parse_query(query).map_err(|error| QueryError(format!("Syntax Error: {error}")))?;
    let definition = choose(&document, operation)?;
    let (root, is_mutation) = match definition.ty {
        OperationType::Query => ("Query", false),
        OperationType::Mutation => ("Mutation", true),
        OperationType::Subscription => {
            return Err(QueryError("Subscriptions are not served here.".to_owned()));
        }
    };
    let variables = variables(definition, given)?;
    let mut planner = Planner { document: &document, variables, open: HashSet::new(), count: 0 };
    let mut fields = Vec::new();
    planner.select(root, &definition.selection_set.node, 0, &mut fields)?;
    Ok(Plan { is_mutation, fields })
}

fn choose<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Result<&'a OperationDefinition, QueryError> {
    match (&document.operations, name) {
        (DocumentOperations::Single(operation), _) => Ok(&operation.node),
        (DocumentOperations::Multiple(operations), Some(name)) => operations
            .get(name)
            .map(|operation| &operation.node)
            .ok_or_else(|| QueryError(format!("Unknown operation named \"{name}\"."))),
        (DocumentOperations::Multiple(operations), None) => {
            let mut all = operations.values();
            match (all.next(), all.next()) {
                (Some(only), None) => Ok(&only.node),
                _ => Err(QueryError(
                    "Must provide operation name if query contains multiple operations.".to_owned(),
                )),
            }
        }
    }
}

/// The operation's variables: given ones, else their defaults, else null.
fn variables(
    operation: &OperationDefinition,
    given: &Map<String, Value>,
) -> Result<Map<String, Value>, QueryError> {
    let mut variables = Map::new();
    for definition in &operation.variable_definitions {
        let definition = &definition.node;
        let name = definition.name.node.as_str();
        let ty = &definition.var_type.node;
        let default = definition.default_value.as_ref().map(|value| value.node.clone());
        let value = match (given.get(name), default) {
            (Some(value), _) => value.clone(),
            (None, Some(default)) => default.into_json().map_err(|error| QueryError(error.to_string()))?,
            (None, None) => Value::Null,
        };
        if value.is_null() && !ty.nullable {
            return Err(QueryError(format!(
                "Variable \"${name}\" of required type \"{ty}\" was not provided."
            )));
        }
        variables.insert(name.to_owned(), value);
    }
    Ok(variables)
}

struct Planner<'a> {
    document: &'a ExecutableDocument,
    variables: Map<String, Value>,
    /// Fragments that are being written out.
    open: HashSet<String>,
    count: usize,
}

impl Planner<'_> {
    fn select(
        &mut self,
        parent: &str,
        set: &SelectionSet,
        depth: usize,
        fields: &mut Vec<PlanField>,
    ) -> Result<(), QueryError> {
        if depth > DEEPEST {
            return Err(QueryError(format!("The query is nested more than {DEEPEST} deep.")));
        }
        for selection in &set.items {
            self.count += 1;
            if self.count > MOST_FIELDS {
                return Err(QueryError(format!("The query has more than {MOST_FIELDS} fields.")));
            }
            if self.is_skipped(selection.node.directives())? {
                continue;
            }
            match &selection.node {
                Selection::Field(field) => self.field(parent, &field.node, depth, fields)?,
                Selection::InlineFragment(fragment) => {
                    let on = fragment.node.type_condition.as_ref().map(|on| on.node.on.node.as_str());
                    self.fragment(parent, on, &fragment.node.selection_set.node, depth, fields)?;
                }
                Selection::FragmentSpread(spread) => {
                    let name = spread.node.fragment_name.node.as_str();
                    let document = self.document;
                    let fragment = document
                        .fragments
                        .get(name)
                        .ok_or_else(|| QueryError(format!("Unknown fragment \"{name}\".")))?;
                    if !self.open.insert(name.to_owned()) {
                        return Err(QueryError(format!("Cannot spread fragment \"{name}\" within itself.")));
                    }
                    let on = Some(fragment.node.type_condition.node.on.node.as_str());
                    self.fragment(parent, on, &fragment.node.selection_set.node, depth, fields)?;
                    self.open.remove(name);
                }
            }
        }
        Ok(())
    }

    fn fragment(
        &mut self,
        parent: &str,
        on: Option<&str>,
        set: &SelectionSet,
        depth: usize,
        fields: &mut Vec<PlanField>,
    ) -> Result<(), QueryError> {
        match on {
            Some(on) if !schema().is_object(on) => Err(QueryError(format!("Unknown type \"{on}\"."))),
            // There are neither interfaces nor unions: another type never applies.
            Some(on) if on != parent => Err(QueryError(format!(
                "Fragment cannot be spread here as objects of type \"{parent}\" can never be of type \"{on}\"."
            ))),
            _ => self.select(parent, set, depth + 1, fields),
        }
    }

    fn field(
        &mut self,
        parent: &str,
        field: &Field,
        depth: usize,
        fields: &mut Vec<PlanField>,
    ) -> Result<(), QueryError> {
        let name = field.name.node.as_str();
        let key = field.response_key().node.to_string();
        if name == "__typename" {
            fields.push(PlanField {
                key,
                name: name.to_owned(),
                parent: parent.to_owned(),
                arguments: Map::new(),
                selection: Vec::new(),
            });
            return Ok(());
        }
        let unknown = || QueryError(format!("Cannot query field \"{name}\" on type \"{parent}\"."));
        let known = schema().field(parent, name).ok_or_else(unknown)?;
        let arguments = self.arguments(parent, field, &known.arguments)?;
        let ty = base_name(&known.ty);
        let is_object = schema().is_object(ty);
        if is_object == field.selection_set.node.items.is_empty() {
            return Err(QueryError(if is_object {
                format!("Field \"{name}\" of type \"{}\" must have a selection of subfields.", known.ty)
            } else {
                format!(
                    "Field \"{name}\" must not have a selection since type \"{}\" has no subfields.",
                    known.ty
                )
            }));
        }
        let mut selection = Vec::new();
        self.select(ty, &field.selection_set.node, depth + 1, &mut selection)?;
        match fields.iter_mut().find(|other| other.key == key) {
            Some(other) if other.name == name && other.arguments == arguments => merge(other, selection),
            Some(_) => Err(QueryError(format!("Fields \"{key}\" conflict: give one of them an alias."))),
            None => {
                let (name, parent) = (name.to_owned(), parent.to_owned());
                fields.push(PlanField { key, name, parent, arguments, selection });
                Ok(())
            }
        }
    }

    fn arguments(
        &self,
        parent: &str,
        field: &Field,
        known: &[(String, async_graphql_parser::types::Type)],
    ) -> Result<Map<String, Value>, QueryError> {
        let name = &field.name.node;
        if let Some((unknown, _)) = field
            .arguments
            .iter()
            .find(|(given, _)| known.iter().all(|(known, _)| known != given.node.as_str()))
        {
            let text = format!("Unknown argument \"{}\" on field \"{parent}.{name}\".", unknown.node);
            return Err(QueryError(text));
        }
        let mut arguments = Map::new();
        for (argument, ty) in known {
            match field.get_argument(argument) {
                Some(literal) => {
                    let value = values::argument(argument, ty, &literal.node, &self.variables)?;
                    arguments.insert(argument.clone(), value);
                }
                None if ty.nullable => {}
                None => {
                    return Err(QueryError(format!(
                        "Field \"{name}\" argument \"{argument}\" of type \"{ty}\" is required, but it was not provided."
                    )));
                }
            }
        }
        Ok(arguments)
    }

    fn is_skipped(&self, directives: &[Positioned<Directive>]) -> Result<bool, QueryError> {
        for directive in directives {
            let name = directive.node.name.node.as_str();
            let skips_when = match name {
                "skip" => true,
                "include" => false,
                _ => return Err(QueryError(format!("Unknown directive \"@{name}\"."))),
            };
            let missing = || QueryError(format!("Directive \"@{name}\" needs the argument \"if\"."));
            let literal = directive.node.get_argument("if").ok_or_else(missing)?;
            let value = literal.node.clone().into_const_with(|variable| {
                let value = self.variables.get(variable.as_str()).cloned().unwrap_or_default();
                ConstValue::from_json(value).map_err(|error| QueryError(error.to_string()))
            })?;
            let ConstValue::Boolean(value) = value else { return Err(missing()) };
            if value == skips_when {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The same field twice: its selections become one.
fn merge(field: &mut PlanField, selection: Vec<PlanField>) -> Result<(), QueryError> {
    for more in selection {
        match field.selection.iter_mut().find(|known| known.key == more.key) {
            Some(known) if known.name == more.name && known.arguments == more.arguments => {
                merge(known, more.selection)?;
            }
            Some(_) => {
                return Err(QueryError(format!(
                    "Fields \"{}\" conflict: give one of them an alias.",
                    more.key
                )));
            }
            None => field.selection.push(more),
        }
    }
    Ok(())
}
