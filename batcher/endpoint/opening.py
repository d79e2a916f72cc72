"""Which transport carries a run's exchanges: the direct one, or httpx where a proxy stands between or the event loop
is not asyncio's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from batcher.endpoint.direct_endpoint import DirectEndpoint
from batcher.endpoint.httpx_endpoint import HttpxEndpoint
from batcher.endpoint.proxies import proxy_for

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batcher.endpoint.address import Address
    from batcher.endpoint.key import ApiKey


def open_endpoint(
    address: Address,
    key: ApiKey | None = None,
    *,
    headers: Mapping[str, str],
    ca_file: Path | None,
    environ: Mapping[str, str],
) -> DirectEndpoint | HttpxEndpoint:
    """The endpoint for an address; called inside the event loop that will use it. Arguments as of `HttpxEndpoint`.

    Raises:
        JobError: headers that are not legal or belong to the endpoint, an unreadable ca_file, an unknown proxy.
    """
    if proxy_for(address, environ) is None and _is_asyncio():
        return DirectEndpoint(address, key, headers=headers, ca_file=ca_file)
    return HttpxEndpoint(address, key, headers=headers, ca_file=ca_file, environ=environ)


def _is_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
