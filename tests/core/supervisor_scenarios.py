"""Small lives of supervision trees, made from a seed: a tree, and what happens to it. Values, for two worlds to act out.

`erlang_supervisor.py` has Erlang/OTP act them out, `test_supervisor_against_erlang.py` this library.
"""

from dataclasses import dataclass
from random import Random

MANY = tuple(range(2, 50))  # every start but the first


@dataclass(frozen=True)
class Tree:
    """A supervisor; the field names are OTP's. (The period is so long that no restart is ever forgotten.)"""

    strategy: str
    intensity: int
    auto_shutdown: str
    children: tuple["Child", ...]


@dataclass(frozen=True)
class Child:
    """A child of a supervisor: a server, or the supervisor of `below`.

    `shutdown` is "brutal_kill", milliseconds, or "infinity". `traps`: it traps exits, and tells of its end. `stubborn`: it
    does not end when its supervisor says so. `refuses`: which of its starts fail, from 1 on, and `refusal` is how.
    """

    id: str
    restart: str = "permanent"
    significant: bool = False
    shutdown: str | int = 5000
    traps: bool = True
    stubborn: bool = False
    refuses: tuple[int, ...] = ()
    refusal: str = "stop"
    below: Tree | None = None


# What happens. A supervisor is named by its id; the one at the top is "root".


@dataclass(frozen=True)
class Leave:
    """A child ends by itself; "raise": by an exception."""

    id: str
    reason: str


@dataclass(frozen=True)
class Signal:
    """Somebody who is not its supervisor sends a child an exit signal."""

    id: str
    reason: str


@dataclass(frozen=True)
class Ask:
    """A call to a supervisor, about a child, by its id or as a `Child` to start; or about none."""

    supervisor: str
    method: str
    about: tuple["str | Child", ...] = ()


@dataclass(frozen=True)
class Burst:
    """All of this happens before the supervisor, whose children they are, takes notice of the first."""

    supervisor: str
    steps: tuple[Leave | Signal | Ask, ...]


@dataclass(frozen=True)
class End:
    """The supervisor at the top is told to end by who started it; the last step."""

    reason: str


Step = Leave | Signal | Ask | Burst | End


@dataclass(frozen=True)
class Scenario:
    tree: Tree
    steps: tuple[Step, ...]


RARE = (
    # A significant child ends while the other one is being restarted.
    Scenario(
        Tree(
            "one_for_one",
            5,
            "all_significant",
            (Child("a", "transient", True, refuses=(2,)), Child("b", "transient", True)),
        ),
        (Burst("root", (Leave("a", "boom"), Leave("b", "normal"))), End("shutdown")),
    ),
    # A child that is being restarted is stopped, for one before it has crashed; which cannot be restarted either.
    Scenario(
        Tree("rest_for_one", 5, "never", (Child("a", refuses=(2,)), Child("b", refuses=(2,)))),
        (
            Burst("root", (Leave("b", "boom"), Leave("a", "boom"), Ask("root", "which_children"))),
            End("shutdown"),
        ),
    ),
)


def scenarios(count: int) -> list[Scenario]:
    """Always the same ones: those that chance hardly finds, and then as it comes."""
    return [*RARE, *(_Author(Random(number)).scenario() for number in range(count))][:count]


