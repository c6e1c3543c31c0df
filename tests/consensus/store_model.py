"""The store's state machine once more, as naively as can be: what `StoreMachine` is compared with.

It keeps every result for ever, looks at everything, copies freely and knows nothing of bytes or snapshots.
"""

from typing import Any

from quorate.consensus.commands import CloseSession, Command, OpenSession, Request
from quorate.consensus.machine import Status
from quorate.consensus.store import Compare, Event, KeyValue, Put


class NaiveStore:
    def __init__(self) -> None:
        self.revision = 0
        self.keys: dict[bytes, KeyValue] = {}
        self.sessions: dict[int, OpenSession] = {}
        self.floors: dict[int, int] = {}
        self.done: dict[tuple[int, int], tuple[Any, ...]] = {}

    def apply(self, command: Command) -> tuple[Any, ...]:
        """(status, result as (succeeded, revision, results), events, session, closed sessions)."""
        if isinstance(command, Request):
            return self.request(command)
        if isinstance(command, OpenSession):
            return self.open(command)
        ids = [command.session] if isinstance(command, CloseSession) else command.sessions
        ended = sorted({session for session in ids if session in self.sessions})
        self.revision += bool(ended)
        return Status.DONE, None, self.end(ended), 0, ended

    def end(self, ended: list[int]) -> list[Event]:
        orphans = sorted(key for key, item in self.keys.items() if item.session in ended)
        for session in ended:
            del self.sessions[session]
        return [Event(key, self.revision, None, self.keys.pop(key)) for key in orphans]

    def open(self, command: OpenSession) -> tuple[Any, ...]:
        for session, other in self.sessions.items():
            if (other.holder, other.nonce) == (command.holder, command.nonce):
                return Status.DONE, None, [], session, []
        same = {
            session: other.creation
            for session, other in self.sessions.items()
            if command.dir_id and (other.holder, other.dir_id) == (command.holder, command.dir_id)
        }
        newer = [session for session, creation in same.items() if creation > command.creation]
        if newer:
            return Status.SUPERSEDED, None, [], newer[0], []
        self.revision += 1
        ended = sorted(session for session, creation in same.items() if creation < command.creation)
        events = self.end(ended)
        self.sessions[self.revision] = command
        return Status.DONE, None, events, self.revision, ended

    def request(self, command: Request) -> tuple[Any, ...]:
        session, sequence = command.session, command.sequence
        if session not in self.sessions:
            return Status.CLIENT_GONE, None, [], session, []
        self.floors[session] = max(self.floors.get(session, 0), command.acked_below)
        if sequence < self.floors[session]:
            return Status.STALE, None, [], 0, []
        events: list[Event] = []
        if (session, sequence) not in self.done:
            self.done[session, sequence] = self.transact(command, events)
        status, result, lost = self.done[session, sequence]
        return status, result, events, lost, []

    def transact(self, command: Request, events: list[Event]) -> tuple[Any, ...]:
        succeeded = all(self.holds(compare) for compare in command.txn.if_)
        branch = command.txn.then if succeeded else command.txn.else_
        for op in branch:
            if isinstance(op, Put) and op.session and op.session not in self.sessions:
                return Status.SESSION_LOST, None, op.session
        results: list[KeyValue | None] = []
        revision = self.revision + 1
        for op in branch:
            before = self.keys.get(op.key)
            results.append(before)
            if isinstance(op, Put):
                created, version = (before.create_revision, before.version) if before else (revision, 0)
                now = KeyValue(op.key, op.value, created, revision, version + 1, op.session)
                self.keys[op.key] = results[-1] = now
                events.append(Event(op.key, revision, now, before))
            elif type(op).__name__ == "Delete" and before:
                del self.keys[op.key]
                events.append(Event(op.key, revision, None, before))
        self.revision += bool(events)
        return Status.DONE, (succeeded, self.revision, tuple(results)), 0

    def holds(self, compare: Compare) -> bool:
        if compare.target == "session":
            return compare.value in self.sessions
        item = self.keys.get(compare.key, KeyValue(compare.key, b"", 0, 0, 0))
        name = {"create": "create_revision", "mod": "mod_revision"}.get(compare.target, compare.target)
        actual, value = getattr(item, name), compare.value
        order: int = (actual > value) - (actual < value)
        return {"==": order == 0, "!=": order != 0, "<": order < 0, ">": order > 0}[compare.op]
