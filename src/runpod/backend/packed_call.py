def _flash_unpacked(start, parts):
    import pickle

    def load(parts):
        return pickle.loads(parts[0], buffers=[bytearray(part) for part in parts[1:]])

    args, kwargs = load(parts[: start or len(parts)])
    made, named = load(parts[start:]) if start else ((), {})
    return _flash_packed_target(*made, **named)(*args, **kwargs)


async def _flash_packed_call(start, *parts):
    result = _flash_unpacked(start, parts)
    if hasattr(result, "__await__"):
        result = await result
    if hasattr(result, "__aiter__"):
        result = [item async for item in result]
    elif hasattr(result, "__next__"):
        result = list(result)
    return result


async def _flash_packed_stream(start, *parts):
    import cloudpickle

    return [cloudpickle.dumps(item, protocol=5) for item in await _flash_packed_call(start, *parts)]


async def _flash_packed_items(start, *parts):
    import cloudpickle

    result = _flash_unpacked(start, parts)
    if hasattr(result, "__await__"):
        result = await result
    if hasattr(result, "__aiter__"):
        return _flash_packed_later(result)
    return (cloudpickle.dumps(item, protocol=5) for item in result)


async def _flash_packed_later(items):
    import cloudpickle

    try:
        async for item in items:
            yield cloudpickle.dumps(item, protocol=5)
    finally:
        await items.aclose()
