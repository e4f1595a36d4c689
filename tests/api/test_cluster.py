"""The cluster's description: where it comes from, and that what is wrong never gets further."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

import pytest

import mu
from mu.cluster import THREADS_PER_REPLICA, replica_id_from


def written(directory: Path, text: str) -> Path:
    path = directory / "cluster.toml"
    path.write_text(text)
    return path


def test_the_documented_file_is_valid(tmp_path: Path) -> None:
    """The example in the class's docstring is a file that loads, and it shows every key."""
    example = (mu.Cluster.__doc__ or "").split("every key is optional:\n")[1].split("\n    Each key")[0]
    cluster = mu.Cluster.load(written(tmp_path, example), environment={})
    assert cluster.name == "orders"
    assert cluster.tuning == {"heartbeat_period": 2_000_000}
    assert set(mu.Cluster.keys()) <= set(example.replace("[", " ").replace("]", " ").split())


def test_the_documented_defaults_are_the_defaults(tmp_path: Path) -> None:
    """Where the example shows a number, it is the default."""
    example = (mu.Cluster.__doc__ or "").split("every key is optional:\n")[1].split("\n    Each key")[0]
    shown, default = mu.Cluster.load(written(tmp_path, example), environment={}), mu.Cluster()
    for each in dataclasses.fields(mu.Cluster):
        if isinstance(each.default, int) or each.name in {"replicas", "fabric", "directory", "cores"}:
            assert getattr(shown, each.name) == getattr(default, each.name)


def test_later_sources_override_earlier_ones(tmp_path: Path) -> None:
    """File, then variables, then arguments."""
    file = written(tmp_path, 'name = "file"\ntimeout_ms = 1\nmax_sessions = 1\nstall_limit_ms = 1')
    environment = {"MU_TIMEOUT_MS": "2", "MU_MAX_SESSIONS": "2"}
    cluster = mu.Cluster.load(file, environment=environment, max_sessions=3)
    assert (cluster.name, cluster.stall_limit_ms, cluster.timeout_ms, cluster.max_sessions) == ("file", 1, 2, 3)


def test_an_argument_of_none_is_not_given() -> None:
    """A flag that nobody typed leaves the variable's value."""
    assert mu.Cluster.load(environment={"MU_CORES": "dedicated"}, cores=None).cores == "dedicated"


def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    """$MU_CLUSTER is the file where none is named."""
    file = written(tmp_path, 'name = "found"')
    assert mu.Cluster.load(environment={"MU_CLUSTER": str(file)}).name == "found"


def test_a_cluster_that_a_program_built_is_left_alone() -> None:
    """Variables do not change a Cluster; arguments do."""
    built = mu.Cluster(name="built", timeout_ms=7)
    taken = mu.Cluster.load(built, environment={"MU_NAME": "other"}, timeout_ms=8)
    assert (taken.name, taken.timeout_ms, built.timeout_ms) == ("built", 8, 7)


def test_the_artifacts_variables_are_understood() -> None:
    """IDS names all replicas, SID this one, DORY_REGISTRY_IP the registry."""
    environment = {"IDS": "1,2,3,4,5", "SID": "4", "DORY_REGISTRY_IP": "10.0.0.9"}
    cluster = mu.Cluster.load(environment=environment)
    assert (cluster.replicas, cluster.registry, replica_id_from(environment)) == ((1, 2, 3, 4, 5), "10.0.0.9", 4)


def test_our_variables_win_over_the_artifacts() -> None:
    """MU_REPLICAS and MU_REPLICA_ID are stronger than IDS and SID."""
    environment = {"IDS": "1,2,3", "MU_REPLICAS": "4,5,6", "SID": "1", "MU_REPLICA_ID": "5"}
    assert mu.Cluster.load(environment=environment).replicas == (4, 5, 6)
    assert replica_id_from(environment) == 5


def test_no_variable_no_id() -> None:
    """Without a variable nobody guesses which replica this is."""
    assert replica_id_from({}) is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"replicas": []}, "empty"),
        ({"replicas": [1, 2, 2]}, "2 stands there more than once"),
        ({"replicas": [0, 1, 2]}, "0 is outside 1…15"),
        ({"replicas": [1, 2, 16]}, "16 is outside 1…15"),
        ({"replicas": ["1"]}, "list of ids"),
        ({"replicas": [True, 2, 3]}, "list of ids"),
        ({"replicas": 3}, "list of ids"),
        ({"log_bytes": 1_000_000}, "power of two"),
        ({"log_bytes": 1024}, "power of two"),
        ({"log_bytes": 2**31}, "power of two"),
        ({"log_bytes": "1 MiB"}, "whole number"),
        ({"cores": "dedicate"}, "Did you mean 'dedicated'?"),
        ({"fabric": "shmem"}, "Did you mean 'shm'?"),
        ({"name": "a/b"}, "name"),
        ({"name": ""}, "name"),
        ({"timeout_ms": 0}, "at least 1"),
        ({"commit_idle_us": -1}, "at least 0"),
        ({"max_sessions": 0}, "at least 1"),
        ({"name": "bücher"}, "letters"),
        ({"name": "٣"}, "letters"),
        ({"directory": ""}, "directory"),
        ({"directory": "a\0b"}, "directory"),
        ({"secret": "\udcff"}, "secret"),
        ({"tuning": {"heartbeat_period": "2 ms"}}, "table of whole numbers"),
        ({"tuning": {"heartbeat_period": 2.5}}, "table of whole numbers"),
        ({"tuning": {"heartbeat_period": 2**63}}, "heartbeat_period"),
        ({"tuning": {"heartbeat_period": -1}}, "heartbeat_period"),
        ({"log_byte": 1}, "Did you mean 'log_bytes'?"),
        ({"zebra": 1}, "Known are name,"),
    ],
)
def test_what_is_wrong_is_said(wrong: dict[str, Any], said: str) -> None:
    """A bad value is refused, with its key and what would be right."""
    with pytest.raises(mu.ConfigError, match=said.replace("?", r"\?")):
        mu.Cluster.load(environment={}, **wrong)


