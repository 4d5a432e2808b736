"""Everything a control plane holds that has a cap, in words: rows of docs/metrics.md."""

from collections.abc import Iterable

from core.bound import Kept

_OLDEST = "the one longest unused is let go"

CONTROL_PLANE: Iterable[Kept] = (
    Kept("rest_requests", "REST requests being answered, watches among them", "2,000", "refused with 503", "-"),
    Kept("rest_connections", "connections to the REST port", "10,000", "hung up on", "30 s without a request"),
    Kept("rest_body_bytes", "bodies of REST requests being read", "64 MiB", "refused with 503", "60 s to arrive"),
    Kept("watchers", "watches, over REST and gRPC", "1,000", "refused: unavailable", "1 h, or a change of its key"),
    Kept("watch_events", "events the slowest watcher is behind", "1,024", "its watch ends", "-"),
    Kept("fleet_streams", "gateways connected", "10,000", "refused", "15 s of silence"),
    Kept("record_streams", "gateways sending records", "10,000", "refused, and sent later", "the connection"),
    Kept("part_bytes", "parts of snapshots kept for gateways that will ask", "256 MiB", _OLDEST, "-"),
    Kept("data_keys", "tenants' data keys, open", "10,000", "the oldest is read anew", "-"),
    Kept("looks", "looks at servers under way", "32", "the next ones wait", "45 s"),
    Kept("definitions_judged", "texts of servers' offers the firewall has judged", "10,000", _OLDEST, "-"),
    Kept("looks_hastened", "servers that said they changed, to be looked at", "10,000", "found at the next look", "-"),
    Kept("web_requests", "requests to issuers and authorization servers", "256", "tried again later", "5 s"),
    Kept("sign_in_requests", "those that somebody at a browser waits for", "256", "refused: try again", "10 s"),
    Kept("sending_requests", "requests of webhooks and audit sinks", "256", "tried again later", "10 s"),
    Kept("audit_sinks", "audit sinks being served, a fourth of one tenant", "16", "the next ones wait", "10 s"),
    Kept("audit_verifications", "audit logs being verified, of a tenant one", "2", "refused: unavailable", "their end"),
    Kept("policy_replays", "policies being replayed, of a tenant one", "2", "refused: unavailable", "their end"),
    Kept(
        "secret_sources",
        "secrets being read from where they come from, a fourth of one tenant",
        "16",
        "the next ones wait",
        "20 s",
    ),
    Kept("secret_stores", "stores of secrets that are logged in to", "1,000", _OLDEST, "its token"),
    Kept("secret_store_requests", "requests to them, on threads of their own", "256", "tried again later", "5 s"),
    Kept(
        "issuers_asked",
        "issuers whose keys are being fetched, a fourth of one tenant",
        "8",
        "the next ones wait",
        "5 s",
    ),
    Kept("watched_servers", "servers the busiest gateway listens to", "10,000", "not missed if it goes", "its stream"),
    Kept("postgres_connections", "connections to PostgreSQL in use", "8", "the request waits", "30 s a statement"),
    Kept("postgres_waiting", "requests waiting for one", "1,000", "refused: unavailable", "3 s"),
    Kept("admin_keys", "administrators' keys seen and found good", "2,048", _OLDEST, "0.5 s"),
    Kept("audit_tenants", "tenants known to exist, for records", "10,000", _OLDEST, "5 s"),
    Kept("audit_keys", "API keys whose last use was reported", "50,000", _OLDEST, "60 s"),
    Kept("policy_modules", "compiled policies", "64", _OLDEST, "-"),
    Kept("policy_canaries", "sets of canaries that were run, and what was wrong", "256", _OLDEST, "-"),
    Kept("policy_refusals", "policies that do not compile, and why", "256", _OLDEST, "-"),
    Kept("decision_inputs", "inputs of policies known to be kept; 20,000 of a tenant are", "100,000", "not kept", "-"),
    Kept("simulated_policy_guests", "policies being simulated", "8", _OLDEST, "its request"),
    Kept("simulated_policy_modules", "modules compiled to simulate them", "64", _OLDEST, "-"),
    Kept("client_documents", "OAuth clients' metadata documents", "1,000", _OLDEST, "1 min-1 day, as they say"),
    Kept("client_documents_asked", "being fetched, a fourth for one address", "32", "refused: try again", "5 s"),
    Kept("client_document_requests", "requests for them, on threads of their own", "256", "refused: try again", "5 s"),
    Kept("client_document_addresses", "addresses that had some fetched", "10,000", _OLDEST, "a minute's attempts"),
    Kept("sign_in_addresses", "addresses people sign in from", "10,000", _OLDEST, "a minute's attempts"),
    Kept(
        "refused_addresses", "addresses clients failed to prove themselves from", "10,000", _OLDEST, "a minute's rows"
    ),
    Kept("providers_hastened", "providers asked for keys before it is time", "10,000", _OLDEST, "ten seconds each"),
    Kept("registration_addresses", "addresses clients register from", "10,000", _OLDEST, "a minute's attempts"),
    Kept("passwords", "passwords being hashed, or waiting for it", "64", "refused: try again", "-"),
    Kept("signing_in", "tokens of servers being obtained or refreshed", "16", "the next ones wait", "90 s"),
    Kept("approvals_waited_for", "calls held while somebody is asked", "2,000", "told to come again", "60 s"),
    Kept(
        "webhooks",
        "events being sent to webhooks, a fourth of one tenant",
        "16",
        "the next ones wait",
        "12 attempts, 10 s each",
    ),
    Kept("opa_bundles", "bundles made for OPA sidecars", "64", _OLDEST, "a newer one"),
    Kept("opa_bundles_awaited", "sidecars that wait for a newer bundle", "1,000", "told to come again", "60 s"),
    Kept("policy_compilers", "OPA processes", "2", "the next ones wait", "their deadline"),
)
