"""Which recipe reads which preset. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from procq.scaling.sources import keys_celery, keys_others, keys_plain, keys_python, keys_sidekiq
from procq.scaling.sources.keys import Moment, Recipe

if TYPE_CHECKING:
    from procq.scaling.place import Place

RECIPES: Final[Mapping[str, Callable[[Place, Moment], Recipe]]] = {
    "redis-list": keys_plain.redis_list,
    "redis-zset": keys_plain.redis_zset,
    "redis-stream": keys_plain.redis_stream,
    "taskiq+redis": keys_plain.taskiq,
    "rq": keys_python.rq,
    "celery+redis": keys_celery.celery,
    "huey+redis": keys_python.huey,
    "dramatiq+redis": keys_python.dramatiq,
    "arq": keys_python.arq,
    "saq+redis": keys_python.saq,
    "bullmq": keys_others.bullmq,
    "sidekiq": keys_sidekiq.sidekiq,
    "laravel+redis": keys_others.laravel,
}
