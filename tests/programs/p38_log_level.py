"""`LOG_LEVEL=DEBUG` gives lines `time | LEVEL | message`."""

import os
import subprocess
import sys

SCRIPT = """
import logging
from runpod_flash.logger import setup_logging
setup_logging()
logging.getLogger("runpod_flash.p38").debug("seen")
"""


async def main():
    environment = {**os.environ, "LOG_LEVEL": "DEBUG"}
    printed = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    )
    line = next(line for line in (printed.stdout + printed.stderr).splitlines() if line.endswith("seen"))
    assert [part.strip() for part in line.split("|")][1] == "DEBUG", line
