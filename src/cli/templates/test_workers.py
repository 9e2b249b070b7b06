"""Runs with plain `pytest`: no server, no account, no network."""

import asyncio

from gpu_worker import gpu_hello
from lb_worker import health, process


def test_gpu_hello_counts_words() -> None:
    # `.local` is the undecorated function, called right here.
    answer = asyncio.run(gpu_hello.local({"message": "three short words"}))
    assert answer["words"] == 3
    assert set(answer["gpu"]) == {"available", "name"}


def test_gpu_hello_without_message_still_greets() -> None:
    assert asyncio.run(gpu_hello.local({}))["message"] == "hello"


def test_process_counts_the_most_frequent_words() -> None:
    # A route handler stays an ordinary function.
    answer = asyncio.run(process("a b b", top=1))
    assert answer == {"words": 3, "most_common": {"b": 2}}


def test_health_is_healthy() -> None:
    assert asyncio.run(health()) == {"status": "healthy"}
