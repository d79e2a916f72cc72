"""What every request says before its body. Pure.

Checked here, once, so that no library ever has to quote a header in an error message: the key could be in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from batcher import __version__
from batcher.endpoint.payload import ACCEPTED_ENCODINGS
from batcher.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from batcher.endpoint.key import ApiKey

_OWN_HEADERS: Final = frozenset(
    {"host", "authorization", "content-length", "transfer-encoding", "connection", "accept-encoding", "te"}
)


if TYPE_CHECKING:
    Headers = list[tuple[bytes, bytes]]


class Accepting(NamedTuple):
    """What a request may be answered with.

    A stream comes unpacked: packers hold its pieces back, and what comes first could not be told.
    """

    kind: str
    encodings: str


WHOLE: Final = Accepting("application/json", ACCEPTED_ENCODINGS)
STREAM: Final = Accepting("text/event-stream, application/json", "identity")


def request_headers(
    url: httpx.URL, key: ApiKey | None, further: Mapping[str, str], accepting: Accepting = WHOLE
) -> Headers:
    """The headers of every request but its length.

    Raises:
        JobError: one of `further` is not legal or is the endpoint's own; its value is not shown.
    """
    mine = {
        "host": url.netloc.decode("ascii"),
        "content-type": "application/json",
        "accept": accepting.kind,
        "accept-encoding": accepting.encodings,
        "user-agent": f"batcher/{__version__}",
    }
    if key is not None:
        mine["authorization"] = f"Bearer {key.reveal()}"
    for name, value in further.items():
        if name.lower() in _OWN_HEADERS:
            raise JobError(f"endpoint.headers may not set {name!r}: the endpoint sets it.")
        if not _is_token(name) or not _is_field_value(value):
            raise JobError(f"endpoint.headers: {name!r} is not a legal header (its value is not shown).")
        mine[name.lower()] = value.strip()
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in mine.items()]


def request_start(url: httpx.URL, headers: Headers) -> bytes:
    """Everything up to the number of the `content-length`, which comes last."""
    lines = [b"POST %b HTTP/1.1" % url.raw_path, *(b"%b: %b" % header for header in headers)]
    return b"\r\n".join([*lines, b"content-length: "])


def _is_token(name: str) -> bool:
    return bool(name) and all(
        each.isascii() and (each.isalnum() or each in "!#$%&'*+-.^_`|~") for each in name
    )


def _is_field_value(value: str) -> bool:
    return all(" " <= each <= "~" or each == "\t" for each in value)
