"""The report of a run, or of several side by side: one HTML page that needs nothing but a browser.

``write_report`` is the way in. Python brings the data, packed (``pack``); the files beside it make the page of them.
"""

from hpcsim.results.page.document import IS_REPORT, write_report

__all__ = ["IS_REPORT", "write_report"]
