"""How long to wait before another attempt."""

import math
import random
from enum import Enum

from .. import _official


class BackoffStrategy(str, Enum):
    """How waits grow."""

    EXPONENTIAL = "exponential"
    LINEAR = "linear"
    LOGARITHMIC = "logarithmic"


def get_backoff_delay(
    attempt: int,
    base: float = 0.1,
    max_seconds: float = 10.0,
    jitter: float = 0.2,
    strategy: BackoffStrategy = BackoffStrategy.EXPONENTIAL,
) -> float:
    """Return the wait before an attempt, counted from 0, in seconds."""
    if strategy == BackoffStrategy.EXPONENTIAL:
        delay = base * 2.0**attempt
    elif strategy == BackoffStrategy.LINEAR:
        delay = base + attempt * base
    elif strategy == BackoffStrategy.LOGARITHMIC:
        delay = base * math.log2(attempt + 2)
    else:
        raise ValueError(f"Unsupported backoff strategy: {strategy}")
    return min(delay, max_seconds) * (1 + random.uniform(-jitter, jitter))


_official.adopt("legacy.backoff")
