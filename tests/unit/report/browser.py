"""A headless Chromium over the WebDriver protocol, with nothing but the standard library."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager

DRIVER = shutil.which("chromedriver")
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
MISSING = "needs Chromium and chromedriver (Debian: apt-get install chromium chromium-driver)"
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    # The network is off: any name that a page asks for does not exist.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


class Browser:
    """One session; ``run`` runs a script in the page, ``keys`` types, ``log`` gives the console."""

    def __init__(self, port: int, size: tuple[int, int]) -> None:
        self._base = f"http://127.0.0.1:{port}"
        options = {
            "binary": CHROMIUM,
            "args": [*ARGUMENTS, f"--window-size={size[0]},{size[1]}"],
        }
        wanted = {
            "alwaysMatch": {
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL"},
            }
        }
        self._base += f"/session/{self._post('/session', {'capabilities': wanted})['sessionId']}"

    def _post(self, path: str, body: dict) -> object:
        data = json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - our own driver
            self._base + path, data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own driver
            return json.load(answer)["value"]

    def open(self, path) -> None:
        self._post("/url", {"url": path.as_uri()})

    def run(self, script: str, *arguments: object) -> object:
        return self._post("/execute/sync", {"script": script, "args": list(arguments)})

    def command(self, name: str, **parameters: object) -> object:
        return self._post("/goog/cdp/execute", {"cmd": name, "params": parameters})

    def focus(self, selector: str) -> None:
        self.run("document.querySelector(arguments[0]).focus()", selector)

    def keys(self, text: str) -> None:
        actions = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self._post("/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def click(self, selector: str) -> None:
        found = self._post("/element", {"using": "css selector", "value": selector})
        self._post(f"/element/{found[ELEMENT]}/click", {})

    def log(self) -> list[str]:
        return [entry["message"] for entry in self._post("/se/log", {"type": "browser"})]

    def screenshot(self) -> bytes:
        shot = self.command("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def close(self) -> None:
        request = urllib.request.Request(self._base, method="DELETE")  # noqa: S310 - our own driver
        urllib.request.urlopen(request, timeout=60).close()  # noqa: S310


@contextmanager
def chromium(size=(1200, 900), *, dark=False):
    """Yield a browser of this window size and colour scheme."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen(
        [DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait(port)
        browser = Browser(port, size)
        try:
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            browser.command("Emulation.setEmulatedMedia", features=[scheme])
            yield browser
        finally:
            browser.close()
    finally:
        driver.terminate()
        driver.wait()


def _wait(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    msg = "chromedriver did not start"
    raise RuntimeError(msg)
