"""CPU hardware by enum, by string, by list."""

from runpod_flash import CpuInstanceType, Endpoint


@Endpoint(name="p04-enum", cpu=CpuInstanceType.CPU3C_1_2)
def by_enum(a: int) -> int:
    return a + 1


@Endpoint(name="p04-string", cpu="cpu5c-4-8")
def by_string(a: int) -> int:
    return a + 2


@Endpoint(name="p04-list", cpu=[CpuInstanceType.CPU3C_1_2, "cpu3c-2-4"])
def by_list(a: int) -> int:
    return a + 3


async def main():
    assert await by_string(1) == 3
