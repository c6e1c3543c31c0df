"""Histories that others have judged, when they are there: they are not ours to pass on.

`QUORATE_KNOSSOS` names a checkout of https://github.com/jepsen-io/knossos, `QUORATE_PORCUPINE` one of
https://github.com/anishathalye/porcupine; without them `build/histories/knossos` and `build/histories/porcupine` are looked for.
Expected is what those repositories say: by directory there, in their tests here.
"""

import os
import re
from pathlib import Path

import pytest

from quorate.jepsen_like.history import History
from quorate.jepsen_like.linear import LinearResult, check_linearizable, parse_history

ROOT = Path(__file__).parents[3]


def checkout(name: str, inside: str) -> Path:
    variable = f"QUORATE_{name.upper()}"
    place = Path(os.environ.get(variable) or ROOT / "build" / "histories" / name)
    if not (place / inside).is_dir():
        pytest.skip(f"no histories of {name}: set {variable} to a checkout")
    return place


def says_nothing(history: History) -> bool:
    """Nothing was ever acknowledged: Knossos calls that valid, we do not."""
    return not any(pair.outcome == "ok" for pair in history.pairs())


def named(wrong: list[tuple[str, LinearResult]]) -> str:
    return "\n".join(f"{name}: {result.verdict}" for name, result in wrong)


@pytest.mark.parametrize("expected", ["good", "bad"])
def test_knossos_registers_are_judged_as_their_directory_says(expected: str) -> None:
    files = sorted((checkout("knossos", "data") / "data" / "cas-register" / expected).glob("*.edn"))
    assert files
    wrong: list[tuple[str, LinearResult]] = []
    for path in files:
        history = parse_history(path.read_text())
        initial = None if path.name.startswith("rethink") else 0
        result = check_linearizable(history, "cas-register", initial=initial)
        wanted = "invalid" if expected == "bad" else "unknown" if says_nothing(history) else "valid"
        if result.verdict.outcome != wanted or bool(result.windows) != (expected == "bad"):
            wrong.append((path.name, result))
    assert not wrong, named(wrong)


def test_the_mutex_of_knossos_is_held_twice() -> None:
    path = checkout("knossos", "data") / "data" / "mutex" / "bad" / "etcd.edn"
    result = check_linearizable(parse_history(path.read_text()), "mutex")
    assert result.verdict.outcome == "invalid" and result.windows


def test_porcupine_etcd_logs_are_judged_as_its_tests_say() -> None:
    place = checkout("porcupine", "test_data")
    tests = (place / "porcupine_test.go").read_text()
    expected = dict(re.findall(r"checkJepsen\(t, (\d+), (true|false)\)", tests))
    assert len(expected) == 102
    wrong: list[tuple[str, LinearResult]] = []
    for number, right in expected.items():
        path = place / "test_data" / "jepsen" / f"etcd_{int(number):03}.log"
        result = check_linearizable(parse_history(path.read_text()), "cas-register", rules="porcupine")
        if result.verdict.outcome != ("valid" if right == "true" else "invalid"):
            wrong.append((path.name, result))
    assert not wrong, named(wrong)


def test_porcupine_keys_and_values_are_judged_as_their_names_say() -> None:
    files = sorted((checkout("porcupine", "test_data") / "test_data" / "kv").glob("*.txt"))
    assert len(files) == 6
    wrong: list[tuple[str, LinearResult]] = []
    for path in files:
        result = check_linearizable(parse_history(path.read_text()), "kv", rules="porcupine")
        if result.verdict.outcome != ("valid" if "-ok" in path.name else "invalid"):
            wrong.append((path.name, result))
    assert not wrong, named(wrong)
