-- Whoever is given a tenant's name later inherits nothing of who had it before. What refers to `resources` goes with
-- them; these tables do not. When a tenant is made, again: gateways may have told of the one before after it was gone.

CREATE FUNCTION end_tenant() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    gone text;
BEGIN
    IF TG_OP = 'DELETE' THEN gone := OLD.name; ELSE gone := NEW.name; END IF;
    DELETE FROM approvals WHERE tenant = gone;
    DELETE FROM decision_inputs WHERE tenant = gone;
    DELETE FROM decision_calls WHERE tenant = gone;
    DELETE FROM webhook_news WHERE tenant = gone;
    DELETE FROM opa_sidecars WHERE tenant = gone;
    DELETE FROM opa_decisions WHERE tenant = gone;
    DELETE FROM quota_usage WHERE tenant = gone;
    DELETE FROM oauth_codes WHERE tenant = gone;
    DELETE FROM connection_links WHERE tenant = gone;
    DELETE FROM sealed_values WHERE tenant = gone;
    RETURN NULL;
END $$;
CREATE TRIGGER end_tenant AFTER DELETE ON resources
    FOR EACH ROW WHEN (OLD.kind = 'Tenant') EXECUTE FUNCTION end_tenant();
CREATE TRIGGER begin_tenant AFTER INSERT ON resources
    FOR EACH ROW WHEN (NEW.kind = 'Tenant') EXECUTE FUNCTION end_tenant();

-- What tenants left that are gone already.
DELETE FROM approvals WHERE NOT EXISTS (SELECT 1 FROM resources WHERE kind = 'Tenant' AND name = approvals.tenant);
DELETE FROM decision_inputs d WHERE NOT EXISTS (SELECT 1 FROM resources WHERE kind = 'Tenant' AND name = d.tenant);
DELETE FROM decision_calls d WHERE NOT EXISTS (SELECT 1 FROM resources WHERE kind = 'Tenant' AND name = d.tenant);
