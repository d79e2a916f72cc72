"""Keys: read, held, never shown, scrubbed in every spelling."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import string
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.endpoint import ApiKey, Scrubber, read_key
from batcher.errors import AccountError

TEXT = "sk-Ab/+1234=567890xyz"
KEY = ApiKey(TEXT, variable="MY_KEY")


def test_a_key_shows_itself_nowhere() -> None:
    shown = [repr(KEY), str(KEY), f"{KEY}", f"{KEY!r}", repr([KEY]), repr(Scrubber(KEY)), KEY.description]
    assert all("1234" not in each for each in shown)
    assert KEY.reveal() == TEXT


def test_a_key_cannot_be_written_anywhere() -> None:
    with pytest.raises(TypeError, match="not written"):
        pickle.dumps(KEY)
    with pytest.raises(TypeError):
        json.dumps(KEY)
    with pytest.raises(TypeError, match="not written"):
        copy.deepcopy(KEY)


def test_a_missing_or_empty_key_names_its_variable() -> None:
    for environ in ({}, {"MY_KEY": ""}, {"MY_KEY": " \n"}):
        with pytest.raises(AccountError, match=r"\$MY_KEY"):
            read_key(environ, "MY_KEY")


@pytest.mark.parametrize(
    ("raw", "stripped"),
    [
        (TEXT, None),
        (TEXT + "\n", "ended in a line break"),
        (TEXT + " ", "ended in white space"),
        (" " + TEXT + "\r\n", "began with white space and ended in a line break"),
    ],
)
def test_white_space_at_the_ends_is_stripped_and_reported(raw: str, stripped: str | None) -> None:
    key = read_key({"MY_KEY": raw}, "MY_KEY")
    assert (key.reveal(), key.stripped) == (TEXT, stripped)
    assert f"{len(TEXT)} characters" in key.description


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        ("\n", "a line break"),
        (" ", "a space"),
        ("\u201c", "a curly quote"),
        ("\u00e9", "a non-ASCII character"),
        ("\x07", "a control character"),
        ("\udcff", "a non-ASCII character"),
    ],
)
def test_a_key_with_a_wrong_character_is_refused_without_being_echoed(bad: str, name: str) -> None:
    with pytest.raises(AccountError, match=name) as refused:
        read_key({"MY_KEY": f"secret{bad}words"}, "MY_KEY")
    assert "secret" not in str(refused.value)
    assert "words" not in str(refused.value)
    assert "position 7" in str(refused.value)


@pytest.mark.parametrize(
    "form",
    [
        TEXT,
        quote(TEXT, safe=""),
        quote(TEXT, safe="").lower(),
        TEXT.replace("/", "\\/"),
    ],
)
def test_every_spelling_of_a_key_is_scrubbed(form: str) -> None:
    scrub = Scrubber(KEY)
    assert scrub.text(f"a {form} b {form}") == "a *** b ***"
    assert scrub.bytes(f"a {form} b".encode()) == b"a *** b"


keys = st.text(alphabet=string.ascii_letters + string.digits + "-_/+=.", min_size=16, max_size=60)


@settings(max_examples=150, deadline=None)
@given(text=keys, before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_a_key_inside_base64_is_scrubbed_at_any_offset(text: str, before: bytes, after: bytes) -> None:
    scrub = Scrubber(ApiKey(text, variable="K"))
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        scrubbed = scrub.text(encode(before + text.encode() + after).decode())
        assert "***" in scrubbed
        # What is left encodes at most the bytes before and after, and the key's own ends that share a group with them.
        assert len(scrubbed) - 3 <= 4 * ((len(before) + len(after)) // 3 + 2)


def test_a_key_is_scrubbed_before_anything_is_cut() -> None:
    text = "x" * 1990 + TEXT
    assert "sk-" not in Scrubber(KEY).text(text)[:2000]


def test_a_short_key_is_scrubbed_from_errors_and_never_from_answers() -> None:
    scrub = Scrubber(ApiKey("EMPTY", variable="K"))
    assert scrub.text("Authorization: Bearer EMPTY") == "Authorization: Bearer ***"
    assert scrub.bytes(b"the set is EMPTY") == b"the set is EMPTY"
    assert scrub.bytes(b"wrong key: EMPTY", is_answer=False) == b"wrong key: ***"


def test_without_a_key_nothing_is_scrubbed() -> None:
    scrub = Scrubber(None)
    assert (scrub.text("a"), scrub.bytes(b"a")) == ("a", b"a")
