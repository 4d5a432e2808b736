"""What the control plane is told from outside: TOOLGATE_* variables and flags, checked all at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core import options
from core.options import Option, SettingsRejected
from core.server import REACH


@dataclass(frozen=True)
class Settings:
    """The control plane's settings. Paths are absolute."""

    data_dir: Path
    database_url: str
    """Empty: an embedded PostgreSQL below `data_dir`."""
    listen_address: str
    admin_port: int
    grpc_port: int
    tls_cert_file: Path | None
    tls_key_file: Path | None
    tls_client_ca_file: Path | None
    gateway_certificates: tuple[str, ...]
    """Globs over the names in them."""
    tenants_may: tuple[str, ...]
    """Members of `core.server.REACH`."""
    signing_key: bytes | None
    signing_key_file: Path | None
    trusted_keys: tuple[bytes, ...]
    """Raw Ed25519 public keys to announce besides the current one: their private halves are elsewhere."""
    kek: bytes | None
    kek_file: Path | None
    previous_keks: tuple[bytes, ...]
    """Opened with, never sealed with, while the key-encryption key is changed."""
    bootstrap_token_file: Path | None
    reset_bootstrap_token: bool
    node_token_file: Path | None
    opa: str
    """Path of the `opa` binary that compiles tenants' own Rego; empty: looked up in PATH."""
    drain_s: float
    log_level: str


def _database_url(text: str) -> str:
    if text and not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("must start with postgresql://")
    return text


def _reach(text: str) -> tuple[str, ...]:
    wanted = options.several(text)
    if not REACH.keys() >= set(wanted):
        raise ValueError(f"must be of {', '.join(REACH)}, separated by commas")
    return wanted


_PORT = options.whole(0, 65535)
OPTIONS: tuple[Option, ...] = (
    Option("data_dir", options.path, "data", "Keys, and the embedded PostgreSQL where no database is given"),
    Option(
        "database_url",
        _database_url,
        "",
        "PostgreSQL 15 or later, as `postgresql://...`; empty: an embedded one below the data directory",
        flag=False,
    ),
    Option("listen_address", options.text, "127.0.0.1", "Address both servers listen on; `0.0.0.0` for all"),
    Option("admin_port", _PORT, "8081", "REST admin API, OpenAPI document, health and metrics; 0 takes a free one"),
    Option("grpc_port", _PORT, "8082", "gRPC: the admin API and the fleet stream; 0 takes a free one"),
    Option("tls_cert_file", options.optional_path, "", "PEM certificate chain; with it both servers speak TLS only"),
    Option("tls_key_file", options.optional_path, "", "PEM private key of the certificate"),
    Option(
        "tls_client_ca_file",
        options.optional_path,
        "",
        "PEM of the authority gRPC clients' certificates must be signed by",
    ),
    Option(
        "gateway_certificates",
        options.several,
        "",
        "Names (globs, separated by commas) whose client certificate makes a gateway of that name; empty: a token must",
    ),
    Option(
        "tenants_may",
        _reach,
        "",
        "What tenants' own administrators may give a server: `stdio`, `private` (addresses), separated by commas",
    ),
    Option(
        "signing_key", options.optional_key, "", "Ed25519 private key, 32 bytes in base64 or hexadecimal", flag=False
    ),
    Option(
        "signing_key_file",
        options.optional_path,
        "",
        "The same, from a file; made as `<data_dir>/keys/signing.key` if neither is given",
    ),
    Option(
        "trusted_keys",
        options.keys,
        "",
        "Further Ed25519 public keys to announce to gateways, each once, separated by commas",
        flag=False,
    ),
    Option(
        "kek", options.optional_key, "", "Key-encryption key for secrets, 32 bytes in base64 or hexadecimal", flag=False
    ),
    Option(
        "kek_file",
        options.optional_path,
        "",
        "The same, from a file; made as `<data_dir>/keys/kek.key` if neither is given",
    ),
    Option(
        "previous_keks",
        options.keys,
        "",
        "Earlier key-encryption keys, to open what they sealed, separated by commas",
        flag=False,
    ),
    Option(
        "bootstrap_token_file",
        options.optional_path,
        "",
        "Write the first admin token here (mode 0600) instead of printing it",
    ),
    Option(
        "reset_bootstrap_token",
        options.flag,
        "false",
        "Make the first admin token anew and end the old one: for when it was lost",
    ),
    Option(
        "node_token_file",
        options.optional_path,
        "",
        "Write a gateway's node token here (mode 0600) instead of printing it",
    ),
    Option("opa", options.text, "", "The `opa` binary that compiles tenants' Rego; empty: the one in PATH"),
    Option("drain_s", options.number(0, 3600, " seconds"), "10", "How long SIGTERM waits for requests in flight"),
    Option("log_level", options.log_level, "info", "debug, info, warning or error"),
)


def read(arguments: Sequence[str], environment: Mapping[str, str], program: str = "toolgate control-plane") -> Settings:
    """Raises SettingsRejected."""
    values, problems = options.read(
        OPTIONS, arguments, environment, program=program, description="Run the control plane."
    )
    problems += _together(values)
    if problems:
        raise SettingsRejected(problems)
    return Settings(**values)  # type: ignore[arg-type]


def _together(values: Mapping[str, object]) -> list[str]:
    problems = []
    if bool(values.get("tls_cert_file")) != bool(values.get("tls_key_file")):
        problems.append("TOOLGATE_TLS_CERT_FILE and TOOLGATE_TLS_KEY_FILE: give both or neither")
    if values.get("tls_client_ca_file") and not values.get("tls_cert_file"):
        problems.append("TOOLGATE_TLS_CLIENT_CA_FILE: needs TOOLGATE_TLS_CERT_FILE")
    problems += [
        f"TOOLGATE_{name.upper()} and TOOLGATE_{name.upper()}_FILE: give one"
        for name in ("signing_key", "kek")
        if values.get(name) and values.get(f"{name}_file")
    ]
    ports = (values.get("admin_port"), values.get("grpc_port"))
    if ports[0] == ports[1] != 0:
        problems.append("TOOLGATE_ADMIN_PORT and TOOLGATE_GRPC_PORT: must differ")
    return problems + options.missing_files(values, ("tls_cert_file", "tls_key_file", "tls_client_ca_file"))
