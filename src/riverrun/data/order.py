"""A keyed permutation of the integers below N, computed one index at a time.

A Feistel network permutes the numbers of b bits, where 2^b is the first power of two that is at least N; an
image at or beyond N is sent through again until it falls below (cycle walking: Black and Rogaway, "Ciphers
with arbitrary finite domains", 2002). At most one half of the domain lies beyond, so fewer than two passes
are needed on average. Nothing of size N is stored.
"""

import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

ROUNDS = 8

# Odd multipliers of the splitmix64 finaliser (Steele, Lea, Flood 2014).
_FIRST_MULTIPLIER = np.uint64(0xBF58476D1CE4E5B9)
_SECOND_MULTIPLIER = np.uint64(0x94D049BB133111EB)


@lru_cache(maxsize=256)
def round_keys(*parts: int | str) -> tuple[np.uint64, ...]:
    """Keys of the rounds for what a permutation belongs to, such as a seed, a corpus and an epoch."""
    digest = hashlib.sha512("/".join(str(part) for part in parts).encode()).digest()
    return tuple(np.uint64(key) for key in np.frombuffer(digest, "<u8"))


def permute(index: npt.NDArray[np.int64], size: int, keys: tuple[np.uint64, ...]) -> npt.NDArray[np.int64]:
    """Images of indices under the permutation of [0, size) that the keys choose.

    Args:
        index: any shape, int64, each from 0 to size - 1.
        size: from 1 to 2^62.
        keys: from `round_keys`.
    """
    if size == 1:
        return np.zeros_like(index)
    bits = (size - 1).bit_length()
    image = _feistel(index.astype(np.uint64), bits, keys)
    outside = image >= size
    while outside.any():
        image[outside] = _feistel(image[outside], bits, keys)
        outside = image >= size
    return image.astype(np.int64)


def _feistel(value: npt.NDArray[np.uint64], bits: int, keys: tuple[np.uint64, ...]) -> npt.NDArray[np.uint64]:
    """One pass over numbers of `bits` bits; the halves may differ by a bit, and take turns to change.

    A round replaces one half by its exclusive or with a hash of the other, which the next use of it undoes:
    so every round, and the whole, is one-to-one.
    """
    low_bits = np.uint64(bits // 2)
    high_bits = np.uint64(bits) - low_bits
    low_mask = (np.uint64(1) << low_bits) - np.uint64(1)
    high, low = value >> low_bits, value & low_mask
    for number, key in enumerate(keys):
        if number % 2 == 0:
            high = high ^ _hash(low, key, high_bits)
        else:
            low = low ^ _hash(high, key, low_bits)
    return high << low_bits | low


def _hash(value: npt.NDArray[np.uint64], key: np.uint64, bits: np.uint64) -> npt.NDArray[np.uint64]:
    """The first `bits` bits of a keyed hash; multiplication is modulo 2^64."""
    mixed = (value + key) * _FIRST_MULTIPLIER
    mixed = (mixed ^ (mixed >> np.uint64(29))) * _SECOND_MULTIPLIER
    # A shift by 64 is undefined; a half of no bits stays 0.
    return mixed >> (np.uint64(64) - bits) if bits else np.zeros_like(mixed)
