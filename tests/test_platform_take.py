"""Conformance 40-48: how workers take jobs."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

import httpx
from platform_support import Platform, Scripted, ScriptedWorker, until

Make = Callable[..., Scripted]


def test_40_take_answers_a_job(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    job = endpoint.run({"a": "é"}, webhook="http://127.0.0.1:9/", s3Config={"accessId": "a", "bucketName": "b"})
    answer = worker.take()
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == "application/json"
    assert int(answer.headers["content-length"]) > 0
    taken = answer.json()
    assert (taken["id"], taken["input"]) == (job, {"a": "é"})
    assert taken["s3Config"] == {"accessId": "a", "bucketName": "b"}
    assert "self" not in taken
    assert "s3Config" not in endpoint.status(job)


def test_41_idle_take_is_held_then_204(clocked: Platform, scripted: Make) -> None:
    endpoint = scripted(clocked)
    worker = endpoint.worker()
    answer = clocked.later(worker.take)
    until(lambda: endpoint.health()["workers"]["idle"] == 1)
    clocked.advance(10)
    time.sleep(0.2)  # nothing is to happen
    assert not answer.done()
    clocked.advance(79)
    assert answer.result(5).status_code == 204
    assert answer.result().content == b""


def test_42_job_never_goes_to_a_poller_that_hung_up(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform, workers=2)
    gone, other = endpoint.worker(), endpoint.worker()
    for number in range(5):
        url = httpx.URL(gone._url("RUNPOD_WEBHOOK_GET_JOB") + "&job_in_progress=0")
        with socket.create_connection(("127.0.0.1", platform.port)) as poller:
            head = f"GET {url.raw_path.decode()} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {gone.key}\r\n\r\n"
            poller.sendall(head.encode())
            until(lambda: endpoint.health()["workers"]["idle"] >= 1)
        job = endpoint.run(number)
        assert other.job()["id"] == job
        other.done(job, {"output": number})
        assert endpoint.status(job)["output"] == number
        assert "retries" not in endpoint.status(job)


def test_43_batch_is_an_array_in_order(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    jobs = [endpoint.run(number) for number in range(6)]
    batch = worker.take_batch(3)
    assert batch.status_code == 200
    assert [job["id"] for job in batch.json()] == jobs[:3]
    assert [job["input"] for job in batch.json()] == [0, 1, 2]
    single = worker.take(in_progress=1).json()
    assert isinstance(single, dict)
    assert single["id"] == jobs[3]
    rest = worker.take_batch(10, in_progress=1).json()
    assert [job["id"] for job in rest] == jobs[4:]
    for job in jobs:
        assert worker.done(job, {"output": 1}).status_code == 200


def test_44_thousand_jobs_and_eight_workers(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform, workers=8)
    taken: Counter[str] = Counter()
    lock = threading.Lock()
    finished = threading.Event()

    def work(worker: ScriptedWorker, in_batches: bool) -> int:
        refused = 0
        while not finished.is_set():
            answer = worker.take_batch(4) if in_batches else worker.take()
            if answer.status_code != 200:
                continue
            jobs = answer.json() if in_batches else [answer.json()]
            for job in jobs:
                with lock:
                    taken[job["id"]] += 1
                refused += worker.done(job["id"], {"output": job["input"]}).status_code != 200
                with lock:
                    if len(taken) == 1000:
                        finished.set()
        return refused

    working = [platform.later(work, endpoint.worker(), number % 2 == 0) for number in range(8)]
    submitting = [
        platform.later(lambda part: [endpoint.run(number) for number in range(part, 1000, 8)], part)
        for part in range(8)
    ]
    jobs = [job for part in submitting for job in part.result(60)]
    assert finished.wait(60)
    for job in jobs:
        endpoint.wait_for(job, "COMPLETED")
    endpoint.delete()  # ends the polls
    assert sum(future.result(30) for future in working) == 0
    assert len(set(jobs)) == 1000
    assert taken == Counter(jobs)


def test_45_parameters_are_tolerated(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    base = f"/v2/{endpoint.id}"
    for url in (
        f"{base}/job-take/{worker.id}?gpu=NVIDIA+GeForce+RTX+4090&job_in_progress=0&unknown=1",
        f"{base}/job-take/{worker.id}",
        f"{base}/job-take/{worker.id}&job_in_progress=0",
    ):
        job = endpoint.run(1)
        assert worker.send("GET", url).json()["id"] == job
        done = f"{base}/job-done/{worker.id}/{job}"
        assert worker.send("POST", f"{done}?gpu=x&isStream=false", content=b'{"output":1}').status_code == 200
    for size in ("2", "0", "-1", "many", "999999999999999999999"):
        job = endpoint.run(1)
        answer = worker.send("GET", f"{base}/job-take-batch/{worker.id}?gpu=x&batch_size={size}&job_in_progress=0")
        if answer.status_code == 200:
            assert [taken["id"] for taken in answer.json()] == [job]
        else:
            assert 400 <= answer.status_code < 500
            assert worker.job()["id"] == job
        worker.done(job, {"output": 1})


def test_46_workers_routes_ask_for_the_key(platform: Platform, scripted: Make) -> None:
    endpoint, other = scripted(platform), scripted(platform)
    worker, foreign = endpoint.worker(), other.worker()
    job = endpoint.run(1)
    base = f"{platform.url}/v2/{endpoint.id}"
    routes = [
        ("GET", f"{base}/job-take/{worker.id}?gpu=x&job_in_progress=0"),
        ("GET", f"{base}/job-take-batch/{worker.id}?gpu=x&batch_size=2&job_in_progress=0"),
        ("POST", f"{base}/job-done/{worker.id}/{job}?gpu=x&isStream=false"),
        ("POST", f"{base}/job-stream/{worker.id}/{job}?gpu=x&isStream=false"),
        ("GET", f"{base}/ping/{worker.id}?runpod_version=1.12.0"),
        ("GET", f"{base}/job-stop/{worker.id}?gpu=x"),
    ]

    def ask(method: str, url: str, key: str) -> httpx.Response:
        return platform.client.request(method, url, headers={"Authorization": key}, content=b'{"output":1}')

    keys = ("", "wrong", "Bearer wrong", foreign.key, worker.key[:-1])
    # Together, as a refusal may take its time.
    for asked in [platform.later(ask, method, url, key) for method, url in routes for key in keys]:
        answer = asked.result(10)
        assert answer.status_code == 401, answer.url
        assert answer.json() == {"error": "unauthorized"}
    assert endpoint.status(job)["status"] == "IN_QUEUE"
    # Its own opens, bare; so does the endpoint's own.
    assert worker.ping().status_code == 200
    assert worker.job()["id"] == job
    assert worker.done(job, {"output": 1}).status_code == 200
    job = endpoint.run(2)
    answer = platform.client.get(routes[0][1], headers={"Authorization": endpoint.key})
    assert answer.json()["id"] == job


def test_47_stray_workers_are_answered_slowly(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    endpoint.run(1)

    def ask(path: str) -> tuple[int, float]:
        start = time.monotonic()
        answer = platform.client.get(f"/v2/{path}", headers={"Authorization": platform.token})
        return answer.status_code, time.monotonic() - start

    asked = [
        platform.later(ask, path)
        for path in (
            f"{endpoint.id}/job-take/nosuchworker?gpu=x&job_in_progress=0",
            f"{endpoint.id}/job-take-batch/nosuchworker?gpu=x&batch_size=2&job_in_progress=0",
            f"{endpoint.id}/job-stop/nosuchworker?gpu=x",
            f"nosuchendpoint/job-take/{worker.id}?gpu=x&job_in_progress=0",
        )
    ]
    for answer in asked:
        status, took = answer.result(10)
        assert 400 <= status < 500
        assert took >= 1
    assert endpoint.health()["jobs"]["inQueue"] == 1


def test_48_draining_worker_gets_no_job(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform, stubborn=True)
    worker = endpoint.worker()
    job = endpoint.run(1)
    worker.job()
    worker.done(job, {"output": 1, "stopPod": True})
    later = endpoint.run(2)
    start = time.monotonic()
    answer = worker.take()
    assert answer.status_code == 204
    assert time.monotonic() - start < 1
    again = worker.take()
    assert again.status_code in (204, 429) or 400 <= again.status_code < 500
    assert time.monotonic() - start > 0.9
    assert endpoint.worker().job()["id"] == later
