"""A client by ID: jobs that are run, waited for, asked, cancelled."""

from runpod_flash import Endpoint

ep = Endpoint(id="p01")


async def main():
    job = await ep.run({"input_data": {"prompt": "hello"}})
    assert job.id
    await job.wait()
    assert await job.status() == "COMPLETED"
    assert (job.output, job.error, job.done) == ({"got": {"prompt": "hello"}}, None, True)
    again = await ep.run({"input_data": {}}, webhook="http://127.0.0.1:9/ended")
    await again.wait(timeout=60)
    assert await again == {"got": {}}
    ended = await ep.runsync({"input_data": {"b": 2}})
    assert ended.output == {"got": {"b": 2}}
    assert (await ep.cancel(ended.id)).id == ended.id
    await job.cancel()
