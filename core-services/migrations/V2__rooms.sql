-- Rooms and their logs. All times are microseconds since the Unix epoch.

CREATE TABLE rooms (
    id         uuid    PRIMARY KEY,
    kind       text    NOT NULL CHECK (kind IN ('direct', 'group', 'channel')),
    name       text    NOT NULL,
    created_by uuid    NOT NULL,
    created_at bigint  NOT NULL,
    large      boolean NOT NULL DEFAULT false
);

CREATE TABLE room_heads (
    room     uuid   PRIMARY KEY REFERENCES rooms (id) ON DELETE CASCADE,
    seq      bigint NOT NULL,
    n        bigint NOT NULL,
    revision bigint NOT NULL DEFAULT 0,
    last_at  bigint NOT NULL,
    changed  xid8   NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE room_heads IS 'Where a room stands; locked while numbers are given. Narrow, updated in place';
COMMENT ON COLUMN room_heads.revision IS 'Counts changes of membership that are no events';
COMMENT ON COLUMN room_heads.changed IS 'Transaction of the last change, for sync cursors';

CREATE TABLE members (
    room     uuid   NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    user_id  uuid   NOT NULL,
    role     text   NOT NULL CHECK (role IN ('reader', 'member', 'admin', 'owner')),
    from_seq bigint NOT NULL,
    to_seq   bigint,
    read_seq bigint NOT NULL DEFAULT 0,
    changed  xid8   NOT NULL,
    PRIMARY KEY (user_id, room, from_seq)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX members_current ON members (room, user_id) WHERE to_seq IS NULL;
CREATE INDEX members_past ON members (room) WHERE to_seq IS NOT NULL;
COMMENT ON TABLE members IS 'One row per stay of a user in a room; rows of the past are kept';
COMMENT ON COLUMN members.from_seq IS 'First event that this stay may see';
COMMENT ON COLUMN members.to_seq IS 'Last event of this stay; null while it lasts';

CREATE TABLE events (
    room       uuid     NOT NULL,
    seq        bigint   NOT NULL,
    n          bigint,
    kind       smallint NOT NULL,
    actor      uuid     NOT NULL,
    op         uuid     NOT NULL,
    hash       bytea    NOT NULL,
    body       text     NOT NULL,
    created_at bigint   NOT NULL,
    PRIMARY KEY (room, seq),
    UNIQUE (room, actor, op)
) PARTITION BY HASH (room);
DO $$
BEGIN
    FOR i IN 0..15 LOOP
        EXECUTE format('CREATE TABLE events_%s PARTITION OF events FOR VALUES WITH (MODULUS 16, REMAINDER %s)', i, i);
    END LOOP;
END $$;
COMMENT ON TABLE events IS 'The one log of every room: seq is gapless from 1';
COMMENT ON COLUMN events.n IS 'Counts messages only; null for other events';
COMMENT ON COLUMN events.hash IS 'Keyed hash of what the client sent, to tell a repeat from a conflict';
COMMENT ON COLUMN events.body IS 'The text of a message; the JSON data of other events';

CREATE TABLE applied_ops (
    actor      uuid   NOT NULL,
    op         uuid   NOT NULL,
    hash       bytea  NOT NULL,
    result     text   NOT NULL,
    applied_at bigint NOT NULL,
    PRIMARY KEY (actor, op)
);
CREATE INDEX applied_ops_age ON applied_ops (applied_at);
COMMENT ON TABLE applied_ops IS 'Changes that are no events of a room: repeats are recognised for seven days';
