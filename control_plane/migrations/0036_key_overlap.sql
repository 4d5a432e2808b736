-- The key before, where a rotation lets it go on for a while.

ALTER TABLE key_hashes
    ADD COLUMN previous bytea,
    ADD COLUMN previous_until timestamptz;
CREATE INDEX key_hashes_by_previous ON key_hashes (previous) WHERE previous IS NOT NULL;
