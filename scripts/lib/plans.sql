-- What `scripts/plans` runs: a million messages in 2,000 rooms, one user in 1,000 of them, and the plan of every
-- statement that reads or changes messages. The texts are those of core-services/src/{chat/store,user,unread.rs}.
\set ON_ERROR_STOP on
\set QUIET on
\pset pager off

\echo == load
INSERT INTO rooms (id, kind, name, created_by, created_at)
SELECT md5('room' || r)::uuid, 'group', 'r', md5('user1')::uuid, 1 FROM generate_series(1, 2000) r;
INSERT INTO room_heads (room, seq, n, last_at, changed)
SELECT md5('room' || r)::uuid, 500, 500, 1, pg_current_xact_id() FROM generate_series(1, 2000) r;
-- User 1 is in the first 1,000 rooms, nine others in each.
INSERT INTO members (room, user_id, role, from_seq, read_seq, changed)
SELECT md5('room' || r)::uuid, md5('user' || CASE u WHEN 0 THEN 1 ELSE 2 + (r * 7 + u) % 5000 END)::uuid,
       'member', 1, CASE WHEN r % 200 = 0 THEN 400 ELSE 500 END, pg_current_xact_id()
FROM generate_series(1, 1000) r, generate_series(0, 9) u;
-- Words by their rank: few of them make most of every text.
CREATE TEMP TABLE loaded AS
SELECT md5('room' || r)::uuid AS room, m AS seq, m AS n, 2 AS kind, md5('user' || (2 + (r * 7 + m % 9) % 5000))::uuid AS actor,
       md5('op' || r || '.' || m)::uuid AS op, '\x00112233445566778899aabbccddeeff'::bytea AS hash,
       (SELECT string_agg('w' || floor(20000 ^ random())::int, ' ') FROM generate_series(1, 8 + r % 5 + m % 3)) AS body,
       (m * 2000 + r)::bigint AS created_at
FROM generate_series(1, 2000) r, generate_series(1, 500) m;
\timing on
\echo == a million rows with all indexes
INSERT INTO events (room, seq, n, kind, actor, op, hash, body, created_at) SELECT * FROM loaded;
\timing off
UPDATE events SET thread = 10 WHERE seq > 450 AND seq % 10 = 0;
UPDATE events SET mentions = ARRAY[md5('user1')::uuid] WHERE seq % 97 = 0;
INSERT INTO threads SELECT room, 10, 5, 500, 1 FROM room_heads;
INSERT INTO reaction_counts SELECT room, seq, '👍', 1, seq FROM loaded WHERE seq % 20 = 0;
INSERT INTO reactions SELECT room, seq, seq, md5('user1')::uuid, '👍' FROM loaded WHERE seq % 20 = 0;
INSERT INTO hidden SELECT md5('user1')::uuid, room, seq FROM loaded WHERE seq = 480;
INSERT INTO pins SELECT room, seq, actor, 1 FROM loaded WHERE seq % 100 = 0;
INSERT INTO edits SELECT room, seq, seq + 1, body, NULL, 1 FROM loaded WHERE seq % 50 = 0;
SELECT pg_current_xact_id()::text AS cursor \gset
UPDATE room_heads SET changed = pg_current_xact_id()
WHERE room IN (SELECT md5('room' || r * 200)::uuid FROM generate_series(1, 5) r);
VACUUM (ANALYZE) events, members, room_heads, rooms, hidden, reactions, reaction_counts, threads, pins, edits;
SELECT relname, pg_size_pretty(sum(pg_relation_size(indexrelid))) AS size FROM (
    SELECT CASE WHEN indexrelid::regclass::text ~ 'pkey' THEN 'primary key' WHEN indexrelid::regclass::text ~ 'op_key'
                THEN 'room, actor, op' WHEN indexrelid::regclass::text ~ 'thread' THEN 'thread' ELSE 'words' END AS relname, indexrelid
    FROM pg_index WHERE indrelid::regclass::text LIKE 'events\_%') i GROUP BY 1 ORDER BY 1;

\set explain 'EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, SUMMARY ON)'
-- Statements are prepared once and run often: the plan that does not know its values must be good as well. Searches
-- are the exception, they ask for a plan of their own.
SET plan_cache_mode = force_generic_plan;
\set user 'md5(''user1'')::uuid'
\set room 'md5(''room7'')::uuid'
-- Arguments hold no subqueries.
SELECT ARRAY(SELECT generate_series(401, 450)) AS seqs, ARRAY(SELECT DISTINCT room FROM members WHERE user_id = :user) AS rooms \gset

