"""Finding what `quorate node` is told to import: `--export module:Class`, `--application module:Class`."""

import importlib
import os
import sys
from typing import Any

from quorate.core import ConfigError


def load_all(option: str, texts: list[str]) -> list[Any]:
    """The things named `module:Class`, imported from the current directory too. Raises `ConfigError`."""
    here = os.getcwd()
    if texts and here not in sys.path:
        sys.path.insert(0, here)
    return [load(option, text) for text in texts]


def load(option: str, text: str) -> Any:
    """One thing named `module:Class`. Raises `ConfigError` that says what is wrong with it."""
    module_name, colon, path = text.partition(":")
    if not (module_name and colon and path):
        raise ConfigError(f"{option} {text}: write it as module:Class, as in shop.ledger:Ledger")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise ConfigError(
                f"{option} {text}: there is no module {module_name!r} here or among what is installed"
            ) from error
        raise ConfigError(
            f"{option} {text}: {module_name} needs a module that is missing: {error}"
        ) from error
    except Exception as error:
        raise ConfigError(
            f"{option} {text}: importing {module_name} failed: {type(error).__name__}: {error}"
        ) from error
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ConfigError(f"{option} {text}: {module_name} has no {path!r}") from None
    return found
