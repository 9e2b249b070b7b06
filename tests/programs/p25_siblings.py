"""A function that imports modules beside it in its body."""

from runpod_flash import Endpoint


@Endpoint(name="p25", cpu="cpu3c-1-2")
async def tidy(text: str) -> str:
    from p25_helpers.text import clean
    from p25_utils import shout

    return shout(clean(text))


async def main():
    assert await tidy(" a   b ") == "A B"
