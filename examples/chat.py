"""A chat on two nodes: a process for each connection, and one for each room.

    python chat.py      shows itself: users who are scripts talk, and what can go wrong does
    python chat.py a    serves: `nc 127.0.0.1 9201` (or telnet), as often as you like
    python chat.py b    one more node: `nc 127.0.0.1 9202` leads into the same rooms

A room is a group of processes. It monitors them: however a connection ends, it
has left. They monitor it: when it has crashed, its supervisor starts it again,
and they go in again. Who does not read holds nobody up: what is said waits in
the mailbox of that one process, and when that is full the process ends.
"""

import argparse
import asyncio
import sys
from asyncio import StreamReader, StreamWriter
from contextlib import suppress

import quorate
from quorate import Down, DynamicSupervisor, Exit, GenServer, MonitorRef, Pid, Process, Ref, RemoteName, child

HELP = "* /join ROOM, /nick NAME, /who, /rooms, /leave, /quit; the rest is said aloud"
BACKLOG = 1_000  # lines that may wait for a user
EMPTY_S = 60.0  # so long a room stays open for nobody


class Room(GenServer):
    """Passes on what is said to all others who are in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[Pid, tuple[str, MonitorRef]] = {}
        self.idle_timeout_s = EMPTY_S

    @quorate.raises(ValueError)  # the caller's, and no crash
    def enter(self, user: Pid, nick: str) -> str:
        """Come in, or go on under another nick. Says who is here."""
        if nick in self.who().split():
            raise ValueError(f"there is a {nick} in {self.name} already: take another /nick")
        before, monitor = self.members.get(user) or ("", self.process.monitor(user))
        self.members[user] = nick, monitor
        self._tell(user, f"* {before} is now {nick}" if before else f"* {nick} is here")
        return self.who()

    def who(self) -> str:
        return " ".join(sorted(nick for nick, _ in self.members.values()))

    def say(self, user: Pid, text: str) -> None:
        if user in self.members:
            self._tell(user, f"{self.members[user][0]}: {text}")

    def leave(self, user: Pid, why: str = "left") -> None:
        if user in self.members:
            nick, monitor = self.members.pop(user)
            self.process.demonitor(monitor, flush=True)
            self._tell(user, f"* {nick} is gone: {why}")

    def handle_down(self, down: Down) -> None:
        self.leave(down.pid, down.reason if isinstance(down.reason, str) else "crashed")

    def handle_timeout(self) -> None:
        if not self.members:
            raise Exit("normal")

    def _tell(self, by: Pid, line: str) -> None:
        for user in self.members.keys() - {by}:
            with suppress(quorate.Busy):  # the way to its node is full: it misses this line
                self.process.send(user, line)


class Lobby(GenServer):
    """Opens rooms, and finds them by their names."""

    def __init__(self, node: quorate.Node) -> None:
        self.node = node

    async def room(self, name: str) -> Ref[Room]:
        while (pid := self.node.whereis(name)) is None:
            room = child(Room, name).options(id=name, name=name, restart="transient")
            with suppress(quorate.ChildStartFailed):  # it had crashed: its supervisor was faster
                await self.node.call("rooms", DynamicSupervisor.start_child, room)
        return self.node.ref(pid, Room)

    async def rooms(self) -> str:
        return " ".join(room.id for room in await self.node.call("rooms", DynamicSupervisor.which_children))


class User(GenServer):
    """A connection. Another process reads from it (`listen`); they are linked: neither outlives the other."""

    room: Ref[Room] | None = None
    room_name: str
    monitor: MonitorRef

    def __init__(self, node: quorate.Node, home: str, reader: StreamReader, writer: StreamWriter) -> None:
        self.node, self.lobby, self.writer = node, RemoteName(home, "lobby"), writer
        self.nick = f"guest-{node.name[0]}{self.pid.serial}"
        self.process.limit_mailbox(BACKLOG, "kill")
        self.process.spawn_link(listen, Ref.of(self), reader, writer)
        self.continue_with("/join #lobby")

    async def handle_continue(self, info: str) -> None:
        await self._show(HELP)
        await self.typed(info)

    async def typed(self, line: str) -> None:
        try:
            await self._obey(line)
        except (quorate.QuorateError, ValueError) as error:
            await self._show(f"* {error}")

    async def _obey(self, line: str) -> None:
        match line.split():
            case ["/join", name]:
                await self._join("#" + name.lstrip("#"))
            case ["/nick", nick]:
                if self.room:
                    await self.room.call(Room.enter, self.pid, nick)
                self.nick = nick
                await self._show(f"* you are {nick}")
            case ["/rooms"]:
                await self._show(f"* open: {await self.node.call(self.lobby, Lobby.rooms)}")
            case ["/who"] if self.room:
                await self._show(f"* here: {await self.room.call(Room.who)}")
            case ["/leave"]:
                self._leave()
            case ["/quit"]:
                self._leave()
                raise Exit("normal")
            case [word, *_] if self.room and not word.startswith("/"):
                self.room.cast(Room.say, self.pid, line)
            case [_, *_]:
                await self._show(HELP)

    async def _join(self, name: str) -> None:
        room = await self.node.call(self.lobby, Lobby.room, name)
        self._leave()
        here = await room.call(Room.enter, self.pid, self.nick)
        self.room, self.room_name, self.monitor = room, name, self.process.monitor(room.pid)
        await self._show(f"* you are in {name}: {here}")

    def _leave(self) -> None:
        if self.room:
            self.process.demonitor(self.monitor, flush=True)
            self.room.cast(Room.leave, self.pid)
            self.room = None

    async def handle_down(self, down: Down) -> None:
        self.room = None
        await self._show(f"* {self.room_name} is gone: you go in again")
        await self.typed(f"/join {self.room_name}")

    async def handle_info(self, message: str) -> None:
        """Something is said in the room. Until it is shown, what else is said waits."""
        await self._show(message)

    async def _show(self, line: str) -> None:
        self.writer.write(f"{line}\n".encode())
        with suppress(ConnectionError):  # its end is told by the process that reads
            await self.writer.drain()

    def terminate(self, reason: object) -> None:
        if reason == "mailbox_full":
            self.writer.transport.abort()  # what was not read by now will not be


async def listen(self: Process, user: Ref[User], reader: StreamReader, writer: StreamWriter) -> None:
    try:
        with suppress(ConnectionError, quorate.CalleeExited):
            while True:
                line = await reader.readline() or b"/quit"
                text = "".join(filter(str.isprintable, line.decode(errors="replace")))
                await user.within(None).call(User.typed, text)
    finally:
        writer.close()
    raise Exit("hung up")


class Chat(quorate.Application):
    """What runs on each node. (The lobby of b is idle: its users go to that of a.)"""

    def __init__(self, home: str, port: int) -> None:
        self.home, self.port = home, port

    async def start(self, node: quorate.Node) -> Ref[quorate.Supervisor]:
        async def come_in(reader: StreamReader, writer: StreamWriter) -> None:
            user = child(User, node, self.home, reader, writer).options(restart="temporary")
            await node.call("users", DynamicSupervisor.start_child, user)

        rooms, users = (child(DynamicSupervisor).options(id=name, name=name) for name in ("rooms", "users"))
        lobby = child(Lobby, node).options(name="lobby")
        tree = await node.start(quorate.Supervisor, [rooms, lobby, users])
        self.door = await asyncio.start_server(come_in, "127.0.0.1", self.port)
        return tree

    async def stop(self, node: quorate.Node) -> None:
        self.door.close()


def chat(letter: str, base_port: int) -> quorate.Node:
    """Node a or b. Its users come in at its own port + 100."""
    home, port = f"a@127.0.0.1:{base_port}", base_port + "ab".index(letter)
    node = f"{letter}@127.0.0.1:{port}"
    return quorate.Node(node, cookie="only-an-example", seeds=[home], applications=[Chat(home, port + 100)])


async def serve(letter: str, base_port: int) -> None:
    async with chat(letter, base_port) as node:
        print(f"come in: nc 127.0.0.1 {base_port + 'ab'.index(letter) + 100}", flush=True)
        raise await node.failed()


# -- it shows itself -----------------------------------------------------------------------------------------


class Script:
    """A user who is no human: types, and waits until something is to be seen."""

    def __init__(self, nick: str, port: int) -> None:
        self.nick, self.port = nick, port

    async def come_in(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.types(f"/nick {self.nick}")
        await self.sees(f"* you are {self.nick}")

    def types(self, *lines: str) -> None:
        self.writer.writelines(f"{line}\n".encode() for line in lines)

    async def sees(self, text: str) -> None:
        line = ""
        while text not in line:
            line = (await self.reader.readline()).decode().strip()
            print(f"{self.nick:>4} | {line}", flush=True)


async def demo(base_port: int) -> None:
    ada, bob, carl = (
        Script("ada", base_port + 100),
        Script("bob", base_port + 101),
        Script("carl", base_port + 101),
    )
    async with chat("a", base_port) as a, chat("b", base_port) as b:
        await b.connect(a.name)
        await ada.come_in()
        await bob.come_in()
        bob.types("Hello from the other node!")
        await ada.sees("Hello")
        print("---- the process of bob's connection is killed", flush=True)
        (user,) = await b.call("users", DynamicSupervisor.which_children)
        assert user.pid is not None
        a.exit(user.pid, "kill")
        await ada.sees("bob is gone")
        await carl.come_in()
        print("---- the room crashes", flush=True)
        lobby = await a.call("lobby", Lobby.room, "#lobby")
        a.exit(lobby.pid, "a bug")
        await ada.sees("you are in #lobby")
        await carl.sees("you are in #lobby")
        print("---- carl does not read, and ada has much to say", flush=True)
        ada.types(*["and so on " * 1_000] * 3_000)
        await ada.sees("carl is gone")
    for script in (ada, bob, carl):
        script.writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("node", nargs="?", choices=["demo", "a", "b"], default="demo")
    parser.add_argument("port", nargs="?", type=int, default=9101, help="of node a, the same for both (9101)")
    given = parser.parse_args()
    try:
        quorate.run(demo(given.port) if given.node == "demo" else serve(given.node, given.port))
    except KeyboardInterrupt:
        print("ended")
    except quorate.QuorateError as error:
        sys.exit(f"{error}\nOther ports may be free: python chat.py {given.node} {given.port + 1000}")
