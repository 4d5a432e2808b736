-- The keys issuers of tokens were last seen to have, and when they are asked again.

CREATE TABLE issuer_keys (
    tenant        text COLLATE "C" NOT NULL,
    name          text COLLATE "C" NOT NULL,
    kind          text COLLATE "C" NOT NULL DEFAULT 'IdentityProvider' CHECK (kind = 'IdentityProvider'),
    generation    bigint NOT NULL,                  -- of the declaration the keys were fetched by; another makes it due
    keys          bytea NOT NULL,                   -- msgpack of core.issuer.KeySet
    due_at        timestamptz NOT NULL,
    claimed_until timestamptz NOT NULL DEFAULT '-infinity',
    failures      integer NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, name),
    FOREIGN KEY (tenant, kind, name) REFERENCES resources ON DELETE CASCADE
);
CREATE INDEX issuer_keys_by_due ON issuer_keys (due_at);
