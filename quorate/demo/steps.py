"""The steps of the demo, each with what must hold after it. The order matters: each begins where the last one ended."""

import asyncio
from collections import Counter as Tally
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import pairwise

from quorate.jepsen_like.checkers import (
    Verdict,
    check_claims,
    check_counter_replies,
    check_counters,
    check_fences,
    claim_intervals,
)

from .cluster import Child
from .scene import Running, Scene
from .settings import BURST, short


@dataclass(frozen=True, slots=True)
class Step:
    """A title for people, and what is done and checked."""

    title: str
    run: Callable[[Scene], Awaitable[None]]


async def start_nodes(scene: Scene) -> None:
    children = await scene.cluster.start_all()
    leader = await scene.leader()
    pids = {child.process.pid for child in children}
    scene.check("three nodes run in three processes, each with a data directory of its own", len(pids) == 3)
    scene.check("they agree on a leader, and each has a session", True, f"the leader is {short(leader.node)}")


async def register_names(scene: Scene) -> None:
    children = scene.cluster.serving
    started = scene.clock.monotonic()
    answers = await asyncio.gather(
        *(
            child.request("register", names=scene.names[number :: len(children)])
            for number, child in enumerate(children)
        )
    )
    took_s = scene.clock.monotonic() - started
    for answer in answers:
        scene.fences |= answer
    rate = f"{len(scene.fences) / took_s:,.0f} a second, each on the disks of a majority"
    scene.check(f"{len(scene.names):,} processes are registered", len(scene.fences) == len(scene.names), rate)
    scene.check(
        "no two registrations have the same fence", len(set(scene.fences.values())) == len(scene.fences)
    )


async def look_up(scene: Scene) -> None:
    agreed, found = await scene.agree_on_names()
    scene.check("look-ups from every node find the same processes", agreed, found)


async def start_counters(scene: Scene) -> None:
    children = scene.cluster.serving
    await asyncio.gather(*(child.request("start", keys=scene.keys) for child in children))
    views = await asyncio.gather(*(scene.running(scene.keys, child) for child in children))
    same = all(view == views[0] for view in views)
    spread = Tally(short(running.node) for running in views[0].values())
    scene.check(
        f"{len(scene.keys)} counters, each asked for by all three nodes, run once each",
        same and len(views[0]) == len(scene.keys),
        ", ".join(f"{count} on {node}" for node, count in sorted(spread.items())),
    )
    scene.load.start()
    took_s = await scene.at_work(scene.keys)
    scene.check("every counter takes increments from the client", True, f"within {took_s:.2f} s")


async def move_counter(scene: Scene) -> None:
    key = scene.keys[0]
    child = scene.cluster.serving[0]
    before = (await scene.running([key], child))[key]
    target = next(other for other in scene.cluster.serving if other.node != before.node)
    scene.note(f"moving {key} from {short(before.node)} to {short(target.node)} under load")
    moved = False
    bursting = scene.meanwhile(scene.load.burst(key, BURST, lambda: not moved))
    try:
        await child.request("move", key=key, to=target.node)

        async def arrived() -> bool:
            return (await scene.running([key], child))[key].node == target.node

        took_s = await scene.until(f"{key} runs on {target.node}", arrived)
    except BaseException:
        bursting.cancel()
        raise
    moved = True
    outcomes = await bursting
    after = (await scene.running([key], child))[key]
    scene.check(
        "a counter moves to another node under load, with its state and a higher fence",
        after.fence > before.fence and after.value >= before.value,
        f"{short(before.node)} fence {before.fence} -> {short(after.node)} fence {after.fence}, in {took_s:.2f} s",
    )
    scene.check(
        "no increment that arrived meanwhile was lost or refused",
        outcomes.keys() == {"ok"},
        f"{outcomes['ok']} acknowledged, {outcomes['info']} unknown, {outcomes['fail']} failed",
    )


async def kill_leader(scene: Scene) -> None:
    leader = await scene.leader()
    survivors = scene.cluster.others(leader)
    victims, counters = list(scene.held[leader.id]), await _counters_on(scene, leader, survivors[0])
    scene.note(f"SIGKILL for {_load_of(leader, victims, counters)}")
    killed_at = scene.clock.monotonic()
    scene.buried(leader, await scene.cluster.kill(leader))
    taking = scene.meanwhile(scene.take_over_names(victims, survivors))
    await scene.leader(survivors)
    scene.check("the others elect a leader", True, f"after {scene.clock.monotonic() - killed_at:.2f} s")
    higher, found, refused = await taking
    scene.check(
        "its names are freed and registered elsewhere, each with a higher fence",
        higher,
        f"{found}; {refused} earlier attempts were refused",
    )
    await _check_counters_elsewhere(scene, counters, leader, survivors[0], killed_at)
    await scene.cluster.start(leader.node)
    await scene.leader()
    agreed, found = await scene.agree_on_names()
    scene.check("the killed node starts again on its directory, and all three agree", agreed, found)


