"""A child process of `workers.py`: `python -m quorate.jepsen_like.worker` makes runs, as the lines on its stdin ask.

The first line says what to import and what to keep; each of the others is a spec, and is answered by a line on stdout. When
stdin ends, so does the process. What must never happen here: anything but answers reaches the real stdout.
"""

import gc
import importlib
import json
import sys
from typing import Any

from quorate.core import QuorateError

from .campaign import Keep, quiet, result_as_json, run_one
from .runner import RunSpec


def main() -> int:
    answers, sys.stdout = sys.stdout, sys.stderr  # processes of users may print

    def tell(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer, default=repr) + "\n")
        answers.flush()

    hello = json.loads(sys.stdin.readline() or "null")
    if hello is None:
        return 0
    for module in hello["modules"]:
        importlib.import_module(module)
    keep = Keep(**hello["keep"])
    gc.collect()
    gc.freeze()  # the library itself is never garbage
    tell({"ready": True})
    with quiet():
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                spec = RunSpec.parse(asked["spec"])
            except QuorateError as error:
                tell({"error": f"a child process cannot run this: {error}"})
                return 1
            tell(result_as_json(run_one(spec, keep=keep, command=asked["command"])))
            gc.collect()  # a world is all cycles, and while it runs nothing is collected
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # whoever asked is gone
        sys.exit(1)
