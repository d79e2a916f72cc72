"""Pure: a simple regular expression to a text that matches it.

Knows literals, classes, escapes, groups, alternatives and quantifiers; anything else (look-around,
back-references) gives None. The caller checks the result with `re`. Own and small because `re`'s parser is
private.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batcher.simulator.dice import Dice

DIGITS = "0123456789"
LOWER = "abcdefghijklmnopqrstuvwxyz"
CLASSES = {"d": DIGITS, "w": LOWER + DIGITS, "s": " ", "D": LOWER, "W": "-", "S": LOWER}
PRINTABLE = LOWER + LOWER.upper() + DIGITS + " -_.,"
MOST_REPEATS = 4  # of an open-ended quantifier


class _UnknownSyntaxError(Exception):
    pass


def match_pattern(pattern: str, dice: Dice) -> str | None:
    """A text that matches, or None where the pattern is beyond this module."""
    try:
        text, end = _alternatives(pattern, 0, dice)
    except (_UnknownSyntaxError, IndexError):
        return None
    return text if end == len(pattern) else None


def _alternatives(pattern: str, at: int, dice: Dice) -> tuple[str, int]:
    branches = []
    while True:
        text, at = _sequence(pattern, at, dice)
        branches.append(text)
        if at >= len(pattern) or pattern[at] != "|":
            return dice.pick(branches), at
        at += 1


def _sequence(pattern: str, at: int, dice: Dice) -> tuple[str, int]:
    pieces: list[str] = []
    while at < len(pattern) and pattern[at] not in "|)":
        start = at
        piece, at = _atom(pattern, at, dice)
        least, most, at = _quantifier(pattern, at)
        repeats = least + dice.below(most - least + 1)
        pieces += [piece] if repeats else []
        pieces += [_atom(pattern, start, dice)[0] for _ in range(repeats - 1)]
    return "".join(pieces), at


def _atom(pattern: str, at: int, dice: Dice) -> tuple[str, int]:
    char = pattern[at]
    if char in "^$":
        return "", at + 1
    if char == ".":
        return dice.pick(PRINTABLE), at + 1
    if char == "\\":
        return _escaped(pattern[at + 1], dice), at + 2
    if char == "[":
        return _character_class(pattern, at + 1, dice)
    if char == "(":
        inner = at + 3 if pattern.startswith("(?:", at) else at + 1
        if pattern[inner] == "?":
            raise _UnknownSyntaxError
        text, end = _alternatives(pattern, inner, dice)
        return text, end + 1
    if char in "*+?{":
        raise _UnknownSyntaxError
    return char, at + 1


def _escaped(char: str, dice: Dice) -> str:
    if char in CLASSES:
        return dice.pick(CLASSES[char])
    if char.isalnum():
        raise _UnknownSyntaxError
    return char


def _character_class(pattern: str, at: int, dice: Dice) -> tuple[str, int]:
    negated = pattern[at] == "^"
    at += negated
    chars = ""
    while pattern[at] != "]" or not chars:
        if pattern[at] == "\\":
            chars += CLASSES.get(pattern[at + 1], pattern[at + 1])
            at += 2
        elif pattern[at + 1] == "-" and pattern[at + 2] != "]":
            chars += "".join(
                map(chr, range(ord(pattern[at]), min(ord(pattern[at + 2]), ord(pattern[at]) + 200) + 1))
            )
            at += 3
        else:
            chars += pattern[at]
            at += 1
    allowed = [c for c in PRINTABLE if c not in chars] if negated else list(chars)
    if not allowed:
        raise _UnknownSyntaxError
    return dice.pick(allowed), at + 1


def _quantifier(pattern: str, at: int) -> tuple[int, int, int]:
    """Least and most repeats, and where to go on."""
    found = re.compile(r"([*+?])|\{(\d+)(,?)(\d*)\}").match(pattern, at)
    if found is None:
        return 1, 1, at
    end = found.end() + (pattern[found.end() : found.end() + 1] == "?")  # lazy: the same texts match
    if found[1]:
        least = int(found[1] == "+")
        return least, 1 if found[1] == "?" else MOST_REPEATS, end
    least = int(found[2])
    most = int(found[4]) if found[4] else least + MOST_REPEATS if found[3] else least
    return least, most, end
