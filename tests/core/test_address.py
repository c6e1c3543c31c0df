"""Names say who and where; what is wrong with one is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.core import ConfigError
from quorate.core.address import Address, NodeName, parse_seed


@pytest.mark.parametrize(
    ("text", "app", "host", "port"),
    [
        ("a@127.0.0.1:9101", "a", "127.0.0.1", 9101),
        ("web-1.blue@node_3.example.org:1", "web-1.blue", "node_3.example.org", 1),
        ("a@[::1]:65535", "a", "::1", 65535),
        ("a@[fe80::1%eth0]:80", "a", "fe80::1%eth0", 80),
    ],
)
def test_a_name_is_read_and_written_back(text: str, app: str, host: str, port: int) -> None:
    name = NodeName.parse(text)
    assert (name.app, name.host, name.port) == (app, host, port)
    assert str(name) == text
    assert name.address == Address(host, port)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no '@'"),
        ("127.0.0.1:9101", "no '@'"),
        ("@127.0.0.1:9101", "before '@'"),
        ("a b@127.0.0.1:9101", "before '@'"),
        ("x" * 65 + "@h:1", "before '@'"),
        ("-a@h:1", "before '@'"),
        ("a@h", "no port"),
        ("a@:1", "no host name"),
        ("a@h h:1", "no host name"),
        ("a@b@c:1", "no host name"),
        ("a@::1:9101", "brackets"),
        ("a@[x]:9101", "no IPv6 address"),
        ("a@h:", "number from 1 to 65535"),
        ("a@h:x", "number from 1 to 65535"),
        ("a@h:+1", "number from 1 to 65535"),
        ("a@h:0", "from 1 to 65535"),
        ("a@h:65536", "from 1 to 65535"),
        ("a@h:٣", "number from 1 to 65535"),
        ("a@" + "h" * 300 + ":1", "at most 255"),
    ],
)
def test_what_is_wrong_with_a_name_is_said(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        NodeName.parse(text)
    assert says in str(raised.value)


@given(st.text(max_size=40))
def test_any_text_is_a_name_that_writes_back_or_a_config_error(text: str) -> None:
    try:
        name = NodeName.parse(text)
    except ConfigError:
        return
    assert NodeName.parse(str(name)) == name


def test_a_seed_is_a_name_or_an_address() -> None:
    assert parse_seed("a@h:1") == (Address("h", 1), "a@h:1")
    assert parse_seed("h:1") == (Address("h", 1), None)
    with pytest.raises(ConfigError):
        parse_seed("h")
