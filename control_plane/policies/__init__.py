"""The shipped policy: its Rego, and the WASM it was compiled to when the distribution was built.

`toolgate.rego` says what data and input look like; `build.py` compiles; a test recompiles and compares.
"""

from hashlib import blake2b
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCE = "toolgate.rego"
MODULE = "platform.wasm"
DIGESTS = "platform.digests"
"""Lines of "<BLAKE2b-256 in hex>  <file>" for SOURCE and MODULE."""


def sources() -> dict[str, str]:
    """File name to Rego: what a PolicyCompiler compiles a tenant's own Rego together with."""
    return {SOURCE: (FOLDER / SOURCE).read_text()}


def platform_module() -> bytes:
    """The compiled policy of tenants without Rego of their own. Raises ValueError where it is not what was built."""
    if recorded_digests() != actual_digests():
        raise ValueError(f"{FOLDER}: the policy is not the one that was compiled; run make policy")
    return (FOLDER / MODULE).read_bytes()


def recorded_digests() -> dict[str, str]:
    lines = (line.split() for line in (FOLDER / DIGESTS).read_text().splitlines())
    return {name: hexdigest for hexdigest, name in lines}


def actual_digests() -> dict[str, str]:
    return {name: blake2b((FOLDER / name).read_bytes(), digest_size=32).hexdigest() for name in (SOURCE, MODULE)}