async def cut_off(scene: Scene) -> None:
    await scene.settled()
    cut = await scene.leader()
    majority = scene.cluster.others(cut)
    victims, counters = list(scene.held[cut.id]), await _counters_on(scene, cut, majority[0])
    scene.note(f"cutting off {_load_of(cut, victims, counters)}")
    cut_at = (await cut.request("isolate"))["at"]
    taking = scene.meanwhile(scene.take_over_names(victims, majority))
    answers: list[str] = []

    async def refused() -> bool:
        answers.append(await cut.request("probe", name=f"probe/{len(answers)}", timeout_s=0.5))
        return answers[-1] == "NoQuorum"

    await scene.until("the minority answers NoQuorum", refused)

    async def all_lost() -> bool:
        return not scene.held[cut.id]

    await scene.until("every claim of the cut-off node has ended", all_lost)
    via_cut = scene.load.acknowledged_via[cut.node]
    higher, found, attempts = await taking
    scene.check(
        "the minority answers NoQuorum", "registered" not in answers, f"answers: {', '.join(answers)}"
    )
    gap_s, overlaps = _gap(scene, victims, cut)
    scene.check(
        "each of its claims ended before anybody else got the name",
        not overlaps and scene.released_while_valid == 0,
        f"by at least {gap_s * 1000:,.0f} ms, over {len(victims)} names; {attempts} attempts came too early",
    )
    scene.check("its names are registered by the majority, each with a higher fence", higher, found)
    await _check_counters_elsewhere(scene, counters, cut, majority[0], cut_at)
    took_s = await scene.at_work(scene.keys)
    scene.check(
        "the majority goes on with all counters", True, f"each acknowledged again within {took_s:.2f} s"
    )
    scene.check("the cut-off side acknowledges nothing", scene.load.acknowledged_via[cut.node] == via_cut)
    await _check_late_effects(scene, counters, cut)
    scene.parked = {key: running.fence for key, running in counters.items()}
    scene.cut = cut


async def heal(scene: Scene) -> None:
    cut = scene.cut
    assert cut is not None, "nobody was cut off"
    evidence = await cut.request("heal")
    held = evidence["bytes_held_in"] + evidence["bytes_held_out"]
    scene.check("the cut was real", held > 0, f"{held:,} bytes did not pass")
    await scene.leader()
    agreed, found = await scene.agree_on_names()
    scene.check("all three nodes agree again", agreed, found)
    via_cut = scene.load.acknowledged_via[cut.node]

    async def works_again() -> bool:
        return scene.load.acknowledged_via[cut.node] > via_cut

    await scene.until("increments through the healed node are acknowledged", works_again)
    wanted = set(scene.parked.items())

    def offered() -> set[tuple[str, int]]:
        return {(told["key"], told["parked_fence"]) for told in scene.reconciled}

    async def all_offered() -> bool:
        return wanted <= offered()

    await scene.until("all parked state was offered to the living owners", all_offered)
    ahead = [told for told in scene.reconciled if told["parked_value"] > told["value"]]
    scene.check(
        "state that the cut-off node had to park was offered to the living owners",
        wanted <= offered() and not ahead,
        f"{len(wanted)} counters; in none of them had it got further than the living owner",
    )


async def drain(scene: Scene) -> None:
    await scene.settled()
    leaving = await scene.leader()
    others = scene.cluster.others(leaving)
    await scene.load.excuse(leaving.node)
    victims, counters = list(scene.held[leaving.id]), await _counters_on(scene, leaving, others[0])
    scene.note(f"SIGTERM for {_load_of(leaving, victims, counters)}")
    before = scene.load.outcomes.copy()
    started = scene.clock.monotonic()
    taking = scene.meanwhile(scene.take_over_names(victims, others))
    code = await scene.cluster.terminate(leaving)
    took_s = scene.clock.monotonic() - started
    scene.check(
        "SIGTERM drains a node, and it exits with 0", code == 0, f"exit code {code} after {took_s:.2f} s"
    )
    await _check_counters_elsewhere(scene, counters, leaving, others[0], started)
    lost = scene.load.outcomes - before
    scene.check(
        "no increment was lost or refused meanwhile",
        lost["info"] == lost["fail"] == 0,
        f"{lost['ok']} acknowledged, {lost['info']} unknown, {lost['fail']} failed",
    )
    higher, found, _ = await taking
    scene.check("its names are registered elsewhere, each with a higher fence", higher, found)
    await scene.cluster.start(leaving.node)
    scene.load.readmit(leaving.node)
    await scene.leader()


