"""What a campaign means: figures, tables and a page, read from the results directory alone.

:func:`summarise` reads a directory; :func:`table` and :func:`to_json` show the summary in a terminal and to
machines; :func:`write_report` writes the page.
"""

from hil.report.as_json import to_json, without_times
from hil.report.html import write_report
from hil.report.summary import Summary, TaskSummary, summarise
from hil.report.terminal import table

__all__ = ["Summary", "TaskSummary", "summarise", "table", "to_json", "without_times", "write_report"]
