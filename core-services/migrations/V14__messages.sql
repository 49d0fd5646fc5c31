-- What messages carry beside their text, what happens to them, and how far members are. All times are microseconds
-- since the Unix epoch.

-- Equality of rooms inside the index of words; trusted, so that the owner of the database may make it.
CREATE EXTENSION IF NOT EXISTS btree_gin;

-- All null for a plain message: its row grows by the bitmap of nulls.
ALTER TABLE events
    ADD COLUMN reply_to   bigint,
    ADD COLUMN thread     bigint,
    ADD COLUMN extras     text,
    ADD COLUMN mentions   uuid[],
    ADD COLUMN edited_at  bigint,
    ADD COLUMN deleted_at bigint;
COMMENT ON COLUMN events.reply_to IS 'The message of the same room that this one answers';
COMMENT ON COLUMN events.thread IS 'The first message of the thread, in the same room';
COMMENT ON COLUMN events.extras IS 'JSON: where a forwarded text comes from, entities of the text';
COMMENT ON COLUMN events.mentions IS 'Members whom the message mentions; the nil id stands for everybody in the room';
COMMENT ON COLUMN events.edited_at IS 'When the text was replaced last';
COMMENT ON COLUMN events.deleted_at IS 'When the message was taken away for all: body, extras, mentions and hash are empty';

CREATE INDEX events_thread ON events (room, thread, seq) WHERE thread IS NOT NULL;
CREATE INDEX events_words ON events USING gin (room, to_tsvector('simple', left(body, 4096))) WHERE kind = 2;

CREATE TABLE edits (
    room     uuid   NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    seq      bigint NOT NULL,
    edit_seq bigint NOT NULL,
    body     text   NOT NULL,
    extras   text,
    until    bigint NOT NULL,
    PRIMARY KEY (room, seq, edit_seq)
);
COMMENT ON TABLE edits IS 'What messages said before they were edited';
COMMENT ON COLUMN edits.seq IS 'The message';
COMMENT ON COLUMN edits.edit_seq IS 'The event that replaced this text';
COMMENT ON COLUMN edits.until IS 'When it was replaced';

CREATE TABLE reactions (
    room      uuid   NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    seq       bigint NOT NULL,
    event_seq bigint NOT NULL,
    user_id   uuid   NOT NULL,
    emoji     text   NOT NULL,
    PRIMARY KEY (room, seq, event_seq),
    UNIQUE (room, seq, user_id, emoji)
);
COMMENT ON TABLE reactions IS 'Who reacted to which message';
COMMENT ON COLUMN reactions.event_seq IS 'The event that told of it: the order in which they are listed';

CREATE TABLE reaction_counts (
    room      uuid   NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    seq       bigint NOT NULL,
    emoji     text   NOT NULL,
    count     bigint NOT NULL,
    first_seq bigint NOT NULL,
    PRIMARY KEY (room, seq, emoji)
) WITH (fillfactor = 80);
COMMENT ON TABLE reaction_counts IS 'Reactions of a message by kind, at most 20, so that no page of history counts them';
COMMENT ON COLUMN reaction_counts.first_seq IS 'The event of the first one: the order in which kinds are shown';

CREATE TABLE pins (
    room      uuid   NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    seq       bigint NOT NULL,
    pinned_by uuid   NOT NULL,
    pinned_at bigint NOT NULL,
    PRIMARY KEY (room, seq)
);
COMMENT ON TABLE pins IS 'Pinned messages, at most 100 of a room';

CREATE TABLE threads (
    room     uuid   NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    root     bigint NOT NULL,
    count    bigint NOT NULL,
    last_seq bigint NOT NULL,
    last_at  bigint NOT NULL,
    PRIMARY KEY (room, root)
) WITH (fillfactor = 80);
COMMENT ON TABLE threads IS 'How many messages a thread has beside its first one, and the last of them';

CREATE TABLE hidden (
    user_id uuid   NOT NULL,
    room    uuid   NOT NULL REFERENCES rooms (id) ON DELETE CASCADE,
    seq     bigint NOT NULL,
    PRIMARY KEY (user_id, room, seq)
);
COMMENT ON TABLE hidden IS 'Messages that a user took away for himself alone';

ALTER TABLE members ADD COLUMN delivered_seq bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN members.delivered_seq IS 'Some device of the member has everything up to here; at least read_seq counts';
