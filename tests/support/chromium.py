"""A headless Chromium that tests drive through the DevTools protocol, over a pipe: no port, no library."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Chromium", "Page", "chromium", "program"]

PATIENCE = 60.0
"""Seconds that an answer, or a page, may take."""
HIGHER = 20
"""File descriptors from here on are not among those that the browser expects."""
FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",  # the page is ours, and root has no sandbox
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
)


def program() -> str | None:
    """Return the browser's path; None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextlib.contextmanager
def chromium(home: Path) -> Iterator[Chromium]:
    """Run a browser whose profile is below ``home``."""
    found = program()
    assert found, "there is no Chromium"
    (hears, we_say), (we_hear, says) = os.pipe(), os.pipe()
    theirs = [fcntl.fcntl(each, fcntl.F_DUPFD, HIGHER) for each in (hears, says)]
    # The browser reads commands from descriptor 3 and answers on 4.
    shell = f'exec 3<&{theirs[0]} 4>&{theirs[1]}; exec "$@"'
    argv = ["bash", "-c", shell, "bash", found, *FLAGS, f"--user-data-dir={home}", "about:blank"]
    with subprocess.Popen(argv, pass_fds=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for each in (hears, says, *theirs):
            os.close(each)
        browser = Chromium(we_hear, we_say)
        try:
            yield browser
        finally:
            process.terminate()
            os.close(we_hear)
            os.close(we_say)


class Chromium:
    """The connection: commands with their answers, and events in the order in which they came."""

    def __init__(self, hears: int, says: int) -> None:
        self._hears, self._says = hears, says
        self._buffer = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def lives(self) -> bool:
        """Return True if the browser still answers."""
        try:
            return bool(self.call("Browser.getVersion"))
        except (OSError, AssertionError):
            return False

    def call(self, method: str, session: str = "", **parameters: object) -> dict[str, Any]:
        """Send a command and return its result."""
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        data = json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0"
        while data:
            data = data[os.write(self._says, data) :]
        while True:
            heard = self.hear()
            if heard.get("id") == self._number:
                assert "error" not in heard, (method, heard["error"])
                result: dict[str, Any] = heard["result"]
                return result
            self.events.append(heard)

    def hear(self) -> dict[str, Any]:
        """Return the next message."""
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._hears], [], [], max(deadline - time.monotonic(), 0))
            assert ready, "Chromium does not answer"
            heard = os.read(self._hears, 1 << 20)
            assert heard, "Chromium has ended"
            self._buffer += heard
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def page(self, width: int = 1440, height: int = 900) -> Page:
        """Open an empty page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, session, width, height)


class Page:
    """One page. ``console`` are its errors and warnings, ``requests`` what it asked for."""

    def __init__(self, browser: Chromium, session: str, width: int, height: int) -> None:
        self._browser, self._session = browser, session
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command to the page."""
        return self._browser.call(method, self._session, **parameters)

    def _events(self, *methods: str) -> list[dict[str, Any]]:
        self.run("0")  # so that everything that came before is read
        mine = (one for one in self._browser.events if one.get("sessionId") == self._session)
        return [one["params"] for one in mine if one["method"] in methods]

    @property
    def console(self) -> list[str]:
        """What it wrote to the console, and errors that nothing caught."""
        said = [str(one["args"]) for one in self._events("Runtime.consoleAPICalled")]
        logged = [one["entry"]["text"] for one in self._events("Log.entryAdded")]
        return [*said, *logged, *(str(one["exceptionDetails"]) for one in self._events("Runtime.exceptionThrown"))]

    @property
    def requests(self) -> list[str]:
        """The URLs that it asked for, other than data of its own."""
        urls = [str(one["request"]["url"]) for one in self._events("Network.requestWillBeSent")]
        return [url for url in urls if not url.startswith("data:")]

    def resize(self, width: int, height: int) -> None:
        """Set the window's size."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def media(self, medium: str = "", **features: str) -> None:
        """Emulate a medium, and preferences such as ``prefers_color_scheme``."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", media=medium, features=named)

    def open(self, path: Path, fragment: str = "") -> float:
        """Open a report and return the milliseconds until it was shown, by its own clock."""
        self.call("Page.navigate", url=f"{path.absolute().as_uri()}{'#' + fragment if fragment else ''}")
        self.wait("document.documentElement?.dataset.ready === 'yes'")
        return float(self.run("performance.getEntriesByName('shown')[0].startTime"))

    def run(self, script: str) -> Any:
        """Return what an expression comes to, as plain data."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.run(f"Boolean({script})"):  # an element has no plain data
            assert time.monotonic() < deadline, script
            time.sleep(0.01)

    def text(self, selector: str) -> str:
        """Return the text of the first element that a selector finds."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def count(self, selector: str = "*") -> int:
        """Return how many elements a selector finds."""
        return int(self.run(f"document.querySelectorAll({json.dumps(selector)}).length"))

    def click(self, selector: str) -> None:
        """Click the middle of an element."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{found}.scrollIntoView({{block: 'nearest'}})")
        middle = "box => [box.x + box.width / 2, box.y + box.height / 2]"
        x, y = self.run(f"({middle})({found}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, modifiers: int = 0) -> None:
        """Press a key, named as JavaScript does; 2 is Ctrl."""
        codes: Mapping[str, int] = {"Enter": 13, "Tab": 9, "Escape": 27}
        more = {"windowsVirtualKeyCode": codes[key]} if key in codes else {}
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, modifiers=modifiers, **more, **text)

    def screenshot(self, path: Path) -> None:
        """Write what is seen as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def print(self, path: Path) -> None:
        """Write the page as a PDF."""
        data = self.call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"]
        path.write_bytes(base64.b64decode(data))
