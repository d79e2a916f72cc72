"""The door: lazy verbs, help, completion, and what every way to end looks like from outside."""

from __future__ import annotations

import importlib.util
import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from batcher import __version__
from batcher.cli import boundary, signals, streams
from batcher.cli.group import VERBS, LazyGroup, cli
from batcher.errors import AccountError, BatcherError, JobError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HEAVY = ("pyarrow", "httpx", "rich", "pydantic", "orjson", "anyio", "jinja2", "tenacity", "uvloop", "asyncio")


def is_built(name: str) -> bool:
    return importlib.util.find_spec(VERBS[name].target.partition(":")[0]) is not None


def command(*args: str, code: str = "") -> list[str]:
    """The command in a process of its own, as the console script calls it; `code` runs before `main`."""
    return [sys.executable, "-c", f"import sys\n{code}\nfrom batcher.cli import main\nmain()", *args]


def run(*args: str, code: str = "", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args, code=code),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=env,
        stdin=subprocess.DEVNULL,
    )


def ends(function: Callable[[], object]) -> int:
    return boundary.exit_code_of(function)


def raising(error: BaseException) -> Callable[[], object]:
    def fails() -> object:
        raise error

    return fails


# --- help and laziness


def test_help_names_every_verb_in_the_order_of_a_day() -> None:
    said = CliRunner().invoke(cli, ["--help"])
    assert said.exit_code == 0
    places = [said.output.index(f"\n  {name} ") for name in VERBS]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "args", [["--help"], ["--version"], ["nonsense"], ["init", "--help"], ["completion", "--help"]]
)
def test_light_commands_import_nothing_heavy(args: Sequence[str]) -> None:
    found = f"[m for m in {HEAVY!r} if m in sys.modules]"
    report = f"import atexit\natexit.register(lambda: print({found}, file=sys.stderr))"
    said = run(*args, code=report)
    assert said.stderr.splitlines()[-1] == "[]"


def test_our_own_process_never_loads_pandas() -> None:
    code = "from batcher.cli import thrift; thrift.spare(); import pyarrow; pyarrow.array([1, None])"
    report = "import sys; print('pyarrow' in sys.modules, 'pandas' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, check=False)
    assert (said.stdout, said.stderr) == (b"True False\n", b"")


def test_help_imports_no_verb() -> None:
    modules = [verb.target.partition(":")[0] for verb in VERBS.values()]
    report = f"import atexit\natexit.register(lambda: print([m for m in {modules!r} if m in sys.modules]))"
    assert run("--help", code=report).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", [name for name in VERBS if is_built(name)])
def test_every_verb_has_a_help_that_begins_as_the_group_says(name: str) -> None:
    said = CliRunner().invoke(cli, [name, "--help"])
    assert said.exit_code == 0, said.output
    assert said.output.startswith(f"Usage: batcher {name}") or said.output.startswith(f"Usage: cli {name}")


def test_every_verb_has_a_one_line_help_that_fits() -> None:
    assert all(verb.help.endswith(".") and len(verb.help) < 70 for verb in VERBS.values())


def test_without_a_verb_help_is_shown_and_it_counts_as_wrong_usage() -> None:
    said = run()
    assert said.returncode == 2
    assert "Usage: batcher" in said.stderr
    assert "Error" not in said.stderr


def test_version_is_that_of_the_package() -> None:
    assert run("--version").stdout == f"batcher, version {__version__}\n"


def test_a_misspelt_verb_is_refused_with_what_was_meant() -> None:
    said = run("rnu")
    assert said.returncode == 2
    assert "no verb 'rnu'. Did you mean 'run'?" in said.stderr


def test_a_job_without_a_verb_is_told_the_verb() -> None:
    assert "Did you mean: batcher run jobs/a.toml" in run("jobs/a.toml").stderr


def test_a_target_that_is_no_command_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    verb = VERBS["init"]._replace(target="batcher.cli.init:STARTERS")
    monkeypatch.setattr("batcher.cli.group.VERBS", {**VERBS, "init": verb})
    with pytest.raises(TypeError, match="not a click command"):
        cli.get_command(click.Context(cli), "init")


# --- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_the_shell(shell: str) -> None:
    said = run("completion", shell)
    assert said.returncode == 0
    assert "_BATCHER_COMPLETE" in said.stdout


