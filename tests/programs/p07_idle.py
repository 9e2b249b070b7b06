"""Idle time-outs of the docs."""

from runpod_flash import Endpoint


@Endpoint(name="p07-1", cpu="cpu3c-1-2", idle_timeout=1)
def shortest():
    return 1


@Endpoint(name="p07-3", cpu="cpu3c-1-2", idle_timeout=3)
def short():
    return 3


@Endpoint(name="p07-300", cpu="cpu3c-1-2", idle_timeout=300)
def long():
    return 300


@Endpoint(name="p07-600", cpu="cpu3c-1-2", idle_timeout=600)
def longer():
    return 600


async def main():
    assert await shortest() == 1
