"""The tables of a report: verdicts with their problems, faults with their evidence, operations by kind and outcome.

What must never happen here: a fault without evidence that looks like one with it.
"""

from collections.abc import Iterable, Sequence
from statistics import quantiles

from quorate.jepsen_like.record import FaultRecord
from quorate.jepsen_like.verdict import Verdict

from .marks import Mark
from .text import count, duration, escape, seconds

OUTCOMES = ("ok", "fail", "info")
NOTHING = "-"


def verdict_list(verdicts: Sequence[Verdict]) -> str:
    """A line per checker, the bad ones first, each with its problems."""
    if not verdicts:
        return '<p class="empty">No checker was run: this run says nothing.</p>'
    rank = {"invalid": 0, "unknown": 1, "valid": 2}
    items = []
    for verdict in sorted(verdicts, key=lambda v: rank[v.outcome]):
        told = len(verdict.problems) == 1 and verdict.problems[0] in verdict.summary
        problems = "" if told else "".join(f"<li>{escape(text)}</li>" for text in verdict.problems)
        items.append(
            f'<li class="{verdict.outcome}"><span class="badge">{verdict.outcome}</span>'
            f"<div><b>{escape(verdict.checker)}</b> <span>{escape(verdict.summary)}</span>"
            f"<small>rests on {count(verdict.checked, 'fact')}</small>"
            f"{f'<ol>{problems}</ol>' if problems else ''}</div></li>"
        )
    return f'<ul class="verdicts">{"".join(items)}</ul>'


def fault_table(faults: Sequence[FaultRecord]) -> str:
    """Every fault: what, on whom, when, and what shows that it bit."""
    if not faults:
        return '<p class="empty">No faults were injected.</p>'
    rows = []
    for fault in faults:
        until = "the end" if fault.until_ns is None else seconds(fault.until_ns)
        lasted = "" if fault.until_ns is None else duration(fault.until_ns - fault.from_ns)
        proof = (
            f'<td class="n">{fault.evidence:,}</td><td>{escape(fault.detail)}</td>'
            if fault.evidence
            else f'<td class="n">0</td><td><span class="tag unproven">no evidence that it bit</span> '
            f"{escape(fault.detail)}</td>"
        )
        link = f"#from={fault.from_ns / 1e9:.6f}"
        if fault.until_ns is not None:
            margin_ns = max((fault.until_ns - fault.from_ns) // 2, 50_000_000)
            link = f"#from={(fault.from_ns - margin_ns) / 1e9:.6f}&amp;to={(fault.until_ns + margin_ns) / 1e9:.6f}"
        rows.append(
            f'<tr><td><a href="{link}">{escape(fault.kind)}</a></td><td>{escape(", ".join(fault.nodes))}</td>'
            f'<td class="n">{seconds(fault.from_ns)}</td><td class="n">{until}</td>'
            f'<td class="n">{lasted}</td>{proof}</tr>'
        )
    return (
        '<div class="scroll"><table><thead><tr><th>fault</th><th>nodes</th><th class="n">from</th>'
        '<th class="n">until</th><th class="n">lasted</th><th class="n">evidence</th><th>which is</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def operation_table(marks: Iterable[Mark]) -> str:
    """A line per f: how many came back how, and how long those took that came back ok. Notes are counted apart."""
    groups: dict[str, list[Mark]] = {}
    notes: dict[str, int] = {}
    for mark in marks:
        if mark.note:
            notes[mark.first.f] = notes.get(mark.first.f, 0) + 1
        else:
            groups.setdefault(mark.first.f, []).append(mark)
    if not groups and not notes:
        return '<p class="empty">The history is empty.</p>'
    rows = [_operation_row(f, group) for f, group in sorted(groups.items())]
    if len(groups) > 1:
        rows.append(_operation_row("all", [mark for group in groups.values() for mark in group], "total"))
    table = (
        '<div class="scroll"><table><thead><tr><th>f</th><th class="n">operations</th><th class="n">ok</th>'
        '<th class="n">fail</th><th class="n">info</th><th class="n">no answer</th><th>share</th>'
        '<th class="n">p50</th><th class="n">p99</th><th class="n">slowest</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        if groups
        else ""
    )
    noted = ", ".join(f"<b>{escape(f)}</b> {number:,}" for f, number in sorted(notes.items()))
    return table + (f'<p class="sub">Notes of witnesses: {noted}.</p>' if notes else "")


def _operation_row(f: str, group: Sequence[Mark], css: str = "") -> str:
    counts = dict.fromkeys((*OUTCOMES, "none"), 0)
    took: list[int] = []
    for mark in group:
        counts["none" if mark.completed is None else mark.outcome] += 1
        if mark.outcome == "ok" and mark.until_ns is not None:
            took.append(mark.until_ns - mark.from_ns)
    numbers = "".join(
        f'<td class="n">{f"{number:,}" if number else NOTHING}</td>' for number in counts.values()
    )
    p50, p99, slowest = (duration(ns) for ns in latencies(took)) if took else (NOTHING,) * 3
    return (
        f'<tr{f" class={css}" if css else ""}><td>{escape(f)}</td><td class="n">{len(group):,}</td>{numbers}'
        f"<td>{_share(counts['ok'], counts['fail'], counts['info'] + counts['none'])}</td>"
        f'<td class="n">{p50}</td><td class="n">{p99}</td><td class="n">{slowest}</td></tr>'
    )


def _share(ok: int, fail: int, info: int) -> str:
    """A bar of the three outcomes. Drawn as SVG, since the page allows no style attributes."""
    total = ok + fail + info
    left, parts = 0.0, []
    for outcome, number in zip(OUTCOMES, (ok, fail, info), strict=True):
        width = 120 * number / total
        if number:
            parts.append(f'<rect class="{outcome}" x="{left:.1f}" y="0" width="{width:.1f}" height="8"/>')
        left += width
    return f'<svg class="share" width="120" height="8" aria-hidden="true">{"".join(parts)}</svg>'


def latencies(took_ns: Sequence[int]) -> tuple[float, float, float]:
    """p50, p99 and the longest of some latencies, of which there is at least one."""
    if len(took_ns) == 1:
        return took_ns[0], took_ns[0], took_ns[0]
    cuts = quantiles(took_ns, n=100, method="inclusive")
    return cuts[49], cuts[98], max(took_ns)
