"""The house's rules hold in every file of ours; and every rule notices when it is broken.

To break a rule for a good reason, enter the file in its table below, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tidy import checks
from tests.tidy.sources import CPP, PYTHON, cpp_code, own_code, own_files, python_code

Check = Callable[[Path, str], list[str]]

# Files that may wait by the clock: path -> why there is no event to wait for.
MAY_SLEEP: dict[str, str] = {}

# Files that may skip a test or expect its failure: path -> why the claim cannot be checked everywhere.
MAY_SKIP: dict[str, str] = {}

EXCEPTIONS: dict[Check, dict[str, str]] = {checks.sleeps: MAY_SLEEP, checks.skips: MAY_SKIP}

# Each rule, the suffixes of the files it is for (None: all code), and the directory below which it holds.
RULES: list[tuple[Check, set[str] | None, str]] = [
    (checks.file_length, None, ""),
    (checks.function_length, CPP | PYTHON, ""),
    (checks.unfinished, None, ""),
    (checks.commented_out_code, CPP, ""),
    (checks.prints, PYTHON, "src/mu/"),
    (checks.volatiles, CPP, "src/core/"),
    (checks.sleeps, CPP | PYTHON, "tests/"),
    (checks.skips, CPP | PYTHON, "tests/"),
    (checks.machine_paths, None, ""),
    (checks.test_docstrings, {".py"}, "tests/"),
    (checks.glossary, CPP | PYTHON, "src/"),
]


def applies(check: Check, path: Path) -> bool:
    """Whether a rule is for this file: exceptions have their reason, and the command line prints."""
    if check is checks.prints and path.as_posix().startswith("src/mu/cli"):
        return False
    return path.as_posix() not in EXCEPTIONS.get(check, {})


@pytest.mark.parametrize(("check", "suffixes", "under"), RULES, ids=[rule[0].__name__ for rule in RULES])
def test_rule_holds(check: Check, suffixes: set[str] | None, under: str) -> None:
    """No file of ours breaks the rule."""
    files = own_code(suffixes, under)
    findings = [found for path, text in files.items() if applies(check, path) for found in check(path, text)]
    assert not findings, "\n" + "\n".join(findings)


def test_there_are_files_to_look_at() -> None:
    """The rules see this file, so an empty list of findings means something."""
    assert Path("tests/tidy/test_tidy.py") in own_files()


@pytest.mark.parametrize("table", EXCEPTIONS.values(), ids=[check.__name__ for check in EXCEPTIONS])
def test_exceptions_are_alive(table: dict[str, str]) -> None:
    """A table of exceptions names files that exist, each with a reason."""
    present = {path.as_posix() for path in own_files()}
    assert set(table) <= present
    assert all(reason.strip() for reason in table.values())


def test_test_files_are_collected() -> None:
    """Every Python file with tests has a name that pytest collects."""
    files = own_code({".py"}, "tests/")
    lost = [path for path, text in files.items() if "\ndef test_" in text and not path.name.startswith("test_")]
    assert lost == [Path("tests/tidy/checks.py")]  # its test_docstrings is a rule about tests


LONG_PYTHON = "def long():\n" + "    x = 1\n" * 70
LONG_CPP = "namespace mu {\nclass A {\n  int f(int a)\n      : x{a}, y{1} {\n" + "    a++;\n" * 70 + "  }\n};\n}\n"
FINE_CPP = "struct alignas(64) B {\n" + "  int x = 0;\n" * 90 + "};\nint f() {\n  return g({1, 2});\n}\n"

# For each rule: a file's name, a text in it that breaks the rule, and one much like it that does not.
SAMPLES: list[tuple[Check, str, str, str]] = [
    (checks.file_length, "a.py", "x = 1\n" * 500, "x = 1\n" * 499),
    (checks.function_length, "a.py", LONG_PYTHON, LONG_PYTHON.replace("    x = 1\n", "", 1)),
    (checks.function_length, "a.cpp", LONG_CPP, FINE_CPP),
    (checks.unfinished, "a.cpp", "// TO" + "DO: later", "// todo lists are for people"),
    (checks.commented_out_code, "a.cpp", "  // replica.step(now);", "  // step the replica (once);"),
    (checks.commented_out_code, "a.cpp", "// int a = f(b);", "//     int a = f(b);"),
    (checks.commented_out_code, "a.cpp", "// }", "// F2 ends with begin_tenure();"),
    (checks.commented_out_code, "a.cpp", "/*\n if (fuo > floor) {\n*/", 'auto url = "http://x/f();";'),
    (checks.prints, "a.py", 'print("x")', 'log.info("print(x)")'),
    (checks.volatiles, "a.hpp", "volatile int x;", 'asm volatile("pause");  // not volatile'),
    (checks.sleeps, "a.py", "time.sleep(1)", '"time.sleep(1)"  # no time.sleep'),
    (checks.sleeps, "a.cpp", "std::this_thread::sleep_for(x);", "// never sleep_for\n"),
    (checks.skips, "a.py", "@pytest.mark.skip\ndef test_x(): ...", '"pytest.mark.skip"'),
    (checks.skips, "a.cpp", 'TEST_CASE("x" * doctest::skip()) {', "// doctest::skip\n"),
    (checks.machine_paths, "a.sh", "cd /ho" + "me/ada/mu", "cd /var/lib/mu"),
    (checks.test_docstrings, "a.py", "def test_x():\n    pass", 'def test_x():\n    """It holds."""'),
    (checks.glossary, "a.py", "class QuorumSize: ...", 'majority = "quorum"  # quorum\npool.submit(x)'),
    (checks.glossary, "a.hpp", "auto nextIndex = 1;", "auto next = index;  // not nextIndex"),
    (checks.glossary, "a.hpp", "int master_id;", "int mastery;"),
]


@pytest.mark.parametrize(("check", "name", "bad", "good"), SAMPLES)
def test_rule_notices(check: Check, name: str, bad: str, good: str) -> None:
    """The rule finds a breach, and nothing in what is merely similar."""
    assert check(Path(name), bad)
    assert not check(Path(name), good)


def test_every_rule_has_a_sample() -> None:
    """No rule is without a test that it can fail."""
    assert {rule[0] for rule in RULES} == {sample[0] for sample in SAMPLES}


def test_redis_may_say_what_redis_says() -> None:
    """Redis's protocol has its own words for the roles, which our Redis application has to use."""
    text = "def master_link() -> None: ..."
    assert not checks.glossary(Path("src/mu/apps/redis/server.py"), text)
    assert checks.glossary(Path("src/mu/replica.py"), text)


