"""Realistic token counts: near published ones, and the same in answers, prompts and over the wire."""

# ruff: noqa: RUF001 - letters of other scripts are what is tested

from __future__ import annotations

import json
from hashlib import blake2b

import pytest

from batcher.simulator.answers import Manner, compose_completion
from batcher.simulator.tokens import count_pieces, pieces

PUBLISHED = {
    "English": (24, "Hello, my name is GPT-4o. I'm a new type of language model, it's nice to meet you!"),
    "German": (
        29,
        "Hallo, mein Name is GPT-4o. Ich bin ein neues KI-Sprachmodell. Es ist schön, dich kennenzulernen.",
    ),
    "Russian": (23, "Привет, меня зовут GPT-4o. Я — новая языковая модель, приятно познакомиться!"),
    "Korean": (
        27,
        "안녕하세요, 제 이름은 GPT-4o입니다. 저는 새로운 유형의 언어 모델입니다, 만나서 반갑습니다!",
    ),
    "Japanese": (26, "こんにちわ、私の名前はGPT−4oです。私は新しいタイプの言語モデルです、初めまして"),
    "Chinese": (24, "你好，我的名字是GPT-4o。我是一种新型的语言模型，很高兴见到你!"),
}
"""Language -> (tokens of o200k_base, text), from OpenAI's announcement of gpt-4o."""


@pytest.mark.parametrize("language", PUBLISHED)
def test_a_text_is_cut_into_about_as_many_tokens_as_published_and_nothing_of_it_is_lost(
    language: str,
) -> None:
    tokens, text = PUBLISHED[language]
    assert count_pieces(text) == pytest.approx(tokens, rel=0.35)
    assert "".join(pieces(text)) == text


def test_answers_have_the_length_that_was_asked_for_and_stop_at_their_maximum() -> None:
    def answer(number: int, **more: object) -> tuple[int, int, str]:
        body = json.dumps(
            {"model": "m", "messages": [{"role": "user", "content": f"row {number}"}], **more}
        ).encode()
        digest = blake2b(body, digest_size=16).digest()
        manner = Manner(by_words=True, words="lognormal:60,0.8")
        made = compose_completion(json.loads(body), body, digest, 1, 6, manner)
        choices = made.content["choices"]
        assert isinstance(choices, list)
        return made.prompt_tokens, made.completion_tokens, choices[0]["message"]["content"]

    lengths = sorted(len(answer(number)[2].split()) for number in range(301))
    assert 48 < lengths[150] < 75
    assert lengths[-1] > 4 * lengths[150], "a few are far longer than most"
    prompt, completion, text = answer(1, max_completion_tokens=5)
    assert (prompt < 20, completion, count_pieces(text)) == (True, 5, 5)
