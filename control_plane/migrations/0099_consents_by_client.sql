-- Whether anybody allowed a client anything: one that nobody did is trusted with less, and makes room for others.

CREATE INDEX oauth_consents_by_client ON oauth_consents (tenant, client_id);
