"""Commands that read no manifest do not pay for its parsers."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_packages_imports_no_parser_and_no_watcher() -> None:
    script = "import sys, procq.manifest, procq.watch; print({'strictyaml', 'yaml', 'watchfiles'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
