"""The key in the file that `runpodctl` and `flash login` write."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPT = "from runpod_flash.core.credentials import get_api_key; print(get_api_key())"


def found(text: str) -> str:
    with tempfile.TemporaryDirectory() as home:
        Path(home, ".runpod").mkdir()
        Path(home, ".runpod", "config.toml").write_text(text)
        environment = {**os.environ, "HOME": home}
        environment.pop("RUNPOD_API_KEY", None)
        command = [sys.executable, "-c", SCRIPT]
        printed = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=True)
        return printed.stdout.strip()


async def main():
    assert found('apikey = "rpa_ctl"') == "rpa_ctl"
    assert found('[default]\napi_key = "rpa_login"') == "rpa_login"
    assert found("[default]") == "None"
