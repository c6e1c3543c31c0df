"""A page that lists many runs: how they ended, a square for each, and links to the reports that were written.

What must never happen here: a run that is not valid stands below one that is.
"""

from collections.abc import Sequence

from .html import page
from .summary import RunSummary
from .text import count, escape, figure, seconds

FIGURES_LIMIT = 6  # columns; a run's own report has all
_RANK = {"invalid": 0, "unknown": 1, "valid": 2}


def index_page(runs: Sequence[RunSummary], links: Sequence[str | None]) -> str:
    """The list; `links` has, for each run, where its report is (relative to this page), or None when it has none.

    Raises `ValueError` when there are not as many links as runs.
    """
    listed = list(zip(runs, links, strict=True))
    counts = {
        outcome: sum(run.outcome == outcome for run in runs) for outcome in ("valid", "unknown", "invalid")
    }
    worst = next(
        (outcome for outcome in ("invalid", "unknown") if counts[outcome]), "valid" if runs else "unknown"
    )
    workloads = ", ".join(sorted({run.workload for run in runs})) or "no runs"
    tiles = [
        *((outcome, f"{number:,}") for outcome, number in counts.items()),
        ("operations", f"{sum(run.operation_count for run in runs):,}"),
        ("faults", f"{sum(len(run.faults) for run in runs):,}"),
        ("time", seconds(round(sum(run.time_s for run in runs) * 1e9))),
    ]
    shown = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles)
    squares = "".join(_square(run, link) for run, link in listed)
    body = f"""<header class="masthead {worst}">
<p class="brand">quorate <span>runs</span></p>
<div class="headline"><span class="badge big">{worst}</span>
<h1>{escape(workloads)} <span>{count(len(runs), "run")}</span></h1></div>
<dl class="tiles">{shown}</dl>
</header>
<section><h2>Seeds</h2><div class="squares">{squares}</div></section>
<section><h2>Runs</h2>{_table(listed)}</section>"""
    return page(f"{worst}: {count(len(runs), 'run')} of {workloads}", body)


def _square(run: RunSummary, link: str | None) -> str:
    title = escape(f"{_seed(run)}: {run.outcome}")
    if link is None:
        return f'<span class="{run.outcome}" title="{title}"></span>'
    return f'<a class="{run.outcome}" href="{escape(link)}" title="{title}" aria-label="{title}"></a>'


def _table(listed: Sequence[tuple[RunSummary, str | None]]) -> str:
    names: dict[str, None] = {}
    for run, _ in listed:
        names.update(dict.fromkeys(run.figures))
    columns = list(names)[:FIGURES_LIMIT]
    heads = "".join(f'<th class="n">{escape(name)}</th>' for name in columns)
    rows = []
    for run, link in sorted(listed, key=lambda pair: _RANK[pair[0].outcome]):
        seed = escape(_seed(run))
        name = seed if link is None else f'<a href="{escape(link)}">{seed}</a>'
        proven = sum(fault.evidence > 0 for fault in run.faults)
        faults = f"{proven} / {len(run.faults)}"
        cells = "".join(
            f'<td class="n">{escape(figure(run.figures[column]) if column in run.figures else "-")}</td>'
            for column in columns
        )
        rows.append(
            f'<tr><td>{name}</td><td><span class="badge {run.outcome}">{run.outcome}</span></td>'
            f'<td>{escape(run.workload)}</td><td class="n">{run.operation_count:,}</td>'
            f'<td class="n">{faults}</td><td class="n">{seconds(round(run.time_s * 1e9))}</td>{cells}'
            f'<td class="reason">{escape(run.reason)}</td></tr>'
        )
    return (
        '<div class="scroll"><table><thead><tr><th>run</th><th>outcome</th><th>workload</th>'
        '<th class="n">operations</th><th class="n">faults that bit</th><th class="n">time</th>'
        f"{heads}<th>why</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _seed(run: RunSummary) -> str:
    return "no seed" if run.seed is None else f"seed {run.seed}"
