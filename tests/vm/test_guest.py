"""The parts of the guest's harness that need no guest."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from tests import conftest
from tests.vm import __main__ as command_line
from tests.vm import boot, hosts, initrd, kernel_log, suite
from tests.vm.boot import GuestError, Machine
from tests.vm.hosts import Host
from tests.vm.initrd import CannotBootError

HEALTHY = """\
<5>[    0.000000] Linux version 6.1.0 (debian-kernel@lists.debian.org)
<6>[    6.338347] rdma_rxe: loaded
<6>[   36.881874] infiniband rxe2: set down
<4>[   36.900000] warning: `probe' uses an old interface; debugging is off
"""
TROUBLES = [
    "<4>[   12.3] WARNING: CPU: 1 PID: 80 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110",
    "<4>[   12.3] refcount_t: underflow; use-after-free.",
    "<1>[   12.3] BUG: kernel NULL pointer dereference, address: 0000000000000008",
    "<4>[   12.3] Oops: 0002 [#1] PREEMPT SMP",
    "<4>[   12.3] general protection fault, probably for non-canonical address 0xdead: 0000 [#1]",
    "<4>[   12.3] Call Trace:",
    "<4>[   12.3] INFO: possible circular locking dependency detected",
    "<3>[   12.3] INFO: task kworker/0:1:12 blocked for more than 120 seconds.",
    "<3>[   12.3] BUG: KASAN: use-after-free in rxe_completer",
    "<3>[   12.3] Out of memory: Killed process 80 (python)",
]


def test_a_healthy_log_is_clean() -> None:
    """A log of a healthy kernel has no findings."""
    assert kernel_log.findings(HEALTHY) == []


@pytest.mark.parametrize("line", TROUBLES)
def test_trouble_is_found(line: str) -> None:
    """Each kind of the kernel's complaints is found among healthy lines, and told without its level."""
    assert kernel_log.findings(f"{HEALTHY}{line}\n{HEALTHY}") == [line.split(">", maxsplit=1)[1]]


def install(root: Path, release: str, parts: tuple[str, ...] = boot.NEEDED) -> None:
    """Puts a kernel where kernels stand."""
    (root / "boot").mkdir(exist_ok=True)
    (root / f"boot/vmlinuz-{release}").touch()
    for part in parts:
        (root / "lib/modules" / release / part).mkdir(parents=True)


def test_the_newest_kernel_that_will_do(tmp_path: Path) -> None:
    """The newest kernel with all the modules is taken, newer by numbers and not by letters; or the one asked for."""
    install(tmp_path, "6.1.0-9-amd64")
    install(tmp_path, "6.1.0-30-amd64")
    install(tmp_path, "6.12.1-cloud-amd64", boot.NEEDED[1:])
    assert boot.find_kernel(None, tmp_path) == "6.1.0-30-amd64"
    assert boot.find_kernel("6.1.0-9-amd64", tmp_path) == "6.1.0-9-amd64"
    with pytest.raises(CannotBootError, match="linux-image-amd64"):
        boot.find_kernel("6.12.1-cloud-amd64", tmp_path)


def test_kvm_needs_the_processor(tmp_path: Path) -> None:
    """Hardware virtualisation is used if the device can be opened and the processor has it; one is not enough."""
    device, cpuinfo = tmp_path / "kvm", tmp_path / "cpuinfo"
    cpuinfo.write_text("flags\t\t: fpu svm rep_good\n", encoding="ascii")
    assert not boot.kvm_is_usable(device, cpuinfo)
    device.touch()
    assert boot.kvm_is_usable(device, cpuinfo)
    cpuinfo.write_text("flags\t\t: fpu svm_lock\nbugs\t\t: svm\n", encoding="ascii")
    assert not boot.kvm_is_usable(device, cpuinfo)


def test_modules_are_unpacked(tmp_path: Path) -> None:
    """A compressed module reaches the initrd as the kernel takes it, and what cannot be unpacked is an error."""
    packed, plain, strange = tmp_path / "a.ko.xz", tmp_path / "b.ko", tmp_path / "c.ko.gz"
    packed.write_bytes(lzma.compress(b"module a"))
    plain.write_bytes(b"module b")
    (into := tmp_path / "into").mkdir()
    assert [initrd.unpack(packed, into), initrd.unpack(plain, into)] == ["a.ko", "b.ko"]
    assert [(into / name).read_bytes() for name in ("a.ko", "b.ko")] == [b"module a", b"module b"]
    with pytest.raises(CannotBootError, match=r"c\.ko\.gz"):
        initrd.unpack(strange, into)


def test_a_missing_program_is_told(tmp_path: Path) -> None:
    """A program that is not installed, or fails, is an error in words."""
    with pytest.raises(CannotBootError, match="no such-program"):
        initrd.called("such-program")
    with pytest.raises(CannotBootError, match=r"ended with 2: .*nowhere"):
        initrd.called("ls", tmp_path / "nowhere")


def test_qemu_is_told_everything(tmp_path: Path) -> None:
    """The machine's parameters reach qemu, its files are shared read-only but for one, and copies do not tear."""
    machine = Machine(memory_mib=512, shm_mib=64, cpus=3, accelerator="tcg")
    command = boot.qemu_command(machine, "6.1.0-9-amd64", Path("initrd.cpio"), tmp_path / "a,b")
    line = " ".join(command)
    assert "-smp 3 -m 512M" in line
    assert "-accel tcg,thread=multi -cpu max,-erms" in line
    assert "shm=64m" in line
    shares = [option for option in command if option.startswith("local,")]
    assert ["readonly=on" in share for share in shares] == [True, False]
    assert f"path={tmp_path}/a,,b," in shares[1]


def results(out: Path, **files: str) -> Path:
    """A directory as a guest leaves it."""
    for name, text in files.items():
        (out / name).write_text(text, encoding="utf-8")
    return out


def test_verdicts(tmp_path: Path) -> None:
    """A script's exit code counts; a clean script on a complaining kernel is a failure; its own failure goes first."""
    good = boot.verdict(boot.SWITCHED_OFF, 9, results(tmp_path, rc="0\n", dmesg=HEALTHY, console=""))
    assert (good.exit_code, good.kernel_findings) == (0, [])
    assert boot.verdict(boot.SWITCHED_OFF, 9, results(tmp_path, dmesg=TROUBLES[0])).exit_code == 1
    assert boot.verdict(boot.SWITCHED_OFF, 9, results(tmp_path, rc="3\n")).exit_code == 3


@pytest.mark.parametrize(
    ("status", "files", "message"),
    [
        (124, {"rc": "0"}, "at its limit of 9 s"),
        (137, {}, "at its limit of 9 s"),
        (0, {"console": "[ 1.2] Kernel panic - not syncing: init\n"}, "panicked: .*not syncing"),
        (boot.SWITCHED_OFF, {"rc": "", "console": "init: cannot load /9p.ko\n"}, "left no exit code"),
        (0, {"rc": "0"}, "but qemu with 0"),
    ],
)
def test_what_is_no_verdict(tmp_path: Path, status: int, files: dict[str, str], message: str) -> None:
    """Without a regular end there is no exit code, but a message that says why."""
    with pytest.raises(GuestError, match=message):
        boot.verdict(status, 9, results(tmp_path, **files))


def test_scripts_are_quoted() -> None:
    """Commands, directories and variables reach the guest as they are, spaces and quotes included."""
    script = boot.script_for(["echo", "a b", "$c"], Path("/some where"), {"X": "it's"})
    assert script == "export X='it'\"'\"'s'\ncd '/some where' || exit\nexec echo 'a b' '$c'\n"


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Options stand before the command, whose own options are not touched; an unknown suite is refused."""
    asked = command_line.arguments(["run", "--memory", "512", "ls", "--limit", "9"])
    assert (asked.argv, asked.memory, asked.limit) == (["ls", "--limit", "9"], 512, 900)
    assert command_line.machine_of(asked) == Machine(memory_mib=512)
    assert command_line.arguments(["test", "hosts"]).suites == ["hosts"]
    for wrong in (["test", "nonsense"], ["run"], []):
        with pytest.raises(SystemExit):
            command_line.arguments(wrong)
    assert "there is no suite nonsense" in capsys.readouterr().err


def test_hosts_have_distinct_names() -> None:
    """No two hosts share a name, an address or a table."""
    everybody = [Host(number) for number in range(1, hosts.MAX_HOSTS + 1)]
    for names in ("rdma_device", "network_device", "port", "address", "mac", "table"):
        assert len({getattr(host, names) for host in everybody}) == hosts.MAX_HOSTS
    with pytest.raises(ValueError, match="1 to 9"):
        hosts.up(hosts.MAX_HOSTS + 1)


def test_suites_have_distinct_names() -> None:
    """A suite's name chooses one suite, and no suite is called like the tests that boot guests of their own."""
    names = [each.name for each in suite.SUITES]
    assert len(set(names)) == len(names)
    assert command_line.OUTSIDE not in names


def test_claims_left_to_the_sim_are_claims(repository: Path) -> None:
    """What is not run on verbs is a test of the paper's claims, by its whole name, and has its reason."""
    claims = "".join(path.read_text(encoding="utf-8") for path in (repository / "tests/paper").glob("*_test.cpp"))
    assert all(f'TEST_CASE("{name}")' in claims and reason for name, reason in suite.SIM_ONLY.items())


def test_tests_for_elsewhere_exist(repository: Path) -> None:
    """What is left out on ordinary machines is there, and is left out here."""
    for variable, places in conftest.ELSEWHERE.items():
        for place in places:
            assert list((repository / "tests" / place).glob("test_*.py")), f"{variable}: {place}"
            assert place in conftest.collect_ignore


@pytest.mark.parametrize("names", [[], ["every-fault", "hosts"]])
def test_what_takes_long_is_run_by_name_only(names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every suite runs if none is named, but for every-fault; else those that are."""
    ran: list[str] = []

    def runs(each: suite.Suite) -> bool:
        ran.append(each.name)
        return True

    monkeypatch.setattr(suite, "run", runs)
    assert suite.main(names) == 0
    everything = {each.name for each in suite.SUITES}
    assert set(ran) == (set(names) or everything - {"every-fault"})
