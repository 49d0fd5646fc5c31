-- The statement of sync for pgbench, see plans.sql.
WITH mine AS (
    SELECT DISTINCT ON (m.room) m.room, m.role, m.from_seq, m.to_seq, m.read_seq, m.changed
    FROM members m WHERE m.user_id = :me::uuid AND m.room > '00000000-0000-0000-0000-000000000000'::uuid
    ORDER BY m.room, m.from_seq DESC
), changed AS (
    SELECT mine.room, mine.role, mine.from_seq, mine.to_seq, mine.read_seq, h.seq, h.n,
           greatest(mine.changed, h.changed) AS changed
    FROM mine JOIN room_heads h ON h.room = mine.room
    WHERE mine.changed >= :cursor::text::xid8 OR (mine.to_seq IS NULL AND h.changed >= :cursor::text::xid8)
    ORDER BY mine.room LIMIT 201
)
SELECT r.id, c.read_seq, c.seq, last.seq, last.body, unread.count, unread.mentions
FROM changed c
JOIN rooms r ON r.id = c.room
LEFT JOIN LATERAL (
    SELECT e.seq, e.body FROM events e
    WHERE e.room = c.room AND e.n IS NOT NULL AND e.seq >= c.from_seq AND c.to_seq IS NULL
      AND NOT EXISTS (SELECT FROM hidden d WHERE d.user_id = :me::uuid AND d.room = e.room AND d.seq = e.seq)
    ORDER BY e.seq DESC LIMIT 1
) last ON true
LEFT JOIN LATERAL (
    SELECT count(*) AS count, count(*) FILTER (WHERE e.mentions && ARRAY[:me::uuid, '00000000-0000-0000-0000-000000000000']) AS mentions
    FROM (SELECT e.mentions FROM events e WHERE e.room = c.room AND e.n IS NOT NULL AND e.deleted_at IS NULL
          AND e.actor <> :me::uuid AND e.seq > greatest(c.read_seq, c.from_seq - 1)
          AND NOT EXISTS (SELECT FROM hidden d WHERE d.user_id = :me::uuid AND d.room = e.room AND d.seq = e.seq)
          ORDER BY e.seq LIMIT 100) e
) unread ON c.to_seq IS NULL
ORDER BY c.room;
