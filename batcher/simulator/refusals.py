"""Modes that refuse for good: what no retry helps, line by line of the failure table, as it looks on the
wire.

The texts are those of real servers (OpenAI, vLLM, llama.cpp, LiteLLM, OpenRouter, Anthropic behind a proxy,
Cloudflare, nginx), because classification sometimes has nothing but the text. `{model}` in a text becomes the
request's model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from batcher.simulator import lines
from batcher.simulator.plan import Mode
from batcher.simulator.replies import error_body, refusal

if TYPE_CHECKING:
    from batcher.simulator.plan import Delivery, Occasion


_CREDIT = (
    "Your credit balance is too low to access the API. "
    "Please go to Plans & Billing to upgrade or purchase credits."
)
_CONTEXT = (
    "This model's maximum context length is 128000 tokens. However, your messages resulted in 141002 tokens. "
    "Please reduce the length of the messages."
)
_LLAMA_CONTEXT = error_body(
    "the request exceeds the available context size, try increasing it",
    "exceed_context_size_error",
    400,
    n_prompt_tokens=141002,
    n_ctx=4096,
)
_VLLM_CONTEXT = orjson.dumps(
    {"object": "error", "message": _CONTEXT, "type": "BadRequestError", "param": None, "code": 400}
)


def _too_long() -> list[Mode]:
    line = lines.CONTEXT
    fastapi = b'{"detail":[{"type":"missing","loc":["body","messages",0,"content"],"msg":"Field required"}]}'
    return [
        refusal(
            "context_length",
            "code context_length_exceeded",
            line,
            400,
            error_body(_CONTEXT, "invalid_request_error", "context_length_exceeded"),
        ),
        refusal(
            "context_length_numeric_code",
            "llama.cpp's context error, code 400 as a number",
            line,
            400,
            _LLAMA_CONTEXT,
            odd=lines.LLAMACPP_CODE,
        ),
        refusal(
            "context_length_vllm",
            "vLLM's context error: no `error` object around it, numeric code",
            line,
            400,
            _VLLM_CONTEXT,
        ),
        refusal(
            "context_length_500",
            "a context error with status 500 and type exceed_context_size_error",
            line,
            500,
            _LLAMA_CONTEXT.replace(b'"code":400', b'"code":500'),
        ),
        refusal(
            "payload_too_large",
            "the body is too large",
            line,
            413,
            error_body("Request body too large.", "invalid_request_error", "request_too_large"),
        ),
        refusal("unprocessable", "FastAPI's list of details", line, 422, fastapi),
    ]


def _moderated() -> list[Mode]:
    line = lines.MODERATION
    return [
        refusal(
            "moderation_400",
            "code content_policy_violation",
            line,
            400,
            error_body(
                "Your request was rejected as a result of our safety system.",
                "invalid_request_error",
                "content_policy_violation",
            ),
        ),
        refusal(
            "moderation_400_azure",
            "code content_filter, as Azure sends it",
            line,
            400,
            error_body(
                "The response was filtered due to the prompt triggering the content management policy.",
                None,
                "content_filter",
                status=400,
            ),
        ),
        refusal(
            "moderation_403",
            "OpenRouter: the input was flagged",
            line,
            403,
            orjson.dumps(
                {
                    "error": {
                        "code": 403,
                        "message": "Input was flagged by moderation.",
                        "metadata": {"reasons": ["violence"], "flagged_input": "..."},
                    }
                }
            ),
        ),
        refusal(
            "legal_451",
            "unavailable for legal reasons",
            line,
            451,
            error_body(
                "Unavailable for legal reasons.", "invalid_request_error", "unavailable_for_legal_reasons"
            ),
        ),
    ]


def _account() -> list[Mode]:
    line = lines.BILLING
    key = "Incorrect API key provided. You can find your API key at https://platform.example.com/api-keys."
    return [
        refusal(
            "insufficient_quota",
            "429 that no waiting helps",
            line,
            429,
            error_body(
                "You exceeded your current quota, please check your plan and billing details.",
                "insufficient_quota",
                "insufficient_quota",
            ),
        ),
        refusal(
            "billing_hard_limit",
            "code billing_hard_limit_reached",
            line,
            429,
            error_body(
                "Billing hard limit has been reached.", "invalid_request_error", "billing_hard_limit_reached"
            ),
        ),
        refusal(
            "billing_hard_limit_400",
            "code billing_hard_limit_reached with status 400",
            line,
            400,
            error_body(
                "Billing hard limit has been reached", "invalid_request_error", "billing_hard_limit_reached"
            ),
        ),
        refusal(
            "spend_limit",
            "code project_spend_limit_reached",
            line,
            429,
            error_body(
                "This project has reached its spend limit.", "requests", "project_spend_limit_reached"
            ),
        ),
        refusal(
            "credit_400", "credit balance is too low", line, 400, error_body(_CREDIT, "invalid_request_error")
        ),
        refusal(
            "credit_402",
            "payment required, without Retry-After",
            line,
            402,
            error_body("Insufficient credits. Add more to continue.", None, 402),
        ),
        refusal(
            "credit_403", "credit balance is too low", line, 403, error_body(_CREDIT, "permission_error")
        ),
        refusal(
            "unauthorized",
            "the key is wrong",
            lines.AUTH,
            401,
            error_body(key, "invalid_request_error", "invalid_api_key"),
        ),
        refusal(
            "forbidden_key",
            "the key is disabled",
            lines.AUTH,
            403,
            error_body("This API key has been disabled.", "permission_error", "key_disabled"),
        ),
        refusal(
            "forbidden_permission",
            "the key may not use the model",
            lines.AUTH,
            403,
            error_body(
                "You have insufficient permissions for this operation. Missing scopes: model.request.",
                "permission_error",
                "missing_scope",
            ),
        ),
        refusal(
            "proxy_auth",
            "a proxy wants credentials",
            lines.AUTH,
            407,
            b"Proxy Authentication Required",
            headers='proxy-authenticate: Basic realm="proxy"\r\n',
            content_type="text/plain",
        ),
    ]


def _unusable() -> list[Mode]:
    line = lines.ROUTE
    return [
        refusal(
            "model_not_found",
            "unknown model",
            line,
            404,
            error_body(
                "The model `{model}` does not exist or you do not have access to it.",
                "invalid_request_error",
                "model_not_found",
            ),
        ),
        refusal("route_not_found", "unknown route", line, 404, b'{"detail":"Not Found"}'),
        refusal(
            "method_not_allowed",
            "POST is not allowed here",
            line,
            405,
            b'{"detail":"Method Not Allowed"}',
            headers="allow: GET\r\n",
        ),
        refusal(
            "gone",
            "the endpoint was switched off",
            line,
            410,
            error_body("This endpoint has been removed.", "invalid_request_error", "gone"),
        ),
        refusal(
            "unsupported_media",
            "unsupported media type",
            line,
            415,
            error_body("Unsupported Media Type.", "invalid_request_error", "unsupported_media_type"),
        ),
        refusal(
            "upgrade_required",
            "upgrade required",
            line,
            426,
            b"Upgrade Required",
            content_type="text/plain",
            headers="upgrade: HTTP/2.0\r\n",
        ),
        refusal(
            "not_implemented",
            "not implemented",
            line,
            501,
            error_body("Not implemented.", "not_supported_error", "not_implemented"),
        ),
        refusal(
            "bad_request",
            "an unsupported parameter",
            lines.BAD_REQUEST,
            400,
            error_body(
                "Unsupported value: 'temperature' does not support 0.2 with this model.",
                "invalid_request_error",
                "unsupported_value",
            ),
        ),
        refusal(
            "bad_request_numeric_code",
            "llama.cpp: code 400 as a number",
            lines.BAD_REQUEST,
            400,
            error_body("'messages' must contain a user message", "invalid_request_error", 400),
            odd=lines.LLAMACPP_CODE,
        ),
        refusal(
            "malformed_json_500",
            "llama.cpp: malformed JSON as a 500, permanent",
            lines.BAD_REQUEST,
            500,
            error_body(
                "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error",
                "server_error",
                500,
            ),
            odd=lines.LLAMACPP_500,
        ),
        refusal(
            "unsupported_image_500",
            "llama.cpp: an image for a text model as a 500, permanent",
            lines.BAD_REQUEST,
            500,
            error_body(
                "image input is not supported - hint: if this is unexpected, you may need to provide the "
                "mmproj",
                "server_error",
                500,
            ),
            odd=lines.LLAMACPP_500,
        ),
    ]


def _echo_key(occasion: Occasion) -> Delivery:
    header = occasion.call.authorization or ""
    key = header.removeprefix("Bearer ")
    body = error_body(
        f"Incorrect API key provided: {key}.",
        "invalid_request_error",
        "invalid_api_key",
        request={"headers": {"authorization": header}},
    )
    return occasion.reply(401, body)


REFUSALS: tuple[Mode, ...] = (
    *_too_long(),
    *_moderated(),
    *_account(),
    Mode(
        "unauthorized_echo",
        "401: the key is wrong, and the body repeats it",
        False,
        lines.AUTH,
        True,
        _echo_key,
    ),
    *_unusable(),
)
