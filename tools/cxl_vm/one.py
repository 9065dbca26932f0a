# SPDX-License-Identifier: Apache-2.0
"""One emulated machine with a CXL memory device, an NVMe disk, and a NUMA node that
has memory and no processors: what the kernel's own drivers make of them, and what
onecopy makes of that."""

import json
import re

from machine import Machine
from report import Wrong, check

MIB = 1 << 20
DEVICE = 256 * MIB  # the least that a region can be made of
UNIT = 2 * MIB
DAX = "/dev/dax0.0"

# Latencies in ns, bandwidths: of memory near, far, and up to the CXL host bridge.
FIRMWARE = [(0, 80, "40G"), (1, 250, "20G"), (2, 200, "30G")]


def arguments(dir):
    hmat = [w for node, latency, bandwidth in FIRMWARE for w in (
        "-numa", f"hmat-lb,initiator=0,target={node},hierarchy=memory,"
        f"data-type=access-latency,latency={latency}",
        "-numa", f"hmat-lb,initiator=0,target={node},hierarchy=memory,"
        f"data-type=access-bandwidth,bandwidth={bandwidth}")]
    return [
        "-machine", "q35,cxl=on,hmat=on",
        "-object", "memory-backend-ram,id=near,size=768M",
        "-object", "memory-backend-ram,id=far,size=256M",
        "-numa", "node,nodeid=0,memdev=near,cpus=0-1",
        "-numa", "node,nodeid=1,memdev=far,initiator=0",
        "-numa", "node,nodeid=2",
        "-object", "memory-backend-file,id=cm,share=on,mem-path=cxl.mem,"
        f"size={DEVICE}",
        "-device", "pxb-cxl,bus_nr=12,bus=pcie.0,id=cxl.1",
        "-object", "acpi-generic-port,id=gp0,pci-bus=cxl.1,node=2", *hmat,
        "-device", "cxl-rp,port=0,bus=cxl.1,id=rp0,chassis=0,slot=2",
        "-device", "cxl-rp,port=1,bus=cxl.1,id=rp1,chassis=0,slot=3",
        "-device", "cxl-type3,bus=rp0,volatile-memdev=cm,id=cxl0",
        "-M", "cxl-fmw.0.targets.0=cxl.1,cxl-fmw.0.size=4G",
        "-drive", "file=nvme.img,if=none,id=nv0,format=raw,cache=none",
        "-device", "nvme,bus=pcie.0,serial=x,drive=nv0",
    ]


def start(parts, dir, initrd):
    for name, size in (("cxl.mem", DEVICE), ("nvme.img", 128 * MIB)):
        path = dir / "one" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with open(path, "wb") as file:
            file.truncate(size)
    return Machine(parts, dir, "one", initrd, arguments(dir))


def found(m, *options):
    """What `onecopy cxl list` tells, by name."""
    text = m.do("onecopy cxl list --json " + " ".join(options))
    told = json.loads(text[text.index("{"):])
    told["by"] = {entry["name"]: entry for entry in told["memory"]}
    return told


def entry(told, name, **want):
    check(name in told["by"], f"no {name} among {sorted(told['by'])}")
    have = told["by"][name]
    for key, value in want.items():
        check(have.get(key) == value,
              f"{name}: {key} is {have.get(key)!r}, not {value!r}")
    return have


# ---- the checks, in order ------------------------------------------------------

def discovery(m):
    """The device, whose memory no region uses, and the far node are found."""
    told = found(m)
    check(told["bus"], "no CXL bus")
    entry(told, "mem0", kind="memdev", state="unused", bytes=DEVICE,
          driver="cxl_mem")
    far = entry(told, "node1", kind="node", state="ready", cxl=False,
                firmware_read_latency_ns=250,
                firmware_read_bytes_per_s=20480 * MIB)
    check(far["measured"] and far["measured"][0]["from_node"] == 0 and
          far["measured"][0]["latency_ns"] > 0, f"not measured: {far}")
    check("dax0.0" not in told["by"], "there is a dax device already")


