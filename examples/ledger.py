"""A ledger of which three nodes keep exactly one, with its balance, whatever happens to them.

In three terminals, in an empty directory:

    python ledger.py a
    python ledger.py b
    python ledger.py c

Each node posts 1 every second and prints the balance and where the ledger runs. End the node that it runs on, by Ctrl-C
or by `kill -9`: after a moment the others go on, and nothing that was acknowledged is missing. Start it again: it is back.

The same three nodes without this `main`, by the command:

    quorate node --name a@127.0.0.1:9101 --voters a@127.0.0.1:9101,b@127.0.0.1:9102,c@127.0.0.1:9103 \
        --data-dir ledger-data/a --export ledger:Ledger --preset local
"""

import argparse
import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

import quorate


@dataclass(frozen=True, slots=True)
class Entry:
    """What a posting has come to."""

    balance: int
    node: str
    fence: int


class Ledger(quorate.Singleton[int]):
    """Exactly one in the cluster."""

    balance = 0

    def take_over(self, state: int | None) -> None:
        self.balance = state or 0

    def hand_over(self) -> int:
        return self.balance

    async def post(self, amount: int) -> Entry:
        balance = self.balance + amount
        await self.checkpoint(balance)  # first durable, then visible, then acknowledged
        self.balance = balance
        return Entry(balance, self.pid.node, self.fence)


LEDGER = quorate.Name(Ledger, "billing/ledger")


async def main(letter: str, base_port: int) -> None:
    nodes = {each: f"{each}@127.0.0.1:{base_port + number}" for number, each in enumerate("abc")}
    async with quorate.Node(
        nodes[letter],
        cookie="only-an-example",
        voters=list(nodes.values()),
        data_dir=Path("ledger-data") / letter,
        exports=[Ledger, Entry],
        preset="local",
    ) as node:
        print(f"{node.name} waits for a majority: start at least one of the others", flush=True)
        while True:
            try:
                ledger = await node.singleton(LEDGER)
                entry = await ledger.within(2.0).call(Ledger.post, 1)
                print(f"balance {entry.balance:5}  on {entry.node} (fence {entry.fence})", flush=True)
            except quorate.QuorateError as error:  # the node of the ledger died, or there is no majority
                print(f"nobody knows whether that was posted: {error}", flush=True)
            await asyncio.sleep(1.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("node", choices="abc")
    parser.add_argument("port", nargs="?", type=int, default=9101, help="of node a, the same for all (9101)")
    given = parser.parse_args()
    try:
        asyncio.run(main(given.node, given.port))
    except KeyboardInterrupt:
        print("ended: the others go on")
    except quorate.QuorateError as error:
        sys.exit(str(error))
