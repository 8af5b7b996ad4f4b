"""Counter-based randomness: a pure function of (seed, symbol, lane, counter).

Belongs here: hashing counters to bits, uniforms, bell-shaped numbers and smooth noise, whole arrays at a time.
Does not belong here: anything about markets. No state, so that any past minute can be drawn without its history.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_BELL_SCALE = (4 / 12) ** -0.5


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    # The splitmix64 finalizer (Steele, Lea, Flood 2014): every input bit moves every output bit.
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


class Rng:
    """Random numbers addressed by lane and counter.

    Args:
        seed: seed of the whole market.
        name: what is drawn for, usually a symbol; other names give independent numbers.
    """

    def __init__(self, seed: int, name: str) -> None:
        self._key = blake2b(f"{seed}/{name}".encode(), digest_size=16).digest()
        self._lanes: dict[str, np.uint64] = {}

    def _lane(self, lane: str) -> np.uint64:
        if lane not in self._lanes:
            digest = blake2b(lane.encode(), key=self._key, digest_size=8).digest()
            self._lanes[lane] = np.uint64(int.from_bytes(digest, "little"))
        return self._lanes[lane]

    def bits(self, lane: str, counter: Ints) -> NDArray[np.uint64]:
        """64 random bits per counter; any array of int64, same shape out."""
        with np.errstate(over="ignore"):
            return _mix(_mix(counter.astype(np.uint64) * _GOLDEN + self._lane(lane)))

    def uniform(self, lane: str, counter: Ints) -> Floats:
        """Uniform in [0, 1)."""
        return (self.bits(lane, counter) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def below(self, lane: str, counter: Ints, bound: int) -> Ints:
        """Integers in [0, bound), bound < 2**31."""
        return ((self.bits(lane, counter) >> np.uint64(32)) * np.uint64(bound) >> np.uint64(32)).astype(np.int64)

    def bell(self, lane: str, counter: Ints) -> Floats:
        """Near-normal numbers, mean 0, variance 1, |z| < 3.5: the sum of four 16-bit uniforms.

        Exact arithmetic, so the value never depends on the length of the array or the CPU's vector width.
        """
        bits = self.bits(lane, counter)
        total = sum(((bits >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.float64) for shift in (0, 16, 32, 48))
        return np.asarray((total / 65536.0 - 2.0) * _BELL_SCALE)

    def noise(self, lane: str, x: Floats) -> Floats:
        """Value noise: bell numbers at the integers, straight lines between them."""
        left = np.floor(x)
        index = left.astype(np.int64)
        share = x - left
        return np.asarray(self.bell(lane, index) * (1.0 - share) + self.bell(lane, index + 1) * share)
