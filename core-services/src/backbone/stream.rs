//! Reads the answer of XREAD without copying the batches in it.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use hub_protocol::keys::BATCH_FIELD;
use redis::Value;

/// The id of a stream entry: Redis' milliseconds, and a counter within these.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EntryId {
    /// When it was added, by Redis' clock.
    pub ms: u64,
    /// Counts the entries of that millisecond.
    pub n: u64,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.n)
    }
}

/// The text is not an entry id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an entry id")]
pub struct EntryIdError;

impl FromStr for EntryId {
    type Err = EntryIdError;

    fn from_str(text: &str) -> Result<Self, EntryIdError> {
        let (ms, n) = text.split_once('-').ok_or(EntryIdError)?;
        let bad = |_not_a_number| EntryIdError;
        Ok(Self {
            ms: ms.parse().map_err(bad)?,
            n: n.parse().map_err(bad)?,
        })
    }
}

/// One entry of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamEntry {
    /// Its id.
    pub id: EntryId,
    /// The batch in it, if it holds one.
    pub batch: Option<Bytes>,
}

/// The streams of an answer by their key, each with its entries in order. Nothing came: empty.
pub fn read_reply(reply: Value) -> Vec<(String, Vec<StreamEntry>)> {
    let streams: Vec<(Value, Value)> = match reply {
        Value::Map(streams) => streams,
        Value::Array(streams) => streams.into_iter().filter_map(pair).collect(),
        _ => Vec::new(),
    };
    streams
        .into_iter()
        .filter_map(|(key, entries)| {
            let Value::Array(entries) = entries else {
                return None;
            };
            Some((text(key)?, entries.into_iter().filter_map(entry).collect()))
        })
        .collect()
}

fn entry(value: Value) -> Option<StreamEntry> {
    let (id, fields) = pair(value)?;
    let id = text(id)?.parse().ok()?;
    let mut batch = None;
    let fields: Vec<(Value, Value)> = match fields {
        Value::Map(fields) => fields,
        Value::Array(fields) => {
            let mut fields = fields.into_iter();
            std::iter::from_fn(|| Some((fields.next()?, fields.next()?))).collect()
        }
        _ => Vec::new(),
    };
    for (name, value) in fields {
        if let (Value::BulkString(name), Value::BulkString(value)) = (name, value)
            && name == BATCH_FIELD.as_bytes()
        {
            batch = Some(Bytes::from(value));
        }
    }
    Some(StreamEntry { id, batch })
}

fn pair(value: Value) -> Option<(Value, Value)> {
    let Value::Array(items) = value else { return None };
    let mut items = items.into_iter();
    Some((items.next()?, items.next()?))
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn ids_order_by_number_and_round_trip() {
        let id: EntryId = "10-2".parse().unwrap();
        assert_eq!(id.to_string(), "10-2");
        assert!(id > "9-99".parse().unwrap());
        assert_eq!("10".parse::<EntryId>(), Err(EntryIdError));
    }

    #[test]
    fn both_notations_of_an_answer_are_read() {
        let entries = || {
            let full = Value::Array(vec![bulk("1-0"), Value::Array(vec![bulk("b"), bulk("x")])]);
            let bare = Value::Array(vec![bulk("2-0"), Value::Array(vec![bulk("h"), bulk("1")])]);
            Value::Array(vec![full, bare])
        };
        let old = read_reply(Value::Array(vec![Value::Array(vec![bulk("s"), entries()])]));
        let new = read_reply(Value::Map(vec![(bulk("s"), entries())]));
        assert_eq!(old, new);
        let (key, entries) = &old[0];
        assert_eq!((key.as_str(), entries.len()), ("s", 2));
        assert_eq!(entries[0].batch.as_deref(), Some(b"x".as_slice()));
        assert_eq!(entries[1].batch, None);
        assert!(read_reply(Value::Nil).is_empty());
    }
}
