"""`cost`: what was spent, from the usage columns of any output and from ledgers.

Files are added up into cells (`cost_rows`), files and ledgers become one account in which every dollar stands once
(`cost_runs`), what no source priced is priced (`cost_prices`), and groups, parts and outlook are sums over cells.
Nothing is locked or changed.
"""

from __future__ import annotations

import calendar
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

from batcher.cost.cells import Cells, Key, Kind, Sums, forecast
from batcher.cost.library import PriceList
from batcher.errors import JobError, LimitReached
from batcher.report.bill import Apart, Bill, Outlook, Spending
from batcher.report.wording import money
from batcher.verbs.cost_layout import parse_map
from batcher.verbs.cost_prices import Pricing, WhatIf, own_prices
from batcher.verbs.cost_rows import Wanted, cells_of
from batcher.verbs.cost_runs import OF_SESSION, Account, day_of, settle_accounts
from batcher.verbs.cost_sources import Found, Search, find_spending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

OK = "ok"
DEFAULT_BY = ("request_model",)
OWN_KEYS: Mapping[str, Callable[[Key], str | None]] = {
    "request_model": lambda key: key.request_model or key.response_model,
    "response_model": lambda key: key.response_model,
    "outcome": lambda key: key.outcome,
    "run_id": lambda key: key.run_id,
    "day": lambda key: key.day.isoformat() if key.day is not None else None,
    "month": lambda key: key.day.isoformat()[:7] if key.day is not None else None,
    "kind": lambda key: key.kind.value,
}
"""What cells are told apart by anyway; any other name of `--by` is a column."""


@dataclass(frozen=True, slots=True)
class CostWish:
    """What is asked for.

    Attributes:
        by: what the table is split by, at least one name.
        month: "2026-11"; None: all.
        named: ``meaning=column,…`` of files that name them differently.
        prices: a TOML file whose `[prices]` win over the list.
        what_if: a model, "batch", or a share such as "50%".
        forecast: whether the month's end is wanted.
        max_usd: more is an error.
        state: the shared state folder, if there is one.
    """

    by: tuple[str, ...] = DEFAULT_BY
    month: str | None = None
    named: str | None = None
    prices: Path | None = None
    what_if: str | None = None
    forecast: bool = False
    max_usd: float | None = None
    state: Path | None = None


class _Month(NamedTuple):
    first: date
    last: date


def cost(paths: tuple[Path, ...], wish: CostWish, *, now: float) -> Bill:
    """What was spent at or below the paths.

    Args:
        paths: outputs, usage files of others, ledgers, folders.
        wish: what is asked for.
        now: seconds since the epoch.

    Raises:
        JobError: nothing is found there, a wish cannot be read, or (`max_usd`) a model that was paid for has no price.
        DatasetError: a file is damaged.
        StorageError: a file cannot be opened.
    """
    today = day_of(now)
    pricing = Pricing(own_prices(wish.prices), today)
    month = _month(wish.month or (today.isoformat()[:7] if wish.forecast else None))
    what_if = WhatIf.parse(wish.what_if, pricing) if wish.what_if is not None else None
    further = tuple(name for name in wish.by if name not in OWN_KEYS)
    found, left_out = find_spending(paths, Search(parse_map(wish.named), further, wish.state)).only_real()
    _refuse_unknown(further, found)
    wanted = Wanted(further, pricing.bounds)
    files = {
        path: _dated(cells_of(path, each.layout, wanted), each.created_at)
        for path, each in found.files.items()
    }
    account = settle_accounts(
        files, found.sessions.values(), found.runs.values(), lost=found.lost, by=further
    )
    books = _Books(account, pricing=pricing, wish=wish, month=month, what_if=what_if, today=today)
    bill = books.bill(found)
    return _with_notes(bill, found, account, simulated_left_out=left_out)


def refuse_if_over(bill: Bill) -> None:
    """The gate before a nightly task.

    Raises:
        JobError: something was paid for at an unknown price, so nobody can say that the limit holds.
        LimitReached: more was spent than `max_usd` allows.
    """
    if bill.max_usd is None:
        return
    spent = bill.total.cost_usd or 0.0
    if bill.is_over:
        where = f" in {bill.month}" if bill.month is not None else ""
        raise LimitReached(
            f"{money(spent)} was spent{where}, more than --max {money(bill.max_usd)}",
            hint="raise --max, or find out what was bought with --by day,request_model",
        )
    if bill.unpriced_models:
        raise JobError(
            f"no price is known for {', '.join(bill.unpriced_models)}, so --max {money(bill.max_usd)} cannot be held",
            hint='give prices with --prices FILE: [prices."MODEL"] with input = and output =',
        )


