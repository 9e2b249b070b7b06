"""`flash login` against the platform of this machine, whose page stands for Runpod's console."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_proxy import fault_proxy
from platform_support import Platform, until
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


@pytest.mark.parametrize(
    ("word", "hint"),
    [("DENIED", "it was refused in the browser"), ("EXPIRED", "it was not approved in time")],
)
def test_login_that_is_not_approved_says_why(
    platform: Platform, login: Callable[..., Login], home: Path, word: str, hint: str
) -> None:
    with fault_proxy(platform) as proxy:
        # A bad minute first: whoever approves in a browser should not have to again.
        answer = f'{{"data":{{"flashAuthRequestStatus":{{"id":"x","status":"{word}","apiKey":null}}}}}}'
        proxy.answer("flashAuthRequestStatus", 200, answer)
        proxy.answer("flashAuthRequestStatus", 429, '{"error":"slow down"}', times=1)
        running = login(**proxy.variables | {"RUNPOD_API_KEY": ""})
        status, said = running.ended()
        assert (status, f"error: login failed: {word.lower()}\n" in said, hint in said) == (1, True, True), said
        assert proxy.count("flashAuthRequestStatus") == 2
    assert not (home / ".runpod").exists()


def test_login_without_a_network_says_so(flash: Flash, home: Path, variables: dict[str, str]) -> None:
    nowhere = variables | {"HOME": str(home), "RUNPOD_API_BASE_URL": "http://127.0.0.1:9"}
    for arguments in (("login", "--no-open"), ("login", "--status")):
        ended = flash(*arguments, env=nowhere | {"RUNPOD_API_KEY": "rpa_SECRET" if "--status" in arguments else ""})
        assert ended.returncode == 1
        assert "127.0.0.1 cannot be reached: Connection refused" in ended.stderr
        assert "hint: check the network, proxies, and RUNPOD_API_BASE_URL" in ended.stderr
        assert "SECRET" not in ended.stderr


def test_home_that_cannot_be_written_is_found_before_anything_is_asked(
    flash: Flash, home: Path, variables: dict[str, str]
) -> None:
    (home / ".runpod").write_text("a file, not a folder")
    for where in (home, Path("/proc")):
        ended = flash("login", "--no-open", env=variables | {"HOME": str(where)})
        assert ended.returncode == 1
        assert f"error: `{where}/.runpod/config.toml` cannot be " in ended.stderr
        assert "request=" not in ended.stderr


def test_link_to_a_file_that_is_not_there_yet_stays_a_link(
    platform: Platform, login: Callable[..., Login], home: Path
) -> None:
    (home / "dotfiles").mkdir()
    (home / ".runpod").mkdir()
    file = home / ".runpod" / "config.toml"
    file.symlink_to("../dotfiles/runpod.toml")
    running = login()
    approve(platform, running.request())
    status, said = running.ended()
    assert status == 0, said
    assert file.is_symlink()
    kept = home / "dotfiles" / "runpod.toml"
    assert (platform.token in kept.read_text(), kept.stat().st_mode & 0o777) == (True, 0o600)
    assert sorted(path.name for path in kept.parent.iterdir()) == ["runpod.toml"]


def test_file_that_others_could_read_is_closed(platform: Platform, login: Callable[..., Login], home: Path) -> None:
    file = home / ".runpod" / "config.toml"
    file.parent.mkdir()
    file.write_text('[default]\napi_key = "rpa_OLD" # mine\n\n[other]\nx = 1\n')
    file.chmod(0o644)
    running = login()
    approve(platform, running.request())
    assert running.ended()[0] == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == f'[default]\napi_key = "{platform.token}" # mine\n\n[other]\nx = 1\n'


#: The places of a key: the environment, `.env`, `[default]` of the file, `apikey` of the file. `*` is the right key.
ORDER = {
    "environment": ("*", "rpa_B", "rpa_C", "rpa_D", "RUNPOD_API_KEY in the environment"),
    "blanks around it": (" *\n", "rpa_B", "rpa_C", "rpa_D", "RUNPOD_API_KEY in the environment"),
    ".env": (None, "*", "rpa_C", "rpa_D", "RUNPOD_API_KEY in `{home}/.env`"),
    ".env with quotes": (None, '"*"', "rpa_C", "rpa_D", "RUNPOD_API_KEY in `{home}/.env`"),
    # A variable that is set counts before `.env`, also where it is blank.
    "blank variable": ("", "rpa_B", "*", None, "`{home}/.runpod/config.toml`"),
    "blank line in .env": (None, "", "*", None, "`{home}/.runpod/config.toml`"),
    "[default]": (None, None, "*", "rpa_D", "`{home}/.runpod/config.toml`"),
    "runpodctl": (None, None, None, "*", "`{home}/.runpod/config.toml`"),
}


@pytest.mark.parametrize("case", ORDER)
def test_key_is_looked_for_in_the_official_order(
    case: str, platform: Platform, flash: Flash, home: Path, variables: dict[str, str]
) -> None:
    given, dotenv, default, bare, origin = (
        None if value is None else value.replace("*", platform.token) for value in ORDER[case]
    )
    if dotenv is not None:
        (home / ".env").write_text(f"RUNPOD_API_KEY={dotenv}\n")
    lines = [f'apikey = "{bare}"'] if bare else []
    lines += ["[default]", f'api_key = "{default}"'] if default else []
    (home / ".runpod").mkdir()
    (home / ".runpod" / "config.toml").write_text("\n".join(lines) + "\n")
    shell = {} if given is None else {"RUNPOD_API_KEY": given}
    asked = flash("login", "--status", cwd=home, env=variables | shell | {"HOME": str(home)})
    assert asked.returncode == 0, asked.stderr
    assert f"(key from {str(origin).format(home=home)})" in asked.stdout
    assert platform.token not in asked.stdout + asked.stderr


def test_key_is_on_no_command_line_and_in_no_output(
    platform: Platform, login: Callable[..., Login], home: Path
) -> None:
    running = login(RUNPOD_API_KEY="rpa_PRESENTKEY")
    request = running.request()
    command = Path(f"/proc/{running.process.pid}/cmdline")
    assert "rpa_PRESENTKEY" not in until(lambda: command.read_text())
    approve(platform, request)
    status, said = running.ended()
    assert (status, "rpa_PRESENTKEY" in said, platform.token in said) == (0, False, False)
