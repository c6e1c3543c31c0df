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


def test_files_that_are_no_python_are_declared() -> None:
    for dotted in SETUPTOOLS["packages"]:
        root = max((d for d in SETUPTOOLS["package-dir"] if f"{dotted}.".startswith(f"{d}.")), key=len)
        folder = ROOT.joinpath(SETUPTOOLS["package-dir"][root], *dotted[len(root) :].split(".")[1:])
        patterns = SETUPTOOLS["package-data"].get(dotted, [])
        for file in folder.iterdir():
            if file.is_file() and file.suffix != ".py":
                assert any(file.match(pattern) for pattern in patterns), f"{file} is not installed"


def test_every_mapped_folder_has_its_link_for_tools() -> None:
    for dotted, folder in SETUPTOOLS["package-dir"].items():
        if dotted != "quorate":
            link = ROOT / "quorate" / folder
            assert link.is_symlink() and link.readlink() == pathlib.Path("..") / folder


def test_a_class_has_one_identity() -> None:
    assert quorate.core.runtime.Runtime.__module__ == "quorate.core.runtime"
