-- How strongly somebody signed in, as tokens say it (OpenID Connect Core section 2: acr, amr).

ALTER TABLE browser_sessions ADD COLUMN acr text NOT NULL DEFAULT '', ADD COLUMN amr text[] NOT NULL DEFAULT '{}';
UPDATE browser_sessions SET acr = 'password', amr = '{pwd}' WHERE method = 'password';
