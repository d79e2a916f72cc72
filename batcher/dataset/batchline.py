"""OpenAI Batch lines: ``{"custom_id": …, "method": "POST", "url": "/v1/chat/completions", "body": {…}}``.

Recognised from the first readable line. `body` is kept as JSON text and sent as it is; `custom_id` is
carried as text whatever it is; the host of a url is never looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batcher.dataset.jsonline import Row

BODY, CUSTOM_ID = "body", "custom_id"
_ROUTE = "/chat/completions"


def is_batch_line(row: Row) -> bool:
    return (
        isinstance(row.get(BODY), dict)
        and isinstance(row.get("url"), str)
        and bool({CUSTOM_ID, "method"} & row.keys())
    )


def batch_problem(row: Row) -> str | None:
    """Why this line of a batch file cannot be sent, or None."""
    if not isinstance(row.get(BODY), dict):
        return "the batch line has no body object"
    url = row.get("url")
    if url is not None and not (isinstance(url, str) and url.partition("?")[0].rstrip("/").endswith(_ROUTE)):
        return f"the batch line asks for {str(url)[:200]!r}; only …{_ROUTE} is sent"
    method = row.get("method")
    if method is not None and not (isinstance(method, str) and method.upper() == "POST"):
        return f"the batch line's method is {str(method)[:50]!r}, not POST"
    return None
