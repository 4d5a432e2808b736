-- Users are found by their e-mail address when a provider vouches for it.

CREATE INDEX users_by_address ON resources (tenant, lower(spec ->> 'email')) WHERE kind = 'User';
