"""Several load-balanced endpoints and several functions in one file."""

from runpod_flash import Endpoint

first = Endpoint(name="p20-first", cpu="cpu3c-1-2")
second = Endpoint(name="p20-second", cpu="cpu3c-1-2")


@first.get("/first")
async def from_first():
    return "first"


@second.get("/second")
async def from_second():
    return "second"


@Endpoint(name="p20-third", cpu="cpu3c-1-2")
def third(x: int) -> int:
    return 3 * x


@Endpoint(name="p20-fourth", cpu="cpu3c-1-2")
def fourth(x: int) -> int:
    return 4 * x


async def main():
    assert await third(2) + await fourth(2) == 14
    assert await from_first() == "first"
