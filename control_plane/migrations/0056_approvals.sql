-- Calls that wait for somebody's approval, and what came of them.

CREATE TABLE approvals (
    id text PRIMARY KEY,
    tenant text NOT NULL,
    digest bytea NOT NULL,       -- binds caller, tool and exact arguments
    wish bytea NOT NULL,         -- msgpack of core.approval.Wish
    caller text NOT NULL,        -- "user/agent"
    state text NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'used')),
    asked_at double precision NOT NULL,
    expires_at double precision NOT NULL,
    settled_by text NOT NULL DEFAULT '',
    settled_at double precision NOT NULL DEFAULT 0,
    reason text NOT NULL DEFAULT ''
);

CREATE INDEX approvals_by_call ON approvals (tenant, digest, asked_at DESC);
CREATE INDEX approvals_by_tenant ON approvals (tenant, asked_at DESC);
