"""GTIDs in OK packets: bytes as a real MariaDB 10.11 and a real MySQL 9.7 sent them."""

from __future__ import annotations

import pytest

from lagless.dialects.session_track import own_gtid

MYSQL = b"a4214263-e54d-11f1-bde2-02fc00000001:10"
MESSAGE = b"(Rows matched: 3  Changed: 3  Warnings: 0"


@pytest.mark.parametrize(
    ("raw", "gtid"),
    [
        (b"\x00\x13\x00\x11\tlast_gtid\x060-1-10", "0-1-10"),
        (MESSAGE + b"\x13\x00\x11\tlast_gtid\x060-1-12", "0-1-12"),
        (b"\x00+\x03)\x00'" + MYSQL, MYSQL.decode()),
        (MESSAGE + b"+\x03)\x00'" + MYSQL, MYSQL.decode()),
        (b"\x00\x04\x01\x02\x01d", None),
        (MESSAGE, None),
        (b"", None),
        (b"\x00", None),
    ],
    ids=["mariadb", "mariadb with a message", "mysql", "mysql with a message", "use", "no change", "empty", "no info"],
)
def test_what_servers_send_is_read(raw: bytes, gtid: str | None) -> None:
    """A commit names its GTID; a change of schema or a message names none."""
    assert own_gtid(raw) == gtid


def test_a_gtid_is_found_among_other_changes() -> None:
    """Schema, transaction state, several variables in one entry."""
    variables = b"\x0aautocommit\x02ON\x09last_gtid\x050-1-7"
    entries = b"\x01\x02\x01d" + b"\x05\x09\x08T_______" + b"\x00" + bytes([len(variables)]) + variables
    assert own_gtid(b"\x00" + bytes([len(entries)]) + entries) == "0-1-7"


@pytest.mark.parametrize(("marker", "size"), [(252, 2), (253, 3), (254, 8)])
def test_long_lengths_are_read(marker: int, size: int) -> None:
    """A message of more than 250 bytes, as the protocol writes its length."""
    message = bytes([marker]) + (300).to_bytes(size, "little") + b"x" * 300
    assert own_gtid(message + b"\x13\x00\x11\tlast_gtid\x060-1-10") == "0-1-10"


def test_an_empty_gtid_is_none() -> None:
    """A transaction that wrote nothing has none."""
    assert own_gtid(b"\x00\x0d\x00\x0b\tlast_gtid\x00") is None
    assert own_gtid(b"\x00\x04\x03\x02\x00\x00") is None


@pytest.mark.parametrize("raw", [b"\x00\x13\x00\x11\tlast_gtid\x060-1-10", b"\x00+\x03)\x00'" + MYSQL])
def test_cut_bytes_never_raise(raw: bytes) -> None:
    """They name nothing: the primary is asked."""
    assert [own_gtid(raw[:end]) for end in range(len(raw))] == [None] * len(raw)
    assert own_gtid(b"\xff" + raw) is None
    assert own_gtid(raw[:-1] + b"\xe9") is None
