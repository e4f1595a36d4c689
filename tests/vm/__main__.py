"""The guest's command line: a virtual machine with several hosts and soft RDMA devices, for tests.

./dev vm run [options] SCRIPT|COMMAND ...    one script or command, in the current directory
./dev vm shell [options]                     a shell on the guest's console
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tests.vm import boot
from tests.vm.boot import GuestError, Machine
from tests.vm.initrd import CannotBootError

ROOT = Path(__file__).resolve().parent.parent.parent
FAILED = 125  # as docker run: the failure is the machine's, not the command's


def say(text: str) -> None:
    """Tells the person at the terminal, beside what the guest prints."""
    sys.stderr.write(f"vm: {text}\n")


def variables() -> dict[str, str]:
    """The environment of everything that runs in the guest."""
    binaries = os.environ.get("MU_TEST_BINARIES", str(ROOT / "build/tests"))
    return {
        "MU_GUEST": "1",
        "MU_TREE": str(ROOT),
        "MU_TEST_BINARIES": binaries,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": f"{ROOT}/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }


def arguments(given: list[str]) -> argparse.Namespace:
    """What was asked for."""
    machine = argparse.ArgumentParser(add_help=False)
    machine.add_argument("--memory", type=int, default=2048, metavar="MIB", help="the guest's memory")
    machine.add_argument("--shm", type=int, default=1024, metavar="MIB", help="the size of its /dev/shm")
    machine.add_argument("--cpus", type=int, default=2, help="its processors")
    machine.add_argument("--limit", type=int, default=900, metavar="SECONDS", help="nothing outlives this")
    machine.add_argument("--kernel", metavar="RELEASE", help="a kernel below /lib/modules (the newest that will do)")
    machine.add_argument("--accel", choices=["kvm", "tcg"], help="how it is executed (kvm where it is usable)")
    machine.add_argument("--out", type=Path, default=ROOT / "build/vm", help="becomes its /out: rc, dmesg, console")
    parser = argparse.ArgumentParser(prog="./dev vm", description=(__doc__ or "").split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", parents=[machine], help="run a script or a command")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="SCRIPT|COMMAND ...")
    commands.add_parser("shell", parents=[machine], help="a shell on the guest's console")
    return parser.parse_args(given)


def machine_of(asked: argparse.Namespace) -> Machine:
    """The machine that was asked for."""
    return Machine(
        memory_mib=asked.memory,
        shm_mib=asked.shm,
        cpus=asked.cpus,
        limit_s=asked.limit,
        kernel=asked.kernel,
        accelerator=asked.accel,
    )


def started(asked: argparse.Namespace) -> boot.Outcome:
    """Runs what was asked for."""
    machine = machine_of(asked)
    if asked.command == "shell":
        script = boot.script_for(["bash", "-i"], Path.cwd(), variables() | {"TERM": os.environ.get("TERM", "dumb")})
        return boot.shell(script, machine, asked.out)
    return boot.run(boot.script_for(asked.argv, Path.cwd(), variables()), machine, asked.out)


def main(given: list[str]) -> int:
    """The script's exit code; 1 if only the kernel complained; FAILED if there is none; 124 at the limit."""
    asked = arguments(given)
    try:
        outcome = started(asked)
    except (CannotBootError, GuestError) as error:
        say(str(error))
        return FAILED
    except KeyboardInterrupt:
        return 130
    for line in outcome.kernel_findings:
        say(f"the guest's kernel: {line}")
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
