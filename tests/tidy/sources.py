"""Reads our own source files for the tidy and architecture tests: which there are, and what in them is code.

Invariant: blanking keeps every line where it was, so that a finding's line number is the file's.
"""

from __future__ import annotations

import io
import re
import subprocess
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CPP = {".cpp", ".hpp", ".h", ".c"}
PYTHON = {".py", ".pyi"}
CODE = CPP | PYTHON | {".sh", ".cmake", ".toml", ".yaml", ".yml"}
CODE_NAMES = {"dev", "run", "CMakeLists.txt", "Dockerfile"}  # code by name, not by suffix

CPP_TOKENS = re.compile(
    r"""(?P<comment>//(?:\\\n|[^\n])*|/\*.*?\*/)
      | (?P<raw>R"(?P<mark>[^\s()\\]{0,16})\(.*?\)(?P=mark)")
      | (?P<string>"(?:\\.|[^"\\\n])*")
      | (?P<char>(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+')""",
    re.VERBOSE | re.DOTALL,
)


def own_files() -> list[Path]:
    """Our own files, relative to the root: what git tracks, and what it would if it were added."""
    command = [
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = sorted(set(filter(None, listing.split("\0"))))
    return [Path(name) for name in names if (ROOT / name).is_file()]


def is_code(path: Path) -> bool:
    """Whether a file is source code, rather than prose or data."""
    return path.suffix in CODE or path.name in CODE_NAMES


def own_code(suffixes: set[str] | None = None, under: str = "") -> dict[Path, str]:
    """The text of our own code files: of these suffixes, or all; below a directory, or everywhere."""
    return {
        path: (ROOT / path).read_text(encoding="utf-8")
        for path in own_files()
        if is_code(path) and (suffixes is None or path.suffix in suffixes) and path.as_posix().startswith(under)
    }


def blank(text: str) -> str:
    """The same number of lines and columns, with nothing on them."""
    return re.sub(r"[^\n]", " ", text)


def cpp_code(text: str) -> str:
    """C++ without its comments and without what stands in its strings."""

    def replace(match: re.Match[str]) -> str:
        found = match.group()
        return blank(found) if match["comment"] is not None else found[0] + blank(found[1:-1]) + found[-1]

    return CPP_TOKENS.sub(replace, text)


def cpp_comments(text: str) -> list[tuple[int, str]]:
    """The comment lines of C++ source, each with its line number and without its marks."""
    lines = []
    for match in CPP_TOKENS.finditer(text):
        if match["comment"] is not None:
            first = text.count("\n", 0, match.start()) + 1
            for offset, line in enumerate(match["comment"].splitlines()):
                lines.append((first + offset, re.sub(r"^\s*(?:///?|/?\*+)?|\*+/\s*$", "", line).rstrip()))
    return lines


def python_code(text: str) -> str:
    """Python without its comments and without what stands in its strings."""
    rows = [list(line) for line in text.splitlines(keepends=True)]
    hidden = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in hidden:
            (first, start), (last, stop) = token.start, token.end
            for row in range(first, last + 1):
                line = rows[row - 1]
                to = stop if row == last else len(line)
                for column in range(start if row == first else 0, min(to, len(line))):
                    if line[column] != "\n":
                        line[column] = " "
    return "".join("".join(row) for row in rows)


def code_only(path: Path, text: str) -> str:
    """The code of a file, if its language is one that is understood here; else its text."""
    if path.suffix in CPP:
        return cpp_code(text)
    return python_code(text) if path.suffix in PYTHON else text
