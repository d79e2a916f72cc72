"""Error codes, types and texts of real servers, as data, lower case.

Codes and types are compared whole. Texts are searched in `error.message` of an error reply, never in
content, and only at the statuses named beside them: a text is used only where servers leave no choice. A
`*` marks second-hand sources.
"""

from __future__ import annotations

import re
from typing import Final

MONEY_CODES: Final = frozenset(
    {
        "insufficient_quota",  # OpenAI, 429
        "billing_hard_limit_reached",  # OpenAI, 400 and 429
        "billing_not_active",  # OpenAI, 429
        "billing_error",  # Anthropic, 402 *
        "insufficient_balance",  # DeepSeek and its kin, 402 *
        "insufficient_credits",  # OpenRouter resellers, 402 *
        "budget_exceeded",  # LiteLLM proxy, type, 400 and 429: the key's budget, nothing a wait mends soon
        "arrearage",  # Alibaba, 400 *
    }
)
MONEY_CODE_PART: Final = "spend_limit"
"""`*_spend_limit_*` *: organisation, project and key limits share these two words."""

MONEY_TEXTS: Final = (
    "credit balance is too low",  # Anthropic, 400
    "insufficient credits",  # OpenRouter, 402
    "insufficient balance",  # DeepSeek, 402
    "insufficient funds",  # *
    "budget has been exceeded",  # LiteLLM, 400 with type null when proxies are chained
    "billing hard limit",  # OpenAI, 400
    "payment required",  # *
)
"""Searched at 400, 402 and 403. Not "exceeded your current quota": Gemini says it of its limits per
minute."""
MONEY_TEXT_STATUSES: Final = frozenset({400, 402, 403})

AUTH_CODES: Final = frozenset(
    {
        "invalid_api_key",  # OpenAI, 401
        "invalid_issuer",  # OpenAI, 401 *
        "expired_api_key",  # LiteLLM, 400 and 401
        "api_key_invalid",  # Gemini, 400
        "account_deactivated",  # OpenAI, 401
        "organization_deactivated",  # *
        "ip_not_authorized",  # OpenAI, 401
        "unsupported_country_region_territory",  # OpenAI, 403
        "authentication_error",  # Anthropic, llama.cpp, 401
        "permission_error",  # Anthropic, 403
        "permission_denied",  # Gemini, 403
        "token_not_found_in_db",  # LiteLLM, 401
        "auth_error",  # LiteLLM, 401; with 400 from older proxies
        "no_db_connection",  # LiteLLM without a database, 400: any key but the master key
    }
)
AUTH_TEXTS: Final = ("api key not valid", "incorrect api key", "invalid api key", "api key expired")
"""Searched at 400, 401 and 403; Gemini answers a wrong key with 400."""
AUTH_TEXT_STATUSES: Final = frozenset({400, 401, 403})

CONTEXT_CODES: Final = frozenset(
    {
        "context_length_exceeded",  # OpenAI, Azure, Groq
        "string_above_max_length",  # OpenAI
        "exceed_context_size_error",  # llama.cpp, type; 400, in some versions 500
        "contextwindowexceedederror",  # LiteLLM, type
        "context_window_exceeded",  # *
        "request_too_large",  # Anthropic, 413
        "max_tokens_exceeded",  # *
    }
)
CONTEXT_TEXTS: Final = (
    "maximum context length",  # OpenAI, vLLM, SGLang
    "context length",  # SGLang, Ollama
    "context window",  # llama-cpp-python, LiteLLM
    "context size",  # llama.cpp: "exceeds the available context size", with code 400 as a number
    "prompt is too long",  # Anthropic
    "too many tokens",  # *
    "reduce the length",  # OpenAI
)
"""Searched at 400; at 500 only those of `CONTEXT_TEXTS_500`."""
CONTEXT_TEXTS_500: Final = (
    "context size has been exceeded",
    "exceeds the available context size",
)  # llama.cpp

MODERATION_CODES: Final = frozenset(
    {
        "content_filter",  # Azure, 400
        "content_policy_violation",  # OpenAI, LiteLLM
        "contentpolicyviolationerror",  # LiteLLM, type
        "moderation_blocked",  # OpenAI
        "data_inspection_failed",  # Alibaba, 400 *
        "responsibleaipolicyviolation",  # Azure, inner code
    }
)
MODERATION_TEXTS: Final = (
    "requires moderation",  # OpenRouter, 403, with the next
    "input was flagged",
    "content management policy",  # Azure, 400
    "content policy",
    "safety system",  # OpenAI, 400
)
"""Searched at 400 and 403."""

MODEL_CODES: Final = frozenset(
    {
        "model_not_found",  # OpenAI, 404
        "deploymentnotfound",  # Azure, 404
        "notfounderror",  # vLLM, type, 404
        "invalid_model",  # *
    }
)
MODEL_TEXTS_400: Final = (
    "not a valid model id",  # OpenRouter, 400
    "invalid model name",  # LiteLLM proxy, 400
)

PERMANENT_500_TEXTS: Final = (
    "json.exception.parse_error",  # llama.cpp, malformed JSON
    "failed to parse",  # llama.cpp, malformed JSON and tool grammars
    "image input is not supported",  # llama.cpp
    "does not support image",
    "unsupported image",
)
"""llama.cpp answers these with 500 though no repetition can mend them."""

DAILY_CODES: Final = frozenset({"daily_limit_exceeded", "rate_limit_exceeded_daily"})  # *
DAILY_TEXT: Final = re.compile(r"per[ -]day|perday|daily|\b[rt]pd\b")
"""OpenAI, Groq: "requests per day (RPD)"; OpenRouter: "free-models-per-day"; Gemini: "PerDay"."""

REQUESTED_OF_LIMIT: Final = re.compile(
    r"limit[: ]+([\d,]{1,15})\b.{0,80}?\brequested[: ]+([\d,]{1,15})\b", re.DOTALL
)
"""OpenAI, Groq: "Limit 30000, Requested 40000": a request above the limit itself is refused for ever."""

OK_FINISHES: Final = frozenset(
    {"stop", "tool_calls", "function_call", "end_turn", "stop_sequence", "eos", "eos_token"}
)
"""The last four are other dialects' `stop`, passed on by thin proxies."""
LENGTH_FINISHES: Final = frozenset({"length", "max_tokens", "model_length"})
FILTER_FINISHES: Final = frozenset({"content_filter", "safety", "refusal"})

STATUS_OF_CODE: Final = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "ratelimiterror": 429,
    "too_many_requests": 429,
    "throttling_error": 429,
    "resource_exhausted": 429,
    "overloaded_error": 529,
    "overloaded": 529,
    "service_unavailable": 503,
    "service_unavailable_error": 503,
    "serviceunavailableerror": 503,
    "unavailable": 503,
    "unavailable_error": 503,
    "timeout": 504,
    "timeout_error": 504,
    "deadline_exceeded": 504,
    "bad_gateway": 502,
    "invalid_request_error": 400,
    "badrequesterror": 400,
    "invalid_argument": 400,
    "not_found_error": 404,
    "model_not_found": 404,
    "server_error": 500,
    "internal_server_error": 500,
    "internalservererror": 500,
    "api_error": 500,
}
"""The status that an error object inside a 200 stands for, when its code is not a number. Unknown: 500."""
