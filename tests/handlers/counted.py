"""A worker without any package: it starts quickly, and writes down each job before it runs it.

`counted.py RECORD`: a line of `RECORD` is the job's number, what names this run of it, and the process.
"""

import http.client
import json
import os
import sys
import uuid
from urllib.parse import urlsplit

WORKER = os.environ["RUNPOD_POD_ID"]
TAKE = os.environ["RUNPOD_WEBHOOK_GET_JOB"].replace("$RUNPOD_POD_ID", WORKER).replace("$ID", WORKER)
DONE = os.environ["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", WORKER)
CONNECTION = http.client.HTTPConnection(urlsplit(TAKE).netloc, timeout=90)
RECORD = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def ask(method: str, url: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Send a request with the worker's key; return status and body of the answer."""
    parts = urlsplit(url)
    headers = {"Authorization": os.environ["RUNPOD_AI_API_KEY"]}
    CONNECTION.request(method, f"{parts.path}?{parts.query}", body, headers)
    answer = CONNECTION.getresponse()
    return answer.status, answer.read()


while True:
    try:
        status, text = ask("GET", f"{TAKE}&job_in_progress=0")
        if status == 204:
            continue
        if status != 200:
            sys.exit()
        job = json.loads(text)
        number, run = job["input"], uuid.uuid4().hex
        os.write(RECORD, f"{number} {run} {os.getpid()}\n".encode())
        output = {"number": number, "run": run, "job": job["id"]}
        ask("POST", f"{DONE.replace('$ID', job['id'])}&isStream=false", json.dumps({"output": output}).encode())
    except (OSError, http.client.HTTPException):
        sys.exit()  # the platform is gone
