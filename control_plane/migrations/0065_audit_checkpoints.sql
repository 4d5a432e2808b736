-- Ends of audit chains, signed. `before` is the digest of the chain's checkpoint before.

CREATE TABLE audit_checkpoints (
    tenant    text COLLATE "C" NOT NULL,
    seq       bigint NOT NULL,
    hash      bytea NOT NULL,
    at_ms     bigint NOT NULL,                      -- Unix milliseconds
    before    bytea NOT NULL,
    key_id    text NOT NULL,
    signature bytea NOT NULL,
    published boolean NOT NULL DEFAULT false,       -- also where objects are kept
    PRIMARY KEY (tenant, seq),
    UNIQUE (tenant, before)                         -- no two follow the same one
);
CREATE INDEX audit_checkpoints_unpublished ON audit_checkpoints (tenant, seq) WHERE NOT published;
