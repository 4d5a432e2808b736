-- Browsers that went to a provider to sign in, until they come back. The state they carry is kept as a hash.

CREATE TABLE sign_in_departures (
    mark       bytea PRIMARY KEY,
    tenant     text COLLATE "C" NOT NULL,
    provider   text COLLATE "C" NOT NULL,
    kind       text COLLATE "C" NOT NULL DEFAULT 'IdentityProvider' CHECK (kind = 'IdentityProvider'),
    browser    bytea NOT NULL,
    back       text NOT NULL,
    expires_at timestamptz NOT NULL,
    FOREIGN KEY (tenant, kind, provider) REFERENCES resources ON DELETE CASCADE
);
CREATE INDEX sign_in_departures_by_expiry ON sign_in_departures (expires_at);
