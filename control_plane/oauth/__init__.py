"""The tenants' own authorization server: an issuer per tenant, its grants, and the pages people see."""
