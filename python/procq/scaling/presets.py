"""The kinds of queues whose length procq can read, and what may stand in their URLs. Pure; pages are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Parameter:
    """One `name=value` of a URL. `pattern` is what a value has to match; what is `secret` is shown to nobody."""

    about: str
    example: str = ""
    required: bool = False
    secret: bool = False
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """How a server is written: `host` or an absolute `path` are needed, `parameters` belong to the connection.

    `library` is the extra of procq that has to be installed.
    """

    library: str | None = None
    host: bool = False
    path: bool = False
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    database: bool = False
    """Whether the path is the number of a database."""


@dataclass(frozen=True, slots=True)
class Preset:
    """One kind of queue. `schemes` are how its URLs may begin, each with the kind of server that it means.

    `says` are the fields of a reading that it fills.
    """

    about: str
    example: str
    schemes: Mapping[str, str]
    says: tuple[str, ...]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    @property
    def library(self) -> str | None:
        """The extra of procq that has to be installed, for one of its kinds of server at least."""
        return next((name for kind in self.schemes.values() if (name := SERVERS[kind].library)), None)


QUEUE: Final = Parameter("the queue's name at the broker, where that is not its name here", "emails")

_TLS: Final = {
    "ssl_ca_certs": Parameter("file of the certificates that are trusted"),
    "ssl_certfile": Parameter("file of our own certificate"),
    "ssl_keyfile": Parameter("file of its key"),
    "ssl_cert_reqs": Parameter(
        "whether the server's certificate is checked: `required`, `optional` or `none`",
        pattern="required|optional|none",
    ),
}
_LIBPQ: Final = {
    **{
        name: Parameter(f"`{name}` of libpq")
        for name in (
            *("host", "hostaddr", "port", "dbname", "user", "service", "passfile", "options", "target_session_attrs"),
            *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "channel_binding", "gssencmode", "krbsrvname"),
        )
    },
    "password": Parameter("`password` of libpq; better in a file that `passfile` names", secret=True),
}

SERVERS: Final[Mapping[str, Server]] = {
    "redis": Server("redis", host=True, database=True),
    "rediss": Server("redis", host=True, database=True, parameters=_TLS),
    "unix": Server(
        "redis",
        path=True,
        parameters={
            "db": Parameter("the number of the database", "0", pattern="[0-9]+"),
            "password": Parameter("the password", secret=True),
        },
    ),
    "amqp": Server("amqp", host=True),
    "amqps": Server("amqp", host=True, parameters={"ssl_ca_certs": _TLS["ssl_ca_certs"]}),
    "postgresql": Server("postgres", parameters=_LIBPQ),
    "sqlite": Server(path=True),
    "http": Server(host=True),
    "https": Server(host=True),
    "file": Server(path=True),
    "exec": Server(),
}
"""How servers of each kind are written."""

ALL: Final = ("waiting", "running", "delayed", "oldest")


def _redis(name: str, *, short: bool = True) -> dict[str, str]:
    """`name+redis`, `name+rediss`, `name+unix`, and `name` alone where that can only mean Redis."""
    first = {name: "redis"} if short else {}
    return {**first, **{f"{name}+{kind}": kind for kind in ("redis", "rediss", "unix")}}


def _sql(name: str, *kinds: str) -> dict[str, str]:
    return {f"{name}+{kind}": "postgresql" if kind == "postgres" else kind for kind in kinds}


def _prefix(about: str, example: str) -> dict[str, Parameter]:
    return {"prefix": Parameter(about, example)}


_POSTGRES: Final = ("postgresql", "postgres")
_GROUP: Final = "the consumer group whose entries are counted"
_AT: Final = "127.0.0.1"

PRESETS: Final[Mapping[str, Preset]] = {
    "rq": Preset(
        "A queue of RQ. Scheduled jobs wait once they are due, whether RQ's scheduler runs or not.",
        f"rq+redis://{_AT}:6379/0?queue=emails",
        _redis("rq"),
        ALL,
        _prefix("what keys begin with, where RQ_KEY_PREFIX is set", "rq"),
    ),
    "celery+redis": Preset(
        "A queue of Celery on Redis, all its priorities together. Workers acknowledge what they begin: `running` is"
        " what they hold besides, or with `task_acks_late` all that they have. What they have fetched for later they"
        " keep until it is due, and no other worker can have it: it is `delayed`, and never waits. Of a list of more"
        " than a hundred, how many are for later is estimated by a hundred of them.",
        f"celery+redis://{_AT}:6379/0?queue=celery",
        _redis("celery", short=False),
        ("waiting", "running", "delayed"),
        _prefix("`global_keyprefix` of the broker's transport options", "shop:"),
    ),
    "redis-list": Preset(
        "The length of a list in Redis.",
        f"redis-list://{_AT}:6379/0?key=jobs",
        _redis("redis-list"),
        ("waiting",),
        {"key": Parameter("the list's key, where that is not the queue's name", "jobs")},
    ),
    "redis-zset": Preset(
        "A sorted set in Redis: its members, or where the scores are times, those that are due.",
        f"redis-zset://{_AT}:6379/0?key=jobs&scores=seconds",
        _redis("redis-zset"),
        ("waiting", "delayed", "oldest"),
        {
            "key": Parameter("the set's key, where that is not the queue's name", "jobs"),
            "scores": Parameter(
                "what scores are: `seconds` or `milliseconds` since 1970; no times where it is left out",
                "seconds",
                pattern="seconds|milliseconds",
            ),
        },
    ),
    "redis-stream": Preset(
        "A stream in Redis: what a group has not been given yet, or the whole length where no group is named.",
        f"redis-stream://{_AT}:6379/0?key=jobs&group=workers",
        _redis("redis-stream"),
        ("waiting", "running", "oldest"),
        {
            "key": Parameter("the stream's key, where that is not the queue's name", "jobs"),
            "group": Parameter(_GROUP, "workers"),
        },
    ),
    "huey+redis": Preset(
        "Huey on Redis, with priorities or without. The age of the oldest is known of those with priorities.",
        f"huey+redis://{_AT}:6379/0?queue=shop",
        _redis("huey", short=False),
        ("waiting", "delayed", "oldest"),
        {"utc": Parameter("`no` where Huey was made with `utc=False`", "yes", pattern="yes|no")},
    ),
    "huey+sqlite": Preset(
        "Huey in a file of SQLite.",
        "huey+sqlite:///srv/shop/huey.db?queue=shop",
        {"huey+sqlite": "sqlite"},
        ("waiting", "delayed"),
        {"utc": Parameter("`no` where Huey was made with `utc=False`", "yes", pattern="yes|no")},
    ),
    "dramatiq+redis": Preset(
        "A queue of Dramatiq on Redis. The age counts from when a message was first sent.",
        f"dramatiq+redis://{_AT}:6379/0?queue=default",
        _redis("dramatiq", short=False),
        ALL,
        {"namespace": Parameter("the broker's `namespace`", "dramatiq")},
    ),
    "arq": Preset(
        "A queue of arq; `queue` is its full name, which is `arq:queue` unless you have said otherwise.",
        f"arq+redis://{_AT}:6379/0?queue=arq:queue",
        _redis("arq"),
        ALL,
    ),
    "saq+redis": Preset(
        "A queue of SAQ on Redis.",
        f"saq+redis://{_AT}:6379/0?queue=default",
        _redis("saq", short=False),
        ALL,
    ),
    "taskiq+redis": Preset(
        "A queue of taskiq on Redis, be it a list or a stream; it is called `taskiq` unless you have said otherwise.",
        f"taskiq+redis://{_AT}:6379/0?queue=taskiq",
        _redis("taskiq", short=False),
        ("waiting", "running", "oldest"),
        {"group": Parameter(_GROUP, "taskiq")},
    ),
    "rabbitmq": Preset(
        "The messages of a queue in RabbitMQ that no worker has been given yet.",
        f"rabbitmq://guest:guest@{_AT}:5672/?queue=emails",
        {"rabbitmq": "amqp", "rabbitmq+amqp": "amqp", "rabbitmq+amqps": "amqps"},
        ("waiting",),
    ),
    "celery+amqp": Preset(
        "A queue of Celery in RabbitMQ.",
        f"celery+amqp://guest:guest@{_AT}:5672/?queue=celery",
        {"celery+amqp": "amqp", "celery+amqps": "amqps"},
        ("waiting",),
    ),
    "dramatiq+amqp": Preset(
        "A queue of Dramatiq in RabbitMQ, with its queue of delayed messages.",
        f"dramatiq+amqp://guest:guest@{_AT}:5672/?queue=default",
        {"dramatiq+amqp": "amqp", "dramatiq+amqps": "amqps"},
        ("waiting", "delayed"),
    ),
    "procrastinate": Preset(
        "A queue of Procrastinate. Jobs that wait for another one's lock do not count.",
        f"procrastinate://shop@{_AT}/shop?queue=default",
        {"procrastinate": "postgresql", **_sql("procrastinate", *_POSTGRES)},
        ALL,
        {"schema": Parameter("the schema of its tables, where that is not in the search path", "public")},
    ),
    "sql": Preset(
        "One row of a query: waiting, if you like running, delayed, and seconds of the oldest; by name or in order.",
        f"sql+postgresql://shop@{_AT}/shop?query=SELECT count(*) AS waiting FROM jobs WHERE done_at IS NULL",
        _sql("sql", *_POSTGRES, "sqlite"),
        ALL,
        {"query": Parameter("what is asked, in a transaction that cannot write; & is written %26", required=True)},
    ),
    "http": Preset(
        "A number in the JSON of an answer, or an object with `waiting` and maybe `running`, `delayed`, `oldest`.",
        f"http://{_AT}:8080/status?pointer=/jobs/waiting",
        {"http": "http", "https": "https"},
        ALL,
        {
            "pointer": Parameter(
                "where in the answer it is, as a JSON Pointer; the whole answer by default", "/jobs", pattern="(/.*)?"
            )
        },
    ),
    "prometheus": Preset(
        "The one value of an instant query to Prometheus.",
        f"prometheus://{_AT}:9090/?query=sum(jobs_waiting)",
        {"prometheus": "http", "prometheus+http": "http", "prometheus+https": "https"},
        ("waiting",),
        {"query": Parameter("what is asked; & is written %26", "sum(jobs_waiting)", required=True)},
    ),
    "exec": Preset(
        "What a command prints: a number, or a JSON object as of `http`. It finds the queue's name in PROCQ_QUEUE.",
        "exec:bin/count-jobs --queue emails",
        {"exec": "exec"},
        ALL,
    ),
    "file": Preset(
        "The files in a directory, but for those whose names begin with a dot.",
        "file:///srv/inbox?pattern=*.csv",
        {"file": "file"},
        ("waiting", "oldest"),
        {"pattern": Parameter("which names count", "*.csv")},
    ),
    "bullmq": Preset(
        "A queue of BullMQ. While it is paused nothing waits.",
        f"bullmq://{_AT}:6379/0?queue=emails",
        _redis("bullmq"),
        ALL,
        _prefix("what keys begin with", "bull"),
    ),
    "sidekiq": Preset(
        "A queue of Sidekiq, with what is scheduled for it or to be tried again. That is kept for all queues together:"
        " where more than 500 are due, the part of this one is estimated by 500 of them; where more than 200 are for"
        " later, `delayed` is not known.",
        f"sidekiq://{_AT}:6379/0?queue=default",
        _redis("sidekiq"),
        ALL,
        _prefix("the namespace, where one is used", "shop"),
    ),
    "laravel+redis": Preset(
        "A queue of Laravel on Redis.",
        f"laravel+redis://{_AT}:6379/0?queue=default&prefix=laravel_database_",
        _redis("laravel", short=False),
        ALL,
        {
            "prefix": Parameter(
                "redis.options.prefix of config/database.php; `prefix=` where that is empty",
                "laravel_database_",
                required=True,
            )
        },
    ),
    "laravel+db": Preset(
        "A queue of Laravel in a database.",
        f"laravel+postgresql://shop@{_AT}/shop?queue=default",
        _sql("laravel", *_POSTGRES, "sqlite"),
        ALL,
        {
            "table": Parameter("the table's name", "jobs"),
            "retry_after": Parameter("`retry_after` of the connection, in seconds", "90", pattern="[0-9]+"),
        },
    ),
}
"""What is built in, by name."""
