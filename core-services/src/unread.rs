//! What counts as unread, in one place: `sync` and read marks must say the same.

/// The counts of a room for a user as a subquery with the columns `count` and `mentions`: messages after his mark
/// and inside of his stay, not his, not taken away, exact up to a bound. All arguments are SQL.
macro_rules! unread_sql {
    ($room:literal, $user:literal, $read_seq:literal, $from_seq:literal, $max:literal) => {
        concat!(
            "SELECT count(*) AS count, count(*) FILTER (WHERE e.mentions && ARRAY[",
            $user,
            ", '00000000-0000-0000-0000-000000000000']) AS mentions FROM (SELECT e.mentions FROM events e WHERE e.room = ",
            $room,
            " AND e.n IS NOT NULL AND e.deleted_at IS NULL AND e.actor <> ",
            $user,
            " AND e.seq > greatest(",
            $read_seq,
            ", ",
            $from_seq,
            " - 1) AND NOT EXISTS (SELECT FROM hidden d WHERE d.user_id = ",
            $user,
            " AND d.room = e.room AND d.seq = e.seq) ORDER BY e.seq LIMIT ",
            $max,
            ") e"
        )
    };
}
pub(crate) use unread_sql;