def region(m):
    """A region is made by hand, and is found with what lies on it."""
    m.do("cd /sys/bus/cxl/devices && r=$(cat decoder0.0/create_ram_region) && "
         "echo $r >decoder0.0/create_ram_region && "
         "e=$(basename $(ls -d /sys/bus/cxl/devices/endpoint*/decoder*.0)) && "
         f"echo ram >$e/mode && echo {DEVICE} >$e/dpa_size && "
         "echo 256 >$r/interleave_granularity && "
         f"echo 1 >$r/interleave_ways && echo {DEVICE} >$r/size && "
         "echo $e >$r/target0 && echo 1 >$r/commit && "
         "echo $r >/sys/bus/cxl/drivers/cxl_region/bind")
    told = found(m, "--no-measure")
    entry(told, "mem0", state="ready")
    entry(told, "region0", kind="region", state="ready", on="mem0", ways=1,
          bytes=DEVICE, persistent=False)
    entry(told, "dax0.0", kind="dax", on="region0", cxl=True, bytes=DEVICE,
          align=UNIT)


def to_devdax(m):
    m.do("cd /sys/bus/dax/drivers; [ ! -e kmem/dax0.0 ] || "
         "echo dax0.0 >kmem/unbind; [ -e device_dax/dax0.0 ] || "
         "echo dax0.0 >device_dax/bind || echo dax0.0 >device_dax/new_id; "
         "[ -c /dev/dax0.0 ] && [ -e device_dax/dax0.0 ]")
    return entry(found(m, "--no-measure"), "dax0.0", state="ready",
                 driver="device_dax")


def online(m, number, wanted):
    """Gives one block of the device to the kernel (clearing emulated memory is
    slow), or takes it back."""
    blocks = f"/sys/devices/system/node/node{number}/memory*/state"
    if wanted:
        m.do("cd /sys/bus/dax/drivers && echo dax0.0 >device_dax/unbind && "
             "echo dax0.0 >kmem/bind")
        told = found(m, "--no-measure")
        entry(told, "dax0.0", state="offline", driver="kmem")
        entry(told, f"node{number}", state="offline", bytes=0)
        m.do(f"set -- {blocks}; echo online_movable >$1", 120)
    else:
        m.do(f"set -- {blocks}; for i in $(seq 50); do echo offline >$1 && "
             "exit 0; sleep .2; done; exit 1", 120)
        to_devdax(m)


def forms(m):
    """devdax, then system-ram that is offline, online and offline, then devdax."""
    number = to_devdax(m)["node"]
    online(m, number, True)
    told = found(m)
    entry(told, "dax0.0", state="system-ram")
    given = entry(told, f"node{number}", state="ready", cxl=True, on="dax0.0")
    check(given["bytes"] > 0, "an online node of no bytes")
    check(given.get("memory_tier", -1) >= 0, "in no memory tier")
    check(given.get("firmware_read_latency_ns", 0) > 200,
          f"no latency from the firmware: {given}")
    check(given["measured"][0].get("latency_ns", 0) > 0, f"not measured: {given}")
    online(m, number, False)


def devdax(m):
    """A devdax device that is ready is measured where it is."""
    dax = entry(found(m), "dax0.0", state="ready")
    check(dax["measured"][0].get("latency_ns", 0) > 0, f"not measured: {dax}")


def points(m, report, what, command, leave_out=()):
    """The points of a test program in the guest, each a point of its own."""
    status, text = m.try_("ONECOPY_BIN=/bin/onecopy ONECOPY_TEST_TIME_SCALE=3 " +
                          command, 240)
    found = re.findall(r"^(not ok|ok) \d+ - (\S+)(?: # SKIP (.*))?$", text, re.M)
    if status not in (0, 1) or not found:
        raise Wrong(f"status {status}\n{text}")
    for result, name, skip in found:
        if name not in leave_out:
            report.point(result == "ok", f"{what}: {name}",
                         "" if result == "ok" else text, skip or None)


def real(m, report):
    """tests/tier/cxl/test_real.c."""
    points(m, report, "devdax", f"ONECOPY_CXL_DAX={DAX} "
           "ONECOPY_CXL_DRIVE=/dev/nvme0n1 test_tier_cxl_real",
           ["it_is_taken_away"])


def rung_devdax(m, report):
    """A node on the device (tests/prog/test_rung_real.c)."""
    points(m, report, "a node on devdax",
           f"ONECOPY_CXL_RUNG={DAX} ONECOPY_CXL_DRIVE=/dev/nvme0n1 "
           "test_prog_rung_real", ["it_is_taken_away"])


