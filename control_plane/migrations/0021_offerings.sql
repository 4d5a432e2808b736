-- What servers offer besides tools, as the last look that succeeded saw it.

ALTER TABLE server_looks
    ADD COLUMN offering bytea NOT NULL DEFAULT '';  -- msgpack of core.offering.Offering; empty: nothing
