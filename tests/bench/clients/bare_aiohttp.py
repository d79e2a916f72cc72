"""The loop that people write by hand: workers over one session, answers counted and thrown away. uvloop.

CLIENT URL ROWS CONNECTIONS OUT: every client here takes these words, and prints how many rows were answered.
"""

import asyncio
import json
import os
import ssl
import sys
from pathlib import Path

import aiohttp
import uvloop


async def main(url: str, rows: str, connections: int) -> int:
    trust = ssl.create_default_context(cafile=os.environ["BENCH_CA"]) if url.startswith("https") else True
    connector = aiohttp.TCPConnector(limit=0, ssl=trust)
    headers = {"authorization": "Bearer sk-bench", "content-type": "application/json"}
    answered = 0
    with Path(rows).open() as file:  # noqa: ASYNC230 - lines, from the page cache
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

            async def worker() -> None:
                nonlocal answered
                for line in file:
                    messages = [{"role": "user", "content": json.loads(line)["prompt"]}]
                    body = json.dumps({"model": "m", "messages": messages})
                    async with session.post(f"{url}/chat/completions", data=body) as response:
                        reply = json.loads(await response.read())
                    answered += bool(reply["choices"][0]["message"]["content"])

            await asyncio.gather(*(worker() for _ in range(connections)))
    return answered


if __name__ == "__main__":
    print(uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
