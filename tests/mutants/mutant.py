"""What a deliberate bug is, and a group of them: bugs in one part of the library, and the tests that must catch them."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` stands exactly once in `file`; with `new` in its place the code is wrong.

    `first` is a quick test that catches it: it is tried before the others of the group.
    """

    name: str
    file: str
    old: str
    new: str
    first: str


@dataclass(frozen=True, slots=True)
class Group:
    """Mutants of the files in `folder`. `last` are the stems of test files that say least about what is wrong, or take long."""

    name: str
    folder: str
    tests: str
    last: tuple[str, ...]
    mutants: tuple[Mutant, ...]

    def path_of(self, root: Path, mutant: Mutant) -> Path:
        return root / self.folder / mutant.file

    def first_of(self, mutant: Mutant) -> str:
        """The test's id, from the root."""
        return f"{self.tests}/{mutant.first}"

    def all_tests(self, root: Path) -> list[str]:
        found = sorted(
            (root / self.tests).glob("test_*.py"), key=lambda path: (path.stem in self.last, path.stem)
        )
        return [str(path.relative_to(root)) for path in found]

    def apply(self, root: Path, mutant: Mutant) -> str:
        """Put the bug in; returns the file as it was. Raises `ValueError` unless the snippet is there once."""
        path = self.path_of(root, mutant)
        original = path.read_text()
        if original.count(mutant.old) != 1:
            raise ValueError(
                f"{mutant.name}: the snippet is {original.count(mutant.old)} times in {mutant.file}"
            )
        path.write_text(original.replace(mutant.old, mutant.new))
        return original
