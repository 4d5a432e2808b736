-- Everything declared, who refers to whom, and the order in which it changed.
-- Names compare as bytes (COLLATE "C"), so pages come in the same order on every server.

CREATE TABLE resources (
    tenant     text COLLATE "C" NOT NULL,           -- '' for platform scope
    kind       text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    namespace  text COLLATE "C" NOT NULL,           -- '' for none
    labels     jsonb NOT NULL,
    spec       jsonb NOT NULL,                      -- never holds a secret's value
    status     jsonb NOT NULL,                      -- written by Toolgate; changes no generation
    generation bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, kind, name)
);
CREATE INDEX resources_by_kind ON resources (kind, tenant, name);

-- One row per place in a spec that names another resource of the same tenant.
CREATE TABLE resource_references (
    tenant      text COLLATE "C" NOT NULL,
    kind        text COLLATE "C" NOT NULL,
    name        text COLLATE "C" NOT NULL,
    path        text COLLATE "C" NOT NULL,
    target_kind text COLLATE "C" NOT NULL,
    target_name text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, kind, name, path),
    FOREIGN KEY (tenant, kind, name) REFERENCES resources ON DELETE CASCADE
);
CREATE INDEX resource_references_by_target ON resource_references (tenant, target_kind, target_name);

-- Revisions in commit order: a change takes the next one while it holds this row, and holds it until it commits.
-- A sequence would not do: a reader could see 8 before 7 has committed, and miss 7 for ever.
CREATE TABLE revision (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    latest bigint NOT NULL,
    pruned bigint NOT NULL                          -- changes up to here are gone
);
INSERT INTO revision (latest, pruned) VALUES (0, 0);

CREATE TABLE changes (
    revision bigint PRIMARY KEY,
    tenant   text COLLATE "C" NOT NULL,
    kind     text COLLATE "C" NOT NULL,
    name     text COLLATE "C" NOT NULL,
    type     text NOT NULL,                         -- 'applied' or 'deleted'
    last     jsonb,                                 -- what was deleted, as it was
    at       timestamptz NOT NULL DEFAULT now()
);

-- The newest change that concerns a tenant, its own Tenant resource's included: never pruned.
CREATE TABLE tenant_revisions (
    tenant   text COLLATE "C" PRIMARY KEY,          -- '' for the platform
    revision bigint NOT NULL
);
