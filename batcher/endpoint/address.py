"""Where requests go: base_url parsed once and normalised, and which key may go there.

Pure. A key is never part of an address, and `http` is for this machine unless somebody insists.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

import httpx

from batcher.errors import JobError

DEFAULT_BASE_URL: Final = "https://api.pipellm.ai/v1"
DEFAULT_KEY_VARIABLE: Final = "PIPELLM_API_KEY"
DEFAULT_KEY_HOST: Final = "api.pipellm.ai"
ROUTE: Final = "/chat/completions"
_PORTS: Final = {"http": 80, "https": 443}
_KEY_NAMES: Final = frozenset(
    {"key", "api_key", "api-key", "apikey", "token", "access_token", "auth", "authorization", "secret", "sig"}
)


@dataclass(frozen=True, slots=True)
class Address:
    """A usable endpoint.

    Attributes:
        base_url: normalised: lower-case host, no default port, no trailing slash or route.
        host: as in the URL, lower case, without brackets.
        port: the effective one.
        path: of base_url, "" for none.
        query: carried to every request (`api-version=…`), without "?", "" for none.
    """

    base_url: str
    scheme: str
    host: str
    port: int
    path: str
    query: str

    @property
    def chat_url(self) -> str:
        """Where requests are posted."""
        return f"{self.base_url}{ROUTE}{'?' + self.query if self.query else ''}"

    @property
    def identity(self) -> str:
        """Equal exactly when two addresses are the same endpoint; part of a request's hash."""
        return self.chat_url

    @property
    def is_loopback(self) -> bool:
        return _is_loopback(self.host)


def parse_address(base_url: str, *, allow_http: bool = False) -> Address:
    """Parse and normalise a base_url.

    Raises:
        JobError: no scheme, userinfo or a key in it, `http` to another machine, or not a URL.
    """
    text = base_url.strip()
    parts, port = _split(text)
    if parts.username is not None or parts.password is not None:
        raise JobError("endpoint.base_url holds a user name or password; a key comes from the environment.")
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if name.lower() in _KEY_NAMES:
            raise JobError(f"endpoint.base_url has {name!r} in its query; a key comes from the environment.")
    if parts.fragment:
        raise JobError(f"endpoint.base_url has a fragment (#…): {text!r}")
    host = (parts.hostname or "").lower()
    if parts.scheme == "http" and not _is_loopback(host) and not allow_http:
        raise JobError(
            f"endpoint.base_url is http to another machine ({host}): key and data would travel in clear.",
            hint="use https, or --allow-http if the network between is your own",
        )
    path = parts.path.rstrip("/").removesuffix(ROUTE).rstrip("/")
    shown = f"[{host}]" if ":" in host else host
    if port != _PORTS[parts.scheme]:
        shown = f"{shown}:{port}"
    return Address(f"{parts.scheme}://{shown}{path}", parts.scheme, host, port, path, parts.query)


def key_variable(address: Address, configured: str | None) -> str | None:
    """The environment variable whose key goes to this address; None: no key is sent.

    Args:
        address: where requests go.
        configured: `endpoint.api_key_env`; None: not set; "": explicitly none.

    Raises:
        JobError: another endpoint than PipeLLM must name its own variable, so that a key never goes to the
            wrong house.
    """
    at_home = address.scheme == "https" and address.host == DEFAULT_KEY_HOST
    if configured == "":
        return None
    if configured is None:
        if at_home:
            return DEFAULT_KEY_VARIABLE
        if address.is_loopback:
            return None
        raise JobError(
            f"endpoint.base_url is {address.host}: endpoint.api_key_env must name the variable with its key.",
            hint='endpoint.api_key_env = "NAME", or "" when it needs none',
        )
    if configured == DEFAULT_KEY_VARIABLE and not at_home:
        raise JobError(
            f"${DEFAULT_KEY_VARIABLE} goes to {DEFAULT_KEY_HOST} only, not to {address.host}.",
            hint="endpoint.api_key_env = the variable with this endpoint's key",
        )
    return configured


def _split(text: str) -> tuple[SplitResult, int]:
    """The URL's parts and its effective port."""
    try:
        parts = urlsplit(text)
        port = parts.port
        httpx.URL(text)
    except (ValueError, httpx.InvalidURL) as error:
        raise JobError(f"endpoint.base_url is not a URL: {error}") from None
    if parts.scheme not in _PORTS or not parts.netloc:
        guess = f"https://{text.rsplit('://', maxsplit=1)[-1]}".split("@")[-1]
        raise JobError(
            "endpoint.base_url must begin with https:// (or http:// for this machine).",
            hint=f"did you mean {guess[:200]}" if text and "@" not in text and "?" not in text else None,
        )
    if not parts.hostname:
        raise JobError("endpoint.base_url names no host.")
    return parts, port or _PORTS[parts.scheme]


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
