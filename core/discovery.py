"""Where to look for peers. A discovery only ever proposes: it never removes a member and never cuts a link."""

from collections.abc import Iterable
from typing import Protocol


class Discovery(Protocol):
    """A source of peers, asked again and again while the node runs."""

    async def peers(self) -> set[str]:
        """Nodes that may exist, as `app@host:port` or `host:port`. The caller bounds the time.

        An exception means that nothing is known now; it is logged and the question asked again later.
        """
        ...


class Static:
    """A fixed list of peers."""

    def __init__(self, peers: Iterable[str]) -> None:
        self._peers = frozenset(peers)

    async def peers(self) -> set[str]:
        return set(self._peers)