def rung_node(m, report):
    """A node on the NUMA node that the device has become."""
    number = entry(found(m, "--no-measure"), "dax0.0")["node"]
    online(m, number, True)
    points(m, report, "a node on system-ram",
           f"ONECOPY_CXL_RUNG=node:{number} test_prog_rung_real "
           "blocks_are_served_from_it")
    online(m, number, False)


def poison(m):
    """Bytes that the device says are bad are counted, and told by name."""
    dax = found(m, "--no-measure", "--poison")
    entry(dax, "mem0", poison_bytes=0)
    for start, length in ((4096, 64), (1 << 20, 128)):
        m.monitor("cxl-inject-poison", path="/machine/peripheral/cxl0",
                  start=start, length=length)
    entry(found(m, "--no-measure", "--poison"), "mem0", poison_bytes=192)


def doctor(m):
    """The doctor tells the same."""
    told = m.try_("onecopy doctor --quick --json", 120)[1]
    told = json.loads(told[told.index("{"):])
    text = json.dumps(told)
    for name in ("mem0", "dax0.0", "node1"):
        check(f'"{name}"' in text, f"the doctor does not tell of {name}")


def region_lost(m, report):
    """Memory of a region on the device fails (tests/region/test_lost.c)."""
    points(m, report, "a region on devdax", f"ONECOPY_CXL_REGION={DAX} "
           "test_region_lost real_poison_costs_what_lies_there")


def removal(m, report):
    """Taken away while it is in use: its content is lost, no more."""
    name = "it_is_taken_away"
    m.do("{ ONECOPY_BIN=/bin/onecopy ONECOPY_CXL_LEAVES=/tmp/leaves "
         f"ONECOPY_CXL_RUNG={DAX} ONECOPY_TEST_TIME_SCALE=3 "
         f"test_prog_rung_real {name} >/tmp/taken 2>&1; "
         "echo >/tmp/over; } & for i in $(seq 600); do [ -e /tmp/leaves ] && "
         "exit 0; [ -e /tmp/over ] && break; sleep .1; done; cat /tmp/taken; "
         "exit 1", 300)
    m.monitor("device_del", id="cxl0")
    m.do("for i in $(seq 300); do [ -e /sys/bus/dax/devices/dax0.0 ] || exit 0; "
         "sleep .1; done; exit 1", 120)
    text = m.do("for i in $(seq 900); do [ -e /tmp/over ] && break; sleep .1; "
                "done; cat /tmp/taken", 300)
    ok = re.search(rf"^ok 1 - {name}$", text, re.M) is not None
    report.point(ok, "one machine: the device is removed in use",
                 "" if ok else text)
    told = found(m)
    check("mem0" not in told["by"] and "dax0.0" not in told["by"],
          f"still there: {sorted(told['by'])}")


def pool(m):
    """A node whose pool has slabs on the device: blocks go down and come up, and
    the server dies amid that."""
    for test in ("both_hold_as_much_as_both", "deaths_amid_moves"):
        text = m.try_(
            f"ONECOPY_BIN=$(which onecopy) ONECOPY_SOURCE=/ "
            f"ONECOPY_TEST_CXL={DAX}:16M ONECOPY_TEST_TIME_SCALE=8 "
            f"test_prog_rung {test}", 200)[1]
        check(f"ok 1 - {test}" in text and "not ok" not in text and
              "SKIP" not in text, text)


# With the report: what tells points itself.
POINTS = [real, rung_devdax, rung_node, region_lost, removal]
ALL = [discovery, region, forms, devdax, real, pool, rung_devdax,
       rung_node, poison, doctor, region_lost, removal]
SHORT = [discovery, region, to_devdax, real, poison]


def run(parts, dir, initrd, report, short):
    m = start(parts, dir, initrd)
    report.say(f"one machine: up after {m.boot(min(120, report.left())):.0f} s")
    for step in SHORT if short else ALL:
        name = f"one machine: {step.__name__}"
        try:
            if step in POINTS:
                step(m, report)
            else:
                step(m)
                report.point(True, name)
        except (Wrong, ValueError) as wrong:
            report.point(False, name, str(wrong))
            if step in (region, to_devdax):
                break  # nothing to go on with
    m.kill()
