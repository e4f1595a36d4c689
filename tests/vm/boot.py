"""Boots the guest, runs one script in it as root, and says how that went.

The guest sees the host's files at their places, may write none of them but the directory `out` (its /out), and has
no network but its own. What becomes of a run stands in `out`: rc, dmesg, console.

Invariants. A run is good only if the script ended by itself with 0 and the kernel's log is clean: a panic, a hang or a
kernel that died quietly are never taken for success. No qemu outlives its limit, nor the process that started
it, however that one ends: `timeout` watches the clock, and the kernel kills each of the chain when its parent dies.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.vm import initrd, kernel_log
from tests.vm.initrd import CannotBootError

QEMU = "qemu-system-x86_64"
SWITCHED_OFF = 1  # qemu's exit code when init writes 0 to isa-debug-exit
TIMED_OUT = {124, 137}  # timeout's exit codes: TERM was enough; KILL was needed
KILL_AFTER_S = 5
NEEDED = ("kernel/drivers/infiniband/sw/rxe", "kernel/fs/9p")  # cloud kernels lack them

# Copies of aligned 8-byte words must not tear, and both of these make the kernel copy by bytes.
CPU = "max,-erms,-fsrm"

# The watchdogs would measure the host's load rather than the guest's health. The time stamp counter is the host's; the
# kernel does not trust it unasked, and then every look at the clock leaves the emulated processor (1.5 us, not 0.1).
KERNEL_OPTIONS = (
    "console=ttyS0 quiet panic=-1 oops=panic log_buf_len=16M tsc=reliable nowatchdog rcupdate.rcu_cpu_stall_suppress=1"
)


class GuestError(RuntimeError):
    """The guest did not come to its regular end: what happened, and where to look."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the guest is made of."""

    memory_mib: int = 2048
    shm_mib: int = 1024
    cpus: int = 2
    limit_s: int = 900  # from qemu's start; nothing outlives it
    kernel: str | None = None  # a release below /lib/modules; None: the newest that will do
    accelerator: str | None = None  # "kvm" or "tcg"; None: what this machine can


@dataclass(frozen=True)
class Outcome:
    """How a script that came to its end went."""

    code: int
    kernel_findings: list[str]

    @property
    def exit_code(self) -> int:
        """The script's exit code; 1 if all that failed is the kernel."""
        return self.code if self.code or not self.kernel_findings else 1


def version_key(release: str) -> list[int]:
    """Orders kernels: 6.1.0-9 comes before 6.1.0-30."""
    return [int(part) for part in release.replace("-", ".").split(".") if part.isdigit()]


def find_kernel(wanted: str | None, root: Path = Path("/")) -> str:
    """The release of a kernel whose image is readable and whose modules are complete."""
    releases = [path.name for path in (root / "lib/modules").glob(wanted or "*")]
    good = [release for release in releases if kernel_will_do(release, root)]
    if not good:
        raise CannotBootError(
            f"no kernel {wanted or ''} with rdma_rxe and 9p is installed: apt-get install linux-image-amd64 (as root)"
        )
    return max(good, key=version_key)


def kernel_will_do(release: str, root: Path) -> bool:
    """Whether a kernel can be booted from here, and has what the guest needs."""
    modules = root / "lib/modules" / release
    return os.access(root / f"boot/vmlinuz-{release}", os.R_OK) and all((modules / part).is_dir() for part in NEEDED)


def kvm_is_usable(device: Path = Path("/dev/kvm"), cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this machine lends us hardware virtualisation.

    The processor's word counts too: there are clouds whose /dev/kvm opens and makes machines which never run.
    """
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
    if flags is None or not {"vmx", "svm"} & set(flags[1].split()):
        return False
    return os.access(device, os.R_OK | os.W_OK)


def shared(tag: str, path: Path, *options: str) -> list[str]:
    """A directory of the host's, for the guest to mount under its tag."""
    place = str(path).replace(",", ",,")  # qemu's way to write a comma in a value
    device = ",".join(["local", f"id={tag}", f"path={place}", "security_model=none", *options])
    return ["-fsdev", device, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]


def qemu_command(machine: Machine, kernel: str, image: Path, out: Path) -> list[str]:
    """How qemu is called."""
    accelerator = machine.accelerator or ("kvm" if kvm_is_usable() else "tcg")
    options = f"{KERNEL_OPTIONS} run=/out/script shm={machine.shm_mib}m"
    return [
        *(QEMU, "-nodefaults", "-display", "none", "-net", "none", "-no-reboot"),
        *("-M", "q35", "-accel", "tcg,thread=multi" if accelerator == "tcg" else accelerator, "-cpu", CPU),
        *("-smp", str(machine.cpus), "-m", f"{machine.memory_mib}M"),
        *("-kernel", f"/boot/vmlinuz-{kernel}", "-initrd", str(image), "-append", options),
        *shared("hostroot", Path("/"), "multidevs=remap", "readonly=on"),
        *shared("out", out.resolve()),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
        *("-serial", "mon:stdio"),  # in a shell, Ctrl-A X ends it
    ]


def bound(command: list[str], limit_s: int, foreground: bool) -> list[str]:
    """The command under its limit, every link of the chain dying with the one before it."""
    with_parent = ["setpriv", "--pdeathsig", "KILL"]
    limit = ["timeout", *(["--foreground"] if foreground else []), f"--kill-after={KILL_AFTER_S}", str(limit_s)]
    return [*with_parent, *limit, *with_parent, *command]


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Nobody else uses this directory for a guest."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CannotBootError(
                f"another guest is using {out}: wait for it, or name another directory (--out)"
            ) from error
        yield


