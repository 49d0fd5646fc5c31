//! The JSON Schema document as `TypeScript`. Knows what our own types lead to and nothing more: a schema of another
//! form fails loudly.

use std::fmt::Write as _;

use serde_json::Value;

use super::catalogue::{EVENTS, METHODS};
use super::json_schema::{event_name, params_name, result_name};
use crate::CloseCode;

/// The text of a module.
pub fn text(document: &Value) -> String {
    let mut out = String::from(
        "// Generated from crates/protocol by `cargo run -p hub-protocol --bin hub-schema`. Do not edit.\n\
         // Times are microseconds since the Unix epoch; ids are UUIDs in text form.\n",
    );
    let shapes = document["$defs"].as_object().expect("the document has shapes");
    for (name, shape) in shapes {
        out.push('\n');
        comment(&mut out, shape, "");
        declaration(&mut out, name, shape);
    }
    out.push_str("\n/** Arguments and result of every method. */\nexport interface Methods {\n");
    for shape in METHODS {
        let name = shape.method.name();
        let (params, result) = (params_name(name), result_name(name));
        let _ = writeln!(out, "  \"{name}\": {{ params: {params}; result: {result} }};");
    }
    out.push_str("}\n\n/** Methods that `POST /v1/rpc` alone carries. */\nexport const HTTP_ONLY = [\n");
    for shape in METHODS.iter().filter(|shape| shape.method.is_http_only()) {
        let _ = writeln!(out, "  \"{}\",", shape.method.name());
    }
    out.push_str(
        "] as const satisfies readonly (keyof Methods)[];\n\n/** Every event. */\nexport type HubEvent =\n",
    );
    for shape in EVENTS {
        let _ = writeln!(out, "  | {}", event_name(shape.name));
    }
    out.truncate(out.trim_end().len());
    out.push_str(
        ";\n\n/** Close codes: those of RFC 6455 that are used, and ours. */\nexport const CLOSE_CODES = {\n",
    );
    for code in CloseCode::ALL {
        let _ = writeln!(out, "  {code:?}: {},", code.number());
    }
    out.push_str("} as const;\n");
    out
}

fn declaration(out: &mut String, name: &str, shape: &Value) {
    if shape["type"] == "object" && shape.get("properties").is_some() {
        let _ = writeln!(out, "export interface {name} {}", object(shape, ""));
    } else if is_empty_object(shape) {
        let _ = writeln!(out, "export type {name} = Record<string, never>;");
    } else {
        let _ = writeln!(out, "export type {name} = {};", expression(shape, ""));
    }
}

fn is_empty_object(shape: &Value) -> bool {
    shape["type"] == "object"
        && shape.get("properties").is_none()
        && shape.get("additionalProperties") == Some(&Value::Bool(false))
}

/// The members of an object, in braces.
fn object(shape: &Value, indent: &str) -> String {
    let mut out = String::from("{\n");
    let inner = format!("{indent}  ");
    let is_required = |name: &str| {
        let required = shape["required"].as_array();
        required.is_some_and(|names| names.iter().any(|required| required == name))
    };
    for (name, property) in shape["properties"].as_object().into_iter().flatten() {
        comment(&mut out, property, &inner);
        let mark = if is_required(name) { "" } else { "?" };
        let _ = writeln!(out, "{inner}{name}{mark}: {};", expression(property, &inner));
    }
    out.push_str(indent);
    out.push('}');
    out
}

fn expression(shape: &Value, indent: &str) -> String {
    if *shape == Value::Bool(true) {
        return "unknown".to_owned();
    }
    if let Some(target) = shape["$ref"].as_str() {
        return target.trim_start_matches("#/$defs/").to_owned();
    }
    if let Some(value) = shape.get("const") {
        return value.to_string();
    }
    if let Some(values) = shape["enum"].as_array() {
        return joined(values.iter().map(Value::to_string));
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(options) = shape[key].as_array() {
            return joined(options.iter().map(|option| expression(option, indent)));
        }
    }
    match &shape["type"] {
        Value::String(kind) => named(kind, shape, indent),
        Value::Array(kinds) => joined(
            kinds
                .iter()
                .filter_map(Value::as_str)
                .map(|kind| named(kind, shape, indent)),
        ),
        _ if shape
            .as_object()
            .is_some_and(|members| members.keys().all(|key| key == "description")) =>
        {
            "unknown".to_owned()
        }
        other => panic!("a schema of an unknown form: {other} in {shape}"),
    }
}

fn named(kind: &str, shape: &Value, indent: &str) -> String {
    match kind {
        "string" | "boolean" | "null" => kind.to_owned(),
        "integer" | "number" => "number".to_owned(),
        "array" => match shape["prefixItems"].as_array() {
            Some(items) => {
                let items: Vec<String> = items.iter().map(|item| expression(item, indent)).collect();
                format!("[{}]", items.join(", "))
            }
            None if shape["minItems"] == shape["maxItems"] && shape["minItems"].is_u64() => {
                let count = usize::try_from(shape["minItems"].as_u64().unwrap_or(0)).unwrap_or(0);
                format!(
                    "[{}]",
                    vec![expression(&shape["items"], indent); count].join(", ")
                )
            }
            None => {
                let item = expression(&shape["items"], indent);
                if item.contains(" | ") {
                    format!("({item})[]")
                } else {
                    format!("{item}[]")
                }
            }
        },
        "object" if shape.get("properties").is_some() => object(shape, indent),
        "object" => match shape.get("additionalProperties") {
            Some(Value::Bool(false)) => "Record<string, never>".to_owned(),
            Some(values) => format!("Record<string, {}>", expression(values, indent)),
            None => "Record<string, unknown>".to_owned(),
        },
        other => panic!("an unknown type {other}"),
    }
}

fn joined(options: impl Iterator<Item = String>) -> String {
    options.collect::<Vec<_>>().join(" | ")
}

/// The description as a comment, if there is one. Links of Rust become plain names.
fn comment(out: &mut String, shape: &Value, indent: &str) {
    if let Some(text) = shape["description"].as_str() {
        let text = text
            .replace("[`", "`")
            .replace("`]", "`")
            .replace('\n', " ")
            .replace("*/", "* /");
        let _ = writeln!(out, "{indent}/** {text} */");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_become_types() {
        let of = |shape: Value| expression(&shape, "");
        assert_eq!(of(json!({"$ref": "#/$defs/RoomId"})), "RoomId");
        assert_eq!(of(json!({"type": ["string", "null"]})), "string | null");
        assert_eq!(
            of(json!({"type": "array", "items": {"type": "integer"}})),
            "number[]"
        );
        assert_eq!(of(json!({"enum": ["a", "b"]})), "\"a\" | \"b\"");
        assert_eq!(
            of(json!({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2})),
            "[number, number]"
        );
        let object = json!({"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"type": "string"}}, "required": ["a"]});
        assert_eq!(of(object), "{\n  a: boolean;\n  b?: string;\n}");
    }
}