async def kill_all(scene: Scene) -> None:
    children = scene.cluster.serving
    acknowledged = scene.load.acknowledged.copy()
    scene.note("SIGKILL for all three nodes at once, under load")
    for child in children:
        child.kill()
    for child in children:
        scene.buried(child, await scene.cluster.kill(child))
    killed_at = scene.clock.monotonic()
    started = await scene.cluster.start_all()
    await scene.leader()
    scene.check(
        "the cluster is back after a SIGKILL of all nodes",
        True,
        f"with a leader {scene.clock.monotonic() - killed_at:.2f} s after the kill",
    )
    higher, found, _ = await scene.take_over_names(scene.names, started)
    scene.check(
        f"all {len(scene.names):,} names are registered again, each with a higher fence", higher, found
    )
    await scene.at_work(scene.keys)
    running = await scene.running(scene.keys, started[0])
    short = [key for key in scene.keys if running[key].value < acknowledged[key]]
    scene.check(
        "nothing that was acknowledged before the kill is lost",
        not short,
        f"{acknowledged.total():,} increments of {len(scene.keys)} counters"
        + (f"; lost in {short}" if short else ""),
    )


async def settle_accounts(scene: Scene) -> None:
    await scene.load.stop()
    children = scene.cluster.serving
    views = await asyncio.gather(*(scene.running(scene.keys, child) for child in children))
    finals = {key: running.value for key, running in views[0].items()}
    scene.check("every node reads the same values", all(view == views[0] for view in views))
    outcomes = scene.load.outcomes
    errors = scene.load.errors()
    scene.note(
        f"{outcomes['ok']} acknowledged, {outcomes['info']} unknown, {outcomes['fail']} failed ({errors})"
    )
    _check_verdict(
        scene, "every counter: acknowledged <= value <= attempted", check_counters(scene.history, finals)
    )
    _check_verdict(
        scene, "no reply was given twice, none came from old state", check_counter_replies(scene.history)
    )
    _check_verdict(
        scene, "no effect was accepted from a lower fence after a higher one", check_fences(scene.history)
    )
    _check_verdict(scene, "no name ever had two owners at once", check_claims(scene.history))
    agreed, found = await scene.agree_on_names()
    scene.check("all nodes agree on all names", agreed, found)


STEPS = (
    Step("Three nodes start", start_nodes),
    Step("1,000 processes get names", register_names),
    Step("Look-ups agree", look_up),
    Step("50 singleton counters start", start_counters),
    Step("A counter moves under load", move_counter),
    Step("The leader is killed", kill_leader),
    Step("A node is cut off", cut_off),
    Step("The cut heals", heal),
    Step("A node is drained", drain),
    Step("All nodes are killed", kill_all),
    Step("The accounts are settled", settle_accounts),
)


def _check_verdict(scene: Scene, what: str, verdict: Verdict) -> None:
    scene.check(
        what,
        verdict.valid,
        verdict.summary if verdict.outcome != "unknown" else f"unknown: {verdict.summary}",
    )


def _load_of(leader: Child, names: list[str], counters: dict[str, Running]) -> str:
    return f"the leader {short(leader.node)}, with {len(names)} names and {len(counters)} counters"


async def _counters_on(scene: Scene, child: Child, asked: Child) -> dict[str, Running]:
    """The counters that run on a node."""
    running = await scene.running(scene.keys, asked)
    return {key: one for key, one in running.items() if one.node == child.node}


async def _check_counters_elsewhere(
    scene: Scene, before: dict[str, Running], left: Child, asked: Child, since: float
) -> None:
    keys = list(before)
    acknowledged = {key: scene.load.acknowledged[key] for key in keys}
    now: dict[str, Running] = {}

    async def all_elsewhere() -> bool:
        now.update(await scene.running(keys, asked))
        return all(running.node != left.node for running in now.values())

    await scene.until("its counters run elsewhere", all_elsewhere)
    took_s = scene.clock.monotonic() - since
    wrong = [key for key in keys if now[key].fence <= before[key].fence or now[key].value < acknowledged[key]]
    scene.check(
        "its counters run elsewhere, from what was acknowledged, with higher fences",
        not wrong,
        f"all {len(keys)} within {took_s:.2f} s" + (f"; not so: {wrong}" if wrong else ""),
    )


async def _check_late_effects(scene: Scene, before: dict[str, Running], left: Child) -> None:
    """As if writes of the old owner had been under way all the while: they arrive now, after the new owner's."""

    async def new_owners_wrote() -> bool:
        return all(scene.effects.highest(key) > running.fence for key, running in before.items())

    await scene.until("the new owners have had effects", new_owners_wrote)
    now = scene.clock.monotonic()
    taken = [scene.effects.take(now, left, key, running.fence) for key, running in before.items()]
    scene.check(
        "an effect of the old owner that arrives late is refused by its fence",
        not any(taken),
        f"{len(taken)} sent, {taken.count(False)} refused",
    )


def _gap(scene: Scene, names: list[str], left: Child) -> tuple[float, int]:
    """By how much the claims of a node ended before the next ones began: the least, and how many did not."""
    gaps: list[float] = []
    intervals = claim_intervals(scene.history)
    for name in names:
        held = intervals[name]
        for earlier, later in pairwise(held):
            if earlier.owner == left.id:
                gaps.append((later.from_ns - earlier.until_ns) / 1e9)
    return min(gaps, default=0.0), sum(gap <= 0 for gap in gaps) + (len(gaps) < len(names))