\echo == sync, 5 of 1,000 rooms changed
PREPARE sync (uuid, text, uuid, bigint, bigint) AS
WITH mine AS (
    SELECT DISTINCT ON (m.room) m.room, m.role, m.from_seq, m.to_seq, m.read_seq, m.changed
    FROM members m WHERE m.user_id = $1 AND m.room > $3
    ORDER BY m.room, m.from_seq DESC
), changed AS (
    SELECT mine.room, mine.role, mine.from_seq, mine.to_seq, mine.read_seq, h.seq, h.n,
           greatest(mine.changed, h.changed) AS changed
    FROM mine JOIN room_heads h ON h.room = mine.room
    WHERE mine.changed >= $2::text::xid8 OR (mine.to_seq IS NULL AND h.changed >= $2::text::xid8)
    ORDER BY mine.room LIMIT $4
)
SELECT r.id, c.read_seq, c.seq, last.seq, last.body, unread.count, unread.mentions
FROM changed c
JOIN rooms r ON r.id = c.room
LEFT JOIN LATERAL (
    SELECT e.seq, e.body FROM events e
    WHERE e.room = c.room AND e.n IS NOT NULL AND e.seq >= c.from_seq AND c.to_seq IS NULL
      AND NOT EXISTS (SELECT FROM hidden d WHERE d.user_id = $1 AND d.room = e.room AND d.seq = e.seq)
    ORDER BY e.seq DESC LIMIT 1
) last ON true
LEFT JOIN LATERAL (
    SELECT count(*) AS count, count(*) FILTER (WHERE e.mentions && ARRAY[$1, '00000000-0000-0000-0000-000000000000']) AS mentions
    FROM (SELECT e.mentions FROM events e WHERE e.room = c.room AND e.n IS NOT NULL AND e.deleted_at IS NULL
          AND e.actor <> $1 AND e.seq > greatest(c.read_seq, c.from_seq - 1)
          AND NOT EXISTS (SELECT FROM hidden d WHERE d.user_id = $1 AND d.room = e.room AND d.seq = e.seq)
          ORDER BY e.seq LIMIT $5) e
) unread ON c.to_seq IS NULL
ORDER BY c.room;
:explain EXECUTE sync (:user, :'cursor', '00000000-0000-0000-0000-000000000000', 201, 100);

\echo == a page of history
PREPARE page (uuid, bigint[], bigint[]) AS
SELECT e.* FROM unnest($2, $3) AS r (low, high)
CROSS JOIN LATERAL (SELECT * FROM events WHERE room = $1 AND seq BETWEEN r.low AND r.high OFFSET 0) AS e ORDER BY e.seq;
:explain EXECUTE page (:room, '{401}', '{450}');

\echo == reactions and threads of that page
PREPARE kinds (uuid, bigint[], uuid) AS
SELECT c.seq, c.emoji, c.count, EXISTS (SELECT FROM reactions r
    WHERE r.room = c.room AND r.seq = c.seq AND r.user_id = $3 AND r.emoji = c.emoji)
FROM reaction_counts c WHERE c.room = $1 AND c.seq = ANY ($2) ORDER BY c.seq, c.first_seq, c.emoji;
:explain EXECUTE kinds (:room, :'seqs', :user);
PREPARE threads_of (uuid, bigint[]) AS
SELECT root, count, last_seq, last_at FROM threads WHERE room = $1 AND root = ANY ($2) AND count > 0;
:explain EXECUTE threads_of (:room, :'seqs');
PREPARE hidden_of (uuid, uuid, bigint, bigint) AS
SELECT seq FROM hidden WHERE user_id = $1 AND room = $2 AND seq BETWEEN $3 AND $4;
:explain EXECUTE hidden_of (:user, :room, 401, 450);

\echo == a thread
PREPARE thread (uuid, uuid, bigint, bigint, bigint) AS
SELECT e.* FROM events e WHERE e.room = $2 AND e.thread = $3 AND e.seq < $4 AND e.kind = 2
  AND EXISTS (SELECT FROM members m WHERE m.user_id = $1 AND m.room = e.room AND m.from_seq <= e.seq
              AND (m.to_seq IS NULL OR m.to_seq >= e.seq))
  AND NOT EXISTS (SELECT FROM hidden d WHERE d.user_id = $1 AND d.room = e.room AND d.seq = e.seq)
ORDER BY e.seq DESC LIMIT $5;
:explain EXECUTE thread (:user, :room, 10, 10000, 51);

