"""Programs that do with an endpoint all that an official client can do, one for each client.

Each gets the key, the endpoint, an input that is done at once and one that takes a second, and prints as JSON what it
saw: `runsync` and `run` (status, output), `stream` (the items), `cancelled` (what `cancel` answered, then the status),
`health`. Where a client has no such method, it is missing.
"""

from __future__ import annotations

PYTHON_SYNC = """
import json, sys, time, runpod
key, id, quick, slow = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
runpod.api_key = key
endpoint = runpod.Endpoint(id)
seen = {"runsync": [None, endpoint.run_sync({"input": quick}, timeout=100)]}
job = endpoint.run({"input": quick})
while (status := job.status()) not in ("COMPLETED", "FAILED", "TIMED_OUT", "CANCELLED"):
    time.sleep(0.1)
seen["run"] = [status, job.output()]
seen["stream"] = list(endpoint.run({"input": quick}).stream())
job = endpoint.run({"input": slow})
answer = job.cancel()
seen["cancelled"] = [answer["status"], job.status()]
seen["health"] = endpoint.health()
print(json.dumps(seen))
"""

PYTHON_ASYNCIO = """
import asyncio, json, sys, runpod
from runpod import AsyncioEndpoint, http_client
key, id, quick, slow = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
runpod.api_key = key
async def main():
    async with http_client.AsyncClientSession() as session:
        endpoint = AsyncioEndpoint(id, session)
        seen = {}
        job = await endpoint.run(quick)
        output = await job.output(timeout=100)
        seen["run"] = [await job.status(), output]
        job = await endpoint.run(quick)
        seen["stream"] = [chunk async for chunk in job.stream()]
        job = await endpoint.run(slow)
        answer = await job.cancel()
        seen["cancelled"] = [answer["status"], await job.status()]
        seen["health"] = await endpoint.health()
        print(json.dumps(seen))
asyncio.run(main())
"""

FLASH = """
import asyncio, json, sys
from runpod_flash import Endpoint
id, quick, slow = sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
async def main():
    endpoint = Endpoint(id=id)
    seen = {}
    job = await endpoint.runsync(quick, timeout=100)
    seen["runsync"] = [job._data["status"], job.output]
    job = await endpoint.run(quick)
    await job.wait(timeout=100)
    seen["run"] = [await job.status(), job.output]
    assert job.done
    job = await endpoint.run(slow)
    answer = await endpoint.cancel(job.id)
    seen["cancelled"] = [answer._data["status"], await job.status()]
    print(json.dumps(seen))
asyncio.run(main())
"""

JAVASCRIPT = """
const [id, quick, slow] = [argv[0], JSON.parse(argv[1]), JSON.parse(argv[2])];
const endpoint = sdk.endpoint(id);
const seen = {};
console.log = () => {};  // runSync tells each status
let answer = await endpoint.runSync({ input: quick }, 90000);
seen.runsync = [answer.status, answer.output];
let job = await endpoint.run({ input: quick });
do {
  answer = await endpoint.status(job.id);
} while (!answer.completed && await new Promise((done) => setTimeout(() => done(true), 50)));
const again = await endpoint.statusSync(job.id);
if (JSON.stringify(again) !== JSON.stringify(answer)) throw new Error(JSON.stringify([again, answer]));
seen.run = [answer.status, answer.output];
job = await endpoint.run({ input: quick });
seen.stream = [];
for await (const chunk of endpoint.stream(job.id)) seen.stream.push(chunk.output);
job = await endpoint.run({ input: slow });
answer = await endpoint.cancel(job.id);
seen.cancelled = [answer.status, (await endpoint.status(job.id)).status];
seen.health = await endpoint.health();
process.stdout.write(JSON.stringify(seen) + "\\n");
"""
