import dataclasses

import pytest
import torch

from riverrun.models import DecoderConfig


@pytest.fixture
def tiny():
    """Make a small decoder's configuration, with fields of the caller's choice."""
    base = DecoderConfig(family="llama", layers=2, width=32, heads=4, context=48, vocabulary=61)
    return lambda **fields: dataclasses.replace(base, **fields)


@pytest.fixture
def tokens():
    """Random token ids [3, 48] under 61."""
    return torch.randint(61, (3, 48), generator=torch.Generator().manual_seed(5))