def relay(process: subprocess.Popen[bytes], console: Path, show: Callable[[str], object]) -> None:
    """Passes on what the guest prints, as it comes, and keeps it."""
    assert process.stdout is not None
    with console.open("w", encoding="utf-8") as copy:
        while piece := os.read(process.stdout.fileno(), 1 << 16):
            text = piece.decode(errors="replace").replace("\r", "")
            copy.write(text)
            copy.flush()
            show(text)


def to_terminal(text: str) -> None:
    """Shows what the guest printed, now."""
    sys.stdout.write(text)
    sys.stdout.flush()


def execute(command: list[str], console: Path, show: Callable[[str], object]) -> int:
    """Runs qemu with its output relayed; it is gone when this returns or raises."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            relay(process, console, show)
            return process.wait()
        finally:
            process.kill()  # by its id; the rest of the chain dies with it


def verdict(status: int, limit_s: int, out: Path) -> Outcome:
    """What a run that is over amounts to."""
    console = (out / "console").read_text(encoding="utf-8") if (out / "console").exists() else ""
    code = (out / "rc").read_text(encoding="ascii").strip() if (out / "rc").exists() else ""
    if status in TIMED_OUT:
        raise GuestError(f"the guest was ended at its limit of {limit_s} s; its output is in {out}/console")
    if not code:
        panic = next((line for line in console.splitlines() if "Kernel panic" in line), None)
        reason = f"the guest's kernel panicked: {panic.strip()}" if panic else f"the guest ended (qemu: {status})"
        raise GuestError(f"{reason}; its script left no exit code; its output is in {out}/console")
    if status != SWITCHED_OFF:
        raise GuestError(f"the script ended with {code}, but qemu with {status} instead of {SWITCHED_OFF}")
    log = (out / "dmesg").read_text(encoding="utf-8", errors="replace")
    return Outcome(int(code), kernel_log.findings(log))


def run(script: str, machine: Machine, out: Path, show: Callable[[str], object] = to_terminal) -> Outcome:
    """Boots, runs a bash script to its end, and switches off.

    Raises:
        CannotBootError: something is missing on this machine.
        GuestError: the script did not come to its end.
    """
    with alone_in(out):
        command = prepare(script, machine, out)
        status = execute(bound(command, machine.limit_s, foreground=False), out / "console", show)
        return verdict(status, machine.limit_s, out)


def shell(script: str, machine: Machine, out: Path) -> Outcome:
    """The same with this terminal as the guest's console."""
    with alone_in(out):
        command = prepare(script, machine, out)
        with subprocess.Popen(bound(command, machine.limit_s, foreground=True)) as process:
            try:
                status = process.wait()
            finally:
                process.kill()
        return verdict(status, machine.limit_s, out)


def prepare(script: str, machine: Machine, out: Path) -> list[str]:
    """Leaves in `out` what the guest needs, and nothing of an earlier run; returns the command."""
    if platform.machine() != "x86_64":
        raise CannotBootError(
            f"the guest is an x86-64 machine of the host's own kind, and this is {platform.machine()}"
        )
    for name in ("rc", "dmesg", "console"):
        (out / name).unlink(missing_ok=True)
    (out / "script").write_text(script, encoding="utf-8")
    kernel = find_kernel(machine.kernel)
    return qemu_command(machine, kernel, initrd.build(kernel, out), out)


def script_for(command: list[str], directory: Path, variables: dict[str, str]) -> str:
    """A script that runs a command in a directory, in the guest's environment and these variables."""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    return f"{exports}cd {shlex.quote(str(directory))} || exit\nexec {shlex.join(command)}\n"