@pytest.mark.parametrize("source", ["", b"cluster.toml", [], {}, {"name": "orders"}, 5, 0, 1.5, "a\0b"])
def test_what_names_no_file_is_refused(source: Any) -> None:
    """A source of another type, or an empty one, is a mistake, and not the defaults."""
    with pytest.raises(mu.ConfigError, match="names no file"):
        mu.Cluster.load(source, environment={})
    with pytest.raises(mu.ConfigError, match="names no file"):
        mu.Replica.open(source, replica_id=1)


@pytest.mark.parametrize("key", ["fifo", "registry", "rdma_device"])
def test_a_text_without_an_end_is_refused(key: str) -> None:
    """The system's texts end at a zero byte."""
    with pytest.raises(mu.ConfigError, match=key):
        mu.Cluster.load(environment={}, **{key: "a\0b"})


def test_an_unknown_key_of_a_file_names_the_file(tmp_path: Path) -> None:
    """Whoever mistypes a key in a file learns which file and which key was meant."""
    with pytest.raises(mu.ConfigError, match=r"cluster\.toml.*'replica'.*Did you mean 'replicas'\?"):
        mu.Cluster.load(written(tmp_path, "replica = [1]"), environment={})


def test_a_file_that_is_not_toml_says_where(tmp_path: Path) -> None:
    """A syntax error tells the line."""
    with pytest.raises(mu.ConfigError, match=r"not TOML.*line 2"):
        mu.Cluster.load(written(tmp_path, 'replicas = [1, 2\nname = "x"'), environment={})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is a ConfigError, not a traceback of the system's."""
    with pytest.raises(mu.ConfigError, match=r"There is no file .*nothing"):
        mu.Cluster.load(tmp_path / "nothing", environment={})


def test_a_variable_that_is_no_number_is_named() -> None:
    """A variable's error names the variable."""
    with pytest.raises(mu.ConfigError, match="MU_LOG_BYTES='big'"):
        mu.Cluster.load(environment={"MU_LOG_BYTES": "big"})


def test_an_even_membership_is_allowed_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Four replicas work, but survive no more than three would."""
    with caplog.at_level(logging.WARNING, logger="mu"):
        assert mu.Cluster(replicas=(1, 2, 3, 4)).majority == 3
    assert "odd number" in caplog.text


def test_an_odd_membership_is_not_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """What is right is silent."""
    with caplog.at_level(logging.DEBUG, logger="mu"):
        mu.Cluster(replicas=(1, 2, 3))
    assert caplog.text == ""


def test_a_cluster_is_frozen() -> None:
    """Nobody changes a description after it was validated."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        mu.Cluster().name = "other"  # type: ignore[misc]


def test_the_secret_is_not_shown() -> None:
    """A description can be logged."""
    assert "hush" not in repr(mu.Cluster(secret="hush"))


def test_name_and_secret_make_the_key() -> None:
    """Another name or another secret is another cluster, also where both together spell the same."""
    keys = {mu.Cluster(name=name, secret=secret).cluster_key for name, secret in (("a", "bc"), ("ab", "c"), ("a", ""))}
    assert len(keys) == 3
    assert all(0 <= key < 2**64 for key in keys)


@pytest.mark.parametrize(("spare", "chosen"), [(0, "dedicated"), (-1, "shared")])
def test_cores_are_dedicated_only_if_there_are_enough(monkeypatch: pytest.MonkeyPatch, spare: int, chosen: str) -> None:
    """Auto spins only with a core for each plane of each replica here and one for the program."""
    count = THREADS_PER_REPLICA * 3 + 1 + spare
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)))
    assert mu.Cluster().chosen_cores == chosen


def test_cores_that_were_chosen_stay_chosen() -> None:
    """Who says dedicated gets it, on any machine."""
    assert mu.Cluster(cores="dedicated").chosen_cores == "dedicated"


def test_a_stranger_is_no_member() -> None:
    """An id outside the membership is refused, with the ids that are in it."""
    with pytest.raises(mu.UnknownReplica, match="no replica 9; this cluster's ids are 1, 2, 3"):
        mu.Cluster().require_member(9)
