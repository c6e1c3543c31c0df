"""Names and addresses of nodes: `app@host:port`.

A node's name says where it listens, so that no port mapper is needed. Pure values: parsing touches no resolver;
a host name is resolved anew at each dial, by the `Network` port.
"""

import re
from dataclasses import dataclass
from typing import Self

from .errors import ConfigError

NAME_LIMIT = 255  # characters of a whole node name
_APP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.\-]*[A-Za-z0-9_.])?")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9_.\-]+)?")


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where something listens: `host:port`, with an IPv6 host in brackets (`[::1]:9101`)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host:port`. Raises `ConfigError` that says what is wrong."""
        return cls(*_host_and_port(text, text))


@dataclass(frozen=True, slots=True, order=True)
class NodeName:
    """The name of a node, `app@host:port`: who it is and where it listens."""

    app: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.app}@{self.address}"

    @property
    def address(self) -> Address:
        return Address(self.host, self.port)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `app@host:port`. Raises `ConfigError` that says what is wrong and what a name looks like."""
        if len(text) > NAME_LIMIT:
            raise ConfigError(
                f"node name {text[:40]!r}… has {len(text)} characters; at most {NAME_LIMIT} are allowed"
            )
        app, at, where = text.partition("@")
        if not at:
            raise ConfigError(
                f"node name {text!r} has no '@'; a name looks like app@host:port, as in web@10.0.0.1:9101"
            )
        if not _APP.fullmatch(app):
            raise ConfigError(
                f"node name {text!r}: the part before '@' must be 1 to 64 letters, digits, '_', '-' or '.', "
                f"and start with a letter or digit; it is {app!r}"
            )
        return cls(app, *_host_and_port(where, text))


def parse_seed(text: str) -> tuple[Address, str | None]:
    """Read a seed: a node name (its name is then expected there) or a bare `host:port`. Raises `ConfigError`."""
    if "@" in text:
        name = NodeName.parse(text)
        return name.address, str(name)
    return Address.parse(text), None


def _host_and_port(where: str, whole: str) -> tuple[str, int]:
    host, colon, port_text = where.rpartition(":")
    if not colon:
        raise ConfigError(f"{whole!r} has no port; write it as host:port, as in 10.0.0.1:9101")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _IPV6.fullmatch(host):
            raise ConfigError(f"{whole!r}: {host!r} in brackets is no IPv6 address")
    elif ":" in host:
        raise ConfigError(f"{whole!r}: an IPv6 address goes in brackets, as in [::1]:9101")
    elif not _HOST.fullmatch(host):
        raise ConfigError(f"{whole!r}: {host!r} is no host name or address")
    if not (port_text.isascii() and port_text.isdigit()) or len(port_text) > 5:
        raise ConfigError(f"{whole!r}: the port must be a number from 1 to 65535; it is {port_text!r}")
    port = int(port_text)
    if not 1 <= port <= 65535:
        raise ConfigError(f"{whole!r}: the port must be from 1 to 65535; it is {port}")
    return host, port
