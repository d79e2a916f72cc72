"""httpx as its documentation shows it, under an anyio task group: one client, as many connections as workers."""

import json
import sys
from pathlib import Path

import anyio
import httpx


async def main(url: str, rows: str, connections: int) -> int:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    answered = 0
    with Path(rows).open() as file:  # noqa: ASYNC230 - lines, from the page cache
        async with httpx.AsyncClient(limits=limits, timeout=600, headers={"authorization": "x"}) as client:

            async def worker() -> None:
                nonlocal answered
                for line in file:
                    messages = [{"role": "user", "content": json.loads(line)["prompt"]}]
                    body = {"model": "m", "messages": messages}
                    reply = (await client.post(f"{url}/chat/completions", json=body)).json()
                    answered += bool(reply["choices"][0]["message"]["content"])

            async with anyio.create_task_group() as tasks:
                for _ in range(connections):
                    tasks.start_soon(worker)
    return answered


if __name__ == "__main__":
    options = {"use_uvloop": True}
    print(anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]), backend_options=options))
