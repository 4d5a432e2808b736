-- What servers were seen to offer, and what of it is approved.

CREATE TABLE server_looks (
    tenant           text COLLATE "C" NOT NULL,
    server           text COLLATE "C" NOT NULL,
    kind             text COLLATE "C" NOT NULL DEFAULT 'Server' CHECK (kind = 'Server'),
    spec_digest      bytea NOT NULL,                -- of how the server is reached: a new one makes a look due
    look             jsonb NOT NULL,                -- core.definition.Look
    due_at           timestamptz NOT NULL,
    claimed_until    timestamptz NOT NULL DEFAULT '-infinity',
    failures         integer NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, server),
    FOREIGN KEY (tenant, kind, server) REFERENCES resources ON DELETE CASCADE
);
CREATE INDEX server_looks_by_due ON server_looks (due_at);

CREATE TABLE definitions (
    tenant          text COLLATE "C" NOT NULL,
    server          text COLLATE "C" NOT NULL,
    name            text COLLATE "C" NOT NULL,
    approved        bytea NOT NULL,                 -- JSON as the server sent it; empty: never approved
    approved_digest bytea NOT NULL,
    observed        bytea NOT NULL,                 -- empty: not offered at the last look
    observed_digest bytea NOT NULL,
    observed_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant, server, name),
    FOREIGN KEY (tenant, server) REFERENCES server_looks ON DELETE CASCADE
);
