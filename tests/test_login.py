"""`flash login` against the platform of this machine, whose page stands for Runpod's console."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from platform_support import Platform
from support import FLASH, MARK, Output, end_marked

Flash = Callable[..., subprocess.CompletedProcess[str]]


class Login:
    """A running `flash login`."""

    def __init__(self, environment: dict[str, str], home: Path, *arguments: str) -> None:
        """Start it, without a browser."""
        self.process = subprocess.Popen(
            [str(FLASH), "login", "--no-open", *arguments],
            env=environment | {"HOME": str(home)},
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.errors = Output(self.process.stderr)

    def request(self) -> str:
        """Wait for the address of the page; return the request's ID."""
        return self.errors.wait_for("/flash/login?request=", within=20).rpartition("=")[2]

    def ended(self) -> tuple[int, str]:
        """Wait for its end; return the exit status and what it said."""
        status = self.process.wait(20)
        self.errors.join(5)
        return status, self.errors.text + "\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's home folder."""
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
def variables(platform: Platform, environment: dict[str, str]) -> dict[str, str]:
    """The environment of somebody without a key."""
    named = {name: value for name, value in platform.variables.items() if name != "RUNPOD_API_KEY"}
    return environment | named


@pytest.fixture
def login(variables: dict[str, str], home: Path) -> Iterator[Callable[..., Login]]:
    """Start `flash login`."""
    mark = home.parent.name
    yield lambda *arguments, **more: Login(variables | more | {MARK: mark}, home, *arguments)
    end_marked(mark, within=3)


def approve(platform: Platform, request: str) -> None:
    """Do what the form of the page does."""
    form = {"request": request, "token": platform.token}
    assert "Approved" in platform.client.post("/flash/login", data=form).text


def test_login_keeps_the_key_with_what_else_is_in_the_file(
    platform: Platform, login: Callable[..., Login], home: Path, flash: Flash, variables: dict[str, str]
) -> None:
    file = home / ".runpod" / "config.toml"
    file.parent.mkdir()
    file.write_bytes(b'# mine\r\napikey = "other"\r\n')
    running = login()
    approve(platform, running.request())
    status, said = running.ended()
    assert status == 0, said
    assert f"credentials saved to {file}" in said
    assert platform.token not in said
    text = file.read_bytes().decode()
    assert text.startswith('# mine\r\napikey = "other"\r\n')
    assert f'[default]\r\napi_key = "{platform.token}"\r\n' in text
    assert file.stat().st_mode & 0o777 == 0o600
    asked = flash("login", "--status", env=variables | {"HOME": str(home)})
    assert (asked.returncode, platform.token in asked.stdout) == (0, False)
    assert re.fullmatch(rf"logged in as \S+@localhost \(key from `{re.escape(str(file))}`\)\n", asked.stdout)


def test_key_that_goes_first_is_pointed_out(platform: Platform, login: Callable[..., Login], home: Path) -> None:
    old = home / ".config" / "runpod" / "credentials.toml"
    old.parent.mkdir(parents=True)
    old.write_text('api_key = "legacy"\n')
    running = login(RUNPOD_API_KEY="rpa_WRONG")
    approve(platform, running.request())
    status, said = running.ended()
    assert status == 0, said
    assert "Runpod does not take the present key (from RUNPOD_API_KEY in the environment)" in said
    assert "hint: RUNPOD_API_KEY in the environment goes before the saved key" in said
    assert "moved the API key from" in said
    assert not old.exists()
    assert "rpa_WRONG" not in said
    assert "legacy" not in (home / ".runpod" / "config.toml").read_text()


def test_login_that_nobody_approves_times_out(platform: Platform, login: Callable[..., Login], home: Path) -> None:
    (home / ".env").write_text(f"RUNPOD_API_BASE_URL={platform.url}\n")
    running = login("--timeout", "0.1")
    status, said = running.ended()
    # Whoever wrote that file decides where the key goes.
    assert f"set by `{home}/.env` (RUNPOD_API_BASE_URL)" in said
    assert (status, "error: login timed out\n" in said) == (1, True)
    assert not (home / ".runpod").exists()


def test_login_whose_key_was_taken_by_another_fails(platform: Platform, login: Callable[..., Login]) -> None:
    running = login()
    request = running.request()
    approve(platform, request)
    query = "query($id: String!) { flashAuthRequestStatus(flashAuthRequestId: $id) { apiKey } }"
    taken = platform.graphql(query, {"id": request})["flashAuthRequestStatus"]["apiKey"]
    status, said = running.ended()
    # Whoever looks first gets it; the other one is told.
    if taken == platform.token:
        assert (status, "error: login failed: consumed\n" in said) == (1, True)
    else:
        assert status == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [("[default\n", "is not valid TOML (line 1)"), ("default = 1\n", "has a `default` that is no table")],
)
def test_damaged_file_is_refused_before_anything_is_asked(
    text: str, reason: str, flash: Flash, home: Path, variables: dict[str, str]
) -> None:
    file = home / ".runpod" / "config.toml"
    file.parent.mkdir()
    file.write_text(text)
    ended = flash("login", "--no-open", env=variables | {"HOME": str(home)})
    assert ended.returncode == 1
    assert reason in ended.stderr
    assert "request=" not in ended.stderr
    assert file.read_text() == text


def test_what_is_wrong_is_said_in_one_line(flash: Flash, home: Path, variables: dict[str, str]) -> None:
    nowhere = flash("login", "--status", env=variables | {"HOME": str(home)})
    assert (nowhere.returncode, "error: no Runpod API key found" in nowhere.stderr) == (1, True)
    wrong = flash("login", "--status", env=variables | {"HOME": str(home), "RUNPOD_API_KEY": "rpa_WRONG"})
    assert wrong.returncode == 1
    assert "error: cannot check the API key: Runpod answered 401" in wrong.stderr
    assert "hint: the key from RUNPOD_API_KEY in the environment was sent" in wrong.stderr
    clear = flash("login", env=variables | {"HOME": str(home), "RUNPOD_API_BASE_URL": "http://example.com"})
    assert clear.returncode == 1
    assert "RUNPOD_API_BASE_URL=`http://example.com` would send the API key without encryption" in clear.stderr
    assert flash("login", "--timeout", "soon").returncode == 2
