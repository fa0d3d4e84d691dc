"""A TensorBoard of our own on a free loopback port, and the series it shows."""

import collections
import contextlib
import json
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request

ADDRESS = re.compile(r" at (http://\S+)")
PROVIDERS = {True: "GrpcDataProvider", False: "MultiplexerDataProvider"}

# TensorBoard in a process that ends, with its data server, once the pipe to its standard input closes: so it ends with the
# check however the check ends, also by a signal that cannot be caught.
WATCHED_TENSORBOARD = """
import os, signal, sys, threading

def end_with_parent():
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)

threading.Thread(target=end_with_parent, daemon=True).start()
from tensorboard.main import run_main
run_main()
"""


class BoardError(Exception):
    """TensorBoard did not start, or does not run as asked."""


class Board:
    """The HTTP routes of a running TensorBoard."""

    def __init__(self, address):
        self.address = address.rstrip("/")
        # No proxy stands between this machine and itself.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, route, **parameters):
        query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
        with self.opener.open(f"{self.address}/data/{route}{query}", timeout=60) as answer:
            return json.load(answer)

    def check_loader(self, load_fast):
        provider = self.get("environment").get("debug", {}).get("data_provider", "")
        if PROVIDERS[load_fast] not in provider:
            raise BoardError(
                f"--load_fast={load_fast} runs {provider or 'an unknown loader'}, not {PROVIDERS[load_fast]}"
            )

    def series(self):
        """{(kind, run, tag): [(step, value), ...]}; a histogram's value is its rows [left, right, count]. Numbers that are
        not finite stay the text that JSON has for them ("NaN"), so that equal series compare equal."""
        series = {}
        for kind in ("scalars", "histograms"):
            for run, tags in self.get(f"plugin/{kind}/tags").items():
                for tag in tags:
                    series[kind, run, tag] = [(step, value) for _, step, value in self.points(kind, run, tag)]
        return series

    def points(self, kind, run, tag):
        try:
            return self.get(f"plugin/{kind}/{kind}", run=run, tag=tag)
        except urllib.error.HTTPError as error:
            if error.code == 404:  # listed, and its points not loaded yet
                return []
            raise BoardError(f"{kind} {tag}: TensorBoard answers {error.code} {error.reason}") from error


@contextlib.contextmanager
def running_board(logdir, load_fast):
    """Starts TensorBoard on `logdir`, checks that the loader asked for runs, and always stops it."""
    command = [sys.executable, "-c", WATCHED_TENSORBOARD, "--logdir", str(logdir), "--host", "127.0.0.1", "--port", "0"]
    command += ["--reload_interval", "1", f"--load_fast={str(load_fast).lower()}"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        board = Board(wait_for_address(process))
        board.check_loader(load_fast)
        yield board
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_address(process):
    """Reads standard error until it tells the address, then goes on reading so that the pipe never fills."""
    said = collections.deque(maxlen=20)
    addresses = []
    answered = threading.Event()

    def read():
        with process.stderr:
            for line in process.stderr:
                said.append(line)
                found = ADDRESS.search(line)
                if found:
                    addresses.append(found.group(1))
                    answered.set()
        answered.set()

    threading.Thread(target=read, daemon=True).start()
    answered.wait()
    if not addresses:
        raise BoardError("TensorBoard ended without telling its address; it said:\n" + "".join(said))
    return addresses[0]
