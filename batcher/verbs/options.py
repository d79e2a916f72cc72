"""What a caller may ask of a session beside the job, as one value."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from batcher.verbs.session import Display, Silence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def _stdin() -> BinaryIO | None:
    return sys.stdin.buffer if sys.stdin is not None else None


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a session works; none of it changes answers.

    Attributes:
        replace: accept another fingerprint than the run's; its answers to unchanged requests are taken over.
        fresh: begin anew and take nothing over.
        reuse: further outputs whose answers may be taken over.
        yes: rows whose stored answer is lost may be bought again.
        simulate: the embedded simulator answers.
        strict: an answer counts only when it is synced.
        stop_on_bad_row: an unusable row stops the run before anything is paid.
        allow_failures: share of rows (0 to 1) that may be not ok with exit code 0.
        state: folder for runs in the making, None for ``.batcher`` beside the output.
        environ: where the key comes from.
        ask: puts a question to the person at the terminal and gives their yes; None where nobody is there.
    """

    replace: bool = False
    fresh: bool = False
    reuse: tuple[str, ...] = ()
    yes: bool = False
    simulate: bool = False
    strict: bool = False
    stop_on_bad_row: bool = False
    allow_failures: float = 0.0
    allow_http: bool = False
    state: Path | None = None
    ask: Callable[[str], bool] | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    stdin: BinaryIO | None = field(default_factory=_stdin)
    display: Display = field(default_factory=Silence)
