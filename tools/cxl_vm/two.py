# SPDX-License-Identifier: Apache-2.0
"""Two emulated machines that map one region. It lies on the emulator's nvdimm, on
which atomics between machines are exact (on its CXL device they are not). One of
them is killed in the middle of its writes, again and again; the other serves all
the while; the first comes back and goes on."""

import json
import random
import time

from machine import Machine
from report import Wrong, check

MIB = 1 << 20
BYTES = 64 * MIB
DAX = "/dev/dax0.0"
BLOCKS, FRAME = 1200, "32K"  # more than there is room for: writes never end
ROUNDS = 10
MODULES = ("nfit", "nd_pmem", "dax_pmem", "device_dax")

MAKE = ("cd /sys/bus/nd/devices && "
        "echo namespace0.0 >/sys/bus/nd/drivers/nd_pmem/unbind && "
        "echo ram >dax0.0/mode && echo 2097152 >dax0.0/align && "
        "cat /proc/sys/kernel/random/uuid >dax0.0/uuid && "
        "echo namespace0.0 >dax0.0/namespace && "
        "echo dax0.0 >/sys/bus/nd/drivers/dax_pmem/bind && [ -c /dev/dax0.0 ]")


class Pair:
    def __init__(self, parts, dir, initrd, report):
        self.parts, self.dir, self.initrd = parts, dir, initrd
        self.report = report
        self.file = dir / "shared.mem"
        self.file.unlink(missing_ok=True)
        with open(self.file, "wb") as file:
            file.truncate(BYTES)
        self.machine = {}

    def boot(self, name):
        self.machine[name] = Machine(
            self.parts, self.dir, name, self.initrd,
            ["-machine", "q35,nvdimm=on", "-object",
             f"memory-backend-file,id=nm,share=on,mem-path={self.file},"
             f"size={BYTES}", "-device", "nvdimm,memdev=nm,id=nv0"],
            memory="512M")
        return self.machine[name].boot(min(120, self.report.left()))

    def join(self, name, seed):
        """A member that works: every byte it reads is verified."""
        self.machine[name].do(
            f"onecopy cxl join --name {name} --adopt --work {BLOCKS} "
            f"--seed {seed} --json {DAX} >/tmp/told 2>/tmp/said & "
            "echo $! >/tmp/pid")
        self.wait(name, lambda t: t["operations"] > 0 and t["shards"] > 0)

    def told(self, name):
        """All that the member has told so far, an object a second."""
        text = self.machine[name].do("cat /tmp/told")
        lines = [json.loads(l) for l in text.splitlines() if l.endswith("}")]
        check(all(l["wrong_bytes"] == 0 for l in lines),
              f"{name} read wrong bytes: {lines[-1:]}")
        return lines

    def wait(self, name, wanted, seconds=60):
        end = time.monotonic() + seconds
        while True:
            lines = self.told(name)
            if lines and wanted(lines[-1]):
                return lines
            if time.monotonic() > end:
                m = self.machine[name]
                raise Wrong(f"{name}: " + m.try_("tail -n 3 /tmp/told; "
                                                 "cat /tmp/said")[1])
            time.sleep(0.2)

    def status(self, name):
        return json.loads(self.machine[name].do(
            f"onecopy cxl status --json {DAX}"))

    def end(self, name):
        """It leaves in order, and nothing is wrong."""
        self.machine[name].do(
            "kill -TERM $(cat /tmp/pid); for i in $(seq 300); do "
            "[ -e /proc/$(cat /tmp/pid) ] || exit 0; sleep .1; done; exit 1")
        return self.told(name)


def member(status, name):
    named = [m for m in status["members"] if m.get("name") == name]
    check(len(named) == 1, f"{len(named)} members called {name}: {named}")
    return named[0]


def one_round(pair, number, dice):
    """Kills one machine, and gives what the other did meanwhile."""
    sealed = pair.told("a")[-1]["sealed"]
    pair.wait("a", lambda t: t["sealed"] > sealed)
    before = pair.told("b")[-1]
    time.sleep(dice.random() * 0.5)  # somewhere in a's writes
    pair.machine["a"].kill()
    # b goes on, though nobody has told it of the death
    pair.wait("b", lambda t: t["operations"] > before["operations"] and
              t["remote"] > before["remote"])
    pair.machine["b"].do(f"onecopy cxl fence --told {DAX} a")
    took = pair.boot("a")
    pair.join("a", number + 100)
    pair.wait("a", lambda t: t["hits"] > 0 and t["remote"] > 0)
    after = pair.told("b")[-1]
    return after["operations"] - before["operations"], took


def no_pause(lines):
    for last, this in zip(lines, lines[1:-1]):
        check(this["operations"] > last["operations"],
              f"b stood still: {last}, {this}")


def run(parts, dir, initrd, report, rounds=ROUNDS):
    pair = Pair(parts, dir, initrd, report)
    dice = random.Random(1)
    pair.boot("a")
    pair.machine["a"].do(MAKE)
    pair.machine["a"].do(f"onecopy cxl format --members 8 --shards 2 "
                         f"--frame {FRAME} --json {DAX}")
    took = pair.boot("b")
    report.say(f"two machines: up, the second after {took:.0f} s")
    pair.join("a", 1)
    pair.join("b", 2)
    for number in range(1, rounds + 1):
        name = f"two machines: round {number} of {rounds}"
        try:
            done, took = one_round(pair, number, dice)
        except Wrong as wrong:
            report.point(False, name, str(wrong))
            return
        report.point(True, name, f"{done} operations of the other meanwhile; "
                     f"back in {took:.0f} s")
    try:
        no_pause(pair.end("b"))
        pair.end("a")
        pair.machine["a"].do(f"onecopy cxl check --quiet --bytes {DAX}")
    except Wrong as wrong:
        report.point(False, "two machines: nothing is wrong or lost", str(wrong))
    else:
        report.point(True, "two machines: nothing is wrong or lost")
    for m in pair.machine.values():
        m.kill()
