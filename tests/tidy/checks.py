"""The house's rules as functions: each takes a file's path and text and returns what is wrong with it.

A finding is a sentence that begins with `path:line:`. The rules themselves are told in STYLE.md; a rule's
exceptions stand in a table in test_tidy.py, each with its reason.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.tidy.sources import CPP, PYTHON, code_only, cpp_code, cpp_comments

FILE_LINES = 500  # a file of this many lines tells more than one story
FUNCTION_LINES = 70  # two screens; forty is the aim

MARKS = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK")) + r")\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home/\w|Users/\w|root/\w|work/(?:main|shared|\.))")
VOLATILE = re.compile(r"(?<!asm )(?<!__asm__ )\bvolatile\b")
SLEEP = re.compile(r"\b(?:time\.sleep|sleep_for|sleep_until|usleep|nanosleep)\b|from time import .*\bsleep\b")
SKIP = re.compile(
    r"\bpytest\.(?:mark\.)?(?:skip|skipif|xfail|importorskip)\b|\bunittest\.skip"
    r"|\bdoctest::(?:skip|may_fail|should_fail|expected_failures)\b"
)
# A line that is a statement from its first word to its semicolon, or opens or closes a block. Prose may end
# in a semicolon or mention step(now); and examples may be shown, indented by four spaces as in Markdown.
CODE_IN_COMMENT = re.compile(
    r"^(?! {4})\s*(?:"
    r".*\{|\}\s*;?|[\w:.<>*&\[\]-]+\(.*\)\s*;|(?:[\w:<>*&,]+\s+){0,3}[\w.:>\[\]-]+\s*[-+|&]?=[^=].*;"
    r"|(?:return|break|continue|delete|using|#include)\b.*;"
    r")\s*$"
)
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

# The glossary's "never" column, as far as it can be seen in a name without false alarms.
FORBIDDEN_WORDS = {
    "ballot": "proposal",
    "quorum": "majority",
    "master": "leader",
    "slave": "follower",
    "submit": "propose",
}
FORBIDDEN_NAMES = {"next index": "fuo"}


def at(path: Path, line: int, what: str) -> str:
    """A finding."""
    return f"{path.as_posix()}:{line}: {what}"


def grep(path: Path, text: str, pattern: re.Pattern[str], what: str) -> list[str]:
    """One finding for each line that the pattern matches."""
    lines = enumerate(text.splitlines(), start=1)
    return [at(path, number, f"{what}: {line.strip()}") for number, line in lines if pattern.search(line)]


def file_length(path: Path, text: str) -> list[str]:
    """A file has fewer than 500 lines."""
    lines = len(text.splitlines())
    return [at(path, lines, f"{lines} lines; split it by story (limit {FILE_LINES})")] if lines >= FILE_LINES else []


def python_functions(text: str) -> Iterator[tuple[str, int, int]]:
    """The functions of Python source: name, first line (of the def), number of lines."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1


def is_function(header: str) -> bool:
    """Whether what stands before an opening brace, outside any function, begins a function's body."""
    header = re.sub(r"\[\[.*?\]\]|\b(?:alignas|decltype|__attribute__)\s*\((?:[^()]|\([^()]*\))*\)", " ", header)
    header = re.sub(r"^\s*#.*$", " ", header, flags=re.MULTILINE)
    if re.search(r"\b(?:namespace|extern|enum)\b[^()]*$", header):
        return False
    kind = re.search(r"\b(?:class|struct|union)\b[^()]*$", header)
    return "(" in header and not (kind and ")" not in header[kind.start() :])


def is_scope(header: str) -> bool:
    """Whether a brace that begins no function opens a namespace or a class, in which functions may stand."""
    return re.search(r"\b(?:namespace|extern|class|struct|union)\b", header) is not None


def closing(code: str, opening: int) -> int:
    """Where the brace that opens here is closed, or the end of the text."""
    depth = 0
    for index in range(opening, len(code)):
        depth += {"{": 1, "}": -1}.get(code[index], 0)
        if depth == 0:
            return index
    return len(code) - 1