def _refuse_unknown(further: tuple[str, ...], found: Found) -> None:
    """A name that nothing has is a slip; one that only some files have is none."""
    has = {name for each in found.files.values() for name in each.layout.columns}
    for name in further:
        if f"by:{name}" not in has and not (
            found.sessions and (name in OF_SESSION or name.startswith("tag_"))
        ):
            close = ", ".join(get_close_matches(name, (*OWN_KEYS, *OF_SESSION), n=1))
            raise JobError(
                f"--by {name}: no file has such a column", hint=f"did you mean {close}?" if close else None
            )


def _dated(cells: Cells, created_at: float | None) -> Cells:
    """Rows without a time of their own are of the day on which their run began."""
    if created_at is None:
        return cells
    day, dated = day_of(created_at), Cells()
    for key, sums in cells.items():
        dated.setdefault(key if key.day is not None else key._replace(day=day), Sums()).add(sums)
    return dated


def _month(text: str | None) -> _Month | None:
    if text is None:
        return None
    try:
        first = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError as err:
        raise JobError(f"--month {text}: expected a month such as 2026-11") from err
    return _Month(first, first.replace(day=calendar.monthrange(first.year, first.month)[1]))


@dataclass(slots=True)
class _Group:
    """One line of the table while it is added up."""

    sums: Sums = field(default_factory=Sums)
    ok_rows: int = 0
    usd: float = 0.0
    is_known: bool = False
    unknown: int = 0
    what_if: float | None = 0.0

    def spending(self, by: Mapping[str, str | None], *, has_outcomes: bool, asks: bool) -> Spending:
        return Spending(
            by=by,
            rows=self.sums.rows,
            ok_rows=self.ok_rows if has_outcomes else None,
            prompt_tokens=self.sums.prompt,
            cached_tokens=self.sums.cached,
            completion_tokens=self.sums.output,
            cost_usd=self.usd if self.is_known or not self.unknown else None,
            unknown_rows=self.unknown,
            what_if_usd=self.what_if if asks else None,
        )


