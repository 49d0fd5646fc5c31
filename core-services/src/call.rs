//! What every handler needs of a call: its arguments, its time, its answer.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hub_protocol::ErrorCode;
use hub_protocol::api::RequestParams;
use hub_protocol::error::ErrorBody;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::service::Call;

/// A refusal with its sentence.
pub(crate) fn refuse(code: ErrorCode, message: &str) -> ErrorBody {
    ErrorBody::new(code, message)
}

/// The arguments of a call.
pub(crate) fn params<P: DeserializeOwned>(call: &Call) -> Result<P, ErrorBody> {
    let parsed: Result<RequestParams<P>, _> = serde_json::from_slice(&call.body);
    match parsed {
        Ok(request) => Ok(request.params),
        Err(error) => Err(refuse(ErrorCode::BadRequest, &format!("params: {error}"))),
    }
}

/// JSON of our own types, which always succeeds.
pub(crate) fn json<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value)
        .expect("our types have string keys only")
        .into()
}

/// Microseconds since the Unix epoch.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
