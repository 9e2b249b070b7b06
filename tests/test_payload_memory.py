"""What a call of 256 MB needs beside the value itself: a process measures its own peak, and says it in bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from payload_memory import BESIDE, server

SENT = [
    "array",
    "array strided",
    "array strided in two axes",
    "array Fortran",
    "array Fortran strided",
    "memmap",
    "memmap strided",
    "masked",
    "masked strided",
    "structured strided",
    "bytes",
    "text",
    "array.array",
    "memoryview strided",
    "frame",
    "frame of rows",
    "frame of every second row",
    "frame of several kinds",
    "table",
]
RECEIVED = [
    "array",
    "array Fortran",
    "masked",
    "dates",
    "bytes",
    "frame of several kinds",
    "table",
    "our masked strided",
]

pytestmark = [
    pytest.mark.xdist_group("payload memory"),  # One after the other: each takes up to 1 GB.
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc"),
    pytest.mark.timeout(240),
]


@pytest.fixture(scope="module")
def measured(session_environment: dict[str, str]) -> Iterator[Callable[[str, str], dict[str, int]]]:
    with server(session_environment) as measure:
        yield measure


@pytest.mark.parametrize("kind", SENT)
def test_a_value_is_sent_without_a_copy(measured: Callable[[str, str], dict[str, int]], kind: str) -> None:
    assert measured("send", kind)["peak"] <= BESIDE


@pytest.mark.parametrize("kind", RECEIVED)
def test_a_value_is_received_once(measured: Callable[[str, str], dict[str, int]], kind: str) -> None:
    found = measured("receive", kind)
    assert 0.9 * found["size"] <= found["peak"] <= found["size"] + BESIDE
