"""What files of /proc and of control groups say, as kernels have written them; and what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from procq.monitor.pressure import Gauge
from procq.scaling.guard import Pressure

CPU = """some avg10=12.50 avg60=7.71 avg300=5.47 total=48464773
full avg10=0.00 avg60=0.00 avg300=0.00 total=0
"""
MEMORY = """some avg10=3.95 avg60=0.37 avg300=0.16 total=12071154
full avg10=1.50 avg60=0.27 avg300=0.12 total=11402121
"""
MEMINFO = """MemTotal:       24684084 kB
MemFree:         1599080 kB
MemAvailable:    6171021 kB
Buffers:            8332 kB
HugePages_Total:       0
"""
STAT = """anon 402653184
file 524288000
kernel 30000000
inactive_file 300000000
active_file 200000000
slab_reclaimable 24288000
slab_unreclaimable 3000000
"""


def write(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    return write(
        tmp_path / "proc",
        {
            "pressure/cpu": CPU,
            "pressure/memory": MEMORY,
            "meminfo": MEMINFO,
            "loadavg": "1.47 1.65 1.32 3/160 1282\n",
            "self/cgroup": "4:memory:/old\n0::/system.slice/shop.service/control\n",
        },
    )


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    """A service of 1 GiB and two cores, whose control plane is in a group of its own, without limits."""
    return write(
        tmp_path / "groups",
        {
            "cgroup.controllers": "cpu memory\n",
            "cpu.pressure": CPU,
            "system.slice/memory.max": "max\n",
            "system.slice/memory.high": "max\n",
            "system.slice/cpu.max": "max 100000\n",
            "system.slice/memory.pressure": "full avg10=99.00 avg60=0.00 avg300=0.00 total=1\n",
            "system.slice/shop.service/memory.max": "1073741824\n",
            "system.slice/shop.service/memory.high": "max\n",
            "system.slice/shop.service/memory.current": "1020000000\n",
            "system.slice/shop.service/memory.stat": STAT,
            "system.slice/shop.service/memory.pressure": "some avg10=9.00 total=1\nfull avg10=7.50 total=1\n",
            "system.slice/shop.service/cpu.max": "200000 100000\n",
            "system.slice/shop.service/cpu.pressure": "some avg10=62.00 avg60=0.00 avg300=0.00 total=1\n",
            "system.slice/shop.service/control/memory.max": "max\n",
            "system.slice/shop.service/control/memory.pressure": "full avg10=88.00 total=1\n",
        },
    )


def test_the_machine(proc: Path, tmp_path: Path) -> None:
    found = Gauge(proc, tmp_path / "none", cores=2).read()
    assert found == Pressure(0.125, 0.015, 0.25, 0.735)
    assert found.blind == ""


def test_the_group_with_a_limit_where_that_is_worse(proc: Path, groups: Path) -> None:
    found = Gauge(proc, groups, cores=2).read()
    assert (found.cpu_some, found.memory_full) == (0.62, 0.075)
    held = 1_020_000_000 - 300_000_000 - 200_000_000 - 24_288_000
    assert found.available == 0.25 < 1 - held / 2**30
    write(groups, {"system.slice/shop.service/memory.high": str(512 * 2**20)})
    assert Gauge(proc, groups, cores=2).read().available == pytest.approx(1 - held / 2**29)


def test_more_than_the_limit_is_nothing_available(proc: Path, groups: Path) -> None:
    write(groups, {"system.slice/shop.service/memory.high": "1048576"})
    assert Gauge(proc, groups).read().available == 0.0
    write(groups, {"system.slice/shop.service/memory.high": "0"})
    assert Gauge(proc, groups).read().available == 0.0


def test_the_group_at_the_root_of_a_container(proc: Path, tmp_path: Path) -> None:
    write(proc, {"self/cgroup": "0::/\n"})
    groups = write(
        tmp_path / "groups",
        {"cgroup.controllers": "", "memory.max": "1000\n", "memory.current": "950\n", "memory.stat": "anon 950\n"},
    )
    assert Gauge(proc, groups).read().available == pytest.approx(0.05)


@pytest.mark.parametrize("own", ["0::/../other\n", "4:memory:/old\n", "", "nonsense"])
def test_groups_that_are_not_to_be_seen(proc: Path, groups: Path, own: str) -> None:
    write(proc, {"self/cgroup": own})
    write(groups.parent, {"other/cpu.max": "1 1", "other/cpu.pressure": "some avg10=99.00 total=1\n"})
    assert Gauge(proc, groups, cores=2).read().cpu_some == 0.125


def test_groups_of_version_1_are_left_alone(proc: Path, groups: Path) -> None:
    (groups / "cgroup.controllers").unlink()
    assert Gauge(proc, groups, cores=2).read().cpu_some == 0.125


def test_without_pressure_memory_and_load_are_left(proc: Path, tmp_path: Path) -> None:
    (proc / "pressure/cpu").unlink()
    (proc / "pressure/memory").unlink()
    found = Gauge(proc, tmp_path / "none", cores=2).read()
    assert found == Pressure(None, None, 0.25, 0.735)
    assert "PSI" in found.blind


def test_pressure_that_the_kernel_refuses(proc: Path, tmp_path: Path) -> None:
    # With psi=0 the files are there, and reading them fails; so does reading a directory.
    (proc / "pressure/cpu").unlink()
    (proc / "pressure/cpu").mkdir()
    assert Gauge(proc, tmp_path / "none").read().cpu_some is None


def test_kernels_before_5_13_tell_no_full_of_cpu_and_that_is_no_matter(proc: Path, tmp_path: Path) -> None:
    write(proc, {"pressure/cpu": "some avg10=50.00 avg60=0.00 avg300=0.00 total=1\n"})
    assert Gauge(proc, tmp_path / "none").read().cpu_some == 0.5


@pytest.mark.parametrize("text", ["", "\n", "some\n", "some avg10=\n", "some avg10=x avg60=1\n", "\0\xff"])
def test_files_of_another_form_say_nothing(proc: Path, tmp_path: Path, text: str) -> None:
    files = dict.fromkeys(("pressure/cpu", "pressure/memory", "meminfo", "loadavg"), text)
    write(proc, files)
    assert Gauge(proc, tmp_path / "none").read() == Pressure()


def test_this_machine() -> None:
    found = Gauge().read()
    assert found.available is not None and 0 < found.available <= 1
    assert found.load is not None and found.load >= 0
