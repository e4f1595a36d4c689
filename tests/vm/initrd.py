"""Builds what the guest's kernel starts from: our init, and the modules it needs to reach the host's files.

The modules are those of the guest's kernel, in the order in which modprobe would load them. Init has no
decompressor, so they are unpacked here. Nothing is kept between runs: it takes half a second to build.
"""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("init.c")
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
EMPTY = ("dev", "lower", "writes", "system")  # where init mounts
INSMOD = "insmod "


class CannotBootError(RuntimeError):
    """There is no guest: something that it is made of is missing or does not work."""


def called(*command: str | Path, stdin: str | None = None, cwd: Path | None = None) -> str:
    """What a program of the system prints; its failure is told in its own words."""
    try:
        done = subprocess.run(command, input=stdin, cwd=cwd, text=True, capture_output=True)
    except FileNotFoundError as error:
        raise CannotBootError(f"there is no {command[0]}: ./dev vm installs it") from error
    if done.returncode != 0:
        raise CannotBootError(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def compile_c(source: Path, program: Path, *options: str) -> None:
    """Makes a program of one C file; options come last, as libraries must."""
    flags = ("-std=gnu17", "-O1", "-Wall", "-Wextra", "-Werror")
    called(os.environ.get("CC", "gcc"), *flags, "-o", program, source, *options)


def module_files(kernel: str) -> list[Path]:
    """The files of the modules that init loads, each after those that it needs."""
    files: dict[Path, None] = {}
    for module in MODULES:
        shown = called("modprobe", "--set-version", kernel, "--show-depends", module)
        for line in shown.splitlines():
            if line.startswith(INSMOD):
                files[Path(line.removeprefix(INSMOD).split()[0])] = None
    return list(files)


def unpack(module: Path, into: Path) -> str:
    """Puts a module into a directory, uncompressed, and returns its name there."""
    if module.suffix == ".xz":
        name = module.stem
        (into / name).write_bytes(lzma.decompress(module.read_bytes()))
    elif module.suffix == ".ko":
        name = module.name
        shutil.copyfile(module, into / name)
    else:
        raise CannotBootError(f"{module}: only .ko and .ko.xz can be unpacked")
    return name


def build(kernel: str, into: Path) -> Path:
    """Makes the initrd for a kernel in a directory, and returns its path."""
    root = into / "initrd"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for name in EMPTY:
        (root / name).mkdir()
    compile_c(SOURCE, root / "init", "-static")
    names = [unpack(file, root) for file in module_files(kernel)]
    (root / "modules").write_text("".join(f"/{name}\n" for name in names), encoding="utf-8")
    members = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*"))]
    image = into / "initrd.cpio"
    called("cpio", "--quiet", "-o", "-H", "newc", "-O", image.resolve(), stdin="\n".join(members), cwd=root)
    return image
