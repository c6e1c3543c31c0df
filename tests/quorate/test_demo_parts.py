"""The parts of the demo do what its verdict rests on: they notice what does not hold."""

import asyncio
import io
import json
from typing import Any, cast

import pytest
from rich.console import Console

from quorate.core import RealEntropy, RealNetwork
from quorate.demo.cluster import Child
from quorate.demo.effects import EffectsStore
from quorate.demo.pipes import encode, read_lines
from quorate.demo.ports import free_ports
from quorate.demo.report import Check, Plain, Report, Rich, Silent, StepReport
from quorate.demo.scene import Scene, StepFailed
from quorate.demo.steps import STEPS
from quorate.jepsen_like.checkers import check_claims, check_fences
from quorate.jepsen_like.history import History
from tests.support import ManualClock, run


class _Life:
    """As much of a `Child` as a witness needs."""

    def __init__(self, life: str) -> None:
        self.id = life


def life(name: str) -> Child:
    return cast("Child", _Life(name))


def test_effects_of_a_lower_fence_are_refused_once_a_higher_one_was_seen() -> None:
    history = History()
    store = EffectsStore(history)
    taken = [
        store.take(float(number), life(owner), "c", fence)
        for number, (owner, fence) in enumerate([("a#1", 3), ("a#1", 3), ("b#1", 8), ("a#1", 3), ("b#1", 8)])
    ]
    assert taken == [True, True, True, False, True]
    assert (store.accepted, store.refused) == (4, 1)
    assert check_fences(history).valid


# -- what the scene hears ----------------------------------------------------------------------------------


def held(key: str, fence: int, at: float) -> dict[str, Any]:
    return {"event": "held", "key": key, "fence": fence, "at": at}


def released(key: str, fence: int, at: float, *, valid: bool = False) -> dict[str, Any]:
    return {"event": "released", "key": key, "fence": fence, "at": at, "valid": valid, "reason": "ClaimLost"}


def test_claims_that_overlap_are_seen_by_the_times_of_their_witnesses() -> None:
    scene = Scene(ManualClock(), Plain())
    scene.hear(life("a#1"), held("n", 3, 1001.0))
    scene.hear(life("b#1"), held("n", 8, 1002.0))
    scene.hear(life("a#1"), released("n", 3, 1001.9))
    assert check_claims(scene.history).valid
    scene.hear(life("c#1"), held("n", 9, 1003.0))
    scene.hear(life("b#1"), released("n", 8, 1003.1))
    assert check_claims(scene.history).outcome == "invalid"


def test_the_claims_of_a_process_end_when_it_is_dead_for_certain() -> None:
    scene = Scene(ManualClock(), Plain())
    scene.hear(life("a#1"), held("n", 3, 1001.0))
    scene.buried(life("a#1"), 1002.0)
    scene.hear(life("b#1"), held("n", 8, 1001.5))
    assert check_claims(scene.history).outcome == "invalid"


def test_a_claim_that_was_still_valid_when_its_process_was_told_is_counted() -> None:
    scene = Scene(ManualClock(), Plain())
    scene.hear(life("a#1"), held("n", 3, 1001.0))
    scene.hear(life("a#1"), released("n", 3, 1002.0, valid=True))
    assert scene.released_while_valid == 1


def test_what_does_not_happen_in_time_fails_the_step() -> None:
    async def main() -> None:
        clock = ManualClock()
        scene = Scene(clock, Plain())

        async def never() -> bool:
            return False

        waiting = asyncio.ensure_future(scene.until("the sun rises", never, within_s=5.0))
        await clock.pass_time(6.0)
        with pytest.raises(StepFailed, match="not within 5 s: the sun rises"):
            await waiting

    run(main())


# -- the report --------------------------------------------------------------------------------------------


def report(*held_flags: bool, error: str = "", planned: int = 1) -> Report:
    step = StepReport(
        "The sun rises", [Check(f"check {n}", held, "in the east") for n, held in enumerate(held_flags)]
    )
    step.error = error
    return Report([step], planned=planned, took_s=1.5)


def test_a_run_holds_when_every_check_held_and_every_step_was_reached() -> None:
    assert report(True, True).held
    assert report(True, True).verdict() == "all 2 checks held, in 1.5 s"
    for failed in (report(True, False), report(True, error="broke"), report(True, planned=2), Report([], 0)):
        assert not failed.held
    assert report(True, False, planned=3).verdict() == "1 of 2 checks did NOT hold; 2 steps were not reached"
    assert report(True, error="broke").verdict() == "the step 'The sun rises' was not finished"


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    Silent().finish(report(True, False))
    told = json.loads(capsys.readouterr().out)
    assert told["held"] is False and told["steps"][0]["checks"][1] == {
        "what": "check 1",
        "held": False,
        "found": "in the east",
    }


def test_plain_lines_say_which_check_failed(capsys: pytest.CaptureFixture[str]) -> None:
    plain = Plain()
    failed = report(True, False, error="it broke")
    plain.begin(1, 1, failed.steps[0])
    for check in failed.steps[0].checks:
        plain.check(check)
    plain.end(failed.steps[0])
    plain.finish(failed)
    lines = capsys.readouterr().out.splitlines()
    assert "  ok   check 0: in the east" in lines and "  FAIL check 1: in the east" in lines
    assert "  FAIL it broke" in lines and lines[-1].startswith("FAILED: ")


def test_the_table_fits_80_columns_and_holds_every_check() -> None:
    shown = io.StringIO()
    long = "a promise that takes more room than a line of an ordinary terminal has for it, as promises do"
    failed = report(True, False, error=long)
    Rich(Console(file=shown, width=80, force_terminal=True, color_system=None)).finish(failed)
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("✗" in line for line in lines) == 2 and sum("✓" in line for line in lines) == 1


def test_the_steps_have_titles_of_their_own() -> None:
    assert len({step.title for step in STEPS}) == len(STEPS) == 11


# -- pipes and ports ---------------------------------------------------------------------------------------


def test_a_line_that_death_cut_short_is_no_record() -> None:
    async def main() -> list[dict[str, Any]]:
        reader = asyncio.StreamReader()
        reader.feed_data(encode({"id": 1}) + encode({"id": 2})[:-3])
        reader.feed_eof()
        return [record async for record in read_lines(reader)]

    assert run(main()) == [{"id": 1}]


def test_ports_are_different_and_free() -> None:
    async def main() -> None:
        network = RealNetwork()
        ports = await free_ports(network, RealEntropy(), 3)
        assert len(set(ports)) == 3
        for port in ports:
            server = await network.create_server(asyncio.Protocol, "127.0.0.1", port)
            server.close()
            await server.wait_closed()

    run(main())
