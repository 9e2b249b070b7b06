"""Errors that programs rely on: their types and what they say."""

from runpod_flash import Endpoint, GpuGroup


def refused(error, saying, action):
    try:
        action()
    except error as raised:
        said = str(raised)
    else:
        said = "accepted"
    assert saying in said, said


async def main():
    refused(ValueError, "mutually exclusive", lambda: Endpoint(name="x", gpu=GpuGroup.ANY, cpu="cpu3c-1-2"))
    refused(ValueError, "mutually exclusive", lambda: Endpoint(id="x", image="y"))
    api = Endpoint(name="p37", cpu="cpu3c-1-2")
    api.get("/x")(lambda: 1)
    refused(ValueError, "duplicate route", lambda: api.get("/x")(lambda: 2))
    refused(ValueError, "reserved", lambda: api.get("/ping"))
    refused(ValueError, "must start with '/'", lambda: api.get("x"))
    refused(ValueError, "cannot use Endpoint(id=...) as a decorator", lambda: Endpoint(id="abc")(lambda: 1))
    refused(TypeError, "is a client, not a route decorator", lambda: Endpoint(id="abc").get("/x")(lambda: 1))
    refused(TypeError, "only valid in client mode", lambda: api.get("/y", {"a": 1}))
    refused(ValueError, "idle_timeout", lambda: Endpoint(name="x", idle_timeout=0))
