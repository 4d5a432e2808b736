"""What an OPA is started with to decide for one tenant: where its rules come from and who signs them."""

from control_plane.services.opa_bundle import BundleSigner

LONG_POLL_S = 30
SERVICE = "toolgate"


def config(tenant: str, url: str, signer: BundleSigner) -> dict[str, object]:
    """`url`: where `bundle.tar.gz`, `status` and `logs` of the tenant are. The token is read from the environment."""
    return {
        "services": {SERVICE: {"url": url, "credentials": {"bearer": {"token": "${TOOLGATE_NODE_TOKEN}"}}}},
        "keys": {
            signer.key_id: {"key": signer.public_pem, "algorithm": signer.algorithm, "scope": tenant},
        },
        "bundles": {
            tenant: {
                "service": SERVICE,
                "resource": "bundle.tar.gz",
                "polling": {
                    "min_delay_seconds": 1,
                    "max_delay_seconds": 5,
                    "long_polling_timeout_seconds": LONG_POLL_S,
                },
                "signing": {"keyid": signer.key_id, "scope": tenant},
                "persist": True,
            }
        },
        "status": {"service": SERVICE},
        # By size, versions of OPA lose events under load (opa#8123).
        "decision_logs": {
            "service": SERVICE,
            "reporting": {
                "buffer_type": "event",
                "buffer_size_limit_events": 10_000,
                "min_delay_seconds": 1,
                "max_delay_seconds": 5,
            },
        },
    }
