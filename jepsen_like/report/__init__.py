"""Reports: what is left of a run for people and for machines, as pure functions from records to text.

    text = render(record)                       # one HTML page: opens from a file, needs no network
    run = summarise(record)                     # what the summaries of many runs are made from; small, can be pickled
    json_lines([run]), junit([run])             # one JSON document, one testcase per run
    index_page([run], [report_name(run)])       # a page that lists the runs and links to their reports

The authority over every figure here is the `RunRecord`; a report adds nothing to it and judges nothing. What must
never happen here: a report that leaves out an operation, a fault or a problem without saying so, a text of a history
that becomes markup or script, or two different pages for one record. No file is written: the caller does that.
"""

from .html import render
from .index import index_page
from .summary import RunSummary, document, json_lines, junit, report_name, summarise

__all__ = [
    "RunSummary",
    "document",
    "index_page",
    "json_lines",
    "junit",
    "render",
    "report_name",
    "summarise",
]
