import resource
import sys

import pytest

from riverrun.models import keep_freed_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_blocks_come_back_without_page_faults():
    if not keep_freed_memory():
        pytest.skip("the C library is not glibc")
    block = 8 << 20
    bytearray(block)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        bytearray(block)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert faults < 2 * block / resource.getpagesize()
