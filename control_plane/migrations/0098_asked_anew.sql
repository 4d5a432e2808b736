-- When somebody showed who they are is not when their session began: a provider says it, or nobody does (NULL).

ALTER TABLE browser_sessions ADD COLUMN shown_at timestamptz;
UPDATE browser_sessions SET shown_at = began_at WHERE method = 'password';

-- Since when a browser that is away must have signed in there, in seconds; 0: whenever.
ALTER TABLE sign_in_departures ADD COLUMN since float8 NOT NULL DEFAULT 0;
