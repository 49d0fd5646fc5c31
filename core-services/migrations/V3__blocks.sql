-- Who wants to hear nothing of whom. All times are microseconds since the Unix epoch.

CREATE TABLE blocks (
    user_id    uuid   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    blocked    uuid   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at bigint NOT NULL,
    PRIMARY KEY (user_id, blocked)
);
CREATE INDEX blocks_blocked ON blocks (blocked);
COMMENT ON TABLE blocks IS 'user_id has blocked the other: messages to the direct room, invites and presence stop both ways';
