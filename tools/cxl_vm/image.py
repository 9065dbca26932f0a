# SPDX-License-Identifier: Apache-2.0
"""The guest's root: busybox, kernel modules, and programs with their libraries,
as one cpio archive for the kernel to unpack.

/init mounts what a Linux needs, loads the modules in order, and then does what
comes over the second serial port: one line is one shell command; its output goes
back, ended by a line "##STATUS". So the course of a check stands in one place, at
the host, and the guest has no plan of its own.
"""

import lzma
import os
import pathlib
import re
import stat
import subprocess

MODULES = ["cxl_acpi", "cxl_pci", "cxl_mem", "cxl_pmem", "nfit", "libnvdimm",
           "nd_pmem", "dax_pmem", "device_dax", "kmem", "dax_cxl", "nvme"]

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ TERM=dumb LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /tmp /run/onecopy
mount -t tmpfs tmp /tmp
mount -t tmpfs shm /dev/shm
ln -s /proc/self/fd /dev/fd
mount -t debugfs debug /sys/kernel/debug
mount -t tracefs trace /sys/kernel/tracing
ip link set lo up
ulimit -l unlimited
for m in $(cat /modules/order); do
	insmod /modules/$m.ko || echo "insmod $m failed"
done
stty -F /dev/ttyS1 raw -echo
exec 3<>/dev/ttyS1
echo '##ready' >&3
while read -r line <&3; do
	sh -c "$line" </dev/null >/tmp/.out 2>&1
	status=$?
	cat /tmp/.out >&3
	echo "##$status" >&3
done
poweroff -f
"""


class Archive:
    """cpio, form "newc"."""

    def __init__(self):
        self.bytes = bytearray()
        self.names = set()

    def add(self, name, mode, content=b"", rdev=(0, 0)):
        parent = os.path.dirname(name)
        if parent and parent not in self.names:
            self.add(parent, stat.S_IFDIR | 0o755)
        if name in self.names:
            return
        self.names.add(name)
        fields = [len(self.names), mode, 0, 0, 1, 0, len(content), 0, 0, *rdev,
                  len(name) + 1, 0]
        self.bytes += b"070701" + b"".join(b"%08x" % f for f in fields)
        self.bytes += name.encode() + b"\0"
        self.pad()
        self.bytes += content
        self.pad()

    def pad(self):
        self.bytes += b"\0" * (-len(self.bytes) % 4)

    def file(self, name, path, mode=0o755):
        self.add(name, stat.S_IFREG | mode, pathlib.Path(path).read_bytes())

    def done(self):
        self.add("TRAILER!!!", 0)
        return bytes(self.bytes)


def module_files(folder):
    """Name of a module -> its file; names are written with "_"."""
    return {p.name.split(".")[0].replace("-", "_"): p
            for p in folder.rglob("*.ko*")}


def module_bytes(path):
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def modules_add(archive, folder):
    """The modules and what they depend on, in an order that can be loaded."""
    files, order, built_in = module_files(folder), [], set()
    for line in (folder / "modules.builtin").read_text().split():
        built_in.add(pathlib.Path(line).stem.replace("-", "_"))

    def add(name):
        if name in order or name in built_in:
            return
        data = module_bytes(files[name])
        depends = re.search(rb"\0depends=([^\0]*)\0", data).group(1).decode()
        for other in filter(None, depends.split(",")):
            add(other.replace("-", "_"))
        archive.add(f"modules/{name}.ko", stat.S_IFREG | 0o644, data)
        order.append(name)

    for name in MODULES:
        add(name)
    archive.add("modules/order", stat.S_IFREG | 0o644,
                "\n".join(order).encode())


def program_add(archive, path):
    """A program of the host, with the libraries that it would be given there."""
    archive.file("bin/" + path.name, path)
    told = subprocess.run(["ldd", path], stdout=subprocess.PIPE, text=True,
                          check=True).stdout
    for library in re.findall(r"(/\S+) \(0x", told):
        archive.file(library.lstrip("/"), library)


def make(parts, programs, target):
    archive = Archive()
    archive.add("init", stat.S_IFREG | 0o755, INIT.encode())
    for folder in ("proc", "sys", "dev", "tmp", "run", "bin"):
        archive.add(folder, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, rdev=(5, 1))
    archive.file("bin/busybox", parts.busybox)
    modules_add(archive, parts.modules)
    for program in programs:
        program_add(archive, program)
    target.write_bytes(archive.done())
