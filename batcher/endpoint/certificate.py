"""Who issued a certificate that was refused: a look at the server's certificate without trusting it.

Nothing is sent over this connection, the key least of all; it exists for one sentence in an error message.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

import anyio
from anyio.streams.tls import TLSAttribute

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.endpoint.address import Address

_PATIENCE_S: Final = 5.0
_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_EXPLICIT_VERSION: Final = 0xA0
_NAMES: Final = {b"\x55\x04\x03": "CN", b"\x55\x04\x0a": "O"}
"""DER of the object identifiers 2.5.4.3 and 2.5.4.10."""


async def issuer_of(address: Address) -> str | None:
    """The issuer of the certificate that stands there, as `CN=…, O=…`; None when it cannot be learnt."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with anyio.move_on_after(_PATIENCE_S):
        try:
            stream = await anyio.connect_tcp(
                address.host, address.port, ssl_context=context, tls_standard_compatible=False
            )
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream):
            return None
        async with stream:
            der = stream.extra(TLSAttribute.peer_certificate_binary, None)  # noqa: S610 - no database here
            return read_issuer(der) if der is not None else None
    return None


def read_issuer(der: bytes) -> str | None:
    """The issuer's common name and organisation out of a DER certificate; None when it is not one."""
    try:
        certificate = next(_elements(der))[1]
        fields = list(_elements(next(_elements(certificate))[1]))
        if fields[0][0] == _EXPLICIT_VERSION:
            fields = fields[1:]
        return ", ".join(_name_parts(fields[2][1])) or None
    except (IndexError, StopIteration):
        return None


def _name_parts(name: bytes) -> Iterator[str]:
    for tag, entry in _elements(name):
        if tag != _SET:
            continue
        for _, pair in _elements(entry):
            (_, oid), (_, text) = list(_elements(pair))[:2]
            if oid in _NAMES:
                yield f"{_NAMES[oid]}={text.decode('utf-8', errors='replace')[:100]}"


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The (tag, content) pairs that stand one after another."""
    position = 0
    while position < len(der):
        tag, length = der[position], der[position + 1]
        position += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(der[position : position + count])
            position += count
        yield tag, der[position : position + length]
        position += length
