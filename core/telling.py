"""Log records that cannot harm who makes them.

A logger calls the handlers and filters of the program, and what those raise comes out of it. In the midst of a process's
end that must not happen: the process would stay behind, neither alive nor dead. So what a handler raises is written to
`sys.stderr`, as logging does itself with what a handler lets it see, and the caller goes on. No state.
"""

import logging
import sys
import traceback
from typing import Any


class Log:
    """As the logger of that name, but its methods never raise."""

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, text: str, *args: object, **options: Any) -> None:
        self._tell(logging.DEBUG, text, args, options)

    def info(self, text: str, *args: object, **options: Any) -> None:
        self._tell(logging.INFO, text, args, options)

    def warning(self, text: str, *args: object, **options: Any) -> None:
        self._tell(logging.WARNING, text, args, options)

    def error(self, text: str, *args: object, **options: Any) -> None:
        self._tell(logging.ERROR, text, args, options)

    def exception(self, text: str, *args: object, **options: Any) -> None:
        """An error, with the exception that is being handled."""
        self._tell(logging.ERROR, text, args, {"exc_info": True} | options)

    def log(self, level: int, text: str, *args: object, **options: Any) -> None:
        self._tell(level, text, args, options)

    def _tell(self, level: int, text: str, args: tuple[object, ...], options: dict[str, Any]) -> None:
        try:
            self._logger.log(level, text, *args, stacklevel=3, **options)
        except Exception:  # noqa: BLE001 -- the program's handlers and filters may raise anything
            if logging.raiseExceptions and sys.stderr is not None:
                _complain(self._logger.name)


def _complain(name: str) -> None:
    try:
        sys.stderr.write(f"a handler of the log {name!r} raised, its record is lost:\n")
        traceback.print_exc(file=sys.stderr)
    except (OSError, ValueError):  # nobody reads it any more
        pass
