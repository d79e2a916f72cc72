"""What our own process spares itself; never called where batcher is a library in somebody else's process.

Measured for `batcher run`: pandas, where it is installed, costs 0.25-0.45 s of CPU and 40 MB at the start, and the
garbage collector 4 % of a run. Nothing of ours uses pandas; pyarrow imports it when it makes its first array, to know
a pandas object if it were given one. What a run throws away goes by reference counts; cycles are few and small.
"""

from __future__ import annotations

import gc
import sys

_COLLECT_AFTER = (50_000, 50, 100)
"""Objects more than freed before a collection, and younger generations collected before an older one; Python's own
are 700, 10, 10. At about 100 bytes each the first is some 5 MB."""


class _Absent:
    """An import finder that finds pandas nowhere."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        del path, target
        if name == "pandas":
            raise ModuleNotFoundError("batcher works without pandas", name=name)


def spare() -> None:
    """Call once, before the first import that takes time."""
    gc.set_threshold(*_COLLECT_AFTER)
    sys.meta_path.insert(0, _Absent())
