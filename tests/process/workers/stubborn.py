"""Ignores every signal that can be ignored, writes its pid to a file, and stays.

stubborn.py FILE [COMMAND …]: first starts COMMAND as a child, and waits for nothing.
"""

import os
import signal
import subprocess
import sys

file, command = sys.argv[1], sys.argv[2:]
if command:
    subprocess.Popen(command)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1):
    signal.signal(number, signal.SIG_IGN)
with open(f"{file}.draft", "w") as draft:
    draft.write(str(os.getpid()))
os.rename(f"{file}.draft", file)
while True:
    signal.pause()
