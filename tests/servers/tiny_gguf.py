"""A llama model of one layer with random weights, as a GGUF file: what llama.cpp's server can serve without a download.

Tokens are bytes, so that any text can be read, and what is answered is noise, cut characters included.
"""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CONTEXT, WIDTH, HEADS, INNER = 8192, 32, 4, 64
_U32, _I32, _F32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9  # GGUF's numbers of types
_ALIGNMENT = 32
_BYTES = [f"<0x{value:02X}>" for value in range(256)]
_TOKENS = ["<unk>", "<s>", "</s>", *_BYTES]
_KINDS = [2, 3, 3, *[6] * 256]  # unknown, control, byte


def write_tiny_model(path: Path, *, seed: int = 7) -> None:
    """The same seed makes the same file, about 110 kB."""
    tensors = _tensors(random.Random(seed))
    facts = _facts()
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(facts)) + b"".join(facts)
    blocks, offset = [], 0
    for name, shape, values in tensors:
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)
        blocks.append(_padded(struct.pack(f"<{len(values)}f", *values)))
        offset += len(blocks[-1])
    path.write_bytes(_padded(head) + b"".join(blocks))


def _facts() -> list[bytes]:
    numbers = {
        "llama.context_length": CONTEXT,
        "llama.embedding_length": WIDTH,
        "llama.block_count": 1,
        "llama.feed_forward_length": INNER,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": HEADS,
        "llama.rope.dimension_count": WIDTH // HEADS,
        "llama.vocab_size": len(_TOKENS),
        "general.file_type": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
    texts = {"general.architecture": "llama", "general.name": "tiny", "tokenizer.ggml.model": "llama"}
    scores = struct.pack(f"<{len(_TOKENS)}f", *[0.0] * len(_TOKENS))
    kinds = struct.pack(f"<{len(_KINDS)}i", *_KINDS)
    return [
        *(_text(key) + struct.pack("<I", _STRING) + _text(value) for key, value in texts.items()),
        *(_text(key) + struct.pack("<II", _U32, value) for key, value in numbers.items()),
        # A blank before the first token would not fit the grammar that a schema becomes.
        _text("tokenizer.ggml.add_space_prefix") + struct.pack("<I?", _BOOL, False),
        _text("tokenizer.ggml.add_bos_token") + struct.pack("<I?", _BOOL, True),
        _text("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", _F32, 1e-5),
        _array("tokenizer.ggml.tokens", _STRING, b"".join(map(_text, _TOKENS))),
        _array("tokenizer.ggml.scores", _F32, scores),
        _array("tokenizer.ggml.token_type", _I32, kinds),
    ]


def _tensors(rng: random.Random) -> list[tuple[str, tuple[int, ...], Sequence[float]]]:
    vocabulary = len(_TOKENS)
    squares = ("attn_q", "attn_k", "attn_v", "attn_output")
    shapes = {
        "token_embd.weight": (WIDTH, vocabulary),
        "output.weight": (WIDTH, vocabulary),
        **{f"blk.0.{name}.weight": (WIDTH, WIDTH) for name in squares},
        "blk.0.ffn_gate.weight": (WIDTH, INNER),
        "blk.0.ffn_up.weight": (WIDTH, INNER),
        "blk.0.ffn_down.weight": (INNER, WIDTH),
    }
    norms = ("output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight")
    return [
        *((name, (WIDTH,), [1.0] * WIDTH) for name in norms),
        *((name, (a, b), [rng.gauss(0, 0.3) for _ in range(a * b)]) for name, (a, b) in shapes.items()),
    ]


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def _array(key: str, kind: int, packed: bytes) -> bytes:
    return _text(key) + struct.pack("<IIQ", _ARRAY, kind, len(_TOKENS)) + packed


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % _ALIGNMENT)
