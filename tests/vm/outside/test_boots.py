"""Guests that come to a good end and to bad ones: each test boots one. Only `./dev vm test` runs them.

A guest takes a few seconds; the limits are for a machine that is many times slower.
"""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vm import boot
from tests.vm.boot import GuestError, Machine
from tests.vm.initrd import CannotBootError

MACHINE = Machine(limit_s=120, memory_mib=1024, shm_mib=64)
GONE_MS = 60_000  # for a hang: a killed process goes at once
COMMAND = [sys.executable, "-m", "tests.vm"]
# Whoever runs the tests in the background may ignore Ctrl-C, and what he starts would ignore it, too.
INTERRUPTIBLE = ["env", "--default-signal=INT"]


def quiet(text: str) -> None:
    """Shows nothing: the console is kept in a file."""
    assert isinstance(text, str)


def children(process: int) -> list[int]:
    """The processes that a process has started and that are not gone."""
    listed = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii")
    return [int(child) for child in listed.split()]


def test_a_script_ends(tmp_path: Path, repository: Path) -> None:
    """A guest returns its script's exit code and output, sees the tree, and writes nothing but /out."""
    witness = repository / "build/vm-witness"
    script = (
        f"test -f {repository}/tests/vm/init.c && echo discarded >{witness} && cat {witness}\n"
        "echo kept >/out/kept; df -m --output=size /dev/shm | tail -n 1\nexit 3"
    )
    outcome = boot.run(script, MACHINE, tmp_path, quiet)
    assert outcome == boot.Outcome(3, [])
    assert (tmp_path / "console").read_text(encoding="utf-8").split() == ["discarded", "64"]
    assert (tmp_path / "kept").read_text(encoding="utf-8") == "kept\n"
    assert not witness.exists()


def test_a_warning_of_the_kernel_is_a_failure(tmp_path: Path) -> None:
    """What the kernel warns of fails a run whose script was good."""
    line = "WARNING: CPU: 0 PID: 1 at drivers/infiniband/sw/rxe/rxe_qp.c:1"
    outcome = boot.run(f"echo '<4>{line}' >/dev/kmsg", MACHINE, tmp_path, quiet)
    assert outcome.code == 0
    assert [finding.split("] ")[-1] for finding in outcome.kernel_findings] == [line]
    assert outcome.exit_code == 1


def test_a_panic_is_a_failure(tmp_path: Path) -> None:
    """A guest whose kernel panics says so, and leaves no exit code to be mistaken for success."""
    with pytest.raises(GuestError, match="Kernel panic"):
        boot.run("echo c >/proc/sysrq-trigger; exit 0", MACHINE, tmp_path, quiet)


def test_a_guest_that_switches_off_is_a_failure(tmp_path: Path) -> None:
    """A guest that ends before its script has ended is no success."""
    with pytest.raises(GuestError, match="left no exit code"):
        boot.run("echo b >/proc/sysrq-trigger; read", MACHINE, tmp_path, quiet)


def test_a_hang_ends_at_its_limit(tmp_path: Path) -> None:
    """A guest that hangs is ended, and the message names the limit; an earlier run's exit code is not believed."""
    (tmp_path / "rc").write_text("0\n", encoding="ascii")
    with pytest.raises(GuestError, match="at its limit of 3 s"):
        boot.run("read", Machine(limit_s=3), tmp_path, quiet)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_guest_outlives_its_starter(tmp_path: Path, how: signal.Signals) -> None:
    """When who started a guest is interrupted, ended or killed, qemu goes as well."""
    command = [*INTERRUPTIBLE, *COMMAND, "run", "--out", str(tmp_path), "bash", "-c", "echo up; read"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "up\n"
        (timeout,) = children(starter.pid)
        (qemu,) = children(timeout)
        assert b"qemu" in Path(f"/proc/{qemu}/cmdline").read_bytes()
        handle = os.pidfd_open(qemu)
        try:
            starter.send_signal(how)
            gone = select.poll()
            gone.register(handle, select.POLLIN)
            went = gone.poll(GONE_MS)
        finally:
            os.close(handle)
        if not went:
            starter.kill()
            pytest.fail("qemu is still there")
    assert starter.returncode == (130 if how == signal.SIGINT else -how)


def test_one_guest_for_a_directory(tmp_path: Path) -> None:
    """A second guest does not write over the first one's results."""
    with boot.alone_in(tmp_path), pytest.raises(CannotBootError, match="another guest"):
        boot.run("true", MACHINE, tmp_path, quiet)


def test_a_shell_at_the_console(tmp_path: Path) -> None:
    """A person at a terminal gets a shell with job control, and its exit code."""
    terminal, console = pty.openpty()
    try:
        command = [*COMMAND, "shell", "--limit", "120", "--out", str(tmp_path)]
        with subprocess.Popen(command, stdin=console, stdout=console, stderr=console) as person:
            shown, typed = b"", False
            while person.poll() is None:
                if select.select([terminal], [], [], 0.1)[0]:
                    shown += os.read(terminal, 4096)
                if b"# " in shown and not typed:  # the prompt: what is typed before it may be lost
                    typed = os.write(terminal, b"test $(ps -o tpgid= -p $$) -gt 0 && exit 7\r") > 0
        assert person.returncode == 7, shown.decode(errors="replace")
        assert b"no job control" not in shown
    finally:
        os.close(terminal)
        os.close(console)
