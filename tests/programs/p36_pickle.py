"""Decorated objects inside of closures: cloudpickle takes them."""

import asyncio

import cloudpickle
from runpod_flash import Endpoint

endpoint = Endpoint(name="p36-api", cpu="cpu3c-1-2")


@Endpoint(name="p36", cpu="cpu3c-1-2")
def function(x: int) -> int:
    return x + 1


@Endpoint(name="p36-class", cpu="cpu3c-1-2")
class Thing:
    def __init__(self):
        self.start = 10

    def go(self, x: int) -> int:
        return self.start + x


async def main():
    copied = cloudpickle.loads(cloudpickle.dumps(lambda x: function(x)))
    assert await copied(1) == 2
    thing = cloudpickle.loads(cloudpickle.dumps(Thing()))
    assert await thing.go(1) == 11
    assert cloudpickle.loads(cloudpickle.dumps(endpoint)).name == "p36-api"
    assert asyncio.iscoroutinefunction(cloudpickle.loads(cloudpickle.dumps(function)))
