"""Estimates held against what the simulator counts: prompts before anything is sent, totals after 50 tried rows.

    python tests/bench/estimates.py [SEEDS]            20 seeds by default; about 8 minutes on 2 cores
    python tests/bench/estimates.py 1 --whole          one seed, the commands themselves against a simulator as well

Corpora of 2,000 rows: English (docstrings of the standard library), code (its sources), Chinese (sentences put together
from phrases), a mixture of the three, and English with long answers. Lengths of prompts and answers are log-normal. The
many seeds call the simulator's own token function and the estimator's (`reckon`) without processes between them;
`--whole` runs `estimate`, `try -n 50` and `run` as a user would. Tokens are the simulator's `realistic_tokens`, which
share nothing with the estimator's rates.
"""

# ruff: noqa: RUF001 - Chinese signs are meant

from __future__ import annotations

import ast
import asyncio.base_events
import inspect
import json
import random
import subprocess
import sys
import tempfile
import typing
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path

from batcher.cost.book import PriceBook
from batcher.cost.estimate_tokens import prompt_tokens
from batcher.job import JobOptions, load_job
from batcher.records import Usage
from batcher.simulator import SimulatorConfig, launch
from batcher.simulator.answers import Manner, compose_completion
from batcher.verbs.estimate_reckoning import Known, reckon
from batcher.verbs.estimate_rows import Answered, Load, Weighed
from batcher.verbs.trial import chosen

if typing.TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.cost.estimate import Interval

ROWS = 2_000
TRIED = 50
SYSTEM = "You judge a text. Say in a few sentences what it is about and how it is written."

PHRASES = (
    "今天早上我们收到了新的订单", "客户希望尽快得到答复", "这个问题已经解决了", "但是包裹还没有送到",
    "请检查一下系统的设置", "价格比以前高了一些", "工程师正在分析故障的原因", "会议改到下周三下午举行",
    "我们的产品在市场上很受欢迎", "由于天气原因航班取消了", "他认为这个方案不太合适", "数据库的连接出现了错误",
    "学校附近开了一家书店", "人工智能正在改变我们的生活", "请把文件发送到我的邮箱", "公司决定增加研发的投入",
    "她在北京工作了五年", "这种材料既轻又结实", "用户可以在手机上完成付款", "历史博物馆每天九点开门",
    "合同的条款需要重新讨论", "医生建议他多休息几天", "火车站的人非常多", "我对服务的质量不太满意",
)  # fmt: skip


@dataclass(frozen=True)
class Corpus:
    """What rows are made of: `kinds` of text, median characters and spread of prompts, median words of answers."""

    kinds: tuple[str, ...]
    characters: float
    spread: float
    answer_words: str
    short_answers: bool = True


CORPORA = {
    "English": Corpus(("English",), 900, 0.8, "lognormal:45,0.7"),
    "code": Corpus(("code",), 1_200, 0.9, "lognormal:60,0.8"),
    "Chinese": Corpus(("Chinese",), 350, 0.7, "lognormal:45,0.7"),
    "mixed": Corpus(("English", "code", "Chinese"), 700, 0.9, "lognormal:45,0.8"),
    "long answers": Corpus(("English",), 400, 0.8, "lognormal:180,0.9", short_answers=False),
}


@cache
def material(kind: str) -> str:
    """Some hundred kB of text of that kind."""
    modules = [
        asyncio.base_events,
        inspect,
        json,
        random,
        subprocess,
        tempfile,
        typing,
        ast,
    ]
    if kind == "code":
        return "\n".join(inspect.getsource(module) for module in modules)
    if kind == "English":
        members = (
            member for module in modules for name, member in vars(module).items() if name not in {"io", "re"}
        )  # of typing: deprecated
        texts = {inspect.getdoc(member) or "" for member in members if callable(member)}
        return "\n".join(sorted(text for text in texts if len(text) > 200))
    rng = random.Random(1)
    return "".join(rng.choice(PHRASES) + rng.choice(("，", "。", "，", "；")) for _ in range(12_000))


