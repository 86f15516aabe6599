"""The number goes into the file, and the queue back to the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from procq import wire
from procq.cli.saving import save
from procq.cli.terminal import Terminal
from procq.client import Client
from procq.errors import ProcqError
from procq.paths import Project


class Running(Client):
    """Has the manifest in force as it is saved."""

    def __init__(self, manifest: Path, override: int) -> None:
        super().__init__(Project(str(manifest), "shop", "/run", "/state"))
        self._manifest = manifest
        self.override: int | None = override

    def status(self, targets: object = ()) -> wire.StatusView:
        return wire.StatusView("shop", str(self._manifest), None, 1.0, 1, 2, 1)

    def queue(self, name: str) -> wire.QueueView:
        number = int(self._manifest.read_text().rpartition(" ")[2])
        return wire.QueueView(name, "work", "steady", 0, self.override or number, number, override=self.override)

    def scale(self, name: str, workers: str) -> wire.QueueView:
        assert workers == "auto"
        self.override = None
        return self.queue(name)


@pytest.mark.parametrize(("override", "left"), [(4, None), (6, 6)])
def test_an_override_that_somebody_has_changed_meanwhile_stays(tmp_path: Path, override: int, left: int | None) -> None:
    manifest = tmp_path / "procq.yaml"
    manifest.write_text("queues:\n  a:\n    command: work\n    workers: 2\n")
    client = Running(manifest, override)
    save(client, "a", 4, Terminal({}))
    assert manifest.read_text().endswith("workers: 4\n")
    assert client.override == left


class Beaten(Running):
    """Somebody saves another number before ours is in force."""

    def queue(self, name: str) -> wire.QueueView:
        self._manifest.write_text(self._manifest.read_text().replace("workers: 4", "workers: 7"))
        return super().queue(name)


def test_of_two_who_save_at_once_the_first_is_told(tmp_path: Path) -> None:
    manifest = tmp_path / "procq.yaml"
    manifest.write_text("queues:\n  a:\n    command: work\n    workers: 2\n")
    client = Beaten(manifest, 4)
    with pytest.raises(ProcqError, match=r"somebody saved another number in .*procq.yaml meanwhile"):
        save(client, "a", 4, Terminal({}))
    assert manifest.read_text().endswith("workers: 7\n")
    assert client.override == 4
