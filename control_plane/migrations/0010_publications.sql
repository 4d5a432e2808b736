-- Snapshots as published, and the parts they are made of.

-- One row per tenant that was ever published, deleted ones included: a generation is never used twice.
CREATE TABLE publications (
    tenant       text COLLATE "C" PRIMARY KEY,
    generation   bigint NOT NULL,                   -- 0: none yet
    revision     bigint NOT NULL,                   -- newest change that is accounted for
    compiler     integer NOT NULL,                  -- version of the compiler that made it
    content      bytea NOT NULL,                    -- digest of the manifest but for its generation
    manifest     bytea NOT NULL,                    -- empty: withdrawn
    key_id       text NOT NULL,
    signature    bytea NOT NULL,
    parts        bytea[] NOT NULL,                  -- digests the manifest names
    held         boolean NOT NULL,                  -- the newest declarations do not check
    committed_unix_us bigint NOT NULL,              -- when the newest change in it was made
    published_at timestamptz NOT NULL DEFAULT now()
);

-- Left to PostgreSQL's own compression: catalogues are most of it and shrink to a fraction, in the WAL too, at a CPU
-- cost that could not be measured beside the rest.
CREATE TABLE parts (
    digest    bytea PRIMARY KEY,
    data      bytea NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now()
);
