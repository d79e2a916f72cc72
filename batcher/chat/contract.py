"""What an answer must be, by what the job asked for, and whether one is that.

A contract is made once per job and checked before anything is sent; `fit` is pure and raises nothing, whatever
a model answers. Rules:

1. `[labels]` or `[request.response_format]` with a schema: the text of the answer must be JSON that satisfies
   it. ``json_object``: any JSON object.
2. Tools: every call must be of a tool that was given, with arguments that satisfy the tool's schema. No call
   is fine unless ``tool_choice`` demanded one; then rule 1 applies, if there is a schema too.
3. JSON alone, or in a code fence that is the whole text (flagged). For a single label also the bare word.
4. Of further completions (``n``) only the first is looked at: it is the row's answer.

Never follows a reference that leads out of the schema: what a job asks for stands in the job. What does not
fit is never mended, because a made-up value in a data set is worse than a row that says it failed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jsonschema_rs

from batcher.chat.json_text import NotJson, json_in, unfenced
from batcher.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.records import Answer

MAX_PROBLEM_CHARS = 2000
"""As for every error message in the output."""

_MOST_ERRORS = 10
_MAX_ERROR_CHARS = 300
NO_TEXT = "there is no text in the answer"


class Fit(NamedTuple):
    """What an answer holds.

    Attributes:
        problem: why it does not satisfy the contract, None when it does.
        value: the validated JSON that becomes columns; None where there is none.
        parsed: the validated JSON as text.
        warnings: words for the ``warnings`` column.
    """

    problem: str | None = None
    value: object = None
    parsed: str | None = None
    warnings: tuple[str, ...] = ()


class Contract(Protocol):
    """What answers must be."""

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """JSON schema of `Fit.value`; None where it may be anything."""
        ...

    def fit(self, answer: Answer) -> Fit:
        """Hold an answer against it. Raises nothing."""
        ...


class Check(Protocol):
    """A compiled schema."""

    def errors(self, value: object) -> str | None:
        """What is wrong with the value, at most `MAX_PROBLEM_CHARS`; None when nothing is."""
        ...


@dataclass(frozen=True, slots=True)
class SchemaCheck:
    """A JSON schema, compiled; made by `compiled`."""

    validator: jsonschema_rs.Validator

    def errors(self, value: object) -> str | None:
        # ValueError: a pattern whose matching exploded, or a value nested deeper than the library goes.
        try:
            if self.validator.is_valid(value):
                return None
            found = []
            for error in self.validator.iter_errors(value):
                found.append(f"{_place(error.instance_path)}: {error.message[:_MAX_ERROR_CHARS]}")
                if len(found) == _MOST_ERRORS:
                    break
        except (ValueError, RecursionError) as err:
            return f"cannot be checked: {err}"[:MAX_PROBLEM_CHARS]
        return "; ".join(found)[:MAX_PROBLEM_CHARS]


@dataclass(frozen=True, slots=True)
class ObjectCheck:
    """Any JSON object."""

    def errors(self, value: object) -> str | None:
        return None if isinstance(value, dict) else "/: is not an object"


ANY_OBJECT = ObjectCheck()


def compiled(schema: Mapping[str, Any], *, where: str) -> SchemaCheck:
    """A schema made ready.

    Args:
        schema: JSON Schema, any draft; without ``$schema`` it is 2020-12.
        where: the job's key, for the message.

    Raises:
        JobError: it is no schema, or refers to something outside itself.
    """

    def refuse(uri: str) -> jsonschema_rs.JSONType:
        raise ValueError(f"{uri} leads out of the schema; only #/… references are followed")

    try:
        return SchemaCheck(jsonschema_rs.validator_for(dict(schema), retriever=refuse))
    except (ValueError, RecursionError) as err:
        said = str(err).splitlines()[0][:_MAX_ERROR_CHARS] if str(err) else "nested too deeply"
        raise JobError(f"{where} is not a usable JSON schema: {said}") from err


def _place(path: list[str | int]) -> str:
    """A JSON pointer."""
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return "/" + "/".join(steps)


@dataclass(frozen=True, slots=True)
class TextContract:
    """The answer's text is JSON.

    Attributes:
        bare: for a single label its name and its words: one of them alone is an answer too.
    """

    check: Check
    schema: Mapping[str, Any] | None = None
    bare: tuple[str, frozenset[str]] | None = None

    def fit(self, answer: Answer) -> Fit:
        text = answer.completion
        if text is None or not text.strip():
            return Fit(NO_TEXT)
        if self.bare is not None:
            name, words = self.bare
            word = unfenced(text).strip()
            if word in words:
                return Fit(None, {name: word})
        try:
            found = json_in(text)
        except NotJson as err:
            return Fit(str(err))
        value = found.value
        if self.bare is not None and isinstance(value, str):
            value = {self.bare[0]: value}
        problem = self.check.errors(value)
        if problem is not None:
            return Fit(problem, warnings=found.warnings)
        return Fit(None, value, found.text, found.warnings)


@dataclass(frozen=True, slots=True)
class NoContract:
    """Any answer will do."""

    schema: Mapping[str, Any] | None = field(default=None, init=False)

    def fit(self, answer: Answer) -> Fit:  # noqa: ARG002
        return Fit()


ANYTHING = NoContract()
