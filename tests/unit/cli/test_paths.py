"""Where a project's sockets are, and who is not trusted with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from procq import paths
from procq.client import Client
from procq.errors import NoManifest, NotRunning, ProcqError, UsageError


@pytest.fixture
def environ(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    # The paths of sockets must be short.
    return {"XDG_RUNTIME_DIR": str(tmp_path_factory.mktemp("run")), "XDG_STATE_HOME": str(tmp_path / "state")}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    directory = tmp_path / "shop"
    directory.mkdir()
    (directory / "procq.yaml").touch()
    return directory


def test_a_project_is_found_without_reading_its_manifest(shop: Path, environ: dict[str, str]) -> None:
    (shop / "procq.yaml").write_bytes(b"\xff not yaml {")
    found = paths.locate(None, None, environ, directory=str(shop))
    assert found.manifest == str(shop / "procq.yaml")
    assert found.name == "shop"
    assert os.path.basename(found.run_dir).startswith("shop-")
    assert found.keeper_socket.startswith(environ["XDG_RUNTIME_DIR"])


def test_the_same_file_is_the_same_project_from_everywhere(shop: Path, environ: dict[str, str]) -> None:
    link = shop.parent / "link"
    link.symlink_to(shop)
    directly = paths.locate(None, None, environ, directory=str(shop))
    assert paths.locate("procq.yaml", None, environ, directory=str(link)) == directly
    assert paths.locate("../shop/./procq.yaml", None, environ, directory=str(shop)) == directly


def test_another_file_name_or_directory_is_another_project(shop: Path, environ: dict[str, str]) -> None:
    places = [
        paths.locate("procq.yaml", None, environ, directory=str(shop)),
        paths.locate("Procfile", None, environ, directory=str(shop)),
        paths.locate("procq.yaml", None, environ, directory=str(shop.parent)),
        paths.locate("procq.yaml", "blue", environ, directory=str(shop)),
        paths.locate("procq.yaml", "green", environ, directory=str(shop)),
    ]
    assert len({place.run_dir for place in places}) == len(places)


def test_a_manifest_that_runs_is_preferred_to_one_that_merely_exists(shop: Path, environ: dict[str, str]) -> None:
    running = paths.locate("Procfile", None, environ, directory=str(shop))
    running.prepare()
    Path(running.keeper_socket).touch()
    assert paths.locate(None, None, environ, directory=str(shop)) == running
    assert paths.locate(None, None, environ, directory=str(shop), must_exist=True).manifest.endswith("procq.yaml")


def test_no_manifest(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(NoManifest):
        paths.locate(None, None, environ, directory=str(tmp_path))
    with pytest.raises(ProcqError, match=r"nothing\.yaml"):
        paths.locate("nothing.yaml", None, environ, directory=str(tmp_path), must_exist=True)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65, "a b", "ä"])
def test_names_that_cannot_be(shop: Path, environ: dict[str, str], name: str) -> None:
    with pytest.raises(UsageError):
        paths.locate("procq.yaml", name, environ, directory=str(shop))


def test_directories_are_private_from_the_first_moment(shop: Path, environ: dict[str, str]) -> None:
    project = paths.locate(None, None, environ, directory=str(shop))
    old = os.umask(0)
    try:
        project.prepare()
    finally:
        os.umask(old)
    for directory in (project.run_dir, os.path.dirname(project.run_dir), project.state_dir):
        assert os.stat(directory).st_mode & 0o777 == 0o700


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "procq").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(paths.UnsafeDirectory, match="links are not followed"):
        paths.private_directory(str(tmp_path / "procq"))


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "procq").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(paths.UnsafeDirectory, match="belongs to user"):
        paths.private_directory(str(tmp_path / "procq"))


def test_an_open_directory_of_ours_is_closed(tmp_path: Path) -> None:
    (tmp_path / "procq").mkdir(mode=0o777)
    paths.private_directory(str(tmp_path / "procq"))
    assert (tmp_path / "procq").stat().st_mode & 0o777 == 0o700


def test_a_runtime_directory_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert paths.run_root({"XDG_RUNTIME_DIR": str(tmp_path)}) == "/tmp/procq-12345"
    assert paths.run_root({"XDG_RUNTIME_DIR": "relative"}) == "/tmp/procq-12345"


def test_socket_paths_that_are_too_long_are_refused_before_anything_is_made(shop: Path, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 80)
    deep.mkdir()
    project = paths.locate(None, None, {"XDG_RUNTIME_DIR": str(deep), "HOME": str(tmp_path)}, directory=str(shop))
    with pytest.raises(paths.UnsafeDirectory, match="the system allows 107"):
        project.prepare()
    assert list(deep.iterdir()) == []


def test_the_longest_names_leave_room_for_the_socket(tmp_path: Path) -> None:
    project = paths.locate("procq.yaml", "x" * 64, {"XDG_RUNTIME_DIR": "/nowhere"}, directory=str(tmp_path))
    assert len(project.keeper_socket) < 80


def test_without_a_home_the_state_is_beside_the_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run as a user that nobody has heard of."""
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert paths.state_root(environ) == str(tmp_path / "procq" / "state")
    assert paths.state_root({**environ, "HOME": "relative"}) == str(tmp_path / "procq" / "state")


def test_nothing_can_run_where_no_socket_can_be(tmp_path: Path) -> None:
    project = paths.Project(str(tmp_path / "procq.yaml"), "shop", str(tmp_path / ("x" * 120)), str(tmp_path))
    with pytest.raises(NotRunning):
        Client(project).status()


def test_no_directory_of_the_state_is_open_to_others(shop: Path, environ: dict[str, str]) -> None:
    before = os.umask(0)
    try:
        paths.locate(None, None, environ, directory=str(shop)).prepare()
    finally:
        os.umask(before)
    assert (Path(environ["XDG_STATE_HOME"]) / "procq").stat().st_mode & 0o077 == 0
