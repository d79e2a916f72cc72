"""How long something may take, as people write it: "8h", "90m", "1h30m", "45s". Pure.

Days, hours, minutes and seconds, the largest first, each at most once, without blanks; a fraction is fine ("1.5h").
A bare number is refused: nobody would know whether it means seconds or minutes.
"""

from __future__ import annotations

import re

_DURATION = re.compile(
    r"(?:(?P<d>\d+(?:\.\d+)?)d)?(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?",
    re.ASCII,
)
_SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}
_MOST_S = 366 * _SECONDS["d"]
_EXPECTED = 'must be a duration such as "8h", "90m", "1h30m" or "45s"'


def seconds_of(text: object) -> float:
    """The duration in seconds, > 0 and at most a year.

    Raises:
        ValueError: not such a text; the message says what was expected and what was found.
    """
    if not isinstance(text, str):
        raise ValueError(f"{_EXPECTED}, text with a unit")  # noqa: TRY004 - pydantic tells ValueErrors only
    found = _DURATION.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise ValueError(f'{_EXPECTED}, not "{text[:40]}"')
    seconds = sum(float(number) * _SECONDS[unit] for unit, number in found.groupdict().items() if number)
    if not 0 < seconds <= _MOST_S:
        raise ValueError(f'must be more than 0 and at most 366 days, not "{text[:40]}"')
    return seconds
