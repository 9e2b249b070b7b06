"""The package by attribute, by star, and its version."""

import runpod_flash

STAR: dict = {}
exec("from runpod_flash import *", STAR)


async def main():
    assert runpod_flash.Endpoint is STAR["Endpoint"]
    assert set(runpod_flash.__all__) <= set(STAR)
    assert runpod_flash.__version__.count(".") == 2
