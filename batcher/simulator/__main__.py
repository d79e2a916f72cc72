"""`python -m batcher.simulator`: how `launch` starts it. One JSON line on standard output tells the port."""

from __future__ import annotations

import argparse
import sys

from batcher.simulator.config import SimulatorConfig
from batcher.simulator.server import serve


def main() -> int:
    parser = argparse.ArgumentParser(prog="batcher.simulator", description=__doc__)
    parser.add_argument("--config-json", default="{}", help="a JSON object of settings")
    parser.add_argument("--parent-pid", type=int, help="end with this process")
    options = parser.parse_args()
    try:
        config = SimulatorConfig().changed_by_json(options.config_json)
        return serve(config, on_ready=_tell, parent_pid=options.parent_pid, watch_stdin=True)
    except (ValueError, OSError) as err:
        sys.stderr.write(f"simulator: {err}\n")
        return 2


def _tell(port: int) -> None:
    sys.stdout.write(f'{{"port":{port}}}\n')
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
