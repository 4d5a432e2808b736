"""What an issuer says of itself (RFC 8414)."""

from control_plane.oauth.issuers import Issuer
from core.dpop import ALGORITHMS
from core.oauth.client import AUTH_METHODS, JWT_BEARER, TOKEN_EXCHANGE
from core.oauth.server import OPENID

ID_JAG_PROFILE = "urn:ietf:params:oauth:grant-profile:id-jag"
"""draft-ietf-oauth-identity-assertion-authz-grant, section 6.1."""
SIGNED_WITH = ["ES256", "ES384", "EdDSA", "PS256", "RS256"]


def document(issuer: Issuer) -> dict[str, object]:
    url, server = issuer.url, issuer.server
    refresh = ["refresh_token"] if server.refresh_token_s else []
    found: dict[str, object] = {
        "issuer": url,
        "authorization_endpoint": f"{url}/authorize",
        "token_endpoint": f"{url}/token",
        "jwks_uri": f"{url}/jwks",
        "revocation_endpoint": f"{url}/revoke",
        "introspection_endpoint": f"{url}/introspect",
        "scopes_supported": list(dict.fromkeys([OPENID, *server.scopes])),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "claims_supported": ["sub", "auth_time", "acr", "amr", "nonce"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", *refresh, "client_credentials", TOKEN_EXCHANGE, JWT_BEARER],
        "authorization_grant_profiles_supported": [ID_JAG_PROFILE],
        "token_endpoint_auth_methods_supported": list(AUTH_METHODS),
        "token_endpoint_auth_signing_alg_values_supported": SIGNED_WITH,
        "revocation_endpoint_auth_methods_supported": list(AUTH_METHODS),
        "revocation_endpoint_auth_signing_alg_values_supported": SIGNED_WITH,
        "introspection_endpoint_auth_methods_supported": [one for one in AUTH_METHODS if one != "none"],
        "introspection_endpoint_auth_signing_alg_values_supported": SIGNED_WITH,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "dpop_signing_alg_values_supported": list(ALGORITHMS),
        "client_id_metadata_document_supported": server.client_metadata_documents,
    }
    if server.dynamic_registration:
        found["registration_endpoint"] = f"{url}/register"
    return found
