"""Which proxy stands between, by HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, as curl and the standard
library read them.

Loopback is never proxied: a proxy cannot reach this machine's own server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batcher.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.endpoint.address import Address


def proxy_for(address: Address, environ: Mapping[str, str]) -> str | None:
    """The proxy's URL, or None for a direct connection.

    Raises:
        JobError: a kind of proxy that is not built in.
    """
    proxies = _from_environ(environ)
    if address.is_loopback or _is_excepted(address, proxies.get("no", "")):
        return None
    url = proxies.get(address.scheme) or proxies.get("all")
    if not url:
        return None
    if "://" not in url:
        url = f"http://{url}"
    scheme = urlsplit(url).scheme
    if scheme not in {"http", "https"}:
        raise JobError(f"The environment names a {scheme} proxy; only http and https proxies are supported.")
    return url


def _from_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Scheme -> proxy; lower-case names win, and HTTP_PROXY is ignored under CGI, where a client can set
    it.
    """
    proxies: dict[str, str] = {}
    for name, value in sorted(environ.items()):  # capitals sort first, so lower case overwrites
        scheme, found, rest = name.lower().partition("_proxy")
        cgi = name == "HTTP_PROXY" and "REQUEST_METHOD" in environ
        if found and not rest and not cgi:
            proxies[scheme] = value.strip()
    return proxies


def _is_excepted(address: Address, no_proxy: str) -> bool:
    """Whether NO_PROXY names the host: whole, as a parent domain, with a port, or `*` for all."""
    for entry in no_proxy.lower().split(","):
        name = entry.strip().removesuffix(f":{address.port}").lstrip(".")
        if name == "*" or (name and (address.host == name or address.host.endswith(f".{name}"))):
            return True
    return False