def test_verbs_complete_without_importing_them() -> None:
    found = ShellComplete(cli, {}, "batcher", "_BATCHER_COMPLETE").get_completions([], "s")
    assert [(each.value, each.help) for each in found] == [
        (name, VERBS[name].help) for name in ("status", "simulate")
    ]


def test_the_shell_is_answered_by_the_command_itself() -> None:
    asked = {
        **os.environ,
        "_BATCHER_COMPLETE": "bash_complete",
        "COMP_WORDS": "batcher in",
        "COMP_CWORD": "1",
    }
    assert run(env=asked).stdout == "plain,init\n"


# --- the boundary


@pytest.mark.parametrize(
    "kind",
    [each for each in BatcherError.__subclasses__() if each.__name__ != "Interrupted"],
    ids=lambda each: each.__name__,
)
def test_every_failure_ends_with_its_own_code(
    kind: type[BatcherError], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends(raising(kind("what happened", hint="what to type"))) == kind.exit_code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[0].split() == ["what", "happened", "(exit", f"{kind.exit_code})"]
    assert told.err.splitlines()[1] == "    what to type"


@pytest.mark.parametrize(
    ("function", "code"),
    [
        (lambda: None, 0),
        (lambda: 3, 3),
        (raising(SystemExit(4)), 4),
        (raising(SystemExit(None)), 0),
        (raising(SystemExit("words")), 1),
        (raising(click.exceptions.Exit(7)), 7),
        (raising(click.UsageError("no")), 2),
        (raising(click.ClickException("no")), 2),
        (raising(click.Abort()), 2),
        (raising(signals.Unwound(signal.SIGTERM)), 143),
        (raising(KeyError("x")), 1),
        (lambda: "text", 1),
    ],
)
def test_every_other_way_to_end_has_a_code(function: Callable[[], object], code: int) -> None:
    try:
        found = ends(function)
    except TypeError:  # a verb that returns no exit code is a bug; told below
        found = 1
    assert found == code


def test_a_bug_is_told_in_full_and_called_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(raising(KeyError("row"))) == 1
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "KeyError: 'row'" in told
    assert "This is a bug in batcher (KeyError)" in told


def test_the_code_stands_at_the_right_edge_as_in_the_design() -> None:
    error = AccountError(
        '401 from api.pipellm.ai: "invalid api key". Stopped after 1 request; nothing paid.\nKey: …'
    )
    first, second = boundary.stop_text(error, width=200).splitlines()
    assert first.startswith('  401 from api.pipellm.ai: "invalid api key".')
    assert first.endswith("  (exit 5)")
    assert len(first) == boundary.WIDTH
    assert second == "    Key: …"


def test_a_long_message_keeps_its_code_at_its_end() -> None:
    assert boundary.stop_text(JobError("x" * 300), width=80) == f"  {'x' * 300}  (exit 2)\n"


def test_control_characters_of_a_server_do_not_reach_the_terminal() -> None:
    said = boundary.stop_text(StorageError("a\x1b[2Jb\rc\x07d\u202ee", hint="\x9bx"), width=80)
    assert not [letter for letter in said if not letter.isprintable() and letter != "\n"]


def test_a_verb_failing_through_the_group_ends_with_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def fails() -> None:
        raise AccountError("no key")

    monkeypatch.setattr(LazyGroup, "get_command", lambda *_: fails)
    said = CliRunner().invoke(cli, ["run"])
    assert said.exit_code == 5
    assert "no key" in said.stderr


# --- streams


WRITES = "import batcher.cli.group as g, click\ng.LazyGroup.get_command = lambda *_: click.Command('x', callback={})\n"


def ended_with_closed_reader(callback: str) -> tuple[int, str]:
    """Run a verb whose stdout nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    said = subprocess.run(
        command("run", code=WRITES.format(callback)),
        stdout=writer, stderr=subprocess.PIPE, text=True, timeout=30, check=False,
    )  # fmt: skip
    os.close(writer)
    return said.returncode, said.stderr


def test_a_reader_that_left_is_no_failure_of_a_verb_that_writes_carefully() -> None:
    callback = "lambda: __import__('batcher.cli.streams').cli.streams.write('x' * 100_000) or 3"
    assert ended_with_closed_reader(callback) == (3, "")


@pytest.mark.parametrize("callback", ["lambda: click.echo('x' * 100_000)", "lambda: print('x')"])
def test_a_reader_that_left_ends_a_careless_verb_without_a_traceback(callback: str) -> None:
    assert ended_with_closed_reader(callback) == (141, "")


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_stream_is_no_matter_and_its_number_is_given_to_no_file(closed: int) -> None:
    callback = "lambda: __import__('sys').exit(10 if open('/dev/null').fileno() < 3 else 3)"
    said = subprocess.run(
        command("run", code=WRITES.format(callback)),
        preexec_fn=lambda: os.close(closed),
        timeout=30,
        check=False,
    )
    assert said.returncode == 3


def test_text_that_the_terminal_cannot_show_does_not_stop_anything() -> None:
    callback = "lambda: print('né ✓')"
    latin = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    said = run("run", code=WRITES.format(callback), env=latin)
    assert (said.returncode, said.stdout) == (0, "n\\xe9 \\u2713\n")


def test_no_home_no_tty_and_lang_c_are_no_matter() -> None:
    said = run("--version", env={"LANG": "C", "PATH": os.environ["PATH"]})
    assert said.returncode == 0


def test_write_says_whether_somebody_reads(capsys: pytest.CaptureFixture[str]) -> None:
    assert streams.write("a")
    assert streams.write("b", to_stderr=True)
    assert capsys.readouterr() == ("a", "b")


# --- signals


def signalled(*signums: int, stage: str) -> tuple[int, str]:
    """A process that says it is ready in a stage, then gets signals one by one."""
    code = (
        "import signal, sys, time\nfrom batcher.cli import signals\nfrom batcher.cli.boundary import exit_code_of\n"
        "def work():\n"
        f"    signals.{stage}() if {stage!r} != 'watch' else None\n"
        "    seen = 0\n"
        "    print('ready', flush=True)\n"
        "    while True:\n"
        "        while len(signals.pending()) == seen:\n"
        "            time.sleep(0.005)\n"  # not pause(): a signal that comes just before it is waited for in vain
        "        seen = len(signals.pending())\n"
        "        print(seen, flush=True)\n"
        "signals.watch()\nsys.exit(exit_code_of(work))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for signum in signums:
            assert process.stdout.readline() != ""
            process.send_signal(signum)
        return process.wait(timeout=30), process.stderr.read()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_start_up_ends_at_once_without_a_word(signum: int) -> None:
    assert signalled(signum, stage="watch") == (128 + signum, "")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_a_verb_works_ends_it_in_one_line(signum: int) -> None:
    code, told = signalled(signum, stage="unwind")
    assert code == 128 + signum
    assert "stopped by SIG" in told
    assert "Traceback" not in told


def test_a_run_that_holds_signals_sees_them_all_and_the_third_ends_it() -> None:
    code, told = signalled(signal.SIGTERM, signal.SIGINT, signal.SIGINT, stage="hold")
    assert (code, told) == (130, "")


def test_a_signal_that_is_ignored_from_outside_stays_ignored() -> None:
    code = (
        "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\nfrom batcher.cli import signals\n"
        "signals.watch()\nprint(signal.SIGHUP in signals.watched(), signal.SIGTERM in signals.watched())\n"
        "signal.raise_signal(signal.SIGHUP)\nprint('alive')"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert said.stdout == "False True\nalive\n"


def test_handlers_stand_before_anything_heavy_is_imported() -> None:
    code = (
        "import sys\nfrom batcher.cli import signals\nold = signals.watch\n"
        f"signals.watch = lambda: (print([m for m in {(*HEAVY, 'click')!r} if m in sys.modules]), old())"
    )
    assert run("--version", code=code).stdout.splitlines()[0] == "[]"


def test_ctrl_c_on_a_terminal_leaves_no_traceback() -> None:
    leader, follower = pty.openpty()
    callback = "lambda: (print('ready', flush=True), __import__('signal').pause())"
    with subprocess.Popen(
        command("run", code=WRITES.format(callback)),
        stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),  # noqa: PLW1509 - no threads here
    ) as process:  # fmt: skip
        os.close(follower)
        said = b""
        while b"ready" not in said:
            said += os.read(leader, 1024)
        os.write(leader, b"\x03")
        assert process.wait(timeout=30) == 130
        said += os.read(leader, 4096)
    os.close(leader)
    assert b"stopped by SIGINT" in said
    assert b"Traceback" not in said
