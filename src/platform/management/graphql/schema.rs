//! The schema: its types, read once from `schema.graphql`.

use std::collections::HashMap;
use std::sync::LazyLock;

use async_graphql_parser::parse_schema;
use async_graphql_parser::types::{BaseType, Type, TypeKind, TypeSystemDefinition};

/// A field of an object, or of an input object without arguments.
#[derive(Debug)]
pub(super) struct FieldType {
    pub(super) ty: Type,
    pub(super) arguments: Vec<(String, Type)>,
}

/// What a type is.
#[derive(Debug)]
pub(super) enum Kind {
    Object(HashMap<String, FieldType>),
    Input(Vec<(String, Type)>),
    Enum(Vec<String>),
    /// The one scalar of our own: any JSON.
    Json,
}

/// Types by name; those that the language itself has are not among them.
#[derive(Debug, Default)]
pub(super) struct Schema(HashMap<String, Kind>);

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::parse(include_str!("schema.graphql")));

/// The schema of the management API.
pub(super) fn schema() -> &'static Schema {
    &SCHEMA
}

impl Schema {
    fn parse(text: &str) -> Self {
        let mut types = HashMap::new();
        // The text is part of the program, and a test parses it.
        let Ok(document) = parse_schema(text) else { return Self::default() };
        for definition in document.definitions {
            let TypeSystemDefinition::Type(definition) = definition else { continue };
            let definition = definition.node;
            let kind = match definition.kind {
                TypeKind::Object(object) => Kind::Object(
                    object
                        .fields
                        .into_iter()
                        .map(|field| {
                            let field = field.node;
                            let arguments = field
                                .arguments
                                .into_iter()
                                .map(|argument| (argument.node.name.node.to_string(), argument.node.ty.node));
                            let arguments = arguments.collect();
                            (field.name.node.to_string(), FieldType { ty: field.ty.node, arguments })
                        })
                        .collect(),
                ),
                TypeKind::InputObject(input) => Kind::Input(
                    input
                        .fields
                        .into_iter()
                        .map(|field| (field.node.name.node.to_string(), field.node.ty.node))
                        .collect(),
                ),
                TypeKind::Enum(list) => Kind::Enum(
                    list.values.into_iter().map(|value| value.node.value.node.to_string()).collect(),
                ),
                _ => Kind::Json,
            };
            types.insert(definition.name.node.to_string(), kind);
        }
        Self(types)
    }

    pub(super) fn kind(&self, name: &str) -> Option<&Kind> {
        self.0.get(name)
    }

    /// A field of an object type.
    pub(super) fn field(&self, object: &str, name: &str) -> Option<&FieldType> {
        match self.0.get(object)? {
            Kind::Object(fields) => fields.get(name),
            _ => None,
        }
    }

    pub(super) fn is_object(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Kind::Object(_)))
    }
}

/// The name below lists.
pub(super) fn base_name(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name.as_str(),
        BaseType::List(inner) => base_name(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALARS: [&str; 5] = ["ID", "String", "Int", "Float", "Boolean"];

    #[test]
    fn every_type_that_is_used_is_declared() {
        let schema = schema();
        assert!(schema.is_object("Query") && schema.is_object("Mutation"));
        let known = |ty: &Type| {
            let name = base_name(ty);
            assert!(SCALARS.contains(&name) || schema.kind(name).is_some(), "{name}");
        };
        for kind in schema.0.values() {
            match kind {
                Kind::Object(fields) => {
                    for field in fields.values() {
                        known(&field.ty);
                        field.arguments.iter().for_each(|(_, ty)| known(ty));
                    }
                }
                Kind::Input(fields) => fields.iter().for_each(|(_, ty)| known(ty)),
                Kind::Enum(_) | Kind::Json => {}
            }
        }
    }
}
