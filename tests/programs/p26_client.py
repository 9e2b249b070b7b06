"""A client by ID: jobs that are run, waited for, asked, cancelled; from a script, and from a worker."""

import os

from runpod_flash import Endpoint

ep = Endpoint(id="p01")
RUNPOD = {name: value for name, value in os.environ.items() if name.startswith("RUNPOD_")}


@Endpoint(name="p26-asks", cpu="cpu3c-1-2")
async def asks(text: str, variables: dict | None = None) -> dict:
    """Be a client in a worker, which has a key only where it is given one."""
    os.environ.update(variables or {})
    job = await Endpoint(id="p01").run({"input_data": {"prompt": text}})
    await job.wait(timeout=60)
    return {"status": await job.status(), "output": job.output}


async def main():
    job = await ep.run({"input_data": {"prompt": "hello"}})
    assert job.id
    assert await job.wait() is job
    assert await job.status() == "COMPLETED"
    assert (job.output, job.error, job.done) == ({"got": {"prompt": "hello"}}, None, True)
    again = await ep.run({"input_data": {}}, webhook="http://127.0.0.1:9/ended")
    await again.wait(timeout=60)
    assert await again == {"got": {}}
    ended = await ep.runsync({"input_data": {"b": 2}})
    assert ended.output == {"got": {"b": 2}}
    assert (await ep.cancel(ended.id)).id == ended.id
    await job.cancel()
    asked = await Endpoint(id="p26-asks").runsync({"text": "again", "variables": RUNPOD})
    assert asked.output == {"status": "COMPLETED", "output": {"got": {"prompt": "again"}}}, (asked.error, asked.output)
