"""The `quorate` command. `main` is its entrance: errors become one line on stderr and an exit code, never a traceback."""

import os
import sys
from collections.abc import Sequence

from .failures import FAILED, complain, exit_code, is_expected, one_line

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; see `failures.py` for what the codes mean."""
    from .app import app

    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(given, prog_name="quorate", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has enough
        os._exit(FAILED)  # an ordinary end would try to write once more
    except BaseException as error:
        if not is_expected(error):
            raise
        return _fail(error, as_json="--json" in given)
    return code if isinstance(code, int) else 0


def _fail(error: BaseException, *, as_json: bool) -> int:
    code = exit_code(error)
    complain(error)
    if as_json:
        from .output import print_json

        print_json({"error": {"type": type(error).__name__, "message": one_line(error), "exit_code": code}})
    return code
