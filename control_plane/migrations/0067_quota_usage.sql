-- What gateways have leased of quotas, by calendar period. `name` is the bucket's: quota, life and values of dimensions.

CREATE TABLE quota_usage (
    tenant text COLLATE "C" NOT NULL,
    name   text COLLATE "C" NOT NULL,
    period text NOT NULL,                           -- 'day' or 'month'
    begins bigint NOT NULL,                         -- Unix seconds
    ends   bigint NOT NULL,
    used   bigint NOT NULL,
    PRIMARY KEY (tenant, name, begins)
);
CREATE INDEX quota_usage_by_end ON quota_usage (ends);
