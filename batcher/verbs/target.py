"""Where requests go: the real endpoint with its key, or the embedded simulator, for the time of a `with` block."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batcher.endpoint.address import key_variable as variable_for
from batcher.endpoint.address import parse_address
from batcher.endpoint.key import read_key
from batcher.endpoint.opening import open_endpoint
from batcher.errors import AccountError
from batcher.simulator import SimulatorConfig, launch
from batcher.verbs.wiring import SIMULATED_IDENTITY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batcher.endpoint.address import Address
    from batcher.endpoint.key import ApiKey
    from batcher.job import Job
    from batcher.ports import Endpoint
    from batcher.verbs.options import RunOptions

SIMULATED_LATENCY = "lognormal:0.05,0.5"
"""Of the embedded simulator in a run: quick enough for a demonstration, spread like a model's."""


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint that may be opened.

    Attributes:
        identity: the endpoint in hashes, fingerprint and footer: its URL, or "simulated".
        note: what was put right about the key, for a person; None when nothing was.
    """

    address: Address
    identity: str
    simulated: bool
    key: ApiKey | None
    headers: Mapping[str, str]
    ca_file: Path | None
    environ: Mapping[str, str]
    note: str | None = None

    def open_endpoint(self) -> Endpoint:
        """The transport, for the event loop that this is called in; closed by whoever opened it."""
        return open_endpoint(
            self.address, self.key, headers=self.headers, ca_file=self.ca_file, environ=self.environ
        )


@contextmanager
def open_target(job: Job, options: RunOptions) -> Iterator[Target]:
    """Check address and key, or start the simulator.

    Raises:
        JobError: the address is not usable. AccountError: the key is missing or unusable.
    """
    if options.simulate:
        with launch(SimulatorConfig(latency=SIMULATED_LATENCY)) as simulator:
            address = parse_address(simulator.base_url)
            yield Target(
                address, SIMULATED_IDENTITY, simulated=True, key=None, headers={}, ca_file=None, environ={}
            )
        return
    address = parse_address(job.endpoint.base_url, allow_http=options.allow_http)
    variable = variable_for(address, job.endpoint.api_key_env)
    key = read_key(options.environ, variable) if variable is not None else None
    target = Target(
        address,
        address.identity,
        simulated=False,
        key=key,
        headers=job.endpoint.headers,
        ca_file=Path(job.endpoint.ca_file) if job.endpoint.ca_file is not None else None,
        environ=options.environ,
    )
    try:
        yield target
    except AccountError as error:
        error.hint = error.hint or _account_hint(address, key)
        raise


def _account_hint(address: Address, key: ApiKey | None) -> str:
    """Which key went where, so that a person sees a wrong one without seeing it."""
    sent = f"Key: {key.description}" if key is not None else "No key was sent"
    return f"{sent}; endpoint {address.base_url}\nWhen that is put right, the same command goes on."
