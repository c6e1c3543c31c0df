"""What happens to a running node, as lines: for people, or as JSON."""

import json
import sys
from typing import Any

from quorate.core import Clock


class Events:
    """Tells on stdout. A reader that has gone away ends the telling, not the node."""

    def __init__(self, node: str, clock: Clock, *, as_json: bool) -> None:
        self._node = node
        self._clock = clock
        self._json = as_json
        self._heard = True

    def tell(self, event: str, text: str, **facts: Any) -> None:
        """One event: `text` for people, `event` and `facts` for programs (with `time`, seconds since the epoch)."""
        if not self._heard:
            return
        line = text
        if self._json:
            record = {"event": event, "time": round(self._clock.wall(), 6), "node": self._node, **facts}
            line = json.dumps(record)
        try:
            # One write: print() makes two of them under PYTHONUNBUFFERED, and a reader may get half a line.
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            self._heard = False
            sys.stdout = sys.stderr  # lest the interpreter complains about the pipe at its end
