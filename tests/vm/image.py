"""Root file systems for the virtual machine: Debian with systemd, made once by mmdebstrap and kept in `.vm/`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".vm"
SUITES = {"bookworm": "3.11", "trixie": "3.13"}
"""Debian's releases that trials run on, and the Python of each."""

_PACKAGES = (
    "systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,linux-image-cloud-amd64,"
    "python3,python3-venv,iproute2,procps,kmod,udev,util-linux,fuse3,strace"
)
_NOT_NEEDED = "systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer e2scrub_reap.service"
# What the trials use besides procq and what procq depends on.
_TOOLS = ("pytest", "pytest-timeout", "hypothesis", "psutil", "setproctitle", "jsonschema")
_TOOLS_NEEDED = {"mmdebstrap": "mmdebstrap", "mkfs.ext4": "e2fsprogs", "qemu-system-x86_64": "qemu-system-x86"}

# Unpacks what the host has sent, runs it, and switches the machine off.
_START = """\
[Unit]
Description=Trials of procq
After=dbus.service systemd-logind.service
[Service]
Type=exec
ExecStart=/bin/sh -c 'mkdir -p /trial && tar -xf /dev/vdb -C /trial && exec sh /trial/tests/vm/guest.sh'
ExecStopPost=/bin/systemctl poweroff --no-block
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
[Install]
WantedBy=multi-user.target
"""


class Unusable(Exception):
    """This machine cannot make or run images; the text says what to do."""


def wheel(python: str) -> Path:
    """Builds procq's wheel, and gathers all that trials need beside it. Returns the directory of wheels."""
    wheels = CACHE / f"wheels-{python}"
    wheels.mkdir(parents=True, exist_ok=True)
    for old in wheels.glob("procq-*.whl"):
        old.unlink()
    scripts = Path(sys.executable).parent
    build = [str(scripts / "maturin"), "build", "--release", "--locked", "--quiet", "--compatibility", "linux"]
    subprocess.run([*build, "--out", str(wheels)], cwd=ROOT, check=True)
    return wheels


def prepared(suite: str, wheels: Path) -> Path:
    """The directory with `root.ext4`, `vmlinuz` and `initrd` of a suite; made where it is missing or out of date."""
    made = CACHE / suite
    stamp, recipe = made / "recipe", _recipe()
    if stamp.exists() and stamp.read_text() == recipe:
        return made
    missing = [package for tool, package in _TOOLS_NEEDED.items() if shutil.which(tool) is None]
    if missing:
        raise Unusable(f"a virtual machine needs: apt-get install {' '.join(missing)}")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    _download(suite, wheels)
    print(f"making the image of Debian {suite} (once; some minutes) …", flush=True)
    _bootstrap(suite, wheels, made)
    stamp.write_text(recipe)
    return made


def _recipe() -> str:
    return Path(__file__).read_text() + (ROOT / "requirements-dev.lock").read_text()


def _download(suite: str, wheels: Path) -> None:
    procq = next(wheels.glob("procq-*.whl"))
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(wheels), "--only-binary=:all:"]
    where = [f"--python-version={SUITES[suite]}", f"--constraint={ROOT / 'requirements-dev.lock'}"]
    subprocess.run([*pip, *where, str(procq), *_TOOLS], check=True)


def _bootstrap(suite: str, wheels: Path, made: Path) -> None:
    root, unit = made / "root", made / "trials.service"
    unit.write_text(_START)
    inside = [
        f"copy-in {wheels} /opt",
        f'chroot "$1" mv /opt/{wheels.name} /opt/wheels',
        'chroot "$1" python3 -m venv /opt/venv',
        f'chroot "$1" /opt/venv/bin/pip install -q --no-index --find-links /opt/wheels procq {" ".join(_TOOLS)}',
        'chroot "$1" rm -rf /opt/wheels',
        f"copy-in {unit} /etc/systemd/system",
        'chroot "$1" systemctl enable -q trials.service',
        f'chroot "$1" systemctl mask -q {_NOT_NEEDED}',
        'chroot "$1" useradd -m -u 1000 -s /bin/bash ops',
        'mkdir -p "$1/var/lib/systemd/linger" && touch "$1/var/lib/systemd/linger/ops"',
        'echo "/dev/vda / ext4 rw 0 1" > "$1/etc/fstab"',
        'echo procq-vm > "$1/etc/hostname"',
    ]
    hooks = [f"--customize-hook={line}" for line in inside]
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}", *hooks, suite, root],
        check=True,
    )
    for name in ("vmlinuz", "initrd"):
        shutil.copy(next((root / "boot").glob(f"{name}*")), made / name)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", root, made / "root.ext4", "4G"], check=True)
    shutil.rmtree(root)
