-- What tenants' OPA sidecars say of themselves, and what they decided.

CREATE TABLE opa_sidecars (
    tenant text NOT NULL,
    id text NOT NULL,
    version text NOT NULL DEFAULT '',
    revision text NOT NULL DEFAULT '',
    problem text NOT NULL DEFAULT '',
    seen_at double precision NOT NULL,
    decisions bigint NOT NULL DEFAULT 0,
    denied bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE opa_decisions (
    tenant text NOT NULL,
    id text NOT NULL,            -- OPA's decision_id
    sidecar text NOT NULL,
    at double precision NOT NULL,
    revision text NOT NULL,
    path text NOT NULL,
    allowed boolean,             -- null: it came out neither way
    reasons text[] NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE INDEX opa_decisions_by_time ON opa_decisions (tenant, at DESC);
CREATE INDEX opa_decisions_to_prune ON opa_decisions (at);
