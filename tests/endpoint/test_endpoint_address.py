"""base_url: normalised, or refused before anything is sent; keys go home only; proxies as the environment says."""

from __future__ import annotations

import pytest

from batcher.endpoint import key_variable, parse_address
from batcher.endpoint.proxies import proxy_for
from batcher.errors import JobError


@pytest.mark.parametrize(
    ("text", "chat_url"),
    [
        ("https://api.pipellm.ai/v1", "https://api.pipellm.ai/v1/chat/completions"),
        ("https://API.pipellm.ai:443/v1/", "https://api.pipellm.ai/v1/chat/completions"),
        (" https://api.pipellm.ai/v1/chat/completions \n", "https://api.pipellm.ai/v1/chat/completions"),
        ("https://api.pipellm.ai/v1/chat/completions/", "https://api.pipellm.ai/v1/chat/completions"),
        ("http://localhost:8000", "http://localhost:8000/chat/completions"),
        ("http://127.0.0.1:80/v1", "http://127.0.0.1/v1/chat/completions"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1/chat/completions"),
        (
            "https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
            "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
        ),
    ],
)
def test_addresses_are_normalised(text: str, chat_url: str) -> None:
    address = parse_address(text)
    assert address.chat_url == address.identity == chat_url


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("api.pipellm.ai/v1", "must begin with https://"),
        ("localhost:8000/v1", "must begin with https://"),
        ("ftp://api.example/v1", "must begin with https://"),
        ("", "must begin with https://"),
        ("https:///v1", "must begin with https://"),
        ("https://user:secret@api.example/v1", "user name or password"),
        ("https://api.example/v1?api_key=secret", "in its query"),
        ("https://api.example/v1?KEY=secret", "in its query"),
        ("https://api.example/v1#secret", "fragment"),
        ("https://api.example:99999/v1", "not a URL"),
        ("http://api.example/v1", "in clear"),
        ("http://192.168.1.5:8000/v1", "in clear"),
    ],
)
def test_addresses_that_cannot_be_meant_are_refused(text: str, says: str) -> None:
    with pytest.raises(JobError, match=says) as refused:
        parse_address(text)
    assert refused.value.exit_code == 2
    assert "user:secret" not in str(refused.value) + (refused.value.hint or "")
    assert "=secret" not in str(refused.value) + (refused.value.hint or "")


def test_a_forgotten_scheme_is_suggested() -> None:
    with pytest.raises(JobError) as refused:
        parse_address("api.example/v1")
    assert refused.value.hint == "did you mean https://api.example/v1"


def test_http_to_another_machine_can_be_insisted_on() -> None:
    assert parse_address("http://10.0.0.1/v1", allow_http=True).base_url == "http://10.0.0.1/v1"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("sim.localhost", True),
        ("127.8.9.1", True),
        ("[::1]", True),
        ("localhost.example", False),
        ("10.0.0.1", False),
    ],
)
def test_loopback_is_this_machine_only(host: str, loopback: bool) -> None:
    assert parse_address(f"https://{host}/v1").is_loopback is loopback


PIPELLM = parse_address("https://api.pipellm.ai/v1")
OTHER = parse_address("https://api.example/v1")
LOCAL = parse_address("http://localhost:8000/v1")
LOOKALIKE = parse_address("https://api.pipellm.ai.example/v1")


def test_the_pipellm_key_goes_to_pipellm_only() -> None:
    assert key_variable(PIPELLM, None) == "PIPELLM_API_KEY"
    for address in (OTHER, LOCAL, LOOKALIKE, parse_address("http://api.pipellm.ai/v1", allow_http=True)):
        with pytest.raises(JobError, match=r"goes to api\.pipellm\.ai only"):
            key_variable(address, "PIPELLM_API_KEY")


def test_another_endpoint_names_its_own_variable_and_loopback_needs_none() -> None:
    with pytest.raises(JobError, match="api_key_env"):
        key_variable(OTHER, None)
    assert key_variable(OTHER, "MY_KEY") == "MY_KEY"
    assert key_variable(OTHER, "") is None
    assert key_variable(LOCAL, None) is None
    assert key_variable(LOCAL, "MY_KEY") == "MY_KEY"


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://p:3128"}, "http://p:3128"),
        ({"HTTPS_PROXY": "p:3128"}, "http://p:3128"),
        ({"HTTPS_PROXY": "http://big:1", "https_proxy": "http://small:2"}, "http://small:2"),
        ({"ALL_PROXY": "http://p:1"}, "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "api.example"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "x, .example"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "api.example:443"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "pi.example,ample"}, "http://p:1"),
        ({"HTTPS_PROXY": ""}, None),
    ],
)
def test_proxies_are_taken_from_the_environment(environ: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(OTHER, environ) == proxy


def test_loopback_is_never_proxied() -> None:
    assert proxy_for(LOCAL, {"HTTP_PROXY": "http://p:1", "ALL_PROXY": "http://p:1"}) is None


def test_a_socks_proxy_is_refused_in_words() -> None:
    with pytest.raises(JobError, match="socks5 proxy"):
        proxy_for(OTHER, {"ALL_PROXY": "socks5://user:secret@p:1"})
