"""`/docs` in a real browser: "Try it out" is pressed and the answer read."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import websocket

WORKER = """
    from runpod_flash import Endpoint, GpuType

    @Endpoint(name="greeter", gpu=GpuType.ANY)
    async def greet(name: str, times: int = 2) -> dict:
        \"\"\"Greets somebody.

        As often as asked.
        \"\"\"
        return {"greeting": " ".join([f"hello {name}"] * times)}
"""


class Page:
    """One page of a headless Chromium, driven through its debugging protocol."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=60, suppress_origin=True)
        self._number = 0
        #: Addresses that the page has asked for.
        self.requested: list[str] = []

    def send(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("method") == "Network.requestWillBeSent":
                self.requested.append(message["params"]["request"]["url"])
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]

    def open(self, url: str) -> None:
        self.send("Network.enable")
        self.send("Page.enable")
        self.send("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """Run a script that may wait for promises; return its value."""
        result = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def find(self, selector: str, then: str = "found.textContent") -> Any:
        """Wait until an element is there (the page says when it changes) and run `then` on it."""
        return self.run(f"""
            new Promise((resolve, reject) => {{
              const look = () => {{
                const found = document.querySelector({json.dumps(selector)});
                if (!found) return false;
                observer.disconnect();
                resolve({then});
                return true;
              }};
              const observer = new MutationObserver(look);
              observer.observe(document, {{childList: true, subtree: true, attributes: true}});
              look();
              setTimeout(() => reject(new Error("not there: " + {json.dumps(selector)} + document.body.innerText)), 30000);
            }})
        """)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def page(chromium: str) -> Iterator[Page]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = subprocess.Popen(
            [
                chromium,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--no-proxy-server",
                "--remote-debugging-port=0",
                f"--user-data-dir={folder}",
                "about:blank",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert browser.stderr
            port = next(
                found[1]
                for line in browser.stderr
                if (found := re.search(r"DevTools listening on ws://[^:]+:(\d+)", line))
            )
            # Its other messages must not fill the pipe.
            threading.Thread(target=browser.stderr.read, daemon=True).start()
            targets = httpx.get(f"http://127.0.0.1:{port}/json/list", trust_env=False).json()
            target = next(each for each in targets if each["type"] == "page")
            page = Page(target["webSocketDebuggerUrl"])
            yield page
            page.close()
        finally:
            browser.terminate()
            browser.wait(20)


@pytest.mark.chromium
def test_try_it_out_shows_the_functions_answer(project, serve, page: Page) -> None:
    server = serve(project({"hello.py": WORKER}))
    # By the name that people type; the page must need nothing from elsewhere.
    page.open(f"http://localhost:{server.port}/docs")
    assert page.find("#operations-tag-greeter h3, h3#operations-tag-greeter").startswith("greeter")
    assert "Greets somebody." in page.find(".opblock-post .opblock-summary-description")
    page.find(".opblock-post .opblock-summary-control", "found.click()")
    assert "As often as asked." in page.find(".opblock-post .opblock-description")
    page.find(".opblock-post .try-out__btn", "found.click()")
    page.find(".opblock-post button.execute", "found.click()")
    answer = page.find(".opblock-post .live-responses-table .response-col_description code")
    assert '"status": "COMPLETED"' in answer
    assert '"greeting": "hello text hello text"' in answer
    assert all(url.startswith((f"http://localhost:{server.port}/", "data:")) for url in page.requested), page.requested


@pytest.mark.chromium
def test_page_shows_the_located_error_of_a_broken_file(project, serve, page: Page) -> None:
    server = serve(project({"hello.py": WORKER, "bad.py": "from runpod_flash import Endpoint\ndef broken(:\n"}))
    page.open(f"http://localhost:{server.port}/docs")
    assert "bad.py:2" in page.find("#problems pre", "found.textContent")
    assert page.find("h3[id^=operations-tag-greeter]").startswith("greeter")
