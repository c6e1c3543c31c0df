"""What is installed is what stands in the folders."""

import pathlib
import tomllib

import quorate.core.runtime

ROOT = pathlib.Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_package_is_listed() -> None:
    found: set[str] = set()
    for dotted, folder in SETUPTOOLS["package-dir"].items():
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT / folder).parts
            found.add(".".join((dotted, *parts)))
    assert sorted(found) == sorted(SETUPTOOLS["packages"])


def test_every_mapped_folder_has_its_link_for_tools() -> None:
    for dotted, folder in SETUPTOOLS["package-dir"].items():
        if dotted != "quorate":
            link = ROOT / "quorate" / folder
            assert link.is_symlink() and link.readlink() == pathlib.Path("..") / folder


def test_a_class_has_one_identity() -> None:
    assert quorate.core.runtime.Runtime.__module__ == "quorate.core.runtime"
