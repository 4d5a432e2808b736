-- How Toolgate signs in to servers: tokens it holds, clients it is registered as, links people connect with.
-- Nothing sealed here can be read without the key-encryption key.

CREATE TABLE connections (
    tenant     text COLLATE "C" NOT NULL,
    server     text COLLATE "C" NOT NULL,
    subject    text COLLATE "C" NOT NULL,           -- 'user/ada', 'agent/helper'; '': the server's own
    kind       text COLLATE "C" NOT NULL DEFAULT 'Server' CHECK (kind = 'Server'),
    state      text COLLATE "C" NOT NULL,           -- 'waiting', 'connected', 'refused'
    made_for   text NOT NULL,                       -- digest of the declaration it was made for
    challenge  text NOT NULL,                       -- the server's last `WWW-Authenticate`
    issuer     text NOT NULL,
    scopes     text NOT NULL,
    error      text NOT NULL,                       -- why the last attempt failed
    failures   integer NOT NULL DEFAULT 0,          -- in a row
    expires_at timestamptz,                         -- of the access token; null: not told
    due_at     timestamptz NOT NULL,                -- when to obtain or refresh it; infinity: never
    version    bigint NOT NULL DEFAULT 0,           -- of every change
    key_id     text NOT NULL,                       -- of the key-encryption key
    sealed     bytea NOT NULL,                      -- empty: no token
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, server, subject),
    FOREIGN KEY (tenant, kind, server) REFERENCES resources ON DELETE CASCADE
);
CREATE INDEX connections_due ON connections (due_at) WHERE due_at < 'infinity';

-- Servers that are signed in to in their own name.
CREATE INDEX resources_own_grant ON resources (tenant, name)
    WHERE kind = 'Server' AND spec->'auth'->>'type' IN ('client_credentials', 'jwt', 'id_jag');

CREATE TABLE connection_clients (
    tenant     text COLLATE "C" NOT NULL,
    server     text COLLATE "C" NOT NULL,
    issuer     text COLLATE "C" NOT NULL,           -- a client is known to one authorization server only
    kind       text COLLATE "C" NOT NULL DEFAULT 'Server' CHECK (kind = 'Server'),
    redirect   text NOT NULL,                       -- URI it was registered with
    expires_at timestamptz NOT NULL,                -- of its secret; infinity: never
    key_id     text NOT NULL,
    sealed     bytea NOT NULL,
    PRIMARY KEY (tenant, server, issuer),
    FOREIGN KEY (tenant, kind, server) REFERENCES resources ON DELETE CASCADE
);

CREATE TABLE connection_links (
    id         bytea PRIMARY KEY,                   -- of the link, from its seal
    browser    bytea NOT NULL,                      -- digest of the cookie of the browser that opened it first
    state      bytea UNIQUE NOT NULL,               -- digest of the `state` it is waiting for
    tenant     text COLLATE "C" NOT NULL,
    server     text COLLATE "C" NOT NULL,
    subject    text COLLATE "C" NOT NULL,
    spent      boolean NOT NULL DEFAULT false,
    key_id     text NOT NULL,
    sealed     bytea NOT NULL,                      -- code verifier, client, place
    expires_at timestamptz NOT NULL
);
CREATE INDEX connection_links_expired ON connection_links (expires_at);

-- Whoever is given a name later does not inherit the accounts of who had it before.
CREATE FUNCTION end_connections() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM connections WHERE tenant = OLD.tenant AND subject = lower(OLD.kind) || '/' || OLD.name;
    DELETE FROM connection_links WHERE tenant = OLD.tenant AND subject = lower(OLD.kind) || '/' || OLD.name;
    RETURN NULL;
END $$;
CREATE TRIGGER end_connections AFTER DELETE ON resources
    FOR EACH ROW WHEN (OLD.kind IN ('User', 'Agent')) EXECUTE FUNCTION end_connections();
