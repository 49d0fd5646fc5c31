-- Devices, one-time codes, second factors, the audit log. All times are microseconds since the Unix epoch.

ALTER TABLE users ADD COLUMN deleted_at bigint;
COMMENT ON COLUMN users.deleted_at IS 'Set: the account is gone. The row stays for its messages, without a name';

ALTER TABLE credentials ADD COLUMN email text;
COMMENT ON COLUMN credentials.email IS 'Where one-time codes go; confirmed by one';

ALTER TABLE logins ADD COLUMN device text NOT NULL DEFAULT '', ADD COLUMN device_id uuid;
COMMENT ON COLUMN logins.device IS 'What the user calls the device';
COMMENT ON COLUMN logins.device_id IS 'The known device that logged in; it may be forgotten before the login';

CREATE TABLE devices (
    id          uuid   PRIMARY KEY,
    user_id     uuid   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    secret_hash bytea  NOT NULL,
    created_at  bigint NOT NULL,
    used_at     bigint NOT NULL
);
CREATE INDEX devices_user ON devices (user_id, used_at);
COMMENT ON TABLE devices IS 'Devices on which the user has logged in: their tries to log in are counted apart';
COMMENT ON COLUMN devices.secret_hash IS 'SHA-256 of the secret in the device token';

CREATE TABLE codes (
    id         bytea    PRIMARY KEY,
    kind       text     NOT NULL CHECK (kind IN ('reset', 'email')),
    user_id    uuid     REFERENCES users (id) ON DELETE CASCADE,
    hash       bytea    NOT NULL,
    email      text,
    tries      smallint NOT NULL DEFAULT 0,
    expires_at bigint   NOT NULL,
    used_at    bigint
);
CREATE INDEX codes_expiry ON codes (expires_at);
CREATE INDEX codes_user ON codes (user_id);
COMMENT ON TABLE codes IS 'One-time codes; deleted some time after their end';
COMMENT ON COLUMN codes.id IS 'SHA-256 of the challenge that the client holds';
COMMENT ON COLUMN codes.user_id IS 'Null for a code that nobody got: the account does not exist or has no address';
COMMENT ON COLUMN codes.hash IS 'HMAC of challenge and digits: without the challenge a dump does not tell the digits';
COMMENT ON COLUMN codes.email IS 'The address that kind email confirms';

CREATE TABLE totp (
    user_id      uuid   PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    secret       bytea  NOT NULL,
    last_step    bigint NOT NULL DEFAULT 0,
    created_at   bigint NOT NULL,
    confirmed_at bigint
);
COMMENT ON TABLE totp IS 'Second factors (RFC 6238); in force once confirmed';
COMMENT ON COLUMN totp.last_step IS 'Time step of the last code that was accepted: no code is good twice';

CREATE TABLE recovery_codes (
    user_id uuid   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash    bytea  NOT NULL,
    used_at bigint,
    PRIMARY KEY (user_id, hash)
);
COMMENT ON TABLE recovery_codes IS 'Codes in place of a second factor, each good once; SHA-256 of 80 random bits and the user';

CREATE TABLE reserved_names (
    hash        bytea  PRIMARY KEY,
    reserved_at bigint NOT NULL
);
COMMENT ON TABLE reserved_names IS 'Names of deleted accounts, as keyed hashes: nobody gets one again';

CREATE TABLE audit (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       bigint NOT NULL,
    user_id  uuid,
    login_id uuid,
    kind     text   NOT NULL,
    address  bytea,
    detail   text   NOT NULL DEFAULT ''
);
CREATE INDEX audit_user ON audit (user_id, at);
CREATE INDEX audit_age ON audit (at);
COMMENT ON TABLE audit IS 'What happened to accounts, written with the change itself; rows end with auth.audit_days';
COMMENT ON COLUMN audit.user_id IS 'Null where nobody of that name exists. No reference: the log outlives accounts';
COMMENT ON COLUMN audit.address IS 'Keyed hash of the network address, if the edge named it';
