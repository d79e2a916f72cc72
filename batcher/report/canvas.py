"""A small SVG to draw on: elements, axes and texts with classes, no colours (those are the page's, light and dark).

Built as a tree, never as text, so that no name of a model or label can end an attribute or open an element.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final
from xml.etree.ElementTree import Element, SubElement, tostring

from batcher.report.wording import harmless

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batcher.report.scales import Clock, Linear, Tick

WIDTH: Final = 720.0
HEIGHT: Final = 210.0
LEFT: Final = 58.0
MARGIN: Final = 14.0
RIGHT: Final = WIDTH - MARGIN
TOP: Final = 26.0
BOTTOM: Final = HEIGHT - 30.0


class Canvas:
    """One picture with its title and description for screen readers."""

    def __init__(
        self, key: str, title: str, said: str, *, width: float = WIDTH, height: float = HEIGHT
    ) -> None:
        self._right = width - MARGIN
        self._svg = Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "viewBox": f"0 0 {width:g} {height:g}",
                "role": "img",
                "aria-labelledby": f"{key}-title {key}-said",
            },
        )
        SubElement(self._svg, "title", {"id": f"{key}-title"}).text = harmless(title)
        SubElement(self._svg, "desc", {"id": f"{key}-said"}).text = harmless(said)

    def stretch(self) -> None:
        """Fill whatever place there is, without regard to proportions."""
        self._svg.set("preserveAspectRatio", "none")

    def rect(
        self, css: str, *, x: float, y: float, width: float, height: float, tip: str | None = None
    ) -> None:
        at = {"x": _n(x), "y": _n(y), "width": _n(max(0.0, width)), "height": _n(max(0.0, height))}
        drawn = SubElement(self._svg, "rect", {"class": css, **at})
        if tip is not None:
            SubElement(drawn, "title").text = harmless(tip)

    def path(self, css: str, points: Iterable[tuple[float, float]], *, closed: bool = False) -> None:
        """Straight lines through the points."""
        way = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
        if way:
            SubElement(self._svg, "path", {"class": css, "d": f"M{way}{'Z' if closed else ''}"})

    def line(self, css: str, x1: float, y1: float, x2: float, y2: float) -> None:
        self.path(css, [(x1, y1), (x2, y2)])

    def text(self, words: str, *, x: float, y: float, css: str = "tick", anchor: str = "start") -> None:
        at = {"x": _n(x), "y": _n(y), "class": css, "text-anchor": anchor}
        SubElement(self._svg, "text", at).text = harmless(words)

    def y_axis(self, scale: Linear, *, name: str, unit: str = "") -> None:
        """Grid lines with their values, and what they count above them."""
        for tick in scale.ticks(unit=unit):
            css = "axis" if abs(tick.at - scale.low) < 0.1 else "grid"
            self.line(css, LEFT, tick.at, self._right, tick.at)
            self.text(tick.text, x=LEFT - 8, y=tick.at + 4, anchor="end")
        self.text(name, x=LEFT, y=12, css="name")

    def x_ticks(self, ticks: Iterable[Tick], *, bottom: float = BOTTOM) -> None:
        for tick in ticks:
            self.line("axis", tick.at, bottom, tick.at, bottom + 5)
            is_last = tick.at > self._right - 20
            anchor = "end" if is_last else "start" if tick.at < LEFT + 8 else "middle"
            self.text(tick.text, x=self._right if is_last else tick.at, y=bottom + 19, anchor=anchor)

    def time_axis(self, clock: Clock) -> None:
        """Round times, and a mark where a quiet spell was left out."""
        self.x_ticks(clock.ticks())
        places = clock.places()
        for (_, _, end), (_, start, _) in pairwise(places):
            middle = (end + start) / 2
            self.rect("gap", x=end, y=TOP, width=start - end, height=BOTTOM - TOP, tip="nothing came in")
            for x in (middle - 3, middle + 3):
                self.line("axis", x - 3, BOTTOM + 5, x + 3, BOTTOM - 5)

    def __str__(self) -> str:
        return tostring(self._svg, encoding="unicode")


def _n(number: float) -> str:
    """A tenth of a pixel is enough, and keeps pages small."""
    return f"{number:.1f}".removesuffix(".0")
