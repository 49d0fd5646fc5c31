-- Profiles, contacts, the words by which users are found, when they were last seen, and their push subscriptions.
-- All times are microseconds since the Unix epoch.

ALTER TABLE users
    ADD COLUMN about             text NOT NULL DEFAULT '',
    ADD COLUMN avatar            uuid,
    ADD COLUMN last_seen_visible text NOT NULL DEFAULT 'everyone'
        CHECK (last_seen_visible IN ('everyone', 'contacts', 'nobody')),
    ADD COLUMN IF NOT EXISTS deleted_at bigint;
COMMENT ON COLUMN users.avatar IS 'An attachment; its bytes are fetched like those of any other';
COMMENT ON COLUMN users.last_seen_visible IS 'Who is told when the user was last seen: everyone, his contacts, nobody';
COMMENT ON COLUMN users.deleted_at IS 'The account ended; the row stays because messages name it';

CREATE TABLE user_words (
    word    text COLLATE "C" NOT NULL,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (word, user_id)
);
CREATE INDEX user_words_user ON user_words (user_id, word);
COMMENT ON TABLE user_words IS 'User name and words of the display name in lower case: a search reads one range of the primary key';

CREATE FUNCTION users_add_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO user_words (word, user_id)
    SELECT DISTINCT w.word, made.id
    FROM made CROSS JOIN LATERAL (
        SELECT lower(made.username) AS word
        UNION SELECT left(part, 64) FROM regexp_split_to_table(lower(made.display_name), '\s+') AS part WHERE part <> ''
    ) AS w
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER users_made AFTER INSERT ON users
    REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION users_add_words();

INSERT INTO user_words (word, user_id)
SELECT DISTINCT w.word, u.id
FROM users u CROSS JOIN LATERAL (
    SELECT lower(u.username) AS word
    UNION SELECT left(part, 64) FROM regexp_split_to_table(lower(u.display_name), '\s+') AS part WHERE part <> ''
) AS w;

CREATE TABLE contacts (
    user_id    uuid   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    contact    uuid   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    alias      text   NOT NULL DEFAULT '',
    created_at bigint NOT NULL,
    PRIMARY KEY (user_id, contact)
);
CREATE INDEX contacts_contact ON contacts (contact);
COMMENT ON TABLE contacts IS 'Whom user_id keeps as a contact, and under which name of his own';

CREATE TABLE last_seen (
    user_id uuid   PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    at      bigint NOT NULL
) WITH (fillfactor = 70);
COMMENT ON TABLE last_seen IS 'When the last connection of a user ended; written at most once per user and minute, in place';

CREATE TABLE push_subscriptions (
    id         uuid   PRIMARY KEY,
    user_id    uuid   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    login      uuid   NOT NULL,
    endpoint   text   NOT NULL,
    digest     bytea  NOT NULL UNIQUE,
    p256dh     bytea  NOT NULL,
    auth       bytea  NOT NULL,
    created_at bigint NOT NULL
);
CREATE INDEX push_subscriptions_user ON push_subscriptions (user_id);
COMMENT ON TABLE push_subscriptions IS 'Where pushes of a user go (RFC 8030): one row per device that asked for them';
COMMENT ON COLUMN push_subscriptions.login IS 'The login that subscribed: with its end the pushes end';
COMMENT ON COLUMN push_subscriptions.digest IS 'SHA-256 of the endpoint: an endpoint belongs to one device, whoever uses it';

-- What belongs to an account alone ends with it.
CREATE FUNCTION users_forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM user_words WHERE user_id = NEW.id;
    DELETE FROM contacts WHERE user_id = NEW.id OR contact = NEW.id;
    DELETE FROM blocks WHERE user_id = NEW.id;
    DELETE FROM last_seen WHERE user_id = NEW.id;
    DELETE FROM push_subscriptions WHERE user_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER users_ended AFTER UPDATE OF deleted_at ON users
    FOR EACH ROW WHEN (NEW.deleted_at IS NOT NULL AND OLD.deleted_at IS NULL) EXECUTE FUNCTION users_forget();
