"""All verbs, in the order in which a newcomer meets them."""

from __future__ import annotations

VERBS: dict[str, str] = {
    "up": "run the manifest: every queue with its workers",
    "down": "stop everything",
    "status": "queues and workers: state, counts, restarts",
    "logs": "output of the workers",
    "scale": "change how many workers a queue has, for now",
    "start": "start what was stopped or gave up",
    "stop": "stop queues or workers until they are started again",
    "pause": "have workers take no more jobs, without stopping them",
    "resume": "have paused workers take jobs again",
    "restart": "replace running workers by new ones",
    "work": "run a command as so many workers, without a manifest",
    "check": "say whether a manifest is right, without running it",
    "plan": "show what saving the manifest would change",
    "upgrade": "replace the running procq by the installed one, without restarting a worker",
    "why": "why a queue has as many workers as it has",
    "simulate": "replay a load through the rules of scaling, without running anything",
    "tune": "find the cheapest scaling that meets an objective",
    "events": "what happened: starts, exits, changes",
    "schema": "the JSON Schema of the manifest, for editors",
    "unit": "a systemd unit that runs the manifest",
    "doctor": "look at what procq needs here: kernel, limits, permissions",
    "completion": "completion of commands and queues for bash, zsh or fish",
    "man": "the manual page",
}

ALIASES: dict[str, str] = {"ps": "status"}
