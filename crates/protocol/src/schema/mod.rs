//! Descriptions of the protocol for other languages, made from the types in [`api`](crate::api): JSON Schema
//! (draft 2020-12), `TypeScript`, `AsyncAPI` 3.
//!
//! | module | writes |
//! |---|---|
//! | [`catalogue`] | which types each method and each event has |
//! | [`json_schema`] | one document that holds every shape by name |
//! | [`typescript`] | the same as interfaces |
//! | [`asyncapi`] | who sends what on which channel |

pub mod asyncapi;
pub mod catalogue;
pub mod json_schema;
pub mod typescript;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// Any durable event, where it stands as JSON text in a range of history.
#[derive(Debug)]
pub struct AnyEvent;

impl JsonSchema for AnyEvent {
    fn schema_name() -> Cow<'static, str> {
        "AnyEvent".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

/// A file of the descriptions.
#[derive(Debug)]
pub struct File {
    /// Its place in the repository.
    pub path: &'static str,
    /// What stands in it.
    pub text: String,
}

/// All files.
pub fn files() -> Vec<File> {
    let document = json_schema::document();
    let pretty = |value: &serde_json::Value| {
        let text = serde_json::to_string_pretty(value).expect("JSON of ours can be written");
        text + "\n"
    };
    vec![
        File {
            path: "docs/protocol/protocol.schema.json",
            text: pretty(&document),
        },
        File {
            path: "docs/protocol/asyncapi.json",
            text: pretty(&asyncapi::document(&document)),
        },
        File {
            path: "web/client/src/protocol.ts",
            text: typescript::text(&document),
        },
    ]
}

/// `message.send` as part of a type's name: `MessageSend`.
fn pascal(name: &str) -> String {
    let words = name.split(['.', '_']);
    words
        .map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            first.to_ascii_uppercase() + rest
        })
        .collect()
}
