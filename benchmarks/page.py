"""The page with a conversation of 5,000 turns: how soon it is there, how evenly it scrolls, what a first load weighs.

    python benchmarks/page.py

A second of a screen has 60 frames of 16.7 ms; each is taken down while the page scrolls from the end to the beginning.
A short conversation, all of which is on the page at once, shows what this machine can do.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from playwright.sync_api import Page

from tests.browsing import chromium, make_long, transferred, visit
from tests.running_server import RunningServer

SHORT, LONG = 120, 5_000  # turns
SHARES = {"median": 0.5, "95 %": 0.95, "99 %": 0.99, "longest": 1.0}
STEP = 120  # px a frame: nine screens a second
OPEN = """([id, last]) => new Promise((resolve) => {
    const began = performance.now();
    const isThere = () => document.querySelector(".turn:last-child")?.textContent.includes(`turn ${last}`);
    const look = () => (isThere() ? resolve(performance.now() - began) : requestAnimationFrame(look));
    location.hash = id;
    look();
})"""
SCROLL = """async (step) => {
    const scroller = document.getElementById("scroller");
    const frame = () => new Promise(requestAnimationFrame);
    const frames = [];
    for (let before = await frame(), still = 0; still < 20; ) {
        const place = scroller.scrollTop;
        scroller.scrollTop -= step;
        const now = await frame();
        frames.push(now - before);
        before = now;
        still = scroller.scrollTop === 0 && place === 0 ? still + 1 : 0;
    }
    return { frames, first: document.querySelector(".turn .text").textContent };
}"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        server = RunningServer(Path(folder), delay=0)
        try:
            context = browser.new_context(viewport={"width": 1200, "height": 800})
            page = context.new_page()
            print(f"first load: {transferred(page, server):,} bytes; again: {transferred(page, server):,} bytes")
            for turns in (SHORT, LONG, SHORT, LONG):
                measure(visit(context, server), make_long(page, server, turns), turns)
        finally:
            server.kill()


def measure(page: Page, conversation: str, turns: int) -> None:
    opened = page.evaluate(OPEN, [conversation, turns - 1])
    traced = page.evaluate(SCROLL, STEP)
    assert traced["first"] == "turn 0"
    frames = sorted(traced["frames"])
    at = ", ".join(f"{name} {frames[int((len(frames) - 1) * share)]:.1f} ms" for name, share in SHARES.items())
    late = sum(frame > 1.5 * 1000 / 60 for frame in frames) / len(frames)
    print(f"{turns:,} turns: there after {opened:.0f} ms; {len(frames):,} frames of scrolling: {at}; {late:.1%} late")
    page.close()


if __name__ == "__main__":
    main()