class _Author:
    """Writes one scenario."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.fragility = random.choice([0.2, 0.2, 0.8])  # how many children do not always start

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def scenario(self) -> Scenario:
        tree = self.tree("abcde", nests=self.chance(0.4))
        steps = [self.step(tree) for _ in range(self.random.randint(3, 10))]
        return Scenario(
            tree, (*steps, End(self.random.choice(["shutdown", "shutdown", "boom", "normal", "kill"])))
        )

    def tree(self, ids: str, prefix: str = "", *, nests: bool = False) -> Tree:
        auto = self.random.choice(["never", "any_significant", "all_significant"])
        children = [
            self.child(prefix + one, auto, new=self.chance(0.03))
            for one in ids[: self.random.randint(1, len(ids))]
        ]
        if self.chance(0.02):
            children.append(self.random.choice(children))  # an id that is there already
        if nests:
            below = self.tree("abc", "n")
            nested = Child("n", *self.fate(auto), shutdown="infinity", below=below)
            children.insert(self.random.randint(0, len(children)), nested)
        return Tree(
            self.random.choice(["one_for_one", "one_for_all", "rest_for_one"]),
            self.random.choice([0, 1, 2, 2, 3, 5, 20]),
            auto,
            tuple(children),
        )

    def fate(self, auto: str) -> tuple[str, bool]:
        """Its restart type, and whether it is significant; now and then where that is refused."""
        restart = self.random.choice(["permanent", "permanent", "transient", "temporary"])
        return restart, restart != "permanent" and self.chance(0.02 if auto == "never" else 0.5)

    def child(self, id: str, auto: str, *, new: bool) -> Child:
        """`new`: its very first start may fail, too."""
        stubborn = self.chance(0.06)
        times: list[str | int] = ["brutal_kill", 20] if stubborn else ["brutal_kill", 5000, 5000, "infinity"]
        refuses: tuple[int, ...] = ()
        if self.chance(self.fragility):
            later = self.random.choice([MANY, MANY, (2,), (2, 3), (3,), (3, 4, 5)])
            refuses = (1, *later) if new else later
        return Child(
            id,
            *self.fate(auto),
            shutdown=self.random.choice(times),
            traps=stubborn or self.chance(0.85),
            stubborn=stubborn,
            refuses=refuses,
            refusal=self.random.choice(["stop", "raise", "normal"]),
        )

    # -- steps ---------------------------------------------------------------------------------------------

    def step(self, tree: Tree) -> Step:
        supervisor, ids, auto = self.place(tree)
        if self.chance(0.4):
            return self.burst(supervisor, self.random.sample(ids, min(2, len(ids))), auto)
        return self.simple(supervisor, ids, auto)

    def burst(self, supervisor: str, ids: list[str], auto: str) -> Burst:
        steps = [self.simple(supervisor, ids, auto) for _ in range(self.random.randint(2, 6))]
        if self.chance(0.5):
            steps[:0] = [Leave(id, "boom") for id in ids if id != "n"]
        return Burst(supervisor, tuple(steps))

    def place(self, tree: Tree) -> tuple[str, list[str], str]:
        """A supervisor, the ids of its children and one that is not there, and its `auto_shutdown`."""
        nested = next((child.below for child in tree.children if child.below is not None), None)
        if nested is not None and self.chance(0.4):
            return "n", [*(child.id for child in nested.children), "nx"], nested.auto_shutdown
        return "root", [*(child.id for child in tree.children), "x"], tree.auto_shutdown

    def simple(self, supervisor: str, ids: list[str], auto: str) -> Leave | Signal | Ask:
        id = self.random.choice(ids)
        if id == "n":  # (a supervisor does not leave)
            return self.of_supervisor(supervisor)
        kind = self.random.choice(["leave"] * 4 + ["signal"] * 3 + ["ask"] * 4 + ["start", "look"])
        match kind:
            case "leave":
                return Leave(
                    id, self.random.choice(["normal", "shutdown", "shutdown done", "boom", "boom", "raise"])
                )
            case "signal":
                return Signal(id, self.random.choice(["kill", "kill", "boom", "normal", "shutdown"]))
            case "start":
                return Ask(supervisor, "start_child", (self.child(id, auto, new=True),))
            case "look":
                return Ask(supervisor, self.random.choice(["which_children", "count_children"]))
            case _:
                method = self.random.choice(
                    ["terminate_child", "terminate_child", "restart_child", "delete_child"]
                )
                return Ask(supervisor, method, (id,))

    def of_supervisor(self, above: str) -> Signal | Ask:
        """Something that happens to the nested supervisor."""
        if self.chance(0.4):
            return Signal("n", self.random.choice(["kill", "kill", "shutdown", "normal", "boom"]))
        return Ask(above, self.random.choice(["terminate_child", "restart_child", "delete_child"]), ("n",))
