"""Boots a virtual machine with another kernel, systemd, and a pure cgroup v2, and runs trials in it: `make vm`.

python -m tests.vm.run                   all trials on Debian bookworm (kernel 6.1, systemd 252)
python -m tests.vm.run --suite trixie    on a newer kernel and systemd
python -m tests.vm.run -- COMMAND        another command as root in the guest; the repository is in /trial
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

from tests.vm import image

_DEFAULT = "sh tests/vm/trials.sh"
_SENT = ("tests", "examples", "scripts", "docs", "benches", "pyproject.toml", "procq.data")
_END = "procq-vm: exit "


def main() -> int:
    """Builds what is missing, boots, and returns the exit code of the command in the guest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=image.SUITES, default="bookworm")
    parser.add_argument("--minutes", type=float, default=30, help="until the machine is switched off (default 30)")
    parser.add_argument("--accel", default=_accelerator(), help="kvm or tcg (default: %(default)s, the best there is)")
    parser.add_argument("--memory", default="2048", help="MiB of the machine")
    parser.add_argument("command", nargs="*", help="what to run in the guest (default: the trials)")
    options = parser.parse_args()
    try:
        wheels = image.wheel(image.SUITES[options.suite])
        made = image.prepared(options.suite, wheels)
    except image.Unusable as error:
        print(f"procq: {error}", file=sys.stderr)
        return 1
    payload = made / f"payload-{os.getpid()}.tar"
    try:
        _pack(payload, wheels, shlex.join(options.command) if options.command else _DEFAULT)
        return _boot(made, payload, options)
    finally:
        payload.unlink(missing_ok=True)


def _accelerator() -> str:
    """KVM where the processor has it. One that is emulated in software (kvm_pvm) boots no kernel of a distribution."""
    hardware = any(Path("/sys/module", name).exists() for name in ("kvm_intel", "kvm_amd"))
    return "kvm" if hardware and os.access("/dev/kvm", os.R_OK | os.W_OK) else "tcg,thread=multi"


def _pack(payload: Path, wheels: Path, command: str) -> None:
    """One archive, which the guest reads from a disk: no network, no shared folder, nothing left in the image."""
    script = payload.with_suffix(".command")
    script.write_text(command + "\n")
    with tarfile.open(payload, "w") as archive:
        for name in _SENT:
            archive.add(image.ROOT / name, name, filter=_without_rubbish)
        archive.add(next(wheels.glob("procq-*.whl")), f"wheels/{next(wheels.glob('procq-*.whl')).name}")
        archive.add(script, "command")
    script.unlink()


def _without_rubbish(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if Path(member.name).name in {"__pycache__", ".hypothesis", ".benchmarks"} else member


def _boot(made: Path, payload: Path, options: argparse.Namespace) -> int:
    console = made / "console.log"
    command = [
        shutil.which("qemu-system-x86_64") or "qemu-system-x86_64",
        *("-accel", options.accel, "-cpu", "max", "-smp", "2", "-m", options.memory),
        *("-nodefaults", "-display", "none", "-no-reboot"),
        *("-kernel", str(made / "vmlinuz"), "-initrd", str(made / "initrd")),
        *("-append", "root=/dev/vda rw console=ttyS0 panic=-1 quiet"),
        *("-drive", f"file={made / 'root.ext4'},if=virtio,format=raw,snapshot=on"),
        *("-drive", f"file={payload},if=virtio,format=raw,readonly=on"),
        *("-serial", f"file:{console}", "-serial", "stdio"),
    ]
    machine = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace")
    killer = threading.Timer(options.minutes * 60, machine.kill)
    killer.daemon = True
    killer.start()
    code = None
    assert machine.stdout is not None
    for line in machine.stdout:
        print(line.rstrip(), flush=True)
        if line.startswith(_END):
            code = int(line.removeprefix(_END))
    machine.wait()
    killer.cancel()
    if code is None:
        print(f"procq: the machine ended before the trials did; its console is in {console}", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
