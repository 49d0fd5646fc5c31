//! How a user is. Pure: from the fields of his hash in Redis and the connections that stand in the directory.
//!
//! | field | value |
//! |---|---|
//! | address of a connection | `a MS` or `w MS`: active or away, and when it said so by Redis' clock |
//! | `told` | the state that watchers know |
//! | `seen` | when the last connection ended, µs since the Unix epoch |

use std::collections::HashMap;

use hub_protocol::Address;
use hub_protocol::api::presence::{Activity, State};
use hub_protocol::limits::PRESENCE_ACTIVE_MS;

pub(super) const TOLD: &str = "told";
pub(super) const SEEN: &str = "seen";

/// What Redis holds of a user beside the directory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Fields {
    pub(super) marks: Vec<(Address, Activity, u64)>,
    pub(super) told: Option<State>,
    pub(super) seen: Option<i64>,
}

/// Reads a hash; what is not understood is left out.
pub(crate) fn read_fields(hash: &HashMap<String, String>) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in hash {
        match name.as_str() {
            TOLD => fields.told = read_state(value),
            SEEN => fields.seen = value.parse().ok(),
            address => {
                if let (Ok(address), Some((activity, ms))) = (address.parse(), read_mark(value)) {
                    fields.marks.push((address, activity, ms));
                }
            }
        }
    }
    fields
}

fn read_state(text: &str) -> Option<State> {
    [State::Online, State::Away, State::Offline]
        .into_iter()
        .find(|state| state.name() == text)
}

/// The text of a mark.
pub(super) fn write_mark(activity: Activity, now_ms: u64) -> String {
    let letter = match activity {
        Activity::Active => 'a',
        Activity::Away => 'w',
    };
    format!("{letter} {now_ms}")
}

fn read_mark(text: &str) -> Option<(Activity, u64)> {
    let (letter, ms) = text.split_once(' ')?;
    let activity = match letter {
        "a" => Activity::Active,
        "w" => Activity::Away,
        _ => return None,
    };
    Some((activity, ms.parse().ok()?))
}

/// How a user with these connections is.
pub(super) fn state(connections: &[Address], fields: &Fields) -> State {
    let is_away = |address: &Address| {
        let mark = fields.marks.iter().find(|(marked, _, _)| marked == address);
        matches!(mark, Some((_, Activity::Away, _)))
    };
    match connections {
        [] => State::Offline,
        all if all.iter().all(is_away) => State::Away,
        _ => State::Online,
    }
}

/// True if somebody looks at a device of the user: he needs no push.
pub(crate) fn is_active(fields: &Fields, now_ms: u64) -> bool {
    fields.marks.iter().any(|(_, activity, said_ms)| {
        *activity == Activity::Active && now_ms.saturating_sub(*said_ms) <= PRESENCE_ACTIVE_MS
    })
}

#[cfg(test)]
mod tests {
    use hub_protocol::NodeId;

    use super::*;

    fn address(slot: u32) -> Address {
        Address {
            node: NodeId(1),
            shard: 0,
            slot,
            generation: 1,
        }
    }

    fn fields(items: &[(&str, &str)]) -> Fields {
        let hash = items
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        read_fields(&hash.collect())
    }

    #[test]
    fn a_user_is_away_when_all_of_his_connections_are() {
        let (one, two) = (address(1), address(2));
        let away = write_mark(Activity::Away, 5);
        let one_is_away = fields(&[(&one.to_string(), &away)]);
        assert_eq!(state(&[], &one_is_away), State::Offline);
        assert_eq!(state(&[one], &one_is_away), State::Away);
        assert_eq!(state(&[one, two], &one_is_away), State::Online);
        let both = fields(&[(&one.to_string(), &away), (&two.to_string(), &away)]);
        assert_eq!(state(&[one, two], &both), State::Away);
        assert_eq!(state(&[one], &fields(&[])), State::Online);
    }

    #[test]
    fn activity_holds_for_a_minute() {
        let name = address(1).to_string();
        let active = fields(&[(&name, &write_mark(Activity::Active, 1_000))]);
        assert!(is_active(&active, 1_000 + PRESENCE_ACTIVE_MS));
        assert!(!is_active(&active, 1_001 + PRESENCE_ACTIVE_MS));
        assert!(!is_active(
            &fields(&[(&name, &write_mark(Activity::Away, 1_000))]),
            1_000
        ));
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        let read = fields(&[
            (TOLD, "away"),
            (SEEN, "7"),
            ("x", "a 1"),
            ("told2", ""),
            (&address(1).to_string(), "z"),
        ]);
        let expected = Fields {
            marks: Vec::new(),
            told: Some(State::Away),
            seen: Some(7),
        };
        assert_eq!(read, expected);
    }
}
