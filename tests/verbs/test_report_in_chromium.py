"""The page of a large run with faults as a browser sees it: no error, no request, nothing that leads out."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from report_outputs import night_of_faults

from batcher.verbs.report import default_page, findings_of, write_page

if TYPE_CHECKING:
    from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--enable-logging=stderr",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
BROWSERS_OWN = ("google.com", "googleapis.com", "gstatic.com")
"""Hosts that Chromium itself asks at every start, whatever it is told; here it finds none of them."""
ROWS = 50_000

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


class Seen(NamedTuple):
    """What the browser did with a page.

    Attributes:
        console: lines of its console.
        asked: addresses it asked for, the page's own file left out.
        dom: the document it made of it.
    """

    console: list[str]
    asked: set[str]
    dom: str


def opened(page: Path, folder: Path) -> Seen:
    log = folder / "net.json"
    done = subprocess.run(
        [
            str(CHROMIUM),
            *FLAGS,
            f"--user-data-dir={folder / 'profile'}",
            f"--log-net-log={log}",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    events: list[dict[str, Any]] = json.loads(log.read_text())["events"]
    asked = {str(each.get("params", {}).get("url", "")) for each in events}
    found = {url for url in asked if url.startswith("http") and not is_browsers_own(url)}
    return Seen(console, found, done.stdout)


def is_browsers_own(url: str) -> bool:
    return (urlsplit(url).hostname or "").endswith(BROWSERS_OWN)


def test_the_page_of_50_000_rows_with_faults_opens_without_errors_and_asks_nobody(tmp_path: Path) -> None:
    output = night_of_faults(tmp_path / "labels.parquet", ROWS)
    page = default_page(output)
    write_page(findings_of(output), page)
    assert page.stat().st_size < 1_000_000
    seen = opened(page, tmp_path)
    assert seen.console == []
    assert seen.asked == set()
    assert seen.dom.count("<svg") == 7


def test_this_browser_would_tell(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><img src='http://127.0.0.1:9/x.png'><script>missing()</script>")
    seen = opened(page, tmp_path)
    assert "http://127.0.0.1:9/x.png" in seen.asked
    assert any("missing is not defined" in line for line in seen.console)
