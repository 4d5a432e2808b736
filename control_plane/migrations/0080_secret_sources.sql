-- When the source of a Secret that has one is read next, and when it last gave a value.

CREATE TABLE secret_sources (
    tenant        text COLLATE "C" NOT NULL,
    name          text COLLATE "C" NOT NULL,
    kind          text COLLATE "C" NOT NULL DEFAULT 'Secret' CHECK (kind = 'Secret'),
    generation    bigint NOT NULL,                  -- of the declaration it was read by; another makes it due
    mark          bytea NOT NULL,                   -- of the source: of another one nothing was seen yet
    seen_at       timestamptz,
    due_at        timestamptz NOT NULL,
    claimed_until timestamptz NOT NULL DEFAULT '-infinity',
    failures      integer NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, name),
    FOREIGN KEY (tenant, kind, name) REFERENCES resources ON DELETE CASCADE
);
CREATE INDEX secret_sources_by_due ON secret_sources (due_at);
