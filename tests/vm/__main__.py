"""The guest's command line: a virtual machine with several hosts and soft RDMA devices, for tests.

./dev vm test [options] [SUITE ...]          the tests that need it: those of the guest itself, and tests/vm/suite.py's
./dev vm run [options] SCRIPT|COMMAND ...    one script or command, in the current directory
./dev vm shell [options]                     a shell on the guest's console
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.vm import boot
from tests.vm.boot import GuestError, Machine
from tests.vm.initrd import CannotBootError
from tests.vm.suite import SUITES

ROOT = Path(__file__).resolve().parent.parent.parent
OUTSIDE = "boots"  # the suite of tests that boot guests of their own
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
        # To look for pytest's plugins takes half a minute over 9p: these are the ones that pyproject.toml configures.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_PLUGINS": "pytest_asyncio.plugin,pytest_timeout",
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
    test = commands.add_parser("test", parents=[machine], help="run the tests that need it")
    known = [OUTSIDE, *(suite.name for suite in SUITES)]
    test.add_argument("suites", nargs="*", metavar="SUITE", help=f"only these: {', '.join(known)}")
    run = commands.add_parser("run", parents=[machine], help="run a script or a command")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="SCRIPT|COMMAND ...")
    commands.add_parser("shell", parents=[machine], help="a shell on the guest's console")
    asked = parser.parse_args(given)
    if unknown := set(getattr(asked, "suites", [])).difference(known):
        parser.error(f"there is no suite {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if asked.command == "run" and not asked.argv:
        parser.error("run what?")
    return asked


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


def tested_outside(asked: argparse.Namespace) -> int:
    """Runs the tests of the guest's failures, each of which boots one of its own; pytest's exit code."""
    if asked.suites and OUTSIDE not in asked.suites:
        return 0
    environment = os.environ | {"MU_VM": "1"}
    command = [sys.executable, "-m", "pytest", "-v", "--no-header", "tests/vm/outside"]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


def tested_inside(asked: argparse.Namespace) -> boot.Outcome:
    """Runs the guest's suites in one guest."""
    inside = [name for name in asked.suites if name != OUTSIDE]
    if asked.suites and not inside:
        return boot.Outcome(0, [])
    command = [str(ROOT / ".venv/bin/python"), "-m", "tests.vm.suite", *inside]
    return boot.run(boot.script_for(command, ROOT, variables()), machine_of(asked), asked.out)


def shell(asked: argparse.Namespace) -> boot.Outcome:
    """A shell as wide as this terminal."""
    size = shutil.get_terminal_size()
    command = ["bash", "-c", f"stty rows {size.lines} columns {size.columns}; exec bash -i"]
    script = boot.script_for(command, Path.cwd(), variables() | {"TERM": os.environ.get("TERM", "dumb")})
    return boot.shell(script, machine_of(asked), asked.out)


def started(asked: argparse.Namespace) -> boot.Outcome:
    """Runs what was asked for."""
    match asked.command:
        case "test":
            outside = tested_outside(asked)
            inside = tested_inside(asked)
            return boot.Outcome(inside.code or outside, inside.kernel_findings)
        case "shell":
            return shell(asked)
        case _:
            return boot.run(boot.script_for(asked.argv, Path.cwd(), variables()), machine_of(asked), asked.out)


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
