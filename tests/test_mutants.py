"""The list of deliberate bugs is up to date: each fits into the code as it is. `make mutants` runs them."""

import pytest

from tests.mutants import MUTANTS, ROOT, Mutant, path_of


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda x: x.name)
def test_the_snippet_of_a_mutant_is_in_the_code_exactly_once(mutant: Mutant) -> None:
    text = path_of(ROOT, mutant).read_text()
    assert text.count(mutant.old) == 1
    compile(text.replace(mutant.old, mutant.new), mutant.file, "exec")


def test_mutants_have_names_of_their_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 14
