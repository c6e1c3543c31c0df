"""The report of one run: one HTML page that carries everything and asks nobody for anything.

Everything that can be read (verdicts, the failing window, tables) is markup made here, so it is there without
scripts; the timeline is drawn by the page's script from the data in it. A content security policy lets exactly the
page's own script and style in, by their hashes. What must never happen here: a reference to the network, or a text of
the run that is not escaped.
"""

import base64
import hashlib
import pkgutil
from typing import Any

from quorate.jepsen_like.record import RunRecord

from .marks import Mark, marks_of, page_data
from .tables import fault_table, latencies, operation_table, verdict_list
from .text import count, duration, embedded, escape, figure, plain, seconds
from .window import window_section

STYLES = ("page.css",)
SCRIPTS = ("model.js", "draw.js", "tracks.js", "page.js")  # one scope, in this order


def render(record: RunRecord) -> str:
    """The whole page: ASCII in its data, UTF-8 in its text; the same record gives the same page."""
    marks = marks_of(record.history)
    seed = "" if record.seed is None else f"seed {record.seed} · "
    body = "\n".join(
        (
            _masthead(record, marks),
            *(window_section(record, window, marks) for window in record.windows),
            f"<section><h2>Verdicts</h2>{verdict_list(record.verdicts)}</section>",
            _timeline(marks),
            f"<section><h2>Faults</h2>{fault_table(record.faults)}</section>",
            f"<section><h2>Operations</h2>{operation_table(marks)}</section>",
            _figures(record.figures),
            _foot(record),
            f'<script type="application/json" id="run">{embedded(page_data(record, marks))}</script>',
        )
    )
    title = f"{record.outcome}: {seed}{plain(record.workload)}"
    script = "(() => {\n'use strict';\n" + "".join(asset(name) for name in SCRIPTS) + "})();\n"
    return page(title, body, script)


def page(title: str, body: str, script: str = "") -> str:
    """A page around this markup, with the shared style, closed to everything but its own script and style."""
    style = "".join(asset(name) for name in STYLES)
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; img-src data:; base-uri 'none'; form-action 'none'"
    )
    if script:
        policy += f"; script-src {_hash(script)}"
    tail = f"<script>{script}</script>\n" if script else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n{tail}</body>\n</html>\n"
    )


def asset(name: str) -> str:
    """The text of a file that is installed beside this module."""
    data = pkgutil.get_data(__name__.rpartition(".")[0], name)
    assert data is not None, f"the installation lacks {name}"
    return data.decode("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def _masthead(record: RunRecord, marks: list[Mark]) -> str:
    told = [verdict.checker for verdict in record.verdicts if verdict.outcome == record.outcome]
    of = (
        f"{', '.join(told)} ({len(told)} of {count(len(record.verdicts), 'checker')})"
        if told
        else "no checker was run"
    )
    seed = "no seed" if record.seed is None else f"seed {record.seed}"
    tiles = "".join(
        f"<div><dt>{name}</dt><dd>{value}{f'<small>{note}</small>' if note else ''}</dd></div>"
        for name, value, note in _tiles(record, marks)
    )
    return f"""<header class="masthead {record.outcome}">
<p class="brand">quorate <span>run report</span></p>
<div class="headline"><span class="badge big">{record.outcome}</span>
<h1>{escape(record.workload)} <span>{seed}</span></h1><p>{escape(of)}</p></div>
{_command(record.command)}
<dl class="tiles">{tiles}</dl>
</header>"""


def _command(command: str) -> str:
    if not command:
        return '<p class="command none">There is no command that runs exactly this again.</p>'
    return (
        f'<div class="command"><span>replay</span><code id="command">{escape(command)}</code>'
        '<button type="button" id="copy" hidden>Copy</button></div>'
    )


def _tiles(record: RunRecord, marks: list[Mark]) -> list[tuple[str, str, str]]:
    operations = [mark for mark in marks if not mark.note]
    took = [m.until_ns - m.from_ns for m in operations if m.outcome == "ok" and m.until_ns is not None]
    proven = sum(fault.evidence > 0 for fault in record.faults)
    terms = {leader.term for leader in record.leaders if leader.leads}
    shares = [
        f"{100 * sum(mark.outcome == outcome for mark in operations) / len(operations):.1f}% {outcome}"
        for outcome in ("ok", "fail", "info")
        if operations
    ]
    tiles = [
        ("operations", f"{len(operations):,}", ", ".join(shares)),
        ("time", seconds(round(record.time_s * 1e9)), "of the run's clock"),
        ("nodes", f"{len(record.nodes)}", f"{count(len(terms), 'term')} with a leader" if terms else ""),
        ("faults", f"{len(record.faults)}", f"{proven} with evidence" if record.faults else ""),
    ]
    if took:
        p50, p99, _ = latencies(took)
        tiles.append(("latency of ok", duration(p50), f"p50; p99 {duration(p99)}"))
    return tiles


def _timeline(marks: list[Mark]) -> str:
    if not marks:
        return '<section><h2>Timeline</h2><p class="empty">The history is empty.</p></section>'
    return """<section class="timeline" id="timeline" tabindex="0" aria-label="timeline">
<div class="bar"><h2>Timeline</h2>
<label class="find"><span>Find</span><input id="find" type="search" autocomplete="off" spellcheck="false"
placeholder="process, key, f or value"></label>
<output id="found"></output>
<span class="buttons"><button type="button" id="in" title="zoom in (+)">+</button><button type="button" id="out"
title="zoom out (-)">&minus;</button><button type="button" id="all" title="show all (0)">All</button></span>
</div>
<div class="legend" id="legend"></div>
<noscript><p class="empty">The timeline is drawn by a script, which this browser does not run.</p></noscript>
<div class="tracks" id="tracks"></div>
<p class="hint"><kbd>wheel</kbd> zoom <kbd>drag</kbd> choose a span <kbd>shift drag</kbd> or <kbd>&larr;</kbd><kbd>&rarr;</kbd>
move <kbd>+</kbd><kbd>&minus;</kbd> zoom <kbd>0</kbd> all <kbd>/</kbd> find <kbd>click</kbd> keep the details
<kbd>esc</kbd> let go</p>
<p class="details" id="visible"></p>
</section>"""


def _figures(figures: dict[str, Any]) -> str:
    if not figures:
        return ""
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(figure(value))}</dd></div>"
        for name, value in figures.items()
    )
    return f'<section><h2>Figures</h2><dl class="figures">{items}</dl></section>'


def _foot(record: RunRecord) -> str:
    trace = f"trace <code>{escape(record.trace_hash)}</code>" if record.trace_hash else "no trace hash"
    return f"<footer>{trace} <span>{count(len(record.history), 'entry').replace('entrys', 'entries')}</span></footer>"