def texts_of(corpus: Corpus, seed: int, rows: int = ROWS) -> Iterator[str]:
    rng = random.Random(f"{corpus}{seed}")
    for _ in range(rows):
        source = material(rng.choice(corpus.kinds))
        wanted = min(len(source) // 2, max(20, int(rng.lognormvariate(0, corpus.spread) * corpus.characters)))
        at = rng.randrange(len(source) - wanted)
        yield source[at : at + wanted]


def requests_of(corpus: Corpus, seed: int, rows: int) -> list[bytes]:
    def body(text: str) -> bytes:
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
        return json.dumps({"model": "m", "messages": messages}, ensure_ascii=False).encode()

    return [body(text) for text in texts_of(corpus, seed, rows)]


def answered(corpus: Corpus, seed: int, rows: int = ROWS) -> list[Answered]:
    """Every row with its weight and what the simulator counts."""
    found, manner = [], Manner(by_words=True, words=corpus.answer_words)
    for body in requests_of(corpus, seed, rows):
        digest = blake2b(body, digest_size=16).digest()
        made = compose_completion(json.loads(body), body, digest, seed, 6, manner)
        usage = Usage(made.prompt_tokens, made.completion_tokens)
        found.append(Answered(prompt_tokens(body), usage, "m", "m", 50.0))
    return found


def reckoned(rows: list[Answered], known: Known) -> Interval:
    job = load_job(
        None, options=JobOptions(input="in.jsonl", output="o.parquet", model="m", prompt="{{ text }}")
    )
    load = Load(len(rows), sum(row.weight for row in rows), unbounded=len(rows))
    weighed = Weighed(len(rows), seen=len(rows), loads={"m": load})
    return reckon(job, weighed, known, PriceBook(), whole=known.is_part).total


@dataclass(frozen=True)
class Off:
    """How far one seed's estimates are off, as shares; and whether the interval of the try holds the truth."""

    estimate: float
    earlier: float
    tried: float
    holds: bool
    width: float
    completions: float


def measure(corpus: Corpus, seed: int, count: int = ROWS) -> Off:
    rows, before = answered(corpus, seed, count), answered(corpus, seed + 1_000, count)
    prompts = sum(row.usage.prompt_tokens or 0 for row in rows)
    total = prompts + sum(row.usage.completion_tokens or 0 for row in rows)
    tried = reckoned(rows, Known([rows[at] for at in chosen(len(rows), TRIED)], is_part=True))
    earlier = reckoned(rows, Known(before))
    assert tried.likely is not None
    assert tried.high is not None
    assert earlier.likely is not None
    return Off(
        estimate=sum(row.weight for row in rows) / prompts - 1,
        earlier=earlier.likely / total - 1,
        tried=tried.likely / total - 1,
        holds=tried.low <= total <= tried.high,
        width=(tried.high - tried.low) / total,
        completions=1 - prompts / total,
    )


def whole(corpus: Corpus, seed: int) -> str:
    """The commands themselves."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lines = (json.dumps({"text": text}) for text in texts_of(corpus, seed))
        (folder / "in.jsonl").write_text("".join(f"{line}\n" for line in lines))
        config = SimulatorConfig(
            seed=seed,
            latency="fixed:0.005",
            realistic_tokens=True,
            answer_words=corpus.answer_words,
            ledger=False,
        )
        simulator = stack.enter_context(launch(config))
        words = [
            "-i",
            "in.jsonl",
            "-o",
            "o.parquet",
            "--model",
            "m",
            "--prompt",
            "{{ text }}",
            "--system",
            SYSTEM,
        ]

        def say(verb: str, *more: str) -> dict[str, object]:
            command = [
                sys.executable,
                "-m",
                "batcher.cli",
                verb,
                *words,
                "--base-url",
                simulator.base_url,
                *more,
            ]
            done = subprocess.run(
                [*command, "--json"], cwd=folder, capture_output=True, text=True, check=True
            )
            found: dict[str, object] = json.loads(done.stdout)
            return found

        before, tried, ran = say("estimate"), say("try", "-n", str(TRIED)), say("run", "--yes")
        truth = simulator.totals()
    prompts, total = truth["prompt_tokens"], truth["prompt_tokens"] + truth["completion_tokens"]
    outlook = tried["outlook"]
    told, said = before["prompt_tokens"], outlook["total_tokens"] if isinstance(outlook, dict) else None
    assert isinstance(told, dict)
    assert isinstance(said, dict)
    assert ran["exit_code"] == 0
    return (
        f"estimate {told['likely'] / prompts - 1:+.1%} of the prompts; try {said['likely'] / total - 1:+.1%} of"
        f" {total:,} ({said['low']:,.0f} to {said['high']:,.0f})"
    )


def main() -> None:
    seeds = int(next((word for word in sys.argv[1:] if word.isdigit()), "20"))
    print("| corpus | completions | estimate, prompts: worst | --from, total: worst | try, total: worst |"
          " interval holds | its width |\n|---|---|---|---|---|---|---|")  # fmt: skip
    for name, corpus in CORPORA.items():
        offs = [measure(corpus, seed) for seed in range(seeds)]
        print(
            f"| {name} | {sum(each.completions for each in offs) / seeds:.0%}"
            f" | {max((each.estimate for each in offs), key=abs):+.1%}"
            f" | {max((each.earlier for each in offs), key=abs):+.1%}"
            f" | {max((each.tried for each in offs), key=abs):+.1%}"
            f" | {sum(each.holds for each in offs)} of {seeds} | {sum(each.width for each in offs) / seeds:.1%} |",
            flush=True,
        )
    if "--whole" in sys.argv:
        for name, corpus in CORPORA.items():
            print(f"{name}: {whole(corpus, 0)}", flush=True)


if __name__ == "__main__":
    main()
