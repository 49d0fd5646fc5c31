-- What rooms are called and how they are used, who is kept out, who comes in by a link, how each user keeps a room.
-- All times are microseconds since the Unix epoch.

ALTER TABLE rooms
    ADD COLUMN topic    text   NOT NULL DEFAULT '',
    ADD COLUMN avatar   uuid,
    ADD COLUMN settings jsonb  NOT NULL DEFAULT '{}',
    ADD COLUMN ended_at bigint;
COMMENT ON COLUMN rooms.avatar IS 'An attachment';
COMMENT ON COLUMN rooms.settings IS 'What differs from a new room, or everything; absent members have their defaults';
COMMENT ON COLUMN rooms.ended_at IS 'Deleted, or left by its last member: nobody comes in any more';
CREATE INDEX rooms_made ON rooms (created_by, created_at);
COMMENT ON INDEX rooms_made IS 'How many rooms a user made today';

ALTER TABLE members ADD COLUMN last_sent_at bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN members.last_sent_at IS 'His last message; kept only while the room is in slow mode';

CREATE TABLE bans (
    room       uuid   NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    user_id    uuid   NOT NULL,
    by_user    uuid   NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (room, user_id)
);
COMMENT ON TABLE bans IS 'Users who are kept out of a room; written under the lock of its head';

CREATE TABLE invites (
    room       uuid    NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    id         uuid    NOT NULL,
    code_hash  bytea   NOT NULL,
    role       text    NOT NULL CHECK (role IN ('reader', 'member')),
    created_by uuid    NOT NULL,
    created_at bigint  NOT NULL,
    expires_at bigint,
    uses_max   integer,
    uses       integer NOT NULL DEFAULT 0 CHECK (uses_max IS NULL OR uses <= uses_max),
    PRIMARY KEY (room, id)
);
COMMENT ON TABLE invites IS 'Links by which users come in, at most 100 per room; revoked ones are deleted';
COMMENT ON COLUMN invites.code_hash IS 'SHA-256 of the code, cut to 128 bits; the code itself is nowhere';

CREATE TABLE room_preferences (
    user_id     uuid    NOT NULL,
    room        uuid    NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    archived    boolean NOT NULL,
    muted_until bigint  NOT NULL,
    pinned_at   bigint  NOT NULL,
    changed     xid8    NOT NULL,
    PRIMARY KEY (user_id, room)
);
COMMENT ON TABLE room_preferences IS 'How a user keeps a room; a change also touches his row of members, which syncs look at';
COMMENT ON COLUMN room_preferences.muted_until IS '0: not muted';
COMMENT ON COLUMN room_preferences.pinned_at IS '0: not on top of the list';
