"""`--export module:Class` finds classes here and among what is installed, and says what is wrong otherwise."""

import sys
from pathlib import Path

import pytest

from quorate.cli.loading import load_all
from quorate.core import ConfigError, GenServer


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for module in ("shop_for_test", "broken_for_test", "needy_for_test"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return tmp_path


def test_a_class_of_the_current_directory_is_found(here: Path) -> None:
    (here / "shop_for_test.py").write_text("class Outer:\n    class Inner: ...\n")
    (found,) = load_all("--export", ["shop_for_test:Outer.Inner"])
    assert found.__qualname__ == "Outer.Inner"


def test_a_class_that_is_installed_is_found() -> None:
    assert load_all("--export", ["quorate.core:GenServer"]) == [GenServer]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("shop_for_test", "write it as module:Class"),
        (":Ledger", "write it as module:Class"),
        ("no_such_module_for_test:Ledger", "there is no module 'no_such_module_for_test'"),
        ("needy_for_test:Ledger", "needs a module that is missing: No module named 'also_missing_for_test'"),
        ("broken_for_test:Ledger", "importing broken_for_test failed: ZeroDivisionError"),
        ("shop_for_test:Ledgre", "shop_for_test has no 'Ledgre'"),
    ],
)
def test_what_cannot_be_found_is_a_mistake_that_is_explained(here: Path, text: str, complaint: str) -> None:
    (here / "shop_for_test.py").write_text("class Ledger: ...\n")
    (here / "broken_for_test.py").write_text("1 / 0\n")
    (here / "needy_for_test.py").write_text("import also_missing_for_test\n")
    with pytest.raises(ConfigError, match=complaint):
        load_all("--export", [text])
