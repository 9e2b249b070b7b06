"""Limits of workers: a number, pairs, none."""

from runpod_flash import Endpoint


@Endpoint(name="p06-five", cpu="cpu3c-1-2", workers=5)
def five():
    return 5


@Endpoint(name="p06-three", cpu="cpu3c-1-2", workers=(0, 3))
def three():
    return 3


@Endpoint(name="p06-one", cpu="cpu3c-1-2", workers=(1, 10))
def ten():
    return 10


@Endpoint(name="p06-default", cpu="cpu3c-1-2")
def one():
    return 1


async def main():
    endpoint = Endpoint(name="p06", workers=(2, 10))
    assert (endpoint.workers_min, endpoint.workers_max) == (2, 10)
    assert await five() == 5
