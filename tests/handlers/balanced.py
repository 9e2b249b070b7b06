"""A load-balanced worker: answers with what it was asked; `/ping` and its port are told by variables and files."""

import asyncio
import hashlib
import os
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import StreamingResponse

app = FastAPI()
health = FastAPI()


def ping():
    told = os.environ.get("PING_FILE")
    code = int(Path(told).read_text()) if told and Path(told).exists() else 200
    return Response("" if code == 204 else '{"status":"healthy"}', code, media_type="application/json")


for application in (app, health):
    application.get(os.environ.get("HEALTH_CHECK_PATH", "/ping"))(ping)


@app.get("/sse")
async def sse(count: int = 5, pause: float = 0.2):
    async def events():
        for number in range(count):
            yield f"data: {number} {asyncio.get_running_loop().time()}\n\n"
            await asyncio.sleep(pause)

    return StreamingResponse(events(), media_type="text/event-stream")


@app.websocket("/ws")
async def echo(socket: WebSocket):
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(f"echo {text}")


@app.get("/fail")
async def fail():
    return Response("no", 503)


@app.get("/large/{size}")
async def large(size: int):
    return Response(b"x" * size)


@app.get("/wait/{seconds}")
async def wait(seconds: float):
    await asyncio.sleep(seconds)
    return {"worker": os.environ["RUNPOD_POD_ID"]}


@app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
async def everything(path: str, request: Request):
    body = await request.body()
    return {
        "method": request.method,
        "target": request.scope["raw_path"].decode() + "?" + request.scope["query_string"].decode(),
        "body": hashlib.sha256(body).hexdigest(),
        "length": len(body),
        "headers": dict(request.headers),
        "worker": os.environ["RUNPOD_POD_ID"],
    }


async def main():
    port = int(os.environ["PORT"])
    wanted = int(os.environ.get("PORT_HEALTH", port))
    servers = [uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))]
    if wanted != port:
        servers.append(uvicorn.Server(uvicorn.Config(health, host="127.0.0.1", port=wanted, log_level="warning")))
    await asyncio.gather(*(server.serve() for server in servers))


if __name__ == "__main__":
    asyncio.run(main())
