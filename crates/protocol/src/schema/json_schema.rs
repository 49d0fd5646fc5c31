//! One JSON Schema document: every shape stands under `$defs` by its name. `MessageSendParams` and
//! `MessageSendResult` for methods, `MessageCreatedEvent` for events, and the types that they share.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::catalogue::{EVENTS, EventShape, METHODS};
use super::pascal;
use crate::api::event::Kind;
use crate::error::ErrorBody;

/// The name of a method's arguments.
pub(super) fn params_name(method: &str) -> String {
    pascal(method) + "Params"
}

/// The name of a method's result.
pub(super) fn result_name(method: &str) -> String {
    pascal(method) + "Result"
}

/// The name of an event.
pub(super) fn event_name(event: &str) -> String {
    pascal(event) + "Event"
}

/// A reference to a shape.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

/// The document.
pub fn document() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut own = Map::new();
    for shape in METHODS {
        let name = shape.method.name();
        own.insert(
            params_name(name),
            titled(
                (shape.params)(&mut generator).to_value(),
                &format!("Arguments of `{name}`."),
            ),
        );
        own.insert(
            result_name(name),
            titled(
                (shape.result)(&mut generator).to_value(),
                &format!("Result of `{name}`."),
            ),
        );
    }
    for shape in EVENTS {
        let data = (shape.data)(&mut generator).to_value();
        own.insert(event_name(shape.name), event(shape, data));
    }
    // Known by a name although no method names it.
    generator.subschema_for::<ErrorBody>();
    let mut shapes: Map<String, Value> = generator.take_definitions(true);
    let durable = EVENTS
        .iter()
        .filter(|shape| Kind::ALL.iter().any(|kind| kind.name() == shape.name));
    let any: Vec<Value> = durable.map(|shape| reference(&event_name(shape.name))).collect();
    shapes.insert(
        "AnyEvent".to_owned(),
        json!({ "description": "A durable event.", "oneOf": any }),
    );
    for (name, shape) in own {
        let before = shapes.insert(name.clone(), shape);
        assert!(before.is_none(), "two shapes are called {name}");
    }
    shapes.sort_keys();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Socket-Hub client protocol, version 1",
        "$defs": shapes,
    })
}

/// The shape under the sentence that says what it is for; what the type itself says about that goes.
fn titled(mut schema: Value, sentence: &str) -> Value {
    if let Some(members) = schema.as_object_mut() {
        members.insert("description".to_owned(), sentence.into());
    }
    schema
}

fn event(shape: &EventShape, data: Value) -> Value {
    let mut properties = Map::new();
    let mut required = vec!["event"];
    properties.insert("event".to_owned(), json!({ "const": shape.name }));
    if shape.has_room {
        properties.insert("room".to_owned(), reference("RoomId"));
        required.push("room");
    }
    if shape.has_seq {
        let seq = json!({
            "description": "Its place in the room.",
            "type": "integer", "format": "uint64", "minimum": 0,
        });
        properties.insert("seq".to_owned(), seq);
        required.push("seq");
    }
    properties.insert("data".to_owned(), data);
    required.push("data");
    json!({
        "description": format!("The event `{}`.", shape.name),
        "type": "object", "properties": properties, "required": required,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    found.push(target.clone());
                }
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_names_are_unique() {
        let document = document();
        let shapes = document["$defs"].as_object().unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 50);
        for target in found {
            let name = target.strip_prefix("#/$defs/").unwrap();
            assert!(shapes.contains_key(name), "{target}");
        }
        // A number at the end is what two types of one name get.
        for name in shapes.keys() {
            assert!(!name.ends_with(|last: char| last.is_ascii_digit()), "{name}");
        }
    }
}
