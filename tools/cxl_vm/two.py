# SPDX-License-Identifier: Apache-2.0
"""Two emulated machines that map one region. It lies on the emulator's nvdimm, on
which atomics between machines are exact (on its CXL device they are not). One of
them is killed in the middle of its writes, again and again; the other serves all
the while; the first comes back and goes on."""

import json
import random
import time

from machine import Machine, Trouble
from report import Wrong, check

MIB = 1 << 20
BYTES = 64 * MIB
DAX = "/dev/dax0.0"
BLOCKS, FRAME = 4000, "32K"  # twice what there is room for: writes never end
ROUNDS = 10

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
        """Seconds that it took; tried once more where the emulator hangs."""
        try:
            return self.boot_once(name)
        except Trouble as trouble:
            self.report.say(f"once again: {trouble}")
            self.machine[name].kill()
            return self.boot_once(name)

    def boot_once(self, name):
        self.machine[name] = Machine(
            self.parts, self.dir, name, self.initrd,
            ["-machine", "q35,nvdimm=on", "-object",
             f"memory-backend-file,id=nm,share=on,mem-path={self.file},"
             f"size={BYTES}", "-device", "nvdimm,memdev=nm,id=nv0"],
            memory="512M")
        return self.machine[name].boot(min(120, self.report.left()))

    def clock(self, name):
        """The right time, as hosts have it: leases are told by it. A machine that
        stood still has lost some, and one that starts knows whole seconds."""
        self.machine[name].do(f"date -s @{round(time.time())}")

    def join(self, name, seed):
        """A member that works: every byte it reads is verified."""
        self.clock(name)
        self.machine[name].do(
            "rm -f /tmp/status; { sh -c 'echo $$ >/tmp/pid; exec onecopy cxl "
            f"join --name {name} --adopt --work {BLOCKS} --seed {seed} --json "
            f"{DAX}' >/tmp/told 2>/tmp/said; echo $? >/tmp/status; }} &")
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
            "kill -TERM $(cat /tmp/pid)")
        check(self.ended(name) == 0, f"{name} did not leave in order")
        return self.told(name)

    def ended(self, name):
        """The status with which the member ends by itself."""
        return int(self.machine[name].do(
            "for i in $(seq 600); do [ -s /tmp/status ] && break; sleep .1; "
            "done; cat /tmp/status", 120))

    def goes_on(self, name):
        """It does more, and reads what the other wrote."""
        last = self.told(name)[-1]
        self.wait(name, lambda t: t["operations"] > last["operations"] and
                  t["remote"] > last["remote"])


def member(status, name):
    """The member of that name that has not been declared dead."""
    named = [m for m in status["members"]
             if m["name"] == name and m["state"] in ("live", "late")]
    check(len(named) == 1, f"{len(named)} members called {name}: {named}")
    return named[0]


def rooms(status, number):
    return [s["room"] for s in status["shards"] if s["owner"] == number]


def killed(pair, number, dice):
    """One machine dies in its writes. What the other did meanwhile."""
    sealed = pair.told("a")[-1]["sealed"]
    pair.wait("a", lambda t: t["sealed"] > sealed)
    before = pair.told("b")[-1]
    time.sleep(dice.random() * 0.5)  # somewhere in a's writes
    pair.machine["a"].kill()
    pair.goes_on("b")  # though nobody has told it of the death
    pair.machine["b"].do(f"onecopy cxl fence --told {DAX} a")
    took = pair.boot("a")
    pair.join("a", number + 100)
    pair.goes_on("a")
    done = pair.told("b")[-1]["operations"] - before["operations"]
    return f"{done} operations of the other meanwhile; back in {took:.0f} s"


def until_late(pair):
    end = time.monotonic() + 60
    while True:
        status = pair.status("b")
        a = member(status, "a")
        if a["state"] == "late":
            return status, a
        check(time.monotonic() < end, f"never late: {a}")
        time.sleep(0.2)


def paused(pair):
    """A machine that stands still is late, and its room is nobody else's; it goes
    on as if nothing had been. (It must not be declared dead meanwhile: when that
    was tried, it finished its write into a frame that was the other's by then.)"""
    pair.machine["a"].monitor("stop")
    status, a = until_late(pair)
    check(set(rooms(status, a["member"])) == {"quarantined"},
          f"not in quarantine: {status['shards']}")
    pair.goes_on("b")
    pair.machine["a"].monitor("cont")
    pair.clock("a")
    pair.goes_on("a")
    check(member(pair.status("b"), "a")["state"] == "live", "still late")


def no_pause(lines):
    for last, this in zip(lines, lines[1:-1]):
        check(this["operations"] > last["operations"],
              f"b stood still: {last}, {this}")


def in_order(pair):
    """Both leave; nothing is wrong or lost."""
    no_pause(pair.end("b"))
    pair.end("a")
    pair.machine["a"].do(f"onecopy cxl check --quiet --bytes {DAX}")


def run(parts, dir, initrd, report, rounds=ROUNDS):
    pair = Pair(parts, dir, initrd, report)
    dice = random.Random(1)
    pair.boot("a")
    if pair.machine["a"].try_("onecopy cxl join --help")[0]:
        report.point(True, "two machines", skip="this build has no regions")
        return
    pair.machine["a"].do(MAKE)
    pair.machine["a"].do("onecopy cxl format --members 4 --shards 2 "
                         f"--frame {FRAME} --lease 5s --json {DAX}")
    took = pair.boot("b")
    report.say(f"two machines: up, the second after {took:.0f} s")
    pair.join("a", 1)
    pair.join("b", 2)
    steps = [("paused", lambda: paused(pair))]
    steps += [(f"killed, {n} of {rounds}", lambda n=n: killed(pair, n, dice))
              for n in range(1, rounds + 1)]
    steps += [("nothing is wrong or lost", lambda: in_order(pair))]
    for name, step in steps:
        try:
            notes = step()
        except (Wrong, ValueError) as wrong:
            report.point(False, f"two machines: {name}", str(wrong))
            return
        report.point(True, f"two machines: {name}", notes or "")
    for m in list(pair.machine.values()):
        m.kill()
