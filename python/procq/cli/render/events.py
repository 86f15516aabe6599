"""One event, one line."""

from __future__ import annotations

from time import localtime, strftime

from procq.text import Style, plain
from procq.wire import EventView

_SIGNS = {
    "started": ("●", "green"),
    "exited": ("✗", "red"),
    "start_failed": ("✗", "red"),
    "gave_up": ("✗", "red"),
    "reload_failed": ("✗", "red"),
    "delayed": ("↻", "yellow"),
    "log_trouble": ("!", "yellow"),
    "stray": ("!", "yellow"),
}
_SUBJECT = 14


def event_line(event: EventView, style: Style, now: float | None = None) -> str:
    """`10:42:01  emails.2        ✗ exit code 1 after 12 s`.

    With its date, where that is not the one of `now`, in seconds since the epoch.
    """
    at = localtime(event.at)
    is_today = now is None or event.at > now or localtime(now)[:3] == at[:3]
    when = strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S", at)
    sign, colour = _SIGNS.get(event.kind, ("·", "dim"))
    subject = event.worker or event.queue or "procq"
    return f"{style(when, 'dim')}  {plain(subject):<{_SUBJECT}}  {style(sign, colour)} {plain(event.text)}"
