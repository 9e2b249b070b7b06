"""Both scalers on queue-based endpoints."""

from runpod_flash import Endpoint, ServerlessScalerType


@Endpoint(name="p09-delay", cpu="cpu3c-1-2", scaler_type=ServerlessScalerType.QUEUE_DELAY, scaler_value=4)
async def by_delay(text: str) -> str:
    return text[::-1]


@Endpoint(name="p09-count", cpu="cpu3c-1-2", scaler_type=ServerlessScalerType.REQUEST_COUNT, scaler_value=3)
async def by_count(text: str) -> str:
    return text.upper()


async def main():
    assert await by_count("ab") == "AB"
