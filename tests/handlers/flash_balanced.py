"""An official load-balanced worker: `/execute` of `runpod_flash` 1.21."""

from __future__ import annotations

import os

import uvicorn
from runpod_flash.runtime.lb_handler import create_lb_handler

app = create_lb_handler({}, include_execute=True)


@app.get("/ping")
def ping() -> dict[str, str]:
    return {"status": "healthy"}


uvicorn.run(app, host="0.0.0.0", port=int(os.environ["PORT"]), log_level="warning")
