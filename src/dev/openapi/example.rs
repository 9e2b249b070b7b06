//! Examples that can be sent as they are.

use serde_json::{Map, Value, json};

use super::schemas::Schemas;

/// Models that contain themselves end here.
const DEPTH: usize = 6;

/// Returns a value that fits a schema: its example, its default, or the simplest one.
pub(super) fn of(schema: &Value, schemas: &Schemas) -> Value {
    build(schema, schemas, DEPTH)
}

fn build(schema: &Value, schemas: &Schemas, depth: usize) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        return schemas.resolve(reference).map_or(Value::Null, |target| build(target, schemas, depth - 1));
    }
    for given in [&schema["example"], &schema["examples"][0], &schema["const"]] {
        if !given.is_null() {
            return given.clone();
        }
    }
    if let Some(default) = schema.get("default") {
        return default.clone();
    }
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let mut whole = Map::new();
        for part in parts {
            match build(part, schemas, depth - 1) {
                Value::Object(fields) => whole.extend(fields),
                other if parts.len() == 1 => return other,
                _ => {}
            }
        }
        return Value::Object(whole);
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(options) = schema[choice].as_array() {
            let option = options.iter().find(|option| option["type"] != "null").or(options.first());
            return option.map_or(Value::Null, |option| build(option, schemas, depth - 1));
        }
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").and_then(Value::as_str),
        kind => kind.as_str(),
    };
    match kind {
        Some("string") => string(schema),
        Some("integer") => integer(schema),
        Some("number") => number(schema),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        Some("array") => array(schema, schemas, depth),
        Some("object") => object(schema, schemas, depth),
        _ if schema["properties"].is_object() => object(schema, schemas, depth),
        // Anything is accepted; a text shows where it goes.
        _ => json!("text"),
    }
}

fn string(schema: &Value) -> Value {
    let text = match schema["format"].as_str() {
        Some("date-time") => "2026-01-31T12:00:00Z",
        Some("date") => "2026-01-31",
        Some("time") => "12:00:00",
        Some("duration") => "PT1M",
        Some("uuid") => "123e4567-e89b-12d3-a456-426614174000",
        Some("email") => "someone@example.com",
        Some("uri") => "https://example.com/",
        Some("ipv4" | "ipvanyaddress") => "192.0.2.1",
        Some("ipv6") => "2001:db8::1",
        _ => "text",
    };
    let bound = |key: &str| schema[key].as_u64().and_then(|value| usize::try_from(value).ok());
    let mut text = text.to_owned();
    if let Some(shortest) = bound("minLength") {
        while text.chars().count() < shortest.min(10_000) {
            text.push('x');
        }
    }
    match bound("maxLength") {
        Some(longest) => text.chars().take(longest).collect::<String>().into(),
        None => text.into(),
    }
}

fn integer(schema: &Value) -> Value {
    let step = schema["multipleOf"].as_i64().filter(|step| *step > 0).unwrap_or(1);
    let least =
        schema["minimum"].as_i64().or_else(|| schema["exclusiveMinimum"].as_i64().map(|bound| bound + 1));
    let most =
        schema["maximum"].as_i64().or_else(|| schema["exclusiveMaximum"].as_i64().map(|bound| bound - 1));
    let mut value = least.map_or(step, |least| least.max(step));
    if most.is_some_and(|most| value > most) {
        value = least.or(most).unwrap_or(value);
    }
    // Upwards to the next multiple.
    let over = value.rem_euclid(step);
    json!(if over == 0 { value } else { value + step - over })
}

fn number(schema: &Value) -> Value {
    let least = schema["minimum"].as_f64();
    let above = schema["exclusiveMinimum"].as_f64();
    let most = schema["maximum"].as_f64();
    let below = schema["exclusiveMaximum"].as_f64();
    let fits = |value: f64| {
        least.is_none_or(|bound| value >= bound)
            && above.is_none_or(|bound| value > bound)
            && most.is_none_or(|bound| value <= bound)
            && below.is_none_or(|bound| value < bound)
    };
    let low = least.or(above);
    let high = most.or(below);
    let middle = low.zip(high).map(|(low, high)| f64::midpoint(low, high));
    let candidates =
        [Some(1.0), Some(0.5), middle, low, low.map(|low| low + 1.0), high, high.map(|high| high - 1.0)];
    json!(candidates.into_iter().flatten().find(|value| fits(*value)).unwrap_or(1.0))
}

fn array(schema: &Value, schemas: &Schemas, depth: usize) -> Value {
    if let Some(places) = schema["prefixItems"].as_array() {
        return places.iter().map(|place| build(place, schemas, depth - 1)).collect();
    }
    let item = build(&schema["items"], schemas, depth - 1);
    let count = schema["minItems"].as_u64().unwrap_or(1).clamp(1, 100);
    Value::Array((0..count).map(|_| item.clone()).collect())
}

fn object(schema: &Value, schemas: &Schemas, depth: usize) -> Value {
    let Some(properties) = schema["properties"].as_object().filter(|properties| !properties.is_empty())
    else {
        // A plain `dict`, or `dict[str, T]`.
        let value = match &schema["additionalProperties"] {
            Value::Object(_) => build(&schema["additionalProperties"], schemas, depth - 1),
            Value::Bool(false) => return json!({}),
            _ if schema.get("properties").is_some() => return json!({}),
            _ => json!("value"),
        };
        return json!({ "key": value });
    };
    let required = schema["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|known| known == name));
    let fields = properties
        .iter()
        .filter(|(name, property)| {
            is_required(name) || property.get("default").is_some_and(|value| !value.is_null())
        })
        .map(|(name, property)| (name.clone(), build(property, schemas, depth - 1)));
    Value::Object(fields.collect())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::{Schemas, of};

    #[rstest]
    #[case(json!({"type": "string"}), json!("text"))]
    #[case(json!({"type": "string", "minLength": 6}), json!("textxx"))]
    #[case(json!({"type": "string", "maxLength": 2}), json!("te"))]
    #[case(json!({"type": "integer", "minimum": 10}), json!(10))]
    #[case(json!({"type": "integer", "maximum": -3}), json!(-3))]
    #[case(json!({"type": "integer", "minimum": 5, "multipleOf": 4}), json!(8))]
    #[case(json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.4}), json!(0.2))]
    #[case(json!({"type": "array", "items": {"type": "integer"}, "minItems": 2}), json!([1, 1]))]
    #[case(json!({"anyOf": [{"type": "null"}, {"type": "boolean"}]}), json!(true))]
    #[case(json!({"enum": ["a", "b"]}), json!("a"))]
    #[case(json!({"type": "object"}), json!({"key": "value"}))]
    #[case(json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"default": "x"}, "c": {}}, "required": ["a"]}),
           json!({"a": 1, "b": "x"}))]
    fn example_fits_its_schema(#[case] schema: Value, #[case] expected: Value) {
        assert_eq!(of(&schema, &Schemas::new()), expected);
    }

    #[test]
    fn example_of_a_recursive_model_ends() {
        let mut schemas = Schemas::new();
        let model = json!({"type": "object", "properties": {"child": {"$ref": "#/$defs/Node"}}, "required": ["child"]});
        schemas.adopt(&json!({"$ref": "#/$defs/Node", "$defs": {"Node": model}}), "owner");
        let sample = of(&json!({"$ref": "#/components/schemas/Node"}), &schemas);
        assert!(sample["child"].is_object());
    }
}
