-- Whom the planes believe: the chain of announcements of signing keys, and what a gateway's token is good for.

CREATE TABLE trust_announcements (
    number       bigint PRIMARY KEY,
    announcement bytea NOT NULL,                    -- msgpack of core.trust.Announcement
    signs        text NOT NULL,                     -- key id of the one that signs from here on
    announced_at timestamptz NOT NULL DEFAULT now()
);
-- The private halves made here are rows of sealed_values: kind 'SigningKey', their name the key's id.

ALTER TABLE node_tokens
    ADD COLUMN nodes text[] NOT NULL DEFAULT '{*}', -- globs over the names of gateways
    ADD COLUMN tenants text[] NOT NULL DEFAULT '{}', -- empty: all
    ADD COLUMN expires_at timestamptz;

ALTER TABLE nodes
    ADD COLUMN stream text NOT NULL DEFAULT '',     -- the stream that speaks for the node
    ADD COLUMN public_key bytea NOT NULL DEFAULT '', -- of the gateway at its end
    ADD COLUMN ousted bytea NOT NULL DEFAULT '',    -- of a gateway that had this name before, while both are there
    ADD COLUMN notice text NOT NULL DEFAULT '',
    ADD COLUMN trust_number bigint NOT NULL DEFAULT 0,
    ADD COLUMN trust_nack text[] NOT NULL DEFAULT '{}';
