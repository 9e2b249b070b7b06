"""Routes of the app, one of which calls a queue-based endpoint."""

from runpod_flash import Endpoint

api = Endpoint(name="dep-api", cpu="cpu3c-1-2", workers=(1, 2))


@api.get("/hello")
def hello(name: str = "you", n: int = 1):
    return {"hello": name, "n": n}


@api.post("/sum")
async def total(a: int, b: int = 1):
    # The official `flash build` takes an import above for a second declaration.
    from shop import sums

    return await sums(a, b)


@api.put("/items/{key}")
def put(key: str, value: dict):
    return {key: value}


@api.patch("/items/{key}")
def patch(key: str, value: list):
    return {key: value}


@api.delete("/items/{key}")
def delete(key: str):
    return {"deleted": key}


@api.post("/fail")
def refuse():
    raise ValueError("no")
