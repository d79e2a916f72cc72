"""`batcher completion SHELL`: click's own completion script, on stdout."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from batcher.cli import streams

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_BATCHER_COMPLETE"
"""The variable by which the script asks; click derives the same name from `batcher`."""


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    r"""Print the completion script of a shell.

    \b
    bash:  echo 'eval "$(batcher completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(batcher completion zsh)"' >> ~/.zshrc
    fish:  batcher completion fish > ~/.config/fish/completions/batcher.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    streams.write(found(ctx.find_root().command, {}, "batcher", VARIABLE).source())
