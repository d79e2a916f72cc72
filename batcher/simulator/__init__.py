"""An OpenAI-compatible endpoint with faults, on loopback, in its own process: for demonstrations and tests.

    script      pure: a request to a plan; modes (MODES) and answers below it
    limits, ledger, service    the provider behind all connections
    wire, connection, server   HTTP/1.1, raw enough to be broken on purpose
    launch      start it, talk to it, end it

It says that it is simulated: header `x-batcher-simulated`, `system_fingerprint` "simulated". It must never
listen beyond loopback, never call out, and never import anything heavy: standard library, orjson, uvloop
where installed.
"""

from batcher.simulator.config import SimulatorConfig
from batcher.simulator.launch import Simulator, SimulatorError, launch
from batcher.simulator.modes import MODES
from batcher.simulator.plan import Mode

__all__ = ["MODES", "Mode", "Simulator", "SimulatorConfig", "SimulatorError", "launch"]
