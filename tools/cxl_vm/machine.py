# SPDX-License-Identifier: Apache-2.0
"""An emulated machine: started, told what to do, ended by its process id.

Everything that waits has a deadline. What is left behind when a check fails is
ended when the program ends (`Machine.all`), and by the kernel when the program is
killed (the emulator asks for the signal itself).
"""

import ctypes
import json
import os
import re
import select
import signal
import socket
import subprocess
import time

KERNEL = ("console=ttyS0 quiet panic=-1 no_timer_check tsc=reliable lpj=4000000 "
          "nowatchdog mitigations=off memhp_default_state=offline "
          "8250.nr_uarts=2")


class Trouble(Exception):
    """The machine did not do what was asked of it."""


def die_with_parent():
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def connect(path, seconds, alive):
    end = time.monotonic() + seconds
    while True:
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(str(path))
            return s
        except OSError:
            s.close()
            if not alive() or time.monotonic() > end:
                raise Trouble(f"no answer at {path.name}")
            time.sleep(0.02)


class Lines:
    """Lines of a socket, each with a deadline."""

    def __init__(self, sock):
        self.sock = sock
        self.rest = b""

    def line(self, end):
        while b"\n" not in self.rest:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                raise TimeoutError
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self.rest += data
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode(errors="replace").rstrip("\r")


class Machine:
    all = []

    def __init__(self, parts, dir, name, initrd, arguments, memory="1G"):
        self.name, self.dir = name, dir / name
        self.dir.mkdir(parents=True, exist_ok=True)
        for old in ("qmp", "control", "console.txt"):
            (self.dir / old).unlink(missing_ok=True)
        words = [parts.emulator, "-nodefaults", "-no-user-config",
                 "-display", "none", "-no-reboot", "-smp", "2",
                 "-m", f"{memory},maxmem=8G,slots=4", "-cpu", "max,-hypervisor",
                 "-accel", "tcg,thread=multi",
                 *[w for d in parts.firmware for w in ("-L", d)],
                 "-kernel", parts.kernel, "-initrd", initrd,
                 "-append", KERNEL,
                 "-qmp", "unix:qmp,server=on,wait=off",
                 "-serial", "file:console.txt",
                 "-serial", "unix:control,server=on,wait=off", *arguments]
        self.log = open(self.dir / "emulator.txt", "wb")
        self.process = subprocess.Popen(
            [str(w) for w in words], cwd=self.dir, stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=subprocess.STDOUT,
            env=parts.environment(), preexec_fn=die_with_parent)
        Machine.all.append(self)
        self.started = time.monotonic()
        self.control = Lines(self.socket("control"))
        self.qmp = None

    def alive(self):
        return self.process.poll() is None

    def socket(self, name):
        # A path relative to the folder: those of sockets are short.
        here = os.getcwd()
        os.chdir(self.dir)
        try:
            from pathlib import Path
            return connect(Path(name), 20, self.alive)
        finally:
            os.chdir(here)

    def console(self):
        try:
            return (self.dir / "console.txt").read_text(errors="replace")
        except OSError:
            return ""

    def trouble(self, what):
        tail = "\n".join(self.console().splitlines()[-12:])
        said = (self.dir / "emulator.txt").read_text(errors="replace")[-600:]
        return Trouble(f"{self.name}: {what}\n{said}{tail}")

    def boot(self, seconds):
        """Until the guest takes commands."""
        end = self.started + seconds
        try:
            while self.control.line(end) != "##ready":
                pass
        except (TimeoutError, EOFError, OSError):
            raise self.trouble(f"has not started within {seconds} s")
        return time.monotonic() - self.started

    def send(self, command):
        assert "\n" not in command
        self.control.sock.sendall(command.encode() + b"\n")

    def answer(self, seconds, what):
        end, lines = time.monotonic() + seconds, []
        try:
            while True:
                line = self.control.line(end)
                if m := re.fullmatch(r"(.*)##(\d+)", line):
                    if m.group(1):
                        lines.append(m.group(1))
                    return int(m.group(2)), "\n".join(lines)
                lines.append(line)
        except (TimeoutError, EOFError, OSError):
            raise self.trouble(f"no end of: {what}\n" + "\n".join(lines[-9:]))

    def try_(self, command, seconds=60):
        """(status, output) of a shell command in the guest."""
        self.send(command)
        return self.answer(seconds, command)

    def do(self, command, seconds=60):
        """Output of a command that has to succeed."""
        status, output = self.try_(command, seconds)
        if status:
            raise self.trouble(f"status {status} of: {command}\n{output}")
        return output

    def monitor(self, name, seconds=20, **arguments):
        """A command of the emulator's own (QMP)."""
        end = time.monotonic() + seconds
        if not self.qmp:
            self.qmp = Lines(self.socket("qmp"))
            self.qmp.line(end)
            self.monitor("qmp_capabilities", seconds)
        ask = {"execute": name, "arguments": arguments}
        self.qmp.sock.sendall(json.dumps(ask).encode() + b"\n")
        try:
            while True:
                told = json.loads(self.qmp.line(end))
                if "error" in told:
                    raise self.trouble(f"{name}: {told['error']['desc']}")
                if "return" in told:
                    return told["return"]
        except (TimeoutError, EOFError, OSError):
            raise self.trouble(f"no answer to {name}")

    def kill(self):
        """Now, in the middle of whatever it does."""
        if self.alive():
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.control.sock.close()
        if self.qmp:
            self.qmp.sock.close()
        self.log.close()
        if self in Machine.all:
            Machine.all.remove(self)


def end_all():
    for machine in list(Machine.all):
        machine.kill()
