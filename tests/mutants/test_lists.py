"""The lists of deliberate bugs are up to date: each fits into the code as it is. `make mutants` runs them."""

import re

import pytest

from .__main__ import GROUPS
from .mutant import ROOT, Group, Mutant

EACH = [pytest.param(group, mutant, id=mutant.name) for group in GROUPS for mutant in group.mutants]


@pytest.mark.parametrize(("group", "mutant"), EACH)
def test_the_snippet_of_a_mutant_is_in_the_code_exactly_once(group: Group, mutant: Mutant) -> None:
    text = group.path_of(ROOT, mutant).read_text()
    assert text.count(mutant.old) == 1
    compile(text.replace(mutant.old, mutant.new), mutant.file, "exec")


@pytest.mark.parametrize(("group", "mutant"), EACH)
def test_the_test_that_catches_a_mutant_is_there(group: Group, mutant: Mutant) -> None:
    path, _, name = group.first_of(mutant).partition("[")[0].partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE)


def test_mutants_have_names_of_their_own() -> None:
    names = [mutant.name for group in GROUPS for mutant in group.mutants]
    assert len(set(names)) == len(names) >= 100
