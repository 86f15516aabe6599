"""`procq logs` over memory and rotated files, written by real workers and rotated by the real keeper."""

from __future__ import annotations

import json
import os
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.process.support.fixtures import Procqs
from tests.process.support.project import PROCQ, Procq
from tests.process.support.waiting import until

pytestmark = pytest.mark.process

WRITER = """\
import os, sys, time
for n in range(int(sys.argv[1])):
    sys.stdout.write(f"{sys.argv[2]} line {n} {'x' * 60}\\n")
    if n % 100 == 99: sys.stdout.flush(); time.sleep(0.001)
sys.stdout.flush()
while not os.path.exists("go"): time.sleep(0.01)
print("the last one", flush=True)
time.sleep(1000)
"""
MANIFEST = """\
queues:
  a:
    command: python3 writer.py 4000 a
    workers: 2
    logs:
      file: logs/{FILE}.log
      rotate: 64KiB
      keep: 50
      format: {FORMAT}
  b:
    command: python3 writer.py 5 b
"""


def writing(procqs: Procqs, form: str, file: str = "{queue}.{slot}") -> Procq:
    procq = procqs(MANIFEST.replace("{FORMAT}", form).replace("{FILE}", file))
    (procq.folder / "writer.py").write_text(WRITER)
    procq.start(3)
    until(lambda: "a line 3999 " in procq.command("logs", "a.1"), "the first worker's lines")
    until(lambda: "a line 3999 " in procq.command("logs", "a.2"), "the second worker's lines")
    return procq


def numbers(said: str, worker: str) -> list[int]:
    lines = (line.split() for line in said.splitlines() if line.startswith(worker))
    return [int(words[words.index("line") + 1]) for words in lines if "line" in words]


@pytest.mark.parametrize("form", ["text", "prefixed", "json"])
def test_every_line_comes_once_from_rotated_files_and_memory(procqs: Procqs, form: str) -> None:
    began = datetime.now(UTC).isoformat()
    procq = writing(procqs, form)
    assert len(list(Path(procq.folder / "logs").glob("a.1.log.?"))) > 3, "it was rotated"
    said = procq.command("logs", "--since", began)
    for worker in ("a.1", "a.2"):
        assert numbers(said, worker) == list(range(4000))
    assert numbers(said, "b.1") == list(range(5)), "from memory alone"
    assert numbers(procq.command("logs", "-n", "3000", "a.2"), "a.2") == list(range(1000, 4000))
    assert numbers(procq.command("logs", "--grep", r"line \d*77 ", "a.1"), "a.1") == [*range(77, 4000, 100)]
    assert numbers(procq.command("logs", "--grep", "line", "-n", "3", "a*"), "a.1") == [3997, 3998, 3999]
    assert procq.command("logs", "--since", "0s") == procq.command("logs", "--until", began) == ""
    told = [json.loads(line) for line in procq.command("logs", "--json", "--since", "1h", "a.1").splitlines()]
    assert [each["line"].split()[2] for each in told] == [str(n) for n in range(4000)]
    times = [datetime.fromisoformat(each["time"]).timestamp() for each in told]
    assert times == sorted(times)
    assert abs(times[0] - time.time()) < 60
    assert {each["worker"] for each in told} == {"a.1"}


def test_every_line_comes_once_while_files_are_rotated_and_compressed(procqs: Procqs) -> None:
    text = MANIFEST.replace("{FORMAT}", "text").replace("{FILE}", "{queue}.{slot}").replace("4000", "30000")
    procq = procqs(text.replace("keep: 50", "keep: 200\n      compress: yes"))
    (procq.folder / "writer.py").write_text(WRITER.replace("sleep(0.001)", "sleep(0.02)"))
    procq.start(3)
    looks = 0
    while (found := numbers(procq.command("logs", "--since", "1h", "a.1"), "a.1")) != list(range(30000)):
        assert found == list(range(len(found)))
        looks += 1
    logs = procq.folder / "logs"
    until(lambda: not [*logs.glob("a.1.log.*[0-9]")] and len([*logs.glob("a.1.log.*.gz")]) > 20, "all compressed")
    assert numbers(procq.command("logs", "--since", "1h", "a.1"), "a.1") == list(range(30000))
    assert numbers(procq.command("logs", "-n", "29000", "a.1"), "a.1") == list(range(1000, 30000))
    print(f"{looks} looks at files in motion")


def test_following_goes_on_where_the_files_end(procqs: Procqs, tmp_path: Path) -> None:
    procq = writing(procqs, "text")
    with open(tmp_path / "followed", "wb") as output:
        following = subprocess.Popen(
            [PROCQ, "logs", "-f", "--since", "1h", "a.1"], cwd=procq.folder, env=procq.environment, stdout=output
        )
    try:
        until(lambda: "line 3999 " in (tmp_path / "followed").read_text(), "what was written")
        (procq.folder / "go").touch()
        until(lambda: "the last one" in (tmp_path / "followed").read_text(), "what comes")
    finally:
        following.terminate()
        following.wait()
    said = (tmp_path / "followed").read_text()
    assert numbers(said, "a.1") == list(range(4000))
    assert said.count("the last one") == 1


def test_a_shared_file_of_text_names_the_queue_and_others_the_worker(procqs: Procqs) -> None:
    procq = writing(procqs, "text", "{queue}")
    said = procq.command("logs", "--since", "1h", "a")
    assert said.count("a line 0 ") == 2
    assert [line for line in said.splitlines() if " line 0 " in line and not line.startswith("a  ")] == []
    assert "is shared by 2 workers" in procq.command("logs", "--since", "1h", "a.1")


def test_files_are_read_while_nothing_runs(procqs: Procqs) -> None:
    procq = writing(procqs, "prefixed", "{queue}")
    procq.command("down", "--now")
    procq.wait()
    said = procq.command("logs", "-n", "4000", "a.2")
    assert numbers(said, "a.2") == list(range(4000)) and numbers(said, "a.1") == []
    assert numbers(procq.command("logs", "a.2"), "a.2") == list(range(3980, 4000))
    assert 'Did you mean "a"' in procq.command("logs", "--since", "1h", "A", code=1)
    assert "is not running" in procq.command("logs", "-f", "a", code=3)
    assert "is not a regular expression" in procq.command("logs", "--grep", "(", code=64)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to read with the rights of somebody else")
def test_a_link_planted_by_a_workers_user_shows_nothing(procqs: Procqs) -> None:
    """The file of a queue with `user:` is opened with that user's rights, and a link is not followed."""
    manifest = "queues:\n  a:\n    command: sleep 1000\n    user: nobody\n    logs:\n      file: logs/a.log\n"
    procq = procqs(manifest)
    logs = procq.folder / "logs"
    for folder in (procq.folder, *procq.folder.parents):
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o1000 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    logs.mkdir()
    logs.chmod(0o777)
    secret = procq.folder / "secret"
    secret.write_text("secret\n")
    secret.chmod(0o600)
    (logs / "a.log").symlink_to(secret)
    said = procq.command("logs", "-n", "100", "a")
    assert "secret\n" not in said and "it is a link, which is not followed" in said
    (logs / "a.log").unlink()
    (logs / "a.log").hardlink_to(secret)
    said = procq.command("logs", "-n", "100", "a")
    assert "secret\n" not in said and "Permission denied" in said