\echo == messages that calls are about, their edits, reactions
PREPARE about (uuid[], bigint[]) AS
SELECT e.* FROM unnest($1, $2) AS w (room, seq)
CROSS JOIN LATERAL (SELECT * FROM events WHERE room = w.room AND seq = w.seq LIMIT 1) AS e;
:explain EXECUTE about (ARRAY[:room, :room], '{50,60}');
PREPARE change (uuid[], bigint[], text[]) AS
UPDATE events e SET body = w.body FROM unnest($1, $2, $3) AS w (room, seq, body) WHERE e.room = w.room AND e.seq = w.seq;
BEGIN;
:explain EXECUTE change (ARRAY[:room, :room], '{50,60}', '{a,b}');
ROLLBACK;

\echo == a read mark, and what is left to read
PREPARE unread (uuid[], uuid[], bigint) AS
SELECT w.i, u.count, u.mentions FROM unnest($1, $2) WITH ORDINALITY AS w (room, user_id, i)
JOIN members m ON m.user_id = w.user_id AND m.room = w.room AND m.to_seq IS NULL
CROSS JOIN LATERAL (
    SELECT count(*) AS count, count(*) FILTER (WHERE e.mentions && ARRAY[m.user_id, '00000000-0000-0000-0000-000000000000']) AS mentions
    FROM (SELECT e.mentions FROM events e WHERE e.room = m.room AND e.n IS NOT NULL AND e.deleted_at IS NULL
          AND e.actor <> m.user_id AND e.seq > greatest(m.read_seq, m.from_seq - 1)
          AND NOT EXISTS (SELECT FROM hidden d WHERE d.user_id = m.user_id AND d.room = e.room AND d.seq = e.seq)
          ORDER BY e.seq LIMIT $3) e) u;
:explain EXECUTE unread (ARRAY[md5('room200')::uuid], ARRAY[:user], 100);

SET plan_cache_mode = force_custom_plan;
PREPARE search_room (uuid, uuid, text, bigint, bigint) AS
SELECT e.* FROM events e WHERE e.room = $2
  AND to_tsvector('simple', left(e.body, 4096)) @@ websearch_to_tsquery('simple', $3)
  AND e.seq < $4 AND e.deleted_at IS NULL AND e.kind = 2
  AND EXISTS (SELECT FROM members m WHERE m.user_id = $1 AND m.room = e.room AND m.from_seq <= e.seq
              AND (m.to_seq IS NULL OR m.to_seq >= e.seq))
  AND NOT EXISTS (SELECT FROM hidden d WHERE d.user_id = $1 AND d.room = e.room AND d.seq = e.seq)
ORDER BY e.seq DESC LIMIT $5;
\echo == search in a room: a rare word
:explain EXECUTE search_room (:user, :room, 'w12345', 10000, 21);
\echo == search in a room: a word of every third message
:explain EXECUTE search_room (:user, :room, 'w2', 10000, 21);

PREPARE search_all (uuid, uuid[], text, bigint, uuid, bigint) AS
SELECT e.* FROM events e WHERE e.room = ANY ($2)
  AND to_tsvector('simple', left(e.body, 4096)) @@ websearch_to_tsquery('simple', $3)
  AND (e.created_at, e.room) < ($4, $5) AND e.deleted_at IS NULL AND e.kind = 2
  AND EXISTS (SELECT FROM members m WHERE m.user_id = $1 AND m.room = e.room AND m.from_seq <= e.seq
              AND (m.to_seq IS NULL OR m.to_seq >= e.seq))
  AND NOT EXISTS (SELECT FROM hidden d WHERE d.user_id = $1 AND d.room = e.room AND d.seq = e.seq)
ORDER BY e.created_at DESC, e.room DESC LIMIT $6;
\echo == search in 1,000 rooms: a rare word
:explain EXECUTE search_all (:user, :'rooms', 'w12345', 9e18::bigint, :room, 21);
\echo == search in 1,000 rooms: a word of every third message
:explain EXECUTE search_all (:user, :'rooms', 'w2', 9e18::bigint, :room, 21);

\echo == the cost of the index of words: 20,000 rows in statements of 500, with it and without it
CREATE TEMP TABLE more AS SELECT room, seq + 500 AS seq, n + 500 AS n, kind, actor, gen_random_uuid() AS op, hash, body, created_at
FROM loaded WHERE seq <= 10;
CREATE PROCEDURE write_more() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 0..39 LOOP
        INSERT INTO events (room, seq, n, kind, actor, op, hash, body, created_at)
        SELECT room, seq, n, kind, actor, op, hash, body, created_at FROM more ORDER BY seq, room OFFSET i * 500 LIMIT 500;
    END LOOP;
END $$;
\timing on
CALL write_more();
\timing off
DELETE FROM events WHERE seq > 500;
VACUUM events;
CHECKPOINT;
BEGIN;
DROP INDEX events_words;
\timing on
CALL write_more();
\timing off
ROLLBACK;
