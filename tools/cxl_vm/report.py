# SPDX-License-Identifier: Apache-2.0
"""Test points as TAP on stdout, progress on stderr."""

import sys
import time


class Report:
    def __init__(self, seconds):
        self.started = time.monotonic()
        self.end = self.started + seconds
        self.number = self.failed = self.skipped = 0

    def say(self, text):
        print(f"check-cxl-vm: {time.monotonic() - self.started:5.0f} s  {text}",
              file=sys.stderr, flush=True)

    def left(self):
        return max(self.end - time.monotonic(), 1)

    def point(self, ok, name, notes="", skip=None):
        self.number += 1
        tail = f" # SKIP {skip}" if skip is not None else ""
        print(f"{'ok' if ok else 'not ok'} {self.number} - {name}{tail}")
        for line in notes.splitlines():
            print(f"# {line}")
        sys.stdout.flush()
        self.failed += not ok
        self.skipped += skip is not None
        self.say(f"{'ok' if ok else 'NOT OK'}: {name}" +
                 (f" (skipped: {skip})" if skip is not None else ""))

    def done(self):
        print(f"1..{self.number}", flush=True)
        return 1 if self.failed else 0


class Wrong(Exception):
    """What was found is not what must be."""


def check(condition, text):
    if not condition:
        raise Wrong(text)
