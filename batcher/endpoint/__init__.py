"""The network: one exchange with the model server, bytes in, bytes out.

    key               the API key, in a type that does not print it, and the scrubber that removes it from
    text address           base_url parsed and normalised; which key may go there
    proxies           which proxy, if any, stands between
    httpx_endpoint    `HttpxEndpoint`: the exchange
    wire              watches one connection: what was written, what arrived, whether it was reused
    faults            exceptions of httpx, sockets and TLS -> FaultKind and Progress
    payload           bodies: content-encoding undone, broken framing salvaged
    certificate       who issued a certificate that was refused

This room never retries, never interprets a body, follows no redirect and sends the key to one origin only.
"""

from batcher.endpoint.address import Address, key_variable, parse_address
from batcher.endpoint.httpx_endpoint import HttpxEndpoint
from batcher.endpoint.key import ApiKey, Scrubber, read_key

__all__ = ["Address", "ApiKey", "HttpxEndpoint", "Scrubber", "key_variable", "parse_address", "read_key"]
