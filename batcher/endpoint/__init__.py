"""The network: one exchange with the model server, bytes in, bytes out.

    key               the API key, in a type that does not print it, and the scrubber that removes it from text
    split_key         a key that came in the pieces of a stream
    address           base_url parsed and normalised; which key may go there
    proxies           which proxy, if any, stands between
    opening           `open_endpoint`: the direct endpoint, or httpx's where a proxy stands between
    direct_endpoint   `DirectEndpoint`: the exchange over our own connections (asyncio)
    connection        one such connection; `tls_connection` inside TLS; `sockets` how it comes to stand
    reader            bytes as they arrive to replies, by httptools; `odd_reader` by h11, where that one refuses
    deadlines         one timer for the deadlines of all exchanges
    httpx_endpoint    `HttpxEndpoint`: the exchange over httpx
    wire              watches one connection of httpx: what was written, what arrived, whether it was reused
    outgoing          what every request says before its body
    arrival           what came back, made into a `Reply`; the same for both endpoints
    faults            exceptions of httpx, sockets and TLS -> FaultKind and Progress
    payload           bodies: content-encoding undone, broken framing salvaged
    trust             which certificates are trusted; `certificate` who issued one that was refused

This room never retries, never interprets a body, follows no redirect and sends the key to one origin only.
"""

from batcher.endpoint.address import Address, key_variable, parse_address
from batcher.endpoint.direct_endpoint import DirectEndpoint
from batcher.endpoint.httpx_endpoint import HttpxEndpoint
from batcher.endpoint.key import ApiKey, Scrubber, read_key
from batcher.endpoint.opening import open_endpoint

__all__ = [
    "Address",
    "ApiKey",
    "DirectEndpoint",
    "HttpxEndpoint",
    "Scrubber",
    "key_variable",
    "open_endpoint",
    "parse_address",
    "read_key",
]
