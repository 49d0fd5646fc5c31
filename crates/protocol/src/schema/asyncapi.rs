//! The protocol as an [`AsyncAPI` 3.0](https://www.asyncapi.com/docs/reference/specification/v3.0.0) document: two
//! channels, one operation per method and one per event.

use serde_json::{Map, Value, json};

use super::catalogue::{EVENTS, METHODS};
use super::json_schema::{event_name, params_name, result_name};
use super::pascal;
use crate::Method;
use crate::api::{PATH_RPC, PATH_WS, SUBPROTOCOL};

const SOCKET: &str = "socket";
const RPC: &str = "rpc";

/// The document. Shapes come from the JSON Schema document.
pub fn document(schema: &Value) -> Value {
    let mut messages = Map::new();
    let mut operations = Map::new();
    for shape in METHODS {
        let (method, name) = (shape.method, shape.method.name());
        messages.insert(
            pascal(name) + "Request",
            json!({ "name": name, "payload": request(method) }),
        );
        messages.insert(
            pascal(name) + "Response",
            json!({ "name": name, "payload": response(name) }),
        );
        let channel = if method.is_http_only() { RPC } else { SOCKET };
        operations.insert(
            pascal(name),
            json!({
                "action": "receive",
                "channel": { "$ref": format!("#/channels/{channel}") },
                "messages": [{ "$ref": format!("#/channels/{channel}/messages/{}Request", pascal(name)) }],
                "reply": {
                    "channel": { "$ref": format!("#/channels/{channel}") },
                    "messages": [{ "$ref": format!("#/channels/{channel}/messages/{}Response", pascal(name)) }],
                },
            }),
        );
    }
    for shape in EVENTS {
        let name = event_name(shape.name);
        messages.insert(
            name.clone(),
            json!({ "name": shape.name, "payload": component(&name) }),
        );
        operations.insert(
            format!("send{name}"),
            json!({
                "action": "send",
                "channel": { "$ref": format!("#/channels/{SOCKET}") },
                "messages": [{ "$ref": format!("#/channels/{SOCKET}/messages/{name}") }],
            }),
        );
    }
    let on = |carries: fn(Method) -> bool, has_events: bool| {
        let mut names: Vec<String> = Vec::new();
        for shape in METHODS.iter().filter(|shape| carries(shape.method)) {
            let name = pascal(shape.method.name());
            names.extend([format!("{name}Request"), format!("{name}Response")]);
        }
        if has_events {
            names.extend(EVENTS.iter().map(|shape| event_name(shape.name)));
        }
        let links = names.into_iter().map(|name| {
            let link = json!({ "$ref": format!("#/components/messages/{name}") });
            (name, link)
        });
        Value::Object(links.collect())
    };
    let shapes = relocated(schema["$defs"].clone());
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Socket-Hub client protocol",
            "version": "1",
            "description": "JSON in text messages; docs/PROTOCOL.md says what it means.",
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": { "host": "localhost:8080", "protocol": "ws", "description": "What scripts/up runs." },
        },
        "channels": {
            SOCKET: {
                "address": PATH_WS,
                "description": format!("WebSocket, subprotocol {SUBPROTOCOL}."),
                "messages": on(|method| !method.is_http_only(), true),
            },
            RPC: {
                "address": PATH_RPC,
                "description": "POST, one request per body. Carries every method but session.*.",
                "messages": on(Method::is_http_only, false),
            },
        },
        "operations": operations,
        "components": { "messages": messages, "schemas": shapes },
    })
}

fn component(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn request(method: Method) -> Value {
    let mut properties = json!({
        "id": { "type": "integer", "minimum": 0 },
        "method": { "const": method.name() },
        "params": component(&params_name(method.name())),
    });
    let mut required = vec!["id", "method", "params"];
    if method.route() == crate::Route::Room {
        properties["room"] = component("RoomId");
        required.push("room");
    }
    json!({ "type": "object", "properties": properties, "required": required })
}

fn response(method: &str) -> Value {
    let with = |member: &str, shape: Value| {
        json!({
            "type": "object",
            "properties": { "id": { "type": "integer", "minimum": 0 }, member: shape },
            "required": ["id", member],
        })
    };
    json!({ "oneOf": [
        with("result", component(&result_name(method))),
        with("error", component("ErrorBody")),
    ] })
}

/// References into `$defs`, made to references into the components.
fn relocated(mut value: Value) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get_mut("$ref") {
                    *target = target.replace("#/$defs/", "#/components/schemas/");
                }
                members.values_mut().for_each(walk);
            }
            Value::Array(items) => items.iter_mut().for_each(walk),
            _ => {}
        }
    }
    walk(&mut value);
    value
}
