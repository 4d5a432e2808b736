-- The audit log by weeks of when rows were stored, so that what is old can be dropped, or its bulk moved out, as a whole.
-- `day` never falls as `seq` rises: each week holds one run of every log.
--
-- Rows from before are not copied: their table becomes the part of all days until this week ends, as if every row had
-- been stored today. It is read once, and two of its indexes are made anew.

ALTER TABLE audit RENAME TO audit_before;
ALTER TABLE audit_before RENAME CONSTRAINT audit_pkey TO audit_before_pkey;
ALTER INDEX audit_by_id RENAME TO audit_before_by_id;
ALTER INDEX audit_by_time RENAME TO audit_before_by_time;

CREATE TABLE audit (
    tenant  text COLLATE "C" NOT NULL,              -- '' for the platform and for callers nobody could identify
    seq     bigint NOT NULL,                        -- no gaps
    id      text COLLATE "C" NOT NULL,
    at_unix double precision NOT NULL,
    type    text NOT NULL,                          -- 'call' or 'change'
    outcome text NOT NULL,
    caller  text NOT NULL,
    tool    text NOT NULL,
    detail  json,                                   -- NULL: in the object of audit_archives that holds the row
    hash    bytea NOT NULL,
    day     date NOT NULL DEFAULT (clock_timestamp() AT TIME ZONE 'utc')::date,
    PRIMARY KEY (tenant, seq, day)
) PARTITION BY RANGE (day);
CREATE INDEX audit_by_id ON audit (tenant, id);     -- unique by the lock on the head: see adapters/postgres/audit.py
CREATE INDEX audit_by_time ON audit (tenant, at_unix);
CREATE TABLE audit_other PARTITION OF audit DEFAULT; -- of weeks nobody made a table for

DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM audit_before) THEN
        DROP TABLE audit_before;
        RETURN;
    END IF;
    -- A default that is known when the column is added rewrites no row.
    ALTER TABLE audit_before
        ALTER COLUMN detail DROP NOT NULL,
        ADD COLUMN day date NOT NULL DEFAULT (now() AT TIME ZONE 'utc')::date,
        DROP CONSTRAINT audit_before_pkey;
    DROP INDEX audit_before_by_id;
    ALTER TABLE audit ATTACH PARTITION audit_before
        FOR VALUES FROM (MINVALUE) TO (date_trunc('week', now() AT TIME ZONE 'utc')::date + 7);
END $$;

CREATE TABLE audit_archives (
    tenant    text COLLATE "C" NOT NULL,
    first_seq bigint NOT NULL,
    last_seq  bigint NOT NULL,
    object    text NOT NULL,                        -- its name where objects are kept: gzip of one JSON line a row
    digest    bytea NOT NULL,                       -- BLAKE2b-256 of the object
    bytes     bigint NOT NULL,
    PRIMARY KEY (tenant, last_seq)
);
