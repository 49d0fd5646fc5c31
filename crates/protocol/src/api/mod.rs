//! JSON shapes of the client protocol, version 1: requests, results, events.
//!
//! ```text
//! request   {"id": 7, "method": "message.send", "room": "<uuid>", "params": {...}}
//! response  {"id": 7, "result": {...}}   or   {"id": 7, "error": {...}}
//! event     {"event": "message.created", "room": "<uuid>", "seq": 41, "data": {...}}
//! ```
//!
//! Times are microseconds since the Unix epoch (below 2^53 until the year 2255, so that every JSON reader holds
//! them exactly). Params refuse unknown members: a client that misspells one is told so.

pub mod auth;
pub mod entity;
pub mod event;
pub mod invite;
pub mod member;
pub mod message;
pub mod presence;
pub mod push;
pub mod receipt;
pub mod room;
pub mod session;
pub mod setting;
pub mod sync;
pub mod user;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ErrorBody;
use crate::ids::RoomId;

/// The WebSocket subprotocol (RFC 6455 §1.9).
pub const SUBPROTOCOL: &str = "socket-hub.v1";
/// Where a WebSocket is opened.
pub const PATH_WS: &str = "/v1/ws";
/// Where the same calls are posted.
pub const PATH_RPC: &str = "/v1/rpc";

/// A call, as a client writes it. The edge reads only what stands before `params`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Request<P> {
    /// Chosen by the client, returned in the response; unique among its unanswered calls.
    pub id: u64,
    /// Name of the method.
    pub method: String,
    /// The room that the call is about; every chat method has it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub room: Option<RoomId>,
    /// Arguments.
    pub params: P,
}

/// The arguments of a call whose envelope has been read already.
#[derive(Debug, Deserialize)]
pub struct RequestParams<P> {
    /// Arguments.
    pub params: P,
}

/// An answer with a result.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Success<R> {
    /// The id of the request.
    pub id: u64,
    /// What the method returns.
    pub result: R,
}

/// An answer with a refusal.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The id of the request; absent if it could not be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<u64>,
    /// The refusal.
    pub error: ErrorBody,
}

/// Arguments of a method that takes none, and the result of one that returns none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}
