"""Servers that others wrote: what installs each of them, what starts it, and what it is told to answer.

They listen on loopback, on a port that is free. Every one is installed into a folder of its own below a folder that
the user names, because none of them is a dependency.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tiny_gguf import write_tiny_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

KEY = "sk-foreign-0123456789"
START_S = 60

LITELLM = f"""
model_list:
  - model_name: gpt-4o-mini
    litellm_params: {{model: openai/gpt-4o-mini, api_key: none, mock_response: "billing"}}
  - model_name: no-price
    litellm_params: {{model: openai/my-own-model, api_key: none, mock_response: "hello"}}
  - model_name: too-long
    litellm_params: {{model: openai/gpt-4o-mini, api_key: none, mock_response: "litellm.ContextWindowExceededError"}}
  - model_name: limited
    litellm_params: {{model: openai/gpt-4o-mini, api_key: none, mock_response: "litellm.RateLimitError"}}
general_settings: {{master_key: {KEY}}}
router_settings: {{num_retries: 0}}
"""
OPENAI_MOCK_API = f"""
apiKey: '{KEY}'
responses:
  - id: call
    messages:
      - {{role: user, content: 'call a tool', matcher: contains}}
      - role: assistant
        tool_calls: [{{id: c1, type: function, function: {{name: get_weather, arguments: '{{"city": "Oslo"}}'}}}}]
  - id: label
    messages:
      - {{role: user, content: 'Label', matcher: contains}}
      - {{role: assistant, content: '{{"category": "billing"}}'}}
  - id: hello
    messages:
      - {{role: user, content: 'Hello', matcher: contains}}
      - {{role: assistant, content: 'Hello to you.'}}
"""
_CITY = {"name": "get_weather", "arguments": {"city": "Oslo"}}
AIMOCK = {
    "fixtures": [
        {"match": {"userMessage": "call a tool"}, "response": {"toolCalls": [_CITY, _CITY]}},
        {"match": {"userMessage": "Label"}, "response": {"content": '{"category": "billing"}'}},
        {"match": {"userMessage": "cut"}, "response": {"content": "half an", "finishReason": "length"}},
        {"match": {"userMessage": "Hello"}, "response": {"content": "Hello to you."}},
    ]
}
LLAMA = """
import sys, threading, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port, params.api_keys = sys.argv[1], int(sys.argv[2]), [sys.argv[3]]
params.n_ctx, params.n_parallel, params.warmup, params.model_alias = 2048, 2, False, {"tiny"}
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
threading.Event().wait()
"""


class Start(NamedTuple):
    argv: tuple[str, ...]
    environment: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Foreign:
    """A server.

    Attributes:
        packages: with the version that was tried.
        program: that stands in its folder once it is installed.
    """

    name: str
    installer: str
    packages: tuple[str, ...]
    program: str

    def start(self, home: Path, work: Path, port: int) -> Start:
        """What starts it; writes the files it needs into `work`."""
        program = str(home / self.program)
        if self.name == "llama.cpp":
            write_tiny_model(work / "tiny.gguf")
            return Start((program, "-c", LLAMA, str(work / "tiny.gguf"), str(port), KEY))
        if self.name == "litellm":
            (work / "litellm.yaml").write_text(LITELLM)
            argv = (
                program,
                "--config",
                str(work / "litellm.yaml"),
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
            )
            return Start(argv, {"LITELLM_LOCAL_MODEL_COST_MAP": "True"})
        if self.name == "openai-mock-api":
            (work / "mock.yaml").write_text(OPENAI_MOCK_API)
            return Start((program, "--config", str(work / "mock.yaml"), "--port", str(port)))
        if self.name == "aimock":
            (work / "aimock.json").write_text(json.dumps(AIMOCK))
            argv = (program, "-p", str(port), "-f", str(work / "aimock.json"), "--log-level", "warn")
            return Start(argv, {"AIMOCK_API_KEYS": KEY})
        return Start((program, "--openai-port", str(port), "--anthropic-port", str(free_port())))


SERVERS = (
    Foreign("litellm", "pip", ("litellm[proxy]==1.106.2",), "bin/litellm"),
    Foreign("llama.cpp", "pip", ("xllamacpp==2026.10.11549",), "bin/python"),
    Foreign("openai-mock-api", "npm", ("openai-mock-api@0.4.0",), "node_modules/.bin/openai-mock-api"),
    Foreign("aimock", "npm", ("@copilotkit/aimock@1.43.0",), "node_modules/.bin/llmock"),
    Foreign("mock-ai-api", "pip", ("mock-ai-api==0.1.1",), "bin/mock-ai-api"),
)


def install(server: Foreign, home: Path) -> None:
    """Into `home`, unless it stands there; CalledProcessError where it cannot be had."""
    done = home / ".installed"
    if done.exists():
        return
    home.mkdir(parents=True, exist_ok=True)
    if server.installer == "npm":
        _run("npm", "install", "--no-audit", "--no-fund", "--prefix", str(home), *server.packages)
    else:
        _run(sys.executable, "-m", "venv", str(home))
        _run(str(home / "bin/pip"), "install", "-q", *server.packages)
    done.touch()


def can_install(server: Foreign) -> bool:
    return server.installer == "pip" or shutil.which("npm") is not None


@contextmanager
def running(server: Foreign, home: Path, work: Path) -> Iterator[str]:
    """Its base URL; it is ended at the end, it alone."""
    port = free_port()
    start = server.start(home, work, port)
    with (work / "server.log").open("wb") as log:
        child = subprocess.Popen(
            start.argv, cwd=work, env={**os.environ, **start.environment}, stdout=log, stderr=log
        )
        try:
            _wait(port, child)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            child.terminate()
            child.wait(20)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _wait(port: int, child: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S
    while child.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"the server did not start; it ended with {child.poll()}")


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
