"""The presets of sources as a page for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from procq.scaling.presets import PRESETS, QUEUE, SERVERS, Parameter, Preset

_HEAD = """\
# Sources, preset by preset

<!-- Written by `make docs` from python/procq/scaling/presets.py: change that. -->

Where procq can read how long a queue is; [Scaling](scaling.md) says what becomes of it. Each preset is how a URL may
begin. `queue=` may stand in all of them but those that are about one thing only. `${NAME}` stands for a variable, as
everywhere in a manifest; passwords are shown to nobody."""
_TAIL = """\
## Others

What is not here can be had by `sql`, `http`, `prometheus`, `exec` or `file`. A package can bring a preset: an
entry point of the group `procq.sources`, whose name is the scheme, and which is called with the place and a timeout in
seconds and returns a connection as `procq.scaling.sources.port.Connection` describes it."""
_SAYS = {"waiting": "waiting", "running": "at work", "delayed": "delayed", "oldest": "age of the oldest"}


def sources() -> str:
    """The page, as Markdown."""
    parts = [_HEAD, *("\n".join(_preset(name, preset)) for name, preset in PRESETS.items()), _servers(), _TAIL]
    return "\n\n".join(parts) + "\n"


def _preset(name: str, preset: Preset) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    yield preset.about
    yield ""
    yield f"```\n{preset.example}\n```"
    yield ""
    yield f"- says: {', '.join(_SAYS[each] for each in preset.says)}"
    yield f"- may begin with: {', '.join(f'`{scheme}`' for scheme in preset.schemes)}"
    if preset.library is not None:
        yield f"- needs: `pip install 'procq[{preset.library}]'`"
    for key, parameter in preset.parameters.items():
        yield _parameter(key, parameter)


def _servers() -> str:
    lines = ["## Parameters of connections", "", _parameter("queue", QUEUE)]
    for kind, server in SERVERS.items():
        lines += list(_below(kind, server.parameters))
    return "\n".join(lines)


def _below(kind: str, parameters: Mapping[str, Parameter]) -> Iterator[str]:
    for key, parameter in parameters.items():
        yield _parameter(key, parameter, f", with `{kind}`")


def _parameter(key: str, parameter: Parameter, where: str = "") -> str:
    must = " (must be there)" if parameter.required else ""
    about = f": {parameter.about}" if parameter.about else ""
    return f"- `{key}=`{where}{about}{must}"
