"""A quick value is a frozen dataclass in everything but the time it takes to build."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace

import pytest

from batcher.quick import quick


@quick
@dataclass(frozen=True, slots=True)
class Quick:
    one: int
    two: str = "two"
    many: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plain:
    one: int
    two: str = "two"
    many: list[int] = field(default_factory=list)


BUILT = [((1,), {}), ((1, "x"), {}), ((), {"one": 1, "many": [3]}), ((1, "x", [2]), {})]


@pytest.mark.parametrize(("args", "keywords"), BUILT)
def test_it_is_built_as_the_plain_one_is(args: tuple[object, ...], keywords: dict[str, object]) -> None:
    mine, theirs = Quick(*args, **keywords), Plain(*args, **keywords)  # type: ignore[arg-type]
    assert type(mine) is Quick
    assert repr(mine) == repr(theirs).replace("Plain", "Quick")
    assert mine == Quick(*args, **keywords)  # type: ignore[arg-type]
    assert mine != Quick(2)


def test_it_is_frozen_and_has_no_room_for_more() -> None:
    value = Quick(1)
    with pytest.raises(FrozenInstanceError):
        value.one = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del value.two
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        value.more = 1  # type: ignore[attr-defined]
    assert value == Quick(1)


def test_it_can_be_replaced_copied_pickled_and_hashed() -> None:
    value = Quick(1, "x", [1])
    assert replace(value, one=2) == Quick(2, "x", [1])
    assert copy.copy(value) == copy.deepcopy(value) == value
    assert pickle.loads(pickle.dumps(value)) == value
    assert hash(Quick(1, many=())) == hash(Quick(1, many=()))  # type: ignore[arg-type]
    assert [each.name for each in fields(Quick)] == ["one", "two", "many"]


def test_a_default_factory_makes_a_value_of_its_own_each_time() -> None:
    assert Quick(1).many is not Quick(1).many


@pytest.mark.parametrize(("args", "keywords"), [((), {}), ((1, 2, 3, 4), {}), ((1,), {"three": 3})])
def test_wrong_arguments_are_refused(args: tuple[object, ...], keywords: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        Quick(*args, **keywords)  # type: ignore[arg-type]
