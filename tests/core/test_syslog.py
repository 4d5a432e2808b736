"""Rows as syslog has them, and what is wrong with a sink of syslog or files."""

import pytest

from core.audit_sink import AuditSink, FileTo, SyslogTo, messages
from core.syslog import UDP_MAX_BYTES, datagram, framed, message
from tests.core.test_audit_events import CALL, CHANGE


def test_a_message_has_the_header_of_rfc_5424() -> None:
    assert message("acme", CALL, b"said") == (
        b'<108>1 2027-01-15T08:00:00.250Z - toolgate acme call [meta sequenceId="7"][origin software="toolgate"] said'
    )
    assert message("acme", CHANGE, b"said", facility=4).startswith(b"<38>1 2027-01-15T08:00:01.000Z - toolgate acme ")


def test_sequence_ids_begin_again_where_the_format_has_no_more() -> None:
    import msgspec

    row = msgspec.structs.replace(CALL, seq=2**31)
    assert b'sequenceId="1"' in message("acme", row, b"")


def test_each_message_of_a_stream_has_its_length_in_bytes_before_it() -> None:
    assert framed(["é".encode(), b"", b"abc"]) == b"2 \xc3\xa90 3 abc"


def test_a_datagram_is_cut_between_characters() -> None:
    assert datagram(b"short") == b"short"
    cut = datagram(b"x" + "é".encode() * UDP_MAX_BYTES)
    assert len(cut) == UDP_MAX_BYTES - 1
    assert cut.decode().endswith("é")


@pytest.mark.parametrize(("form", "begins"), [("cef", b"CEF:0|Toolgate|"), ("ocsf", b'{"'), ("jsonl", b'{"')])
def test_what_is_said_of_a_row_is_of_the_format_wanted(form: str, begins: bytes) -> None:
    to = SyslogTo(host="siem.example", format=form)  # type: ignore[arg-type]
    for one in messages("acme", [CALL, CHANGE], to):
        assert one.partition(b'"toolgate"] ')[2].startswith(begins)
        assert b"\n" not in one


@pytest.mark.parametrize(
    ("to", "path"),
    [
        (SyslogTo(host="https://siem.example"), "host"),
        (SyslogTo(host="siem.example:514"), "host"),
        (SyslogTo(host="-siem.example"), "host"),
        (SyslogTo(host=""), "host"),
        (SyslogTo(host="siem.example", port=0), "port"),
        (SyslogTo(host="siem.example", facility=24), "facility"),
        (SyslogTo(host="siem.example", transport="udp"), "transport"),
        (FileTo(rotate_mib=0), "rotate_mib"),
        (FileTo(keep=-1), "keep"),
        (FileTo(rotate_mib=1024, keep=10), "keep"),
    ],
)
def test_what_cannot_be_sent_to_is_refused(to: SyslogTo | FileTo, path: str) -> None:
    assert [p.path for p in AuditSink(to=to).problems()] == [f"spec.to.{path}"]


@pytest.mark.parametrize("host", ["siem.example", "siem", "192.0.2.1", "2001:db8::1", "siem.example."])
def test_hosts_and_addresses_are_taken(host: str) -> None:
    assert not list(AuditSink(to=SyslogTo(host=host)).problems())
    assert not list(AuditSink(to=SyslogTo(host=host, transport="udp", allow_private=True)).problems())
    assert not list(AuditSink(to=SyslogTo(host=host)).references())
