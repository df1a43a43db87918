"""The C library's memory allocator, set for training on a CPU."""

from __future__ import annotations

import ctypes
import sys

# From glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> bool:
    """Tell glibc to keep what the process frees, for the next step to use again.

    By default it hands blocks of some megabytes back to the kernel, and each step then waits for thousands of
    page faults to get them again. Holds for the whole process; call it once, before training on a CPU.

    Returns:
        Whether the allocator took the setting; False where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(set_option(M_MMAP_THRESHOLD, 1 << 30) and set_option(M_TRIM_THRESHOLD, (1 << 31) - 1))
