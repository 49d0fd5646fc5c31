-- Large rooms: when `rooms.large` was changed last, so that a repeated call tells again what it told at first.

ALTER TABLE rooms ADD COLUMN switched_seq bigint NOT NULL DEFAULT 0, ADD COLUMN switched_op uuid;
CREATE INDEX rooms_large ON rooms (id) WHERE large;
COMMENT ON COLUMN rooms.large IS 'Its events go to nodes and not to members one by one; changed with the membership, in the same transaction';
COMMENT ON COLUMN rooms.switched_seq IS 'The last event of the room when large was changed last';
COMMENT ON COLUMN rooms.switched_op IS 'The change of membership by which it was';
