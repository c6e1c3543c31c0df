"""Small histories of real objects, and mutants of them, from a tape of bytes that hypothesis can shrink.

Every operation has a process of its own, so that any two entries may change places as long as no answer comes before
its question. An operation is invoked, takes effect at some moment (or never), and is answered (or never).
"""

from dataclasses import dataclass, replace
from typing import Any

from quorate.jepsen_like.history import History, Op
from quorate.jepsen_like.linear import Rules

KINDS = ("cas-register", "kv", "mutex", "fenced-mutex", "registry")
OWNERS = ("n1#1:1", "n1#1:2", "n2#1:1")
HOLDERS = ("n1#1", "n2#1")
EXPIRE = "expire"


class Tape:
    """Choices: a byte each; zeros when it is used up."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)

    def below(self, count: int) -> int:
        return next(self._data, 0) % count

    def choice(self, options: Any) -> Any:
        return options[self.below(len(options))]

    def chance(self, percent: int) -> bool:
        return self.below(100) >= 100 - percent


@dataclass(frozen=True)
class Entry:
    process: int
    type: str
    f: str
    value: Any


def history_of(entries: list[Entry], *, key: str | None = "k") -> History:
    history = History()
    invoked: dict[int, Op] = {}
    for number, entry in enumerate(entries):
        if entry.type == "invoke":
            own_key = None if entry.f == EXPIRE else key
            invoked[entry.process] = history.invoke(number / 10, entry.process, entry.f, own_key, entry.value)
        else:
            kind: Any = entry.type
            history.complete(number / 10, invoked[entry.process], kind, entry.value)
    return history


# -- real objects --------------------------------------------------------------------------------------------

Answer = tuple[str, Any]


class Real:
    """An object that does what it is asked to, at once."""

    def __init__(self, kind: str, tape: Tape) -> None:
        self.kind = kind
        self.tape = tape
        self.state: Any = {"cas-register": None, "kv": "", "mutex": False}.get(kind, (None, -1))

    def question(self) -> tuple[str, Any]:
        tape = self.tape
        match self.kind:
            case "cas-register":
                f = tape.choice(("write", "read", "cas"))
                one = tape.below(3)
                return f, {"write": one, "read": None, "cas": [one, tape.below(3)]}[f]
            case "kv":
                f = tape.choice(("append", "get", "put"))
                return f, None if f == "get" else tape.choice(("a", "b", "ab"))
            case "mutex" | "fenced-mutex":
                return tape.choice(("acquire", "release")), None
        f = tape.choice(("register", "unregister", "whereis", "register", EXPIRE))
        if f == "register":
            return f, {"owner": tape.choice(OWNERS)}
        if f == "whereis":
            return f, None
        if f == EXPIRE:
            value = {"holder": tape.choice(HOLDERS)}
            return f, value | ({"fences_below": tape.below(5)} if tape.chance(30) else {})
        owner, fence = self.state
        if owner is None or tape.chance(30):
            owner, fence = tape.choice(OWNERS), tape.below(5)
        return f, {"owner": owner, "fence": None if tape.chance(30) else fence}

    def answer(self, f: str, value: Any) -> Answer:
        return {
            "cas-register": self._register,
            "kv": self._kv,
            "mutex": self._mutex,
            "fenced-mutex": self._fenced,
            "registry": self._registry,
        }[self.kind](f, value)

    def _register(self, f: str, value: Any) -> Answer:
        if f == "read":
            return "ok", self.state
        if f == "write":
            self.state = value
            return "ok", value
        if self.state != value[0]:
            return "fail", value
        self.state = value[1]
        return "ok", value

    def _kv(self, f: str, value: Any) -> Answer:
        if f != "get":
            self.state = value if f == "put" else self.state + value
        return "ok", self.state if f == "get" else value

    def _mutex(self, f: str, value: Any) -> Answer:
        if self.state == (f == "acquire"):
            return "fail", None
        self.state = f == "acquire"
        return "ok", None

    def _fenced(self, f: str, value: Any) -> Answer:
        fence, highest = self.state
        if (fence is not None) == (f == "acquire"):
            return "fail", None
        if f == "release":
            self.state = (None, highest)
            return "ok", {"fence": fence}
        fence = highest + 1 + self.tape.below(2)
        self.state = (fence, fence)
        return "ok", {"fence": fence}

    def _registry(self, f: str, value: Any) -> Answer:
        owner, fence = self.state
        if f == "whereis":
            return "ok", None if owner is None else {"owner": owner, "fence": fence}
        if f == "register":
            if owner is None:
                owner, fence = value["owner"], fence + 1 + self.tape.below(2)
                self.state = (owner, fence)
            elif owner != value["owner"]:
                return "fail", {"error": "taken", "owner": owner, "fence": fence}
            return "ok", {"owner": owner, "fence": fence}
        if f == EXPIRE:
            below = value.get("fences_below", 1000)
            if owner is not None and owner.startswith(value["holder"] + ":") and fence < below:
                self.state = (None, fence)
            return "ok", value
        released = owner == value["owner"] and value["fence"] in (None, fence)
        if released:
            self.state = (None, fence)
        return "ok", {"released": released}


# -- histories -----------------------------------------------------------------------------------------------


def good(kind: str, tape: Tape, rules: Rules, *, most: int = 6, wide: int = 3) -> list[Entry]:
    """What clients of one real object may have seen."""
    real = Real(kind, tape)
    entries: list[Entry] = []
    asked: dict[int, tuple[str, Any]] = {}
    answers: dict[int, Answer] = {}
    lost: dict[int, tuple[str, Any]] = {}  # sessions that may end at any time, again and again
    begun, count = 0, 1 + tape.below(most)
    while begun < count or asked:
        for f, value in list(lost.values()):
            if tape.chance(15):
                real.answer(f, value)
        if begun < count and len(asked) < wide and (not asked or tape.chance(50)):
            asked[begun] = real.question()
            entries.append(Entry(begun, "invoke", *asked[begun]))
            begun += 1
            continue
        process = tape.choice(list(asked))
        f, value = asked[process]
        if process not in answers:
            if tape.chance(8):  # it never comes to anything, and somebody may know
                del asked[process]
                if tape.chance(50) and not (rules == "porcupine" and f in ("cas", "acquire")):
                    entries.append(Entry(process, "fail", f, {"error": "no-quorum"}))
                continue
            answers[process] = real.answer(f, value)
            if f == EXPIRE and tape.chance(50):
                lost[process] = asked.pop(process)
            continue
        del asked[process]
        if tape.chance(20):  # the answer is lost
            if tape.chance(50):
                entries.append(Entry(process, "info", f, None))
            continue
        type_, result = answers.pop(process)
        entries.append(Entry(process, type_, f, result))
    return entries


def _other_value(kind: str, entry: Entry, tape: Tape) -> Any:
    match kind, entry.f:
        case "cas-register", "read":
            return tape.choice((0, 1, 2, None))
        case "kv", "get":
            return tape.choice(("", "a", "b", "ab", "ba", "aa", "abab"))
        case "fenced-mutex", _:
            return {"fence": tape.below(5)}
        case "registry", "register" if entry.type == "ok":
            return {"owner": entry.value["owner"], "fence": tape.below(5)}
        case "registry", "register":
            return {"error": "taken", "owner": tape.choice(OWNERS), "fence": tape.below(5)}
        case "registry", "whereis":
            return None if tape.chance(30) else {"owner": tape.choice(OWNERS), "fence": tape.below(5)}
        case "registry", "unregister":
            return {"released": tape.chance(50)}
    return entry.value


def mutant(kind: str, entries: list[Entry], tape: Tape) -> list[Entry]:
    """The same with one to three changes: another answer, no answer, another kind of answer, another order."""
    entries = list(entries)
    for _ in range(1 + tape.below(3)):
        answers = [i for i, entry in enumerate(entries) if entry.type != "invoke"]
        i = tape.choice(answers) if answers else 0
        match tape.below(4):
            case 0 | 1 if answers:
                if entries[i].type != "info":
                    entries[i] = replace(entries[i], value=_other_value(kind, entries[i], tape))
            case 2 if answers:
                if kind != "registry" and entries[i].type == "fail":
                    question = next(entry for entry in entries if entry.process == entries[i].process)
                    entries[i] = replace(entries[i], type="ok", value=question.value)
                    entries[i] = replace(entries[i], value=_other_value(kind, entries[i], tape))
                elif entries[i].f not in ("read", "get", "whereis"):
                    entries[i] = replace(entries[i], type="info", value=None)
            case _:
                at = tape.below(max(1, len(entries) - 1))
                pair = entries[at : at + 2]
                if len(pair) == 2 and pair[0].process != pair[1].process:
                    entries[at : at + 2] = pair[::-1]
    return entries