def cpp_functions(text: str) -> Iterator[tuple[str, int, int]]:
    """The functions of C++ source: name, first line (of the signature), number of lines.

    Good enough, not a parser: it walks namespaces and classes; what a brace opens there after a parenthesis
    is a function, unless the brace turns out to have initialized a member (then a comma or another brace
    follows).
    """
    code = re.sub(
        r"^[ \t]*#(?:\\\n|[^\n])*",
        lambda found: re.sub(r"[^\n]", " ", found.group()),
        cpp_code(text),
        flags=re.MULTILINE,
    )
    start = index = 0
    while index < len(code):
        character = code[index]
        if character == "{":
            header = code[start:index]
            if is_function(header):
                end = closing(code, index)
                if code[end + 1 :].lstrip()[:1] in {",", "{"}:
                    index = end + 1  # a member initializer: the body is still to come
                    continue
                first = start + len(header) - len(header.lstrip())
                names = re.findall(r"[~\w:]+(?=\s*\()", header)
                yield (
                    (names[0] if names else "?"),
                    code.count("\n", 0, first) + 1,
                    code.count("\n", first, end) + 1,
                )
                start = index = end + 1
                continue
            if not is_scope(header):
                start = index = closing(code, index) + 1
                continue
            start = index + 1
        elif character in ";}":
            start = index + 1
        index += 1


def function_length(path: Path, text: str) -> list[str]:
    """A function has at most 70 lines."""
    functions = python_functions(text) if path.suffix in PYTHON else cpp_functions(text) if path.suffix in CPP else ()
    return [
        at(path, line, f"{name} has {lines} lines; move work into children (limit {FUNCTION_LINES})")
        for name, line, lines in functions
        if lines > FUNCTION_LINES
    ]


def unfinished(path: Path, text: str) -> list[str]:
    """No marks of unfinished work: they belong into an issue."""
    return grep(path, text, MARKS, "unfinished; do it or file it")


def commented_out_code(path: Path, text: str) -> list[str]:
    """No C++ code in comments (ruff's ERA looks after Python)."""
    if path.suffix not in CPP:
        return []
    found = [(line, comment) for line, comment in cpp_comments(text) if CODE_IN_COMMENT.match(comment)]
    return [at(path, line, f"commented-out code belongs to git: {comment.strip()}") for line, comment in found]


def prints(path: Path, text: str) -> list[str]:
    """Only the command line prints; the rest of the package logs."""
    calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    found = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    return [at(path, line, "print belongs to mu.cli; use logging") for line in found]


def volatiles(path: Path, text: str) -> list[str]:
    """Words that others change are std::atomic_ref; `asm volatile` is something else."""
    return grep(path, cpp_code(text), VOLATILE, "volatile orders nothing; use std::atomic_ref")


def sleeps(path: Path, text: str) -> list[str]:
    """Tests wait for events, not for the clock."""
    return grep(path, code_only(path, text), SLEEP, "a test that sleeps is slow or flaky; wait for the event")


def skips(path: Path, text: str) -> list[str]:
    """A skipped test is a claim that nobody checks."""
    return grep(path, code_only(path, text), SKIP, "skipped or expected to fail without a reason in the table")


def machine_paths(path: Path, text: str) -> list[str]:
    """No path of somebody's machine."""
    return grep(path, text, MACHINE_PATH, "a path of one person's machine")


def test_docstrings(path: Path, text: str) -> list[str]:
    """Every test says its claim in a docstring that begins with one sentence."""
    findings = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            claim = (ast.get_docstring(node) or "").split("\n\n")[0].strip()
            if not claim.endswith((".", "?", "!")):
                findings.append(at(path, node.lineno, f"{node.name} does not say its claim in one sentence"))
    return findings


test_docstrings.__test__ = False  # type: ignore[attr-defined]  # a rule about tests, not a test


def python_names(text: str) -> Iterator[tuple[str, int]]:
    """The names that Python source gives (those that it only uses are others' choice)."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


def cpp_names(text: str) -> Iterator[tuple[str, int]]:
    """All names in C++ source but those of system headers' paths."""
    for number, line in enumerate(cpp_code(text).splitlines(), start=1):
        if not line.lstrip().startswith("#include"):
            for name in re.findall(r"[A-Za-z_]\w*", line):
                yield name, number


def glossary(path: Path, text: str) -> list[str]:
    """Names use the glossary's words. Redis's own protocol speaks of masters and slaves; we may there."""
    findings = set()
    for name, line in python_names(text) if path.suffix in PYTHON else cpp_names(text):
        words = [word.lower() for word in WORDS.findall(name)]
        for never, use in FORBIDDEN_WORDS.items():
            if never in words and not (never in {"master", "slave"} and "redis" in path.as_posix()):
                findings.add((line, f"'{name}': we say {use}, never {never}"))
        for never, use in FORBIDDEN_NAMES.items():
            if never in " ".join(words):
                findings.add((line, f"'{name}': we say {use}, never {never}"))
    return [at(path, line, what) for line, what in sorted(findings)]
