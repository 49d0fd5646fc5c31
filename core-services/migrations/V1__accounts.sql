-- Accounts, logins, and what names this database. All times are microseconds since the Unix epoch.

CREATE TABLE meta (
    key   text PRIMARY KEY,
    value text NOT NULL
);
COMMENT ON TABLE meta IS 'Facts about this database: partition counts, the key of op hashes';

CREATE TABLE users (
    id           uuid   PRIMARY KEY,
    username     text   NOT NULL UNIQUE,
    display_name text   NOT NULL,
    created_at   bigint NOT NULL
);
COMMENT ON TABLE users IS 'What others see of an account';

CREATE TABLE credentials (
    user_id       uuid   PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    password_hash text   NOT NULL,
    changed_at    bigint NOT NULL
);
COMMENT ON COLUMN credentials.password_hash IS 'PHC string, argon2id';

CREATE TABLE logins (
    id             uuid   PRIMARY KEY,
    user_id        uuid   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token_hash     bytea  NOT NULL,
    previous_hash  bytea,
    rotated_at     bigint NOT NULL,
    created_at     bigint NOT NULL,
    expires_at     bigint NOT NULL,
    revoked_at     bigint
);
CREATE INDEX logins_user ON logins (user_id);
COMMENT ON TABLE logins IS 'One refresh-token family: a device on which the user logged in';
COMMENT ON COLUMN logins.token_hash IS 'SHA-256 of the refresh token that is current';
COMMENT ON COLUMN logins.previous_hash IS 'SHA-256 of the one before, which may be repeated for a minute while its successor is unused';
