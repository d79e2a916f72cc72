"""MODES: every named behaviour of the simulator, one or more per line of the failure table and per odd
reply.
"""

from __future__ import annotations

from batcher.simulator.breakage import BREAKAGE
from batcher.simulator.failures import FAILURES
from batcher.simulator.misfits import MISFITS
from batcher.simulator.oddities import ODDITIES
from batcher.simulator.refusals import REFUSALS
from batcher.simulator.streams import STREAMS
from batcher.simulator.throttles import THROTTLES
from batcher.simulator.witnessed import WITNESSED

MODES = {
    mode.name: mode
    for mode in (*ODDITIES, *MISFITS, *STREAMS, *BREAKAGE, *REFUSALS, *FAILURES, *THROTTLES, *WITNESSED)
}
"""Name -> mode. "ok" is the good answer."""
