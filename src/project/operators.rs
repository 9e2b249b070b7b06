//! What operators and built-in conversions make of known values.

use super::tree::BinaryOperator;
use crate::endpoint::{Template, Value};

/// A longer text is not made by repeating one.
const LONGEST_TEXT: usize = 64 * 1024;

/// Sets a key of a dict in place, as Python keeps the first position.
pub(super) fn insert(items: &mut Vec<(Value, Value)>, key: Value, value: Value) {
    match items.iter_mut().find(|(known, _)| *known == key) {
        Some(slot) => slot.1 = value,
        None => items.push((key, value)),
    }
}

/// Whether Python takes a value for true.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::None => false,
        Value::Bool(value) => *value,
        Value::Int(value) => *value != 0,
        Value::Float(value) => *value != 0.0,
        Value::Str(value) => !value.is_empty(),
        Value::List(items) | Value::Tuple(items) => !items.is_empty(),
        Value::Dict(items) => !items.is_empty(),
        _ => true,
    }
}

/// A value as `str()` shows it, where that is known.
pub(super) fn display(value: &Value) -> Option<String> {
    match value {
        Value::None => Some("None".to_owned()),
        Value::Bool(value) => Some(if *value { "True" } else { "False" }.to_owned()),
        Value::Int(value) => Some(value.to_string()),
        Value::Float(value) if value.fract() == 0.0 && value.abs() < 1e16 => Some(format!("{value:.1}")),
        Value::Str(value) => Some(value.clone()),
        _ => None,
    }
}

/// Adds a value as `str()` shows it; returns whether that is known.
pub(super) fn push_display(text: &mut Template, value: &Value) -> bool {
    text.push(value) || display(value).map(|shown| text.push_text(&shown)).is_some()
}

/// What a built-in conversion of this name makes of a value.
pub(super) fn convert(function: &str, value: Value) -> Option<Value> {
    match (function, value) {
        ("int", Value::Str(text)) => text.trim().replace('_', "").parse().ok().map(Value::Int),
        ("int", Value::Int(value)) => Some(Value::Int(value)),
        ("int", Value::Bool(value)) => Some(Value::Int(i64::from(value))),
        ("float", Value::Str(text)) => text.trim().parse().ok().map(Value::Float),
        ("float", Value::Float(value)) => Some(Value::Float(value)),
        ("str", value) => display(&value).map(Value::Str),
        ("bool", value) => Some(Value::Bool(truth(&value))),
        ("list", Value::List(items) | Value::Tuple(items)) => Some(Value::List(items)),
        ("tuple", Value::List(items) | Value::Tuple(items)) => Some(Value::Tuple(items)),
        ("len", Value::List(items) | Value::Tuple(items)) => i64::try_from(items.len()).ok().map(Value::Int),
        _ => None,
    }
}

/// Applies an operator to known values.
pub(super) fn binary(left: Value, operator: BinaryOperator, right: Value) -> Option<Value> {
    match (left, operator, right) {
        (Value::Str(left), BinaryOperator::Add, Value::Str(right)) => Some(Value::Str(left + &right)),
        (
            left @ (Value::Str(_) | Value::Environment { .. } | Value::Template(_)),
            BinaryOperator::Add,
            right @ (Value::Str(_) | Value::Environment { .. } | Value::Template(_)),
        ) => {
            let mut text = Template::default();
            (text.push(&left) && text.push(&right)).then(|| text.into_value())
        }
        (Value::List(mut left), BinaryOperator::Add, Value::List(right)) => {
            left.extend(right);
            Some(Value::List(left))
        }
        (Value::Tuple(mut left), BinaryOperator::Add, Value::Tuple(right)) => {
            left.extend(right);
            Some(Value::Tuple(left))
        }
        (Value::Dict(mut left), BinaryOperator::Or, Value::Dict(right)) => {
            for (key, value) in right {
                insert(&mut left, key, value);
            }
            Some(Value::Dict(left))
        }
        (Value::Int(left), operator, Value::Int(right)) => match operator {
            BinaryOperator::Add => left.checked_add(right),
            BinaryOperator::Subtract => left.checked_sub(right),
            BinaryOperator::Multiply => left.checked_mul(right),
            BinaryOperator::FloorDivide if right > 0 && left >= 0 => left.checked_div(right),
            BinaryOperator::Power => u32::try_from(right).ok().and_then(|right| left.checked_pow(right)),
            _ => None,
        }
        .map(Value::Int),
        (Value::Str(text), BinaryOperator::Modulo, value) => percent(&text, value),
        (Value::Str(text), BinaryOperator::Multiply, Value::Int(times)) => {
            let times = usize::try_from(times.max(0)).ok()?;
            (text.len().saturating_mul(times) <= LONGEST_TEXT).then(|| Value::Str(text.repeat(times)))
        }
        _ => None,
    }
}

/// `text % value` with `%s`, `%d` and `%%` alone.
fn percent(text: &str, value: Value) -> Option<Value> {
    let mut values = match value {
        Value::Tuple(items) => items,
        Value::Dict(_) => return None,
        value => vec![value],
    }
    .into_iter();
    let mut made = Template::default();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            made.push_text(letter.encode_utf8(&mut [0; 4]));
            continue;
        }
        match letters.next()? {
            '%' => made.push_text("%"),
            's' => push_display(&mut made, &values.next()?).then_some(())?,
            'd' => match values.next()? {
                Value::Int(number) => made.push_text(&number.to_string()),
                _ => return None,
            },
            _ => return None,
        }
    }
    values.next().is_none().then(|| made.into_value())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("%s-%d", Value::Tuple(vec![Value::Str("a".to_owned()), Value::Int(3)]), Some("a-3"))]
    #[case("100%% %s", Value::Bool(true), Some("100% True"))]
    #[case("%s %s", Value::Str("a".to_owned()), None)]
    #[case("%5d", Value::Int(1), None)]
    #[case("%(a)s", Value::Dict(Vec::new()), None)]
    fn percent_is_known_only_in_its_plain_forms(
        #[case] text: &str,
        #[case] value: Value,
        #[case] expected: Option<&str>,
    ) {
        let made = binary(Value::Str(text.to_owned()), BinaryOperator::Modulo, value);
        assert_eq!(made, expected.map(|text| Value::Str(text.to_owned())));
    }
}
