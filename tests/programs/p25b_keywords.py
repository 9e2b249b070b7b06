"""Defaults, many keywords, and parameters with names that a library might use itself."""

from runpod_flash import Endpoint


@Endpoint(name="p25b-image", cpu="cpu3c-1-2")
async def generate_image(prompt, negative_prompt="", num_steps=30, guidance_scale=7.5):
    return [prompt, negative_prompt, num_steps, guidance_scale]


@Endpoint(name="p25b-names", cpu="cpu3c-1-2")
async def names(input, data, config, payload, url, method="m", env="e", app="a", func="f", endpoint_name="n"):
    return [input, data, config, payload, url, method, env, app, func, endpoint_name]


async def main():
    assert await generate_image("cat", num_steps=20) == ["cat", "", 20, 7.5]
    given = await names(1, data=2, config=3, payload=4, url=5, env="6", func="7", method="8")
    assert given == [1, 2, 3, 4, 5, "8", "6", "a", "7", "n"]
