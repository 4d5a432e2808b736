-- Nothing here can be read without the key-encryption key, or turned back into a credential.

CREATE TABLE sealed_values (
    tenant text COLLATE "C" NOT NULL,
    kind   text COLLATE "C" NOT NULL,               -- 'Secret': its value; 'Tenant': the tenant's own keys
    name   text COLLATE "C" NOT NULL,               -- '' with 'Tenant': the platform's own keys
    key_id text NOT NULL,                           -- of the key-encryption key
    sealed bytea NOT NULL,
    PRIMARY KEY (tenant, kind, name)
);

CREATE TABLE key_hashes (
    tenant    text COLLATE "C" NOT NULL,            -- '' for platform administrators
    name      text COLLATE "C" NOT NULL,            -- of the ApiKey
    key_id    text NOT NULL,                        -- the part of the key that may be shown
    hash      bytea NOT NULL,
    issued_at timestamptz NOT NULL,
    kind      text COLLATE "C" NOT NULL DEFAULT 'ApiKey' CHECK (kind = 'ApiKey'),
    PRIMARY KEY (tenant, name),
    FOREIGN KEY (tenant, kind, name) REFERENCES resources ON DELETE CASCADE
);
CREATE UNIQUE INDEX key_hashes_by_hash ON key_hashes (hash);

CREATE TABLE node_tokens (
    name      text COLLATE "C" PRIMARY KEY,
    hash      bytea NOT NULL UNIQUE,
    issued_at timestamptz NOT NULL,
    revoked   boolean NOT NULL DEFAULT false
);
