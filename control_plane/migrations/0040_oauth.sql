-- What the tenants' own authorization servers remember. Of codes, tokens and sessions there are hashes only.
-- Signing keys are rows of sealed_values: kind 'AuthorizationServer'.

CREATE TABLE oauth_clients (
    tenant      text COLLATE "C" NOT NULL,
    client_id   text COLLATE "C" NOT NULL,
    kind        text COLLATE "C" NOT NULL DEFAULT 'AuthorizationServer' CHECK (kind = 'AuthorizationServer'),
    server      text COLLATE "C" NOT NULL DEFAULT 'default',
    client      bytea NOT NULL,                     -- msgpack of core.oauth.client.Client
    created_at  timestamptz NOT NULL,
    used_at     timestamptz NOT NULL,               -- to the hour
    PRIMARY KEY (tenant, client_id),
    FOREIGN KEY (tenant, kind, server) REFERENCES resources ON DELETE CASCADE
);
CREATE INDEX oauth_clients_by_use ON oauth_clients (used_at);

CREATE TABLE oauth_codes (
    hash       bytea PRIMARY KEY,
    tenant     text COLLATE "C" NOT NULL,
    code       bytea NOT NULL,                      -- msgpack of core.oauth.grant.Code
    expires_at timestamptz NOT NULL,
    used       boolean NOT NULL DEFAULT false
);
CREATE INDEX oauth_codes_by_expiry ON oauth_codes (expires_at);

-- All the tokens that came of one consent, each replaced by the next.
CREATE TABLE oauth_families (
    tenant      text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    kind        text COLLATE "C" NOT NULL DEFAULT 'AuthorizationServer' CHECK (kind = 'AuthorizationServer'),
    server      text COLLATE "C" NOT NULL DEFAULT 'default',
    user_kind   text COLLATE "C" NOT NULL DEFAULT 'User' CHECK (user_kind = 'User'),
    user_name   text COLLATE "C" NOT NULL,
    client_id   text COLLATE "C" NOT NULL,
    granted     bytea NOT NULL,                     -- msgpack of core.oauth.grant.Grant; empty: ended before it began
    ended       text NOT NULL DEFAULT '',           -- why; empty: it has not
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, kind, server) REFERENCES resources ON DELETE CASCADE,
    FOREIGN KEY (tenant, user_kind, user_name) REFERENCES resources ON DELETE CASCADE
);
CREATE INDEX oauth_families_by_expiry ON oauth_families (expires_at);
CREATE INDEX oauth_families_by_user ON oauth_families (tenant, user_name, client_id);

CREATE TABLE oauth_refresh_tokens (
    hash    bytea PRIMARY KEY,
    tenant  text COLLATE "C" NOT NULL,
    family  text COLLATE "C" NOT NULL,
    used    boolean NOT NULL DEFAULT false,
    FOREIGN KEY (tenant, family) REFERENCES oauth_families ON DELETE CASCADE
);
CREATE INDEX oauth_refresh_tokens_by_family ON oauth_refresh_tokens (tenant, family);

-- Ids of tokens that count once, or not any more, until they would have ended anyway.
CREATE TABLE oauth_token_ids (
    tenant     text COLLATE "C" NOT NULL,
    issuer     text COLLATE "C" NOT NULL,           -- the client or provider that made it; '': we did, and revoked it
    id         text COLLATE "C" NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, issuer, id)
);
CREATE INDEX oauth_token_ids_by_expiry ON oauth_token_ids (expires_at);

CREATE TABLE user_passwords (
    tenant         text COLLATE "C" NOT NULL,
    name           text COLLATE "C" NOT NULL,
    kind           text COLLATE "C" NOT NULL DEFAULT 'User' CHECK (kind = 'User'),
    hash           text NOT NULL,                   -- argon2id
    email_verified boolean NOT NULL,
    changed_at     timestamptz NOT NULL,
    failures       integer NOT NULL DEFAULT 0,      -- since the last one that was right
    locked_until   timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (tenant, name),
    FOREIGN KEY (tenant, kind, name) REFERENCES resources ON DELETE CASCADE
);

CREATE TABLE browser_sessions (
    hash        bytea PRIMARY KEY,
    tenant      text COLLATE "C" NOT NULL,
    name        text COLLATE "C" NOT NULL,          -- of the User
    kind        text COLLATE "C" NOT NULL DEFAULT 'User' CHECK (kind = 'User'),
    method      text NOT NULL,                      -- how they signed in
    began_at    timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    FOREIGN KEY (tenant, kind, name) REFERENCES resources ON DELETE CASCADE
);
CREATE INDEX browser_sessions_by_expiry ON browser_sessions (expires_at);
CREATE INDEX browser_sessions_by_user ON browser_sessions (tenant, name);

CREATE TABLE oauth_consents (
    tenant      text COLLATE "C" NOT NULL,
    name        text COLLATE "C" NOT NULL,          -- of the User
    client_id   text COLLATE "C" NOT NULL,
    resource    text COLLATE "C" NOT NULL,
    kind        text COLLATE "C" NOT NULL DEFAULT 'User' CHECK (kind = 'User'),
    scopes      text[] NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, name, client_id, resource),
    FOREIGN KEY (tenant, kind, name) REFERENCES resources ON DELETE CASCADE
);
CREATE INDEX oauth_consents_by_expiry ON oauth_consents (expires_at);
