"""T2, a control group a generation: FAULTS 9, 53, 60, what is left when two die at once, and what is tidied up."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.process.support import cgroups, processes, tiers
from tests.process.support.fixtures import Keepers, Procqs
from tests.process.support.injecting import can_trace, injected, strace
from tests.process.support.keeper import Keeper, program, read_when_written
from tests.process.support.waiting import until

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(tiers.lacking(2) is not None, reason=str(tiers.lacking(2))),
    pytest.mark.parametrize("tier", [2], indirect=True, ids=["T2"]),
]


def group_of(keeper: Keeper, generation: int) -> Path:
    return cgroups.base_of(keeper.instance) / f"w{generation}"


def wait_for_removal(keeper: Keeper, generation: int) -> None:
    until(lambda: not group_of(keeper, generation).exists(), "the group to be removed")


def test_every_worker_is_born_in_a_group_of_its_own_that_goes_with_it(keeper: Keeper, tier: int) -> None:
    generations = [keeper.run(["sleep", "1000"], f"w.{n}") for n in range(3)]
    for generation, pid in generations:
        assert cgroups.members(group_of(keeper, generation)) == [pid]
    for part in (keeper.pid, keeper.sentinel.pid):
        assert (cgroups.group_of(part) or "").endswith(f"-{keeper.instance:x}/keeper")
    for generation, _ in generations:
        keeper.stop(generation)
        keeper.of(generation, "gone")
        wait_for_removal(keeper, generation)
    base = cgroups.base_of(keeper.instance)
    assert keeper.close() == 0
    assert not base.exists()


def test_a_failed_spawn_leaves_no_group(keeper: Keeper, tier: int) -> None:
    generation = keeper.spawn(["/nowhere/at/all"])
    keeper.of(generation, "gone")
    wait_for_removal(keeper, generation)


def test_groups_that_a_worker_made_in_its_own_go_with_it(keeper: Keeper, tmp_path: Path, tier: int) -> None:
    pid_file = tmp_path / "pid"
    hidden = " ".join(program("stubborn.py", pid_file))
    enter = "mkdir $0/inner $0/inner/most; echo 0 > $0/inner/most/cgroup.procs"
    script = f"({enter}; exec setsid {hidden}) & wait"
    group = cgroups.base_of(keeper.instance) / "w1"
    generation, _ = keeper.run(["/bin/sh", "-c", script, str(group)], grace=0.2)
    inner = int(read_when_written(pid_file))
    assert (cgroups.group_of(inner) or "").endswith("/w1/inner/most")
    keeper.stop(generation)
    assert keeper.of(generation, "gone")["killed"] == 1
    assert not processes.exists(inner)
    until(lambda: not group.exists(), "the groups to be removed")


def test_who_has_left_the_group_is_found_by_its_mark(keeper: Keeper, tmp_path: Path, tier: int) -> None:
    away = cgroups.base_of(keeper.instance) / "keeper" / "cgroup.procs"
    hidden = " ".join(program("stubborn.py", tmp_path / "pid"))
    script = f"(echo 0 > {away}; exec setsid {hidden}) & exec sleep 1000"
    generation, _ = keeper.run(["/bin/sh", "-c", script], grace=0.2)
    fugitive = int(read_when_written(tmp_path / "pid"))
    assert (cgroups.group_of(fugitive) or "").endswith("/keeper")
    keeper.stop(generation)
    keeper.of(generation, "gone")
    assert not processes.exists(fugitive)


def test_faults_53_a_frozen_worker_hears_the_signal(keeper: Keeper, tmp_path: Path, tier: int) -> None:
    ledger = tmp_path / "ledger"
    generation, _ = keeper.run(program("job.py", ledger, 0, "j"))
    until(lambda: read_when_written(ledger), "the job to begin")
    freeze(group_of(keeper, generation))
    keeper.stop(generation)
    assert keeper.of(generation, "gone")["killed"] == 0
    assert ledger.read_text().splitlines()[-1] == "done j"


def test_faults_53_what_is_frozen_again_while_it_stops_is_killed(keeper: Keeper, tmp_path: Path, tier: int) -> None:
    generation, _ = keeper.run(program("stubborn.py", tmp_path / "pid"), grace=0.3)
    read_when_written(tmp_path / "pid")
    keeper.stop(generation)
    keeper.of(generation, "stopping")
    freeze(group_of(keeper, generation))
    assert keeper.of(generation, "gone")["killed"] == 1


def freeze(group: Path) -> None:
    (group / "cgroup.freeze").write_text("1")
    until(lambda: "frozen 1" in (group / "cgroup.events").read_text(), "it to be frozen")


def test_faults_60_where_no_group_can_be_made_workers_run_by_their_marks_and_it_is_told(
    procqs: Procqs, tmp_path: Path, tier: int
) -> None:
    procq = procqs("queues:\n  a:\n    command: sleep 1000\n    workers: 1\n").start(1)
    most = cgroups.base_of(processes.instance(procq.control_plane()) or 0) / "cgroup.max.descendants"
    most.write_text("2")
    procq.command("scale", "a=2")
    procq.wait_running(2)
    until(lambda: "new workers are held together by their marks alone (T1)" in procq.said(), "it to be told")
    most.write_text("max")
    procq.command("scale", "a=3")
    procq.wait_running(3)
    until(lambda: "a control group of their own again (T2)" in procq.said(), "the end of it to be told")
    assert procq.said().count("no control group can be made") == 1
    procq.command("down")
    assert procq.wait() == 0


def test_groups_that_an_earlier_life_left_empty_are_cleared_away(keepers: Keepers, tier: int) -> None:
    own = cgroups.own()
    assert own is not None
    left = own / "procq-left-by-a-test-ff"
    (left / "w7" / "inner").mkdir(parents=True)
    (left / "keeper").mkdir()
    keepers()
    assert not left.exists()


def test_groups_in_which_somebody_lives_are_not(keepers: Keepers, tier: int) -> None:
    keeper, _ = keepers(), keepers()
    keeper.run(["sleep", "1000"])
    assert cgroups.base_of(keeper.instance).exists()
    os.kill(keeper.pid, signal.SIGKILL)
    keeper.sentinel.wait()
    until(lambda: not any(path.name.endswith(f"-{keeper.instance:x}") for path in cgroups.bases()), "its end")


@pytest.mark.skipif(not can_trace(), reason="needs strace, and the right to attach it")
@pytest.mark.parametrize("error", ["E2BIG", "EINVAL", "ENOSYS", "EPERM"])
def test_faults_15_60_a_kernel_in_which_nobody_is_born_in_a_group_has_the_child_go_there(
    keeper: Keeper, tmp_path: Path, tier: int, error: str
) -> None:
    """The first clone3 is refused; a sandbox refuses the second as well, which asks for no group."""
    trace = tmp_path / "trace"
    refused = 2 if error in {"ENOSYS", "EPERM"} else 1
    with strace(keeper.pid, trace, "--trace=clone3", f"--inject=clone3:error={error}:when=1..{refused}"):
        generation, pid = keeper.run(["sleep", "1000"])
    assert injected(trace.read_text()) == refused
    assert cgroups.members(group_of(keeper, generation)) == [pid]
    again, other = keeper.run(["sleep", "1000"], "w.2")
    assert cgroups.members(group_of(keeper, again)) == [other]


@pytest.mark.skipif(not can_trace(), reason="needs strace, and the right to attach it")
@pytest.mark.parametrize(
    ("call", "error", "transient"),
    [("mkdir,mkdirat", "ENOMEM", True), ("clone3", "EBUSY", False), ("clone3", "ENODEV", False)],
)
def test_faults_24_60_a_group_that_cannot_be_had_for_a_moment_costs_an_attempt(
    keeper: Keeper, tmp_path: Path, tier: int, call: str, error: str, transient: bool
) -> None:
    trace = tmp_path / "trace"
    with strace(keeper.pid, trace, f"--trace={call}", f"--inject={call}:error={error}:when=1"):
        generation = keeper.spawn(["sleep", "1000"])
        failure = keeper.of(generation, "spawn_failed")["failure"]
    assert failure["stage"] == "cgroup"
    assert failure["transient"] == transient
    keeper.of(generation, "gone")
    wait_for_removal(keeper, generation)
    again, pid = keeper.run(["sleep", "1000"])
    assert cgroups.members(group_of(keeper, again)) == [pid]