class _Books:
    """The account of one wish, cell by cell."""

    def __init__(
        self,
        account: Account,
        *,
        pricing: Pricing,
        wish: CostWish,
        month: _Month | None,
        what_if: WhatIf | None,
        today: date,
    ) -> None:
        self._account = account
        self._pricing = pricing
        self._wish = wish
        self._month = month
        self._what_if = what_if
        self._today = today
        self._cells = {key: sums for key, sums in account.cells.items() if self._is_in(key.day)}
        self._usd = {key: pricing.usd(key, sums) for key, sums in self._cells.items()}

    def bill(self, found: Found) -> Bill:
        has_outcomes = any(key.outcome is not None for key in self._cells)
        groups: dict[tuple[str | None, ...], _Group] = defaultdict(_Group)
        total = _Group()
        for key, sums in self._cells.items():
            for group in (groups[self._name(key)], total):
                self._add(group, key, sums)
        days = sorted(key.day for key, sums in self._cells.items() if key.day is not None and self._usd[key])
        whole = total.spending({}, has_outcomes=has_outcomes, asks=self._what_if is not None)
        ok = total.ok_rows if has_outcomes else total.sums.rows
        return Bill(
            files=len(found.files),
            ledgers=len(found.ledgers),
            first_day=days[0].isoformat() if days else None,
            last_day=days[-1].isoformat() if days else None,
            prices=self._prices(),
            groups=tuple(
                group.spending(
                    dict(zip(self._wish.by, name, strict=True)),
                    has_outcomes=has_outcomes,
                    asks=self._what_if is not None,
                )
                for name, group in sorted(groups.items(), key=self._order)
            ),
            total=whole,
            apart=self._apart(),
            per_thousand_ok_usd=whole.cost_usd / ok * 1000 if ok and whole.cost_usd is not None else None,
            saved_by_cache_usd=self._saved(),
            unpriced_models=self._unpriced(),
            month=self._month.first.isoformat()[:7] if self._month is not None else None,
            what_if=self._what_if.text if self._what_if is not None else None,
            what_if_missing=self._missing(),
            outlook=self._outlook() if self._wish.forecast else None,
            max_usd=self._wish.max_usd,
            is_simulated=any(each.is_simulated for each in found.files.values())
            or any(each.is_simulated for each in found.sessions.values()),
        )

    def _is_in(self, day: date | None) -> bool:
        return self._month is None or (day is not None and self._month.first <= day <= self._month.last)

    def _name(self, key: Key) -> tuple[str | None, ...]:
        further = iter(key.by)
        return tuple(OWN_KEYS[name](key) if name in OWN_KEYS else next(further) for name in self._wish.by)

    def _order(self, named: tuple[tuple[str | None, ...], _Group]) -> tuple[object, ...]:
        """In time where the table is split by it first, else the dearest first."""
        name, group = named
        shown = tuple(each or "" for each in name)
        return shown if self._wish.by[0] in ("day", "month") else (-group.usd, shown)

    def _add(self, group: _Group, key: Key, sums: Sums) -> None:
        usd = self._usd[key]
        if key.kind is Kind.ROWS:
            group.sums.add(sums)
            group.ok_rows += sums.rows if key.outcome == OK else 0
        else:
            group.sums.prompt += sums.prompt
            group.sums.output += sums.output
        group.usd += usd or 0.0
        group.is_known |= usd is not None and usd > 0
        group.unknown += sums.unknown if usd is not None else max(1, sums.rows)
        if self._what_if is not None and group.what_if is not None:
            other = self._what_if.usd(key, sums, self._pricing)
            group.what_if = group.what_if + other if other is not None else group.what_if

    def _apart(self) -> Apart:
        spent: dict[Kind, float] = defaultdict(float)
        not_ok = 0.0
        for key in self._cells:
            usd = self._usd[key] or 0.0
            spent[key.kind] += usd
            not_ok += usd if key.kind is Kind.ROWS and key.outcome not in (None, OK) else 0.0
        lost = {at: count for at, count in self._account.lost.items() if self._is_in(at[1])}
        return Apart(
            not_ok_usd=not_ok,
            tries_usd=spent[Kind.TRY],
            tries=self._account.tries,
            stopped_usd=spent[Kind.STOPPED],
            stopped=self._account.stopped,
            beyond_rows_usd=spent[Kind.BEYOND],
            possibly_paid=sum(lost.values()),
            possibly_paid_usd=self._lost_usd(lost),
        )

    def _lost_usd(self, lost: Mapping[tuple[str, date], int]) -> float | None:
        """Every lost attempt at the dearest one of its run; of all runs where its own is unknown."""
        dearest: dict[str | None, float] = defaultdict(float)
        for key, sums in self._account.cells.items():
            each = sums.dearest_usd if key.is_told else (self._usd.get(key) or 0.0) / max(1, sums.rows)
            for run_id in (key.run_id, None):
                dearest[run_id] = max(dearest[run_id], each)
        if not lost:
            return 0.0
        usd = sum(count * (dearest[run_id] or dearest[None]) for (run_id, _), count in lost.items())
        return usd or None

    def _saved(self) -> float:
        rates = ((sums, self._pricing.rates(key)) for key, sums in self._cells.items() if sums.cached)
        return sum(sums.saved_usd(found) for sums, found in rates if found is not None)

    def _unpriced(self) -> tuple[str, ...]:
        return _models(key for key, usd in self._usd.items() if usd is None and not self._cells[key].unknown)

    def _missing(self) -> tuple[str, ...]:
        if self._what_if is None:
            return ()
        cells = self._cells.items()
        return _models(key for key, sums in cells if self._what_if.usd(key, sums, self._pricing) is None)

    def _outlook(self) -> Outlook | None:
        assert self._month is not None, "a forecast is of a month"
        by_day: dict[date, float] = defaultdict(float)
        for key, usd in self._usd.items():
            if key.day is not None:
                by_day[key.day] += usd or 0.0
        seen = forecast(by_day, first=self._month.first, last=self._month.last, today=self._today)
        if seen is None:
            return None
        return Outlook(
            month=self._month.first.isoformat()[:7],
            usd=seen.usd,
            spent_usd=seen.spent_usd,
            per_day_usd=seen.per_day_usd,
            first_day=seen.first_day.isoformat(),
            days_so_far=seen.days_so_far,
            days_left=seen.days_left,
        )

    def _prices(self) -> str:
        listed = PriceList(self._today)
        newest = listed.newest()
        words = f"{listed.name}, newest price of {newest}" if newest is not None else listed.name
        return f"{self._wish.prices}, then {words}" if self._wish.prices is not None else words


def _models(keys: Iterable[Key]) -> tuple[str, ...]:
    return tuple(sorted({key.response_model or key.request_model or "(no model)" for key in keys}))


def _with_notes(bill: Bill, found: Found, account: Account, *, simulated_left_out: bool) -> Bill:
    notes = [f"{path} is a copy of rows of another file's run; counted once" for path in account.copies]
    if simulated_left_out:
        notes.append("simulated runs were left out: nothing was paid for them")
    if found.without_usage:
        notes.append(f"{found.without_usage:,} files without usage columns were left out")
    undated = sum(sums.usd for key, sums in account.cells.items() if key.day is None)
    if bill.month is not None and undated:
        notes.append(f"{money(undated)} has no date and is in no month")
    if bill.what_if is not None and any(key.kind is not Kind.ROWS for key in account.cells):
        notes.append(
            "what-if prices of sessions without rows count no cached tokens: ledgers do not tell them"
        )
    return replace(bill, notes=tuple(notes))
