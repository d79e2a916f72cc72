"""Tokens by script, held against token counts that others published."""

# ruff: noqa: RUF001 - letters of other scripts are what is tested

from __future__ import annotations

import json

import pytest

from batcher.cost.estimate_tokens import PER_IMAGE, PER_IMAGE_LOW, prompt_tokens, text_tokens

PUBLISHED = {
    "English": (24, "Hello, my name is GPT-4o. I'm a new type of language model, it's nice to meet you!"),
    "German": (
        29,
        "Hallo, mein Name is GPT-4o. Ich bin ein neues KI-Sprachmodell. Es ist schön, dich kennenzulernen.",
    ),
    "Spanish": (
        26,
        "Hola, me llamo GPT-4o. Soy un nuevo tipo de modelo de lenguaje, ¡es un placer conocerte!",
    ),
    "Turkish": (
        30,
        "Merhaba, benim adım GPT-4o. Ben yeni bir dil modeli türüyüm, tanıştığımıza memnun oldum!",
    ),
    "Vietnamese": (
        30,
        "Xin chào, tên tôi là GPT-4o. Tôi là một loại mô hình ngôn ngữ mới, rất vui được gặp bạn!",
    ),
    "Russian": (23, "Привет, меня зовут GPT-4o. Я — новая языковая модель, приятно познакомиться!"),
    "Arabic": (26, "مرحبًا، اسمي جي بي تي-4o. أنا نوع جديد من نموذج اللغة، سررت بلقائك!"),
    "Hindi": (31, "नमस्ते, मेरा नाम जीपीटी-4o है। मैं एक नए प्रकार का भाषा मॉडल हूँ। आपसे मिलकर अच्छा लगा!"),
    "Korean": (
        27,
        "안녕하세요, 제 이름은 GPT-4o입니다. 저는 새로운 유형의 언어 모델입니다, 만나서 반갑습니다!",
    ),
    "Japanese": (26, "こんにちわ、私の名前はGPT−4oです。私は新しいタイプの言語モデルです、初めまして"),
    "Chinese": (24, "你好，我的名字是GPT-4o。我是一种新型的语言模型，很高兴见到你!"),
}
"""Language -> (tokens of o200k_base, text): the sentence of OpenAI's announcement of gpt-4o, as published there."""


@pytest.mark.parametrize("language", PUBLISHED)
def test_a_sentence_of_any_script_is_within_30_percent_of_its_published_count(language: str) -> None:
    tokens, text = PUBLISHED[language]
    assert text_tokens(text) == pytest.approx(tokens, rel=0.3)


def test_english_prose_has_about_four_and_a_half_characters_per_token() -> None:
    text = (
        "The customer has already tried the obvious steps without success. It would help to know which version was"
        " in use at the time, and whether the order left the warehouse late.\n"
    )
    assert len(text) / text_tokens(text) == pytest.approx(
        4.38, rel=0.1
    )  # published for 6.09 million characters


def test_chinese_is_not_counted_as_four_characters_per_token() -> None:
    text = PUBLISHED["Chinese"][1] * 20
    assert text_tokens(text) > 2 * len(text) / 4


def test_what_is_weighed_is_what_the_model_sees_and_not_the_json_around_it() -> None:
    def body(content: object, **more: object) -> bytes:
        return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}], **more}).encode()

    plain = prompt_tokens(body("say this"))
    assert prompt_tokens(body([{"type": "text", "text": "say this"}])) == plain
    assert prompt_tokens(body("say this", temperature=0.5, user="x" * 500)) == plain
    assert (
        prompt_tokens(body("say this", tools=[{"type": "function", "function": {"name": "n" * 400}}]))
        > plain + 80
    )
    escaped = "\u0001" * 50  # 6 bytes each in JSON, one character each in the prompt
    assert prompt_tokens(body(escaped)) < 60


def test_an_image_weighs_as_an_image_whatever_its_bytes() -> None:
    def body(size: int, **more: object) -> bytes:
        image = {"url": "data:image/png;base64," + "A" * size, **more}
        parts = [{"type": "image_url", "image_url": image}]
        return json.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]}).encode()

    assert prompt_tokens(body(100)) == prompt_tokens(body(1_000_000)) == pytest.approx(PER_IMAGE, abs=10)
    assert prompt_tokens(body(100, detail="low")) == pytest.approx(PER_IMAGE_LOW, abs=10)


@pytest.mark.parametrize(
    "body", [b"not json", b"[1]", b"{}", b'{"messages": 3}', b'{"messages": [3, {"content": 4}]}']
)
def test_a_body_that_is_no_chat_completion_still_weighs_something(body: bytes) -> None:
    assert prompt_tokens(body) > 0
