"""The group of verbs: their names and one-line helps stand here, their modules are imported when they are
used.

Why lazily: `batcher --help` and shell completion must not pay for pyarrow, httpx, rich and pydantic (about
0.5 s).
To add a verb: write `batcher/cli/NAME.py` with a click command, and one line in `VERBS`.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import click
from click.shell_completion import CompletionItem

from batcher import __version__
from batcher.cli import signals, streams
from batcher.cli.boundary import EXIT_PIPE, exit_code_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Verb(NamedTuple):
    """Where a verb lives, as `module:attribute`, and the line `batcher --help` shows."""

    target: str
    help: str


VERBS: Mapping[str, Verb] = {
    "init": Verb("batcher.cli.init:init", "Write a job and sample data to start from."),
    "estimate": Verb("batcher.cli.estimate:estimate", "What a job will cost, and what it will send; free."),
    "try": Verb(
        "batcher.cli.try_:try_", "Buy a few rows spread over the input, and see what all would cost."
    ),
    "run": Verb("batcher.cli.run:run", "Do every row; go on where the last run stopped, or do nothing."),
    "status": Verb("batcher.cli.status:status", "Every run below a folder, alive or dead."),
    "retry": Verb("batcher.cli.retry:retry", "Do rows of a finished output again, chosen by their outcome."),
    "report": Verb("batcher.cli.report:report", "What came of a run, as text or as a page; or of two runs."),
    "export": Verb("batcher.cli.export:export", "What is done so far, or a finished output in another form."),
    "verify": Verb("batcher.cli.verify:verify", "Render every row again and compare it with what was sent."),
    "cost": Verb("batcher.cli.cost:cost", "What was spent, from usage columns and ledgers."),
    "simulate": Verb("batcher.cli.simulate:simulate", "Serve a free, fault-injecting endpoint on loopback."),
    "completion": Verb("batcher.cli.completion:completion", "Print the completion script of a shell."),
}
"""In the order of a day's work."""


class LazyGroup(click.Group):
    """A click group that knows its verbs by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        module, attribute = VERBS[cmd_name].target.split(":")
        found = getattr(importlib.import_module(module), attribute)
        if not isinstance(found, click.Command):
            raise TypeError(f"{VERBS[cmd_name].target} is not a click command")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        verbs = [
            CompletionItem(name, help=verb.help)
            for name, verb in VERBS.items()
            if name.startswith(incomplete)
        ]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in VERBS and not name.startswith("-") and not ctx.resilient_parsing:
            self._fail_for(ctx, name)
        found = super().resolve_command(ctx, args)
        # The verb's module is imported and about to work: from here on a signal must close what is open.
        signals.unwind()
        return found

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as err:
            # click would turn every broken pipe into exit 1; only that of stdout is nobody's fault.
            if streams.has_no_reader():
                streams.silence()
                raise click.exceptions.Exit(EXIT_PIPE) from err
            raise RuntimeError("a pipe broke that is not stdout") from err

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """As click's, but exceptions end at our boundary; with `standalone_mode=False` they go to the
        caller.
        """

        def call() -> object:
            return super(LazyGroup, self).main(args, prog_name, complete_var, standalone_mode=False, **extra)

        if not standalone_mode:
            return call()
        raise SystemExit(exit_code_of(call))

    def _fail_for(self, ctx: click.Context, name: str) -> NoReturn:
        """Refuse an unknown verb; a job file in its place is the commonest slip."""
        if name.endswith(".toml"):
            ctx.fail(f"no verb before {name}. Did you mean: batcher run {name}")
        close = difflib.get_close_matches(name, VERBS, n=1)
        ctx.fail(f"no verb {name!r}." + (f" Did you mean {close[0]!r}?" if close else ""))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="First steps: batcher init label, then batcher run jobs/label_tickets.toml --simulate",
)
@click.version_option(__version__, prog_name="batcher")
def cli() -> None:
    """Run a dataset of prompts through a chat-completions endpoint into one verified Parquet file."""
