"""A headless browser without a driver: Chromium speaks its debugging protocol over two pipes, one JSON a message."""

import base64
import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"]
LIMIT = 120  # seconds after which a browser that says nothing is taken for dead


def found() -> str | None:
    return next((path for path in map(shutil.which, BROWSERS) if path), None)


class Browser:
    """``with Browser(folder) as browser``: one tab; ``folder``, new and empty, is its profile."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self):
        theirs, self.to = os.pipe()
        self.of, ours = os.pipe()
        command = [found(), *FLAGS, f"--user-data-dir={self.folder}"]
        # The protocol is read from descriptor 3 and written to 4.
        shell = ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{ours}', "bash", *command]
        self.run = subprocess.Popen(shell, pass_fds=(theirs, ours), stderr=subprocess.DEVNULL)
        os.close(theirs)
        os.close(ours)
        self.watchdog = threading.Timer(LIMIT, self.run.kill)
        self.watchdog.start()
        self.number, self.rest, self.session, self.events = 0, b"", None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        self.watchdog.cancel()
        self.run.kill()
        self.run.wait()
        os.close(self.to)
        os.close(self.of)

    def call(self, method, **parameters):
        """One command of the protocol; what happens meanwhile is kept in ``events``."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {} if self.session is None else {"sessionId": self.session}
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                part = os.read(self.of, 2**16)
                assert part, f"the browser has ended: {method}"
                self.rest += part
            line, self.rest = self.rest.split(b"\0", 1)
            answer = json.loads(line)
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, page: Path, width: int, height: int = 900, fragment: str = ""):
        """Show a page in a window of a size and wait until it has drawn."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=page.resolve().as_uri() + fragment)
        done = "document.body?.dataset.ready || document.getElementById('message')?.textContent.startsWith('Nothing')"
        wait = f"const wait = () => {done} ? go() : setTimeout(wait, 20); wait();"
        self.tell(f"new Promise((go) => {{ {wait} }})")

    def tell(self, expression):
        """The value of an expression of JavaScript on the page, after what it promises."""
        given = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = self.call("Runtime.evaluate", **given)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def key(self, key, **more):
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **more)
        self.settle()

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)
        self.settle()

    def settle(self):
        """Wait until nothing is left to draw."""
        self.tell("new Promise((go) => requestAnimationFrame(() => setTimeout(go, 50)))")

    def screenshot(self, path: Path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
