-- What policies were asked, for replaying a candidate: inputs by their digest, and who asked them how often on which day.

CREATE TABLE decision_inputs (
    tenant text NOT NULL,
    mark bytea NOT NULL,       -- BLAKE2b-128 of the input
    input bytea NOT NULL,      -- JSON; argument values only where the tenant keeps them
    last_day integer NOT NULL, -- days since 1970-01-01
    PRIMARY KEY (tenant, mark)
);

CREATE TABLE decision_calls (
    tenant text NOT NULL,
    day integer NOT NULL,
    mark bytea NOT NULL,
    caller text NOT NULL,      -- "user/agent"
    calls bigint NOT NULL,
    allowed bigint NOT NULL,
    differed bigint NOT NULL DEFAULT 0, -- where a policy in shadow thought otherwise
    PRIMARY KEY (tenant, day, mark, caller)
);
