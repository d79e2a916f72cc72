"""`batcher simulate`: serve the embedded endpoint in the foreground until Ctrl-C."""

from __future__ import annotations

import os
import textwrap
from typing import TYPE_CHECKING

import click

from batcher.simulator import MODES, SimulatorConfig
from batcher.simulator.server import serve

if TYPE_CHECKING:
    from collections.abc import Iterable


@click.command()
@click.option(
    "--port", default=0, type=click.IntRange(0, 65_535), help="0 takes any free port.", show_default=True
)
@click.option(
    "--seed", default=0, help="Decides answers, faults and latencies, with the content.", show_default=True
)
@click.option(
    "--latency",
    default="lognormal:0.3,0.5",
    show_default=True,
    help="fixed:S, uniform:A-B, lognormal:MEDIAN,SIGMA or exponential:MEAN, in seconds.",
)
@click.option(
    "--fault", "faults", multiple=True, metavar="NAME=RATE", help="Share of contents, 0 to 1. Repeatable."
)
@click.option("--rpm", type=float, help="Requests per minute.")
@click.option("--rps", type=float, help="Requests per second.")
@click.option("--tpm", type=float, help="Tokens per minute.")
@click.option("--capacity", type=click.IntRange(min=1), help="Serve so many at once, queue the others.")
@click.option(
    "--config", "settings", metavar="JSON", help="Any further settings, as POST /control takes them."
)
@click.option("--exit-with-parent", is_flag=True, help="End when the process that started this one ends.")
@click.option("--list-faults", is_flag=True, help="Show every fault by name, and stop.")
def simulate(
    *,
    port: int,
    seed: int,
    latency: str,
    faults: tuple[str, ...],
    rpm: float | None,
    rps: float | None,
    tpm: float | None,
    capacity: int | None,
    settings: str | None,
    exit_with_parent: bool,
    list_faults: bool,
) -> None:
    """Serve a simulated OpenAI-compatible endpoint on 127.0.0.1, free and without a key.

    Answers are made up. Faults, latencies and answers are decided by content and seed, so a run can be
    repeated.
    """
    if list_faults:
        click.echo(_fault_list())
        return
    try:
        config = SimulatorConfig(
            port=port,
            seed=seed,
            latency=latency,
            faults=_rates(faults),
            rpm=rpm,
            rps=rps,
            tpm=tpm,
            capacity=capacity,
            ledger=False,
        )
        config = config.changed_by_json(settings) if settings is not None else config
        code = serve(config, on_ready=_tell, parent_pid=os.getppid() if exit_with_parent else None)
    except ValueError as err:
        raise click.UsageError(str(err)) from err
    except OSError as err:
        raise click.ClickException(f"cannot listen on 127.0.0.1:{port}: {err.strerror}") from err
    raise click.exceptions.Exit(code)


def _rates(faults: Iterable[str]) -> dict[str, float]:
    """Raises ValueError for anything but NAME=RATE."""
    rates = {}
    for fault in faults:
        name, _, rate = fault.partition("=")
        try:
            rates[name.strip()] = float(rate)
        except ValueError:
            raise ValueError(f"--fault {fault!r}: expected NAME=RATE, such as rate_limit=0.1") from None
    return rates


def _tell(port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    click.echo(
        f"{url}/v1\n"
        "A simulated endpoint: it makes its answers up, costs nothing and needs no key.\n"
        f"  use it:   batcher run -i prompts.jsonl -o out.parquet --model gpt-4o --base-url {url}/v1\n"
        f"  watch it: curl '{url}/ledger?summary=1'\n"
        f"""  change it: curl {url}/control -d '{{"faults": {{"rate_limit": 0.1}}}}'\n"""
        "Ctrl-C ends it."
    )


def _fault_list() -> str:
    """One paragraph per mode: its name, what a client meets, the condition it stands for."""
    lines = []
    for mode in MODES.values():
        kind = "every attempt" if mode.persistent else "first attempts"
        told = f"{mode.description} ({'paid' if mode.paid else 'not paid'}; {kind})"
        lines.append(f"{mode.name}\n{textwrap.indent(textwrap.fill(told, 92), '    ')}")
    return "\n".join(lines)
