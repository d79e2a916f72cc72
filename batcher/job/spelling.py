"""Which name was meant: distances between names, and the parameters that servers are known to take.

Why a list: an unknown key of `[request]` is sent as it stands, so that tomorrow's parameter works today, but
`temperatur = 0` must not be sent, ignored by the server, and paid for with another temperature. The rule:

1. a parameter in `API_PARAMETERS` passes through;
2. a name that equals a known one but for case, hyphens and underscores is refused (`maxTokens`, `top-p`);
3. a slip of a known one is refused: one edit up to 5 letters, two beyond, or only its beginning (`temp`);
4. any other name passes through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

SHORT_NAME = 5

OPENAI = """
audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens
metadata modalities model n parallel_tool_calls prediction presence_penalty prompt_cache_key
prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier stop store
stream temperature tool_choice tools top_logprobs top_p user verbosity web_search_options
"""
VLLM_SGLANG = """
add_generation_prompt add_special_tokens allowed_token_ids bad_words best_of cache_salt chat_template
chat_template_kwargs continue_final_message detokenize documents early_stopping echo ebnf guided_choice
guided_decoding_backend guided_grammar guided_json guided_regex ignore_eos include_reasoning
include_stop_str_in_output length_penalty logits_processors lora_path min_p min_tokens mm_processor_kwargs
no_stop_trim priority prompt_logprobs regex repetition_penalty request_id return_token_ids
return_tokens_as_token_ids separate_reasoning skip_special_tokens spaces_between_special_tokens
stop_token_ids stream_reasoning structured_outputs thinking_token_budget top_k truncate_prompt_tokens
use_beam_search vllm_xargs
"""
LLAMA_CPP_OLLAMA = """
cache_prompt dry_allowed_length dry_base dry_multiplier dry_penalty_last_n dry_sequence_breakers
dynatemp_exponent dynatemp_range format grammar id_slot json_schema keep_alive min_keep mirostat
mirostat_eta mirostat_tau n_discard n_keep n_predict n_probs num_ctx num_predict options penalize_nl raw
reasoning_format repeat_last_n repeat_penalty samplers t_max_predict_ms tfs_z think thinking_forced_open
timings_per_token top_n_sigma typical_p xtc_probability xtc_threshold
"""
GATEWAYS = """
allowed_openai_params cache caching data_sources deferred drop_params enable_search enable_thinking
fallbacks guardrails include mock_response models num_retries plugins prefix prompt_mode
provider random_seed reasoning reasoning_split route safe_prompt safety_settings search_options
search_parameters session_id tags thinking thinking_budget thinking_config top_a trace transforms usage
vl_high_resolution_images
"""
"""OpenRouter, LiteLLM, xAI, DeepSeek, Qwen, Mistral, Anthropic and Gemini through compatible endpoints."""

API_PARAMETERS = frozenset(f"{OPENAI} {VLLM_SGLANG} {LLAMA_CPP_OLLAMA} {GATEWAYS}".split())
"""Parameters of chat-completions endpoints, as their documentation names them; they pass unasked."""


def distance(one: str, other: str) -> int:
    """Edits between two names: insert, delete, replace, or swap neighbours (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, previous, row = row, before, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, previous[j - 2] + 1)
            row.append(cost)
    return row[-1]


def plain(name: str) -> str:
    """The name without case, hyphens, underscores and spaces."""
    return "".join(letter for letter in name.lower() if letter not in "-_ ")


def misspelt(name: str, known: Collection[str]) -> str | None:
    """The known name that `name` is a slip of (rules 2 and 3 above), or None."""
    best = nearest(name, known)
    if best is None:
        return None
    slips = 1 if len(name) <= SHORT_NAME else 2
    is_meant = distance(plain(name), plain(best)) <= slips or plain(best).startswith(plain(name))
    return best if is_meant else None


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name most like `name`: at most a third of it (and three letters) differs, or it begins so.

    None without one; ties go to the name that comes first in the alphabet.
    """
    found = min(((distance(plain(name), plain(other)), other) for other in known), default=None)
    if found is not None and found[0] <= max(1, min(3, len(name) // 3)):
        return found[1]
    begun = sorted(other for other in known if len(name) >= 4 and plain(other).startswith(plain(name)))
    return begun[0] if begun else None


def did_you_mean(name: str, known: Collection[str]) -> str:
    """`; did you mean "x"?`, or nothing."""
    best = nearest(name, known)
    return f'; did you mean "{best}"?' if best is not None else ""
