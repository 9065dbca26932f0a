# SPDX-License-Identifier: Apache-2.0
"""Emulator, kernel and busybox from Debian's archive, unpacked in a folder.

Nothing is installed: apt works with lists, a cache and sources of its own below
that folder, and knows what the machine has only to leave out the libraries that
are there already. What was fetched once is used again for as long as it is whole
(`stamp`), so a second run needs no network.
"""

import os
import pathlib
import re
import shutil
import subprocess

MIRROR = "http://deb.debian.org"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
STAMP = "1 bookworm-backports qemu, bookworm-security linux 6.12"
ROOM = 900 << 20  # packages and what is unpacked of them
QUICK, LONG = 60, 300  # seconds for lists, for packages


class Skip(Exception):
    """It cannot run here; the text says why."""


def apt_options(dir):
    apt = dir / "apt"
    for sub in ("lists/partial", "cache/archives/partial"):
        (apt / sub).mkdir(parents=True, exist_ok=True)
    suites = [("debian", "bookworm"), ("debian", "bookworm-backports"),
              ("debian-security", "bookworm-security")]
    (apt / "sources.list").write_text("".join(
        f"deb [signed-by={KEYRING}] {MIRROR}/{archive} {suite} main\n"
        for archive, suite in suites))
    values = {
        "Dir::State": apt,
        "Dir::State::lists": apt / "lists",
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": apt / "cache",
        "Dir::Etc::sourcelist": apt / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Acquire::Languages": "none",
        "Acquire::Retries": "1",
        "Acquire::http::Timeout": "20",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "true",
    }
    return [f"-o{name}={value}" for name, value in values.items()]


def run(words, seconds, what):
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, timeout=seconds,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace",
                              env={**os.environ, "LC_ALL": "C"})
    except subprocess.TimeoutExpired:
        raise Skip(f"{what} took more than {seconds} s")
    if done.returncode:
        lines = [l for l in done.stdout.splitlines() if l.strip()]
        raise Skip(f"{what} failed: " + (lines[-1] if lines else "no output"))
    return done.stdout


def kernel_package(options):
    """The newest kernel 6.12 of Debian 12 for all machines."""
    names = run(["apt-cache", *options, "pkgnames", "linux-image-6.12"], QUICK,
                "apt-cache").split()
    numbered = [(tuple(map(int, m.group(1).split("."))), n) for n in names
                if (m := re.fullmatch(r"linux-image-([\d.]+)\+deb12-amd64", n))]
    if not numbered:
        raise Skip("the archive has no kernel 6.12 for Debian 12")
    return max(numbered)[1]


def unpack(archives, root):
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    wanted = re.compile(r"(qemu-system-(x86|common|data)|seabios|busybox-static|"
                        r"linux-image-|lib).*\.deb")
    for deb in sorted(archives.glob("*.deb")):
        if wanted.fullmatch(deb.name):
            run(["dpkg-deb", "-x", deb, root], LONG, f"unpacking {deb.name}")
        deb.unlink()


def find(pattern, root):
    found = sorted(root.glob(pattern))
    if not found:
        raise Skip(f"the packages have no {pattern}")
    return found[-1]


class Parts:
    """What was fetched: the emulator, the kernel, its modules, busybox."""

    def __init__(self, root):
        self.root = root
        self.emulator = find("usr/bin/qemu-system-x86_64", root)
        self.firmware = root / "usr/share/seabios", root / "usr/share/qemu"
        self.kernel = find("boot/vmlinuz-*", root)
        self.modules = find("lib/modules/*", root)
        self.busybox = find("*bin/busybox", root)
        self.libraries = os.pathsep.join(
            str(root / d) for d in ("usr/lib/x86_64-linux-gnu",
                                    "lib/x86_64-linux-gnu"))

    def environment(self):
        return {**os.environ, "LD_LIBRARY_PATH": self.libraries}


def fetch(dir, say):
    """Parts below `dir`, fetched unless they are there. Skip: why not."""
    root, stamp = dir / "root", dir / "stamp"
    if stamp.is_file() and stamp.read_text() == STAMP:
        return Parts(root)
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if not shutil.which(tool):
            raise Skip(f"there is no {tool}: the packages are Debian's")
    if not pathlib.Path(KEYRING).is_file():
        raise Skip(f"there is no {KEYRING}: packages could not be verified")
    dir.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    if shutil.disk_usage(dir).free < ROOM:
        raise Skip(f"less than {ROOM >> 20} MiB are free in {dir}")
    say("fetching an emulator and a kernel (about 130 MB, once)")
    options = apt_options(dir)
    run(["apt-get", *options, "-q", "update"], QUICK, "apt-get update")
    run(["apt-get", *options, "-q", "-y", "-d", "-t", "bookworm-backports",
         "--no-install-recommends", "install", "qemu-system-x86",
         "busybox-static", kernel_package(options)], LONG, "apt-get download")
    say("unpacking")
    unpack(dir / "apt/cache/archives", root)
    parts = Parts(root)
    stamp.write_text(STAMP)
    return parts
