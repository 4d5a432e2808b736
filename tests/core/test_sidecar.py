"""Where a sidecar may be."""

import pytest

from core.sidecar import Place, place


def test_a_socket_of_the_tenants_or_a_port_of_this_machine():
    assert place("unix:///run/opa/{tenant}.sock", "acme") == Place(path="/run/opa/acme.sock")
    assert place("http://127.0.0.1:8181", "acme") == Place(host="127.0.0.1", port=8181)
    assert place("http://[::1]:8181/", "acme") == Place(host="::1", port=8181)


@pytest.mark.parametrize(
    "address",
    ["/run/opa.sock", "https://127.0.0.1:8181", "http://opa.test:8181", "http://127.0.0.1", "unix://x", "http://[", ""],
)
def test_what_is_not_of_this_machine_is_refused(address):
    with pytest.raises(ValueError, match="must be unix:///"):
        place(address, "acme")
