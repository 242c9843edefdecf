"""The public Socket.IO v5 suite against the whole server in a profile of its own: make test-conformance

The suite is the Socket.IO project's; it is fetched into var/conformance at pinned sums, and none of it is kept here.
CONFORMANCE_SOURCE names another place that has it, under the same paths.
"""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import click

from data.download import DownloadError, PublicCorpus, fetch
from data.errors import UserError, told_to_user
from tests.clients import ROOT, ServerProcess

SOURCE = os.environ.get("CONFORMANCE_SOURCE", "https://raw.githubusercontent.com/socketio/socket.io")
V5 = "b4002c281fa9cc7cdc741c850f9f60b86437f7de/docs/socket.io-protocol/v5-test-suite"
V4 = "13703dca0b7c527eab53bb43b2adf5d195110bd3/docs/engine.io-protocol/v4-test-suite"
FILES = {  # path -> SHA-256
    f"{V5}/test-suite.js": "9fc4abce7be55bcd8741a2c62d242f3eb85560d2b669c15f2fdd8abea9a0c30d",
    f"{V5}/package.json": "68f13a786fb1e5b385758f0058b1555984f9d3ba948e5b738d61130775526cdf",
    f"{V4}/node-imports.js": "b58b920155ab14c14c78594f457cc8bc8e201f4e7c4400a53d78d483541cfbf7",
}
SUITE = ROOT / "var" / "conformance"
KNOWN = tomllib.loads((Path(__file__).parent / "known_failures.toml").read_text())
REASONS = KNOWN["fails"] | KNOWN["races"]


@click.command()
def main() -> None:
    with told_to_user(DownloadError):
        fetch_suite()
    report = run_suite()
    passed, failed = ([test["fullTitle"] for test in report[kind]] for kind in ("passes", "failures"))
    for name in passed:
        click.echo(f"passed  {name}")
    for test in report["failures"]:
        click.echo(f"FAILED  {test['fullTitle']}\n        {REASONS.get(test['fullTitle'], test['err']['message'])}")
    found = list(surprises(passed, failed))
    click.echo("\n".join([f"{len(passed)} of {len(passed) + len(failed)} pass", *found]))
    sys.exit(bool(found))


def fetch_suite() -> None:
    """Raises DownloadError, OSError."""
    for path, sha256 in FILES.items():
        fetch(PublicCorpus(f"{SOURCE}/{path}", Path(path).name, "MIT", "the Socket.IO project", sha256), SUITE)
    if subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--loglevel", "error"], cwd=SUITE).returncode:
        raise UserError("npm could not install what the suite needs; it has said why.")


def run_suite() -> dict[str, Any]:
    """mocha's own report. Twice each: on a busy machine a ping may come between what is sent and what is awaited."""
    mocha = ["node_modules/.bin/mocha", "--exit", "--retries", "1", "--reporter", "json", "test-suite.js"]
    environment = os.environ | {"NODE_OPTIONS": "--dns-result-order=ipv4first"}  # some take localhost for ::1
    with tempfile.TemporaryDirectory() as folder:
        with told_to_user(RuntimeError):
            server = ServerProcess([sys.executable, "-m", "tests.conformance.profile"], CHATBOT_HOME=folder)
        try:
            done = subprocess.run(mocha, cwd=SUITE, env=environment, capture_output=True, text=True)
        finally:
            server.close()
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        raise UserError(f"mocha made no report: {done.stderr.strip() or done.stdout}") from None


def surprises(passed: Collection[str], failed: Collection[str]) -> Iterator[str]:
    """What differs from known_failures.toml."""
    for name in failed:
        if name not in REASONS:
            yield f"fails, and should not: {name}"
    for name in KNOWN["fails"]:
        if name in passed:
            yield f"passes, so take it off the known failures: {name}"
    for name in REASONS:
        if name not in passed and name not in failed:
            yield f"was not run: {name}"


if __name__ == "__main__":
    main()
