"""Gives memory that a finished shard no longer needs back to the operating system.

Sealing works through tens of megabytes in threads of its own; what it frees stays with the allocators (Arrow's pool,
and glibc's arenas, one per thread). Measured without this: 172 MiB before the first seal, 212 after it, 330 at the peak
of 1,000,000 rows.
"""

from __future__ import annotations

import ctypes
import gc
import sys

import pyarrow as pa


def _glibc_trim() -> object:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none


_TRIM = _glibc_trim()


def give_back() -> None:
    """Blocking, a few milliseconds; call it in a thread after a shard is sealed."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    if callable(_TRIM):
        _TRIM(0)