def test_functions_of_cpp_are_found() -> None:
    """Free functions, members, constructors and test cases are seen; initializers and classes are not."""
    text = """
        namespace mu {
        constexpr int table[] = {1, 2};
        enum class [[nodiscard]] Outcome { ok };
        template <typename T> struct Box final : Base<T> {
            explicit Box(int a) : x{a}, y(2) { init(); }
            int get() const noexcept override { return x; }
            std::array<int, 2> z{};
        };
        #define TWICE(x) { x; x; }
        auto free(int a) -> int {
            const auto f = [&](int b) { return a + b; };  // a brace { in a comment
            return f('{');
        }
        }
        TEST_CASE("braces } in names {") { CHECK(true); }
    """
    found = [(name, lines) for name, _, lines in checks.cpp_functions(text)]
    assert found == [("Box", 1), ("get", 1), ("free", 4), ("TEST_CASE", 1)]


def test_blanking_keeps_lines() -> None:
    """Comments and strings vanish from code, and every line stays where it was."""
    cpp = 'int a; /* x\n y */ auto s = R"(volatile\n)"; // z\nint b = 1\'000;'
    assert cpp_code(cpp).count("\n") == cpp.count("\n")
    assert "volatile" not in cpp_code(cpp)
    assert "1'000" in cpp_code(cpp)
    python = 'x = """a\nb"""  # c\ny = f"{x} d"\n'
    assert python_code(python).splitlines()[1].strip() == ""
    assert python_code(python).splitlines()[2].startswith("y =")
