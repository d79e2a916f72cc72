"""Which certificates are trusted, and what is said of one that is not."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx

from batcher.endpoint.certificate import issuer_of
from batcher.endpoint.faults import verification_error
from batcher.errors import JobError

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.endpoint.address import Address


def trust_context(ca_file: Path | None, *, tls: bool) -> ssl.SSLContext:
    """One context for all connections: building one reads 140 certificates.

    Raises:
        JobError: `ca_file` cannot be read or holds no certificate.
    """
    if not tls:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise JobError(f"endpoint.ca_file {str(ca_file)!r} cannot be used: {error}") from error
    return context


class Distrust:
    """Says why TLS with an address failed; the issuer is asked for once.

    Args:
        address: who refused or was refused.
        direct: whether a look at the certificate needs no proxy.
    """

    def __init__(self, address: Address, *, direct: bool) -> None:
        self._address = address
        self._direct = direct
        self._issuer: str | None = None

    async def words(self, error: Exception, message: str) -> str:
        """For a person; `message` is the library's own."""
        place = f"{self._address.host}:{self._address.port}"
        refused = verification_error(error)
        if refused is None:
            return f"TLS with {place} failed: {message}"
        if self._issuer is None and self._direct:
            self._issuer = await issuer_of(self._address)
        by = f", issued by {self._issuer}" if self._issuer else ""
        return (
            f"the certificate of {place}{by}, is not trusted: {refused.verify_message}."
            " If that is your own authority: endpoint.ca_file = its PEM file"
        )
