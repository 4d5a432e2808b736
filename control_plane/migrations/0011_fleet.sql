-- Gateways as they were last heard of. Written by the replica a gateway is connected to, a few times a second at most.

CREATE TABLE nodes (
    name      text COLLATE "C" PRIMARY KEY,
    replica   text NOT NULL,                        -- control-plane replica it is connected to
    version   text NOT NULL,
    workers   integer NOT NULL,
    connected boolean NOT NULL,
    seen_at   timestamptz NOT NULL,
    lag_ms    double precision NOT NULL
);

CREATE TABLE node_tenants (
    node            text COLLATE "C" NOT NULL REFERENCES nodes ON DELETE CASCADE,
    tenant          text COLLATE "C" NOT NULL,
    applied         bigint NOT NULL,                -- generation in force; 0: none
    digest          bytea NOT NULL,                 -- of its manifest
    nack            text[] NOT NULL,                -- reasons of the last refusal, empty once a later one is applied
    nack_generation bigint NOT NULL,
    PRIMARY KEY (node, tenant)
);
CREATE INDEX node_tenants_by_tenant ON node_tenants (tenant, node);
