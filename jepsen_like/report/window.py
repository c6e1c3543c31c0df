"""The failing window, drawn big: the few operations that no order explains, one column per entry, not to scale.

Time in a window is mostly empty, so the entries stand at equal distances in the order of the history, with their
times below. What must never happen here: an entry of the window that is neither drawn nor listed.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from quorate.jepsen_like.history import Op
from quorate.jepsen_like.record import FaultRecord, RunRecord, Window

from .marks import Mark, window_marks
from .text import brief, count, escape, plain, seconds

GUTTER = 104
ROW = 58
FAULT_ROW = 22
CHAR = 7.3  # width of a character of the drawing's font
WIDTH = 1100  # what a window takes at least
FAULTS_LIMIT = 8  # drawn; the rest is in the table of faults
DRAWN_LIMIT = (
    60  # operations drawn: those that began last before the culprit; the rest is in the table of entries
)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where entries stand: `columns` has the place of each index, `times_ns` their times in that order."""

    columns: dict[int, int]
    times_ns: tuple[int, ...]
    step: float

    def x(self, index: int) -> float:
        return GUTTER + 24 + self.columns[index] * self.step

    @property
    def right(self) -> float:
        return GUTTER + 24 + len(self.columns) * self.step

    def x_of_time(self, time_ns: int) -> float:
        """Between the entries around it, in proportion."""
        place = bisect_right(self.times_ns, time_ns)
        if place == 0:
            return GUTTER + 4
        if place == len(self.times_ns):
            return self.right
        before, after = self.times_ns[place - 1], self.times_ns[place]
        return GUTTER + 24 + (place - 1 + (time_ns - before) / (after - before)) * self.step


def window_section(record: RunRecord, window: Window, marks: Sequence[Mark]) -> str:
    """The window as HTML: why, the drawing, what went on then, its entries."""
    members = window_marks(window, marks)
    if not members:
        return (
            f'<section class="window"><h2>What cannot be explained</h2>'
            f'<p class="why">{escape(window.why)}</p></section>'
        )
    from_ns = min(mark.from_ns for mark in members)
    until_ns = max(mark.from_ns if mark.until_ns is None else mark.until_ns for mark in members)
    margin_ns = max((until_ns - from_ns) // 6, 1_000_000)
    link = (
        f"#from={(from_ns - margin_ns) / 1e9:.6f}&amp;to={(until_ns + margin_ns) / 1e9:.6f}"
        f"&amp;entry={window.culprit}"
    )
    of = f" of <code>{escape(window.key)}</code>" if window.key is not None else ""
    faults = [
        fault
        for fault in record.faults
        if fault.from_ns <= until_ns and (fault.until_ns is None or fault.until_ns >= from_ns)
    ]
    drawn = _nearest(window, members)
    more = ""
    if (faults_left := len(faults) - FAULTS_LIMIT) > 0:
        more += (
            f'<p class="sub">{count(faults_left, "more fault")} of that time: see the table of faults.</p>'
        )
    if members_left := len(members) - len(drawn):
        more += f'<p class="sub">{count(members_left, "operation")} not drawn: see the entries.</p>'
    told = (
        "no order of them gives these answers"
        if len(members) > 1
        else "nothing else that happened explains it"
    )
    return f"""<section class="window">
<h2>What cannot be explained</h2>
<p class="why">{escape(window.why)}</p>
<p class="sub">{count(len(members), "operation")}{of} between {seconds(from_ns)} and {seconds(until_ns)};
{told}. Entries stand in the order in which they were recorded, not to scale.
<a href="{link}">Show in the timeline</a></p>
<div class="drawing" tabindex="0" role="group" aria-label="the operations of the window">
{_drawing(window, drawn, faults[:FAULTS_LIMIT])}
</div>
{more}{_entries(window, members)}
</section>"""


def _nearest(window: Window, members: Sequence[Mark]) -> list[Mark]:
    """The operations to draw: all if they are few, else the culprit and those that began last before it answered."""
    if len(members) <= DRAWN_LIMIT:
        return list(members)
    before = [mark for mark in members if mark.first.index <= window.culprit]
    near = {mark.indices for mark in before[-DRAWN_LIMIT:]}
    return [mark for mark in members if mark.indices in near or window.culprit in mark.indices]


def _drawing(window: Window, members: Sequence[Mark], faults: Sequence[FaultRecord]) -> str:
    entries = sorted(
        (op for mark in members for op in (mark.invoked, mark.completed) if op is not None),
        key=lambda op: op.index,
    )
    step = max(66.0, (WIDTH - GUTTER - 48) / len(entries))
    times: list[int] = []
    for op in entries:
        times.append(max(op.time_ns, times[-1] if times else op.time_ns))
    scale = _Scale({op.index: n for n, op in enumerate(entries)}, tuple(times), step)
    rows = list(dict.fromkeys(mark.first.process for mark in members))
    top = FAULT_ROW * len(faults) + (8 if faults else 0)
    width, height = scale.right + 24, top + ROW * len(rows) + 44
    opening = (
        f'<svg width="{width:.0f}" height="{height}" viewBox="0 0 {width:.0f} {height}" role="img" '
        f'aria-label="{escape(window.why)}">'
    )
    parts = [opening]
    bottom = top + ROW * len(rows)
    parts += [_fault(fault, scale, n * FAULT_ROW, bottom) for n, fault in enumerate(faults)]
    for op in entries:
        parts.append(_tick(op, scale, top, bottom, entries[0].time_ns, op.index == window.culprit))
    for n, process in enumerate(rows):
        y = top + n * ROW
        parts.append(f'<line class="rule" x1="0" x2="{width:.0f}" y1="{y}" y2="{y}"/>')
        label = plain(str(process))
        shown = label if len(label) <= 13 else label[:12] + "…"
        parts.append(
            f'<text class="row" x="4" y="{y + 38}">{escape(shown)}<title>{escape(label)}</title></text>'
        )
        own = [mark for mark in members if mark.first.process == process]
        starts = [scale.x(mark.first.index) for mark in own]
        for mark, room_end in zip(own, [*starts[1:], width], strict=True):
            parts.append(_operation(mark, scale, y, room_end, window.culprit in mark.indices))
    parts.append(f'<line class="rule" x1="0" x2="{width:.0f}" y1="{bottom}" y2="{bottom}"/></svg>')
    return "\n".join(parts)


def _fault(fault: FaultRecord, scale: _Scale, y: int, bottom: int) -> str:
    left = scale.x_of_time(fault.from_ns)
    right = scale.right if fault.until_ns is None else scale.x_of_time(fault.until_ns)
    text = f"{fault.kind} {', '.join(fault.nodes)}"
    proof = fault.detail if fault.evidence else "no evidence that it bit"
    return (
        f'<g class="fault{"" if fault.evidence else " unproven"}">'
        f"<title>{escape(text)}: {fault.evidence} {escape(proof)}</title>"
        f'<rect class="shade" x="{left:.1f}" y="{y}" width="{right - left:.1f}" height="{bottom - y}"/>'
        f'<rect class="band" x="{left:.1f}" y="{y + 2}" width="{right - left:.1f}" height="{FAULT_ROW - 5}" rx="2"/>'
        f'<text x="{max(left, GUTTER) + 6:.1f}" y="{y + 15}">{escape(text)}</text></g>'
    )


def _tick(op: Op, scale: _Scale, top: int, bottom: int, origin_ns: int, culprit: bool) -> str:
    x = scale.x(op.index)
    after_ms = (op.time_ns - origin_ns) / 1e6
    return (
        f'<g class="tick{" culprit" if culprit else ""}">'
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom + 6}"/>'
        f'<text x="{x:.1f}" y="{bottom + 19}">#{op.index}</text>'
        f'<text class="time" x="{x:.1f}" y="{bottom + 34}">{_offset(after_ms)}</text></g>'
    )


