-- A chain per tenant: hash = BLAKE2b-256(hash before + canonical msgpack of the row's other columns).

CREATE TABLE audit (
    tenant  text COLLATE "C" NOT NULL,              -- '' for the platform and for callers nobody could identify
    seq     bigint NOT NULL,                        -- no gaps
    id      text COLLATE "C" NOT NULL,
    at_unix double precision NOT NULL,
    type    text NOT NULL,                          -- 'call' or 'change'
    outcome text NOT NULL,
    caller  text NOT NULL,
    tool    text NOT NULL,
    detail  json NOT NULL,                          -- json, not jsonb: the hash covers it as it was written
    hash    bytea NOT NULL,
    PRIMARY KEY (tenant, seq)
);
CREATE UNIQUE INDEX audit_by_id ON audit (tenant, id);
CREATE INDEX audit_by_time ON audit (tenant, at_unix);

CREATE TABLE audit_heads (
    tenant      text COLLATE "C" PRIMARY KEY,
    seq         bigint NOT NULL,                    -- of the newest row; 0: none yet
    hash        bytea NOT NULL,
    pruned_seq  bigint NOT NULL,                    -- newest row removed by retention; 0: none
    pruned_hash bytea NOT NULL                      -- its hash: where verification starts
);
