"""The order in which queues start: chains, cycles and waves of `after`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


def cycles(after: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """Queues that wait for each other in a ring, each ring once and closed: `("a", "b", "a")`."""
    done: set[str] = set()
    for start in after:
        pending = [] if start in done else [(start, iter(after[start]))]
        on_path = {name: place for place, (name, _) in enumerate(pending)}
        while pending:
            name, following = pending[-1]
            successor = next(following, None)
            if successor is None:
                pending.pop()
                del on_path[name]
                done.add(name)
            elif successor in on_path:
                yield (*(each for each, _ in pending[on_path[successor] :]), successor)
            elif successor not in done:
                on_path[successor] = len(pending)
                pending.append((successor, iter(after.get(successor, ()))))


def waves(after: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many queues stand in a row before each. Only for orders without cycles, in which every queue is a key."""
    found: dict[str, int] = {}
    for start in after:
        pending = [start]
        while pending:
            name = pending[-1]
            missing = [each for each in after[name] if each not in found]
            if missing:
                pending.extend(missing)
                continue
            found[name] = 1 + max((found[each] for each in after[name]), default=-1)
            pending.pop()
    return found
