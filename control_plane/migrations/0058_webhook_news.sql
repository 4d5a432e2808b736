-- Events that webhooks are still to be told of.

CREATE TABLE webhook_news (
    id text PRIMARY KEY,
    tenant text NOT NULL,
    event text NOT NULL,
    body bytea NOT NULL,                    -- JSON
    attempts integer NOT NULL DEFAULT 0,
    done text[] NOT NULL DEFAULT '{}',      -- webhooks that have taken it
    due_at double precision NOT NULL
);

CREATE INDEX webhook_news_due ON webhook_news (due_at);