def _offset(after_ms: float) -> str:
    if abs(after_ms) >= 10_000:
        return f"+{after_ms / 1000:,.1f} s"
    return f"+{after_ms:,.1f} ms" if abs(after_ms) < 1000 else f"+{after_ms / 1000:.2f} s"


def _operation(mark: Mark, scale: _Scale, y: int, room_end: float, culprit: bool) -> str:
    label = describe(mark)
    left = scale.x(mark.first.index)
    room = int((room_end - left - 6) / CHAR)
    shown = label if len(label) <= room else label[: max(room - 1, 1)] + "…"
    kind = f"op {mark.outcome}{' culprit' if culprit else ''}{' pending' if mark.completed is None else ''}"
    if mark.note:
        shape = f'<path class="bar" d="M{left:.1f} {y + 25}l8 8l-8 8l-8 -8z"/>'
    else:
        right = scale.right if mark.completed is None else scale.x(mark.completed.index)
        shape = (
            f'<rect class="bar" x="{left:.1f}" y="{y + 25}" width="{right - left:.1f}" height="16" rx="3"/>'
        )
    word = mark.outcome if mark.completed is not None else "no answer"
    state = "" if mark.note else f'<text class="in" x="{left + 8:.1f}" y="{y + 37}">{word}</text>'
    return (
        f'<g class="{kind}"><title>{escape(label)}</title>{shape}{state}'
        f'<text x="{left:.1f}" y="{y + 18}">{escape(shown)}</text></g>'
    )


def describe(mark: Mark) -> str:
    """An operation in a line: what was asked, and what came back."""
    op = mark.first
    asked = f"{op.f} {brief(op.value)}" if op.value is not None else op.f
    if mark.note:
        return asked
    if mark.completed is None:
        return f"{asked} → nothing came back"
    answer = brief(mark.completed.value)
    if mark.completed.value == op.value:
        return f"{asked} → {mark.outcome}"
    return f"{asked} → {mark.outcome} {answer}"


def _entries(window: Window, members: Sequence[Mark]) -> str:
    rows = []
    entries = sorted(
        (op for mark in members for op in (mark.invoked, mark.completed) if op is not None),
        key=lambda op: op.index,
    )
    for op in entries:
        chosen = ' class="culprit"' if op.index == window.culprit else ""
        key = "" if op.key is None else escape(op.key)
        value = "" if op.value is None else escape(brief(op.value))
        rows.append(
            f'<tr{chosen}><td class="n">{op.index}</td><td class="n">{op.time_ns / 1e9:,.6f}</td>'
            f'<td>{escape(op.process)}</td><td><span class="tag {op.type}">{op.type}</span></td>'
            f"<td>{escape(op.f)}</td><td>{key}</td><td>{value}</td></tr>"
        )
    body = "\n".join(rows)
    return f"""<div class="scroll"><table class="entries">
<thead><tr><th class="n">entry</th><th class="n">time, s</th><th>process</th><th>type</th><th>f</th><th>key</th>
<th>value</th></tr></thead>
<tbody>
{body}
</tbody></table></div>"""
