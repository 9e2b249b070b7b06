"""`LOG_LEVEL=DEBUG python script.py` gives lines `time | LEVEL | message`; without it a script logs nothing."""

import os
import re
import subprocess
import sys

SCRIPT = """
import asyncio, logging
from runpod_flash import Endpoint

@Endpoint(name="p38", cpu="cpu3c-1-2")
def function(x):
    return x

logging.getLogger("mine").debug("api_key=%s", "rpa_0123456789abcdef")
asyncio.run(function(3))
"""
LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \| DEBUG \| (.*)$", re.MULTILINE)


def printed(**variables: str) -> str:
    removed = ("LOG_LEVEL", "RUNPOD_API_KEY", "FLASH_IS_LIVE_PROVISIONING")
    environment = {name: value for name, value in os.environ.items() if name not in removed} | variables
    command = [sys.executable, "-c", SCRIPT]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


async def main():
    lines = LINE.findall(printed(LOG_LEVEL="DEBUG"))
    assert "api_key=***REDACTED***" in lines, lines
    assert "calling `function` of endpoint `p38`: local" in lines, lines
    assert LINE.findall(printed(LOG_LEVEL="INFO")) == []
    assert printed() == ""
