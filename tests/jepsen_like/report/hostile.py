"""A record in which every text tries to be something else."""

from quorate.jepsen_like.history import History
from quorate.jepsen_like.record import FaultRecord, LeaderRecord, RunRecord, Window
from quorate.jepsen_like.verdict import Verdict

HOSTILE = (
    "</script><script>document.documentElement.dataset.report = 'taken'</script>",
    "<!--<script>",
    "<img src=https://example.org/x onerror=alert(1)>",
    '"\' onmouseover="alert(1)" x=\'',
    "]]></failure><testcase name='x'/>",
    "&lt;&#60;&amp;",
    "\x00\x07\x1b[31m\x7f\x9f",
    "\u2028\u2029\u202egnp.exe",
    "\ud800 half a character",
    "\ufffe\uffff",
    "${run} `x` \\u003c/script>",
    "__proto__",
    "constructor",
    "",
)


def hostile_record() -> RunRecord:
    """Every place of a record that takes a text, with every one of `HOSTILE`."""
    history = History()
    for n, text in enumerate(HOSTILE):
        invoked = history.invoke(n, text, text, text, {text: [text]})
        history.complete(n + 0.5, invoked, ("ok", "fail", "info")[n % 3], text)
        history.note(n + 0.6, f"node {text}", "held", text, {"fence": n, "owner": text})
        history.note(n + 0.7, text, text, text, text)
    indices = tuple(range(len(history)))
    return RunRecord(
        workload="".join(HOSTILE),
        seed=-1,
        nodes=HOSTILE,
        time_s=20.0,
        history=history,
        verdicts=tuple(Verdict(text, "invalid", 1, text, (text, text)) for text in HOSTILE),
        faults=tuple(
            FaultRecord(text, (text,), n * 10**9, None, n % 2, text) for n, text in enumerate(HOSTILE)
        ),
        leaders=tuple(LeaderRecord(n * 10**9, text, n, True) for n, text in enumerate(HOSTILE)),
        windows=tuple(Window(text, indices, 1, text) for text in HOSTILE),
        trace_hash="".join(HOSTILE),
        command="".join(HOSTILE),
        figures={text: text for text in HOSTILE} | {"set": {1}, "nan": float("nan"), "inf": float("inf")},
    )
