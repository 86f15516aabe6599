"""Queues that BullMQ, Sidekiq and Laravel have filled themselves.

Of Sidekiq and Laravel it is the versions that Debian has, 6.4 and 8.83: what newer ones do differently (Sidekiq's
`work` and milliseconds, Laravel's `createdAt`) is written by hand, from their sources.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from procq.scaling.reading import Reading
from tests.servers.redis import redis_server
from tests.servers.serving import program
from tests.sources.lab import ROOT, Lab, counts, is_young, read, reads, with_soon

pytestmark = [pytest.mark.adapters, pytest.mark.process]


def installed(library: str, how: str, there: bool) -> None:
    """A library that is missing: the test is skipped on a person's machine, and fails in CI."""
    if not there:
        missing = f"{library} is not installed: {how}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    with redis_server(tmp_path / "redis") as path:
        yield path


@pytest.fixture
def lab(tmp_path: Path, socket: Path) -> Lab:
    return Lab(tmp_path, environment={"SOCKET": str(socket)})


# --- BullMQ ---------------------------------------------------------------------------------------------------------

MODULES = ROOT / ".venv-bullmq" / "node_modules"
BULLMQ = """
const { Queue, Worker } = require("bullmq");
const { existsSync } = require("fs");
const { setTimeout: sleep } = require("timers/promises");
const connection = { path: process.env.SOCKET, maxRetriesPerRequest: null };
const prefix = process.env.PREFIX || undefined;
async function send() {
  const queue = new Queue("work", { connection, prefix });
  for (let n = 0; n < 4; n++) await queue.add("job", { n });
  for (let n = 0; n < 2; n++) await queue.add("job", { n }, { priority: 5 });
  for (const late of [600, 3600]) await queue.add("job", {}, { delay: late * 1000 });
  await queue.add("job", {}, { lifo: true });
  await queue.close();
}
async function pause(word) {
  const queue = new Queue("work", { connection, prefix });
  await queue[word]();
  await queue.close();
}
function work() {
  const hold = async () => { while (!existsSync(process.env.FREE)) await sleep(20); };
  const worker = new Worker("work", hold, { connection, prefix, concurrency: 2 });
  process.on("SIGTERM", async () => { await worker.close(); process.exit(0); });
}
const words = { send, work, pause: () => pause("pause"), resume: () => pause("resume") };
words[process.argv[2]]();
"""


@pytest.mark.parametrize("prefix", ["", "shop"])
def test_bullmq(lab: Lab, socket: Path, prefix: str) -> None:
    node = program("node", "nodejs")
    installed("bullmq", "npm install --prefix .venv-bullmq bullmq@6.7.0 ioredis@5", (MODULES / "bullmq").exists())
    (lab.folder / "app.js").write_text(BULLMQ)
    lab.environment |= {"NODE_PATH": str(MODULES), "PREFIX": prefix}
    url = f"bullmq+unix://{socket}{f'?prefix={prefix}' if prefix else ''}"
    assert read(url) == Reading(0, 0, 0)
    lab.run(node, "app.js", "send")
    assert counts(read(url)) == (7, 0, 2)
    assert with_soon(read(url, within=1000)) == (8, 0, 1, 1)
    assert is_young(read(url))
    lab.run(node, "app.js", "pause")
    assert counts(read(url)) == (0, 0, 2)
    lab.run(node, "app.js", "resume")
    with lab.worker(node, "app.js", "work"):
        reads(url, Reading(5, 2, 2))


# --- Sidekiq --------------------------------------------------------------------------------------------------------

SIDEKIQ = """
require "sidekiq"
pool = { url: "unix://#{ENV['SOCKET']}" }
Sidekiq.configure_client { |config| config.redis = pool }
Sidekiq.configure_server { |config| config.redis = pool }
class Hold
  include Sidekiq::Worker
  sidekiq_options queue: "work"
  def perform
    sleep 0.02 until File.exist?(ENV["FREE"])
  end
end
"""
SIDEKIQ_SEND = """
require "./app"
4.times { Hold.perform_async }
[600, 3600].each { |late| Hold.perform_in(late) }
Hold.set(queue: "other").perform_async
Hold.set(queue: "other").perform_in(60)
"""


def test_sidekiq(lab: Lab, socket: Path) -> None:
    ruby = program("ruby", "ruby")
    where = lab.run(ruby, "-e", "puts Gem::Specification.find_all_by_name('sidekiq').map(&:version)").strip()
    installed("sidekiq", "apt-get install ruby-sidekiq", bool(where))
    (lab.folder / "app.rb").write_text(SIDEKIQ)
    url = f"sidekiq+unix://{socket}"
    assert read(url) == Reading(0, 0, 0)
    lab.run(ruby, "-e", SIDEKIQ_SEND)
    assert counts(read(url)) == (4, 0, 2)
    assert with_soon(read(url, within=1000)) == (5, 0, 1, 1)
    assert is_young(read(url))
    with lab.worker(program("sidekiq", "ruby-sidekiq"), "-r", "./app.rb", "-q", "work", "-q", "other", "-c", "1"):
        # It tells what it does every few seconds.
        reads(url, Reading(3, 1, 2))


def test_newer_sidekiq(socket: Path) -> None:
    url = f"sidekiq+unix://{socket}?prefix=shop"
    with Redis(unix_socket_path=str(socket)) as redis:
        redis.sadd("shop:processes", "host:1:a")
        redis.hset("shop:host:1:a:work", mapping={"x": '{"queue": "work"}', "y": '{"queue": "other"}'})
        redis.lpush("shop:queue:work", json.dumps({"enqueued_at": int((time.time() - 90) * 1000)}))
        redis.zadd("shop:retry", {'{"queue": "work"}': time.time() - 1, '{"queue": "other"}': time.time() - 1})
    found = read(url)
    assert counts(found) == (2, 1, 0)
    assert found.oldest == pytest.approx(90, abs=5)


# --- Laravel --------------------------------------------------------------------------------------------------------

ILLUMINATE = Path("/usr/share/php/Illuminate/Queue/autoload.php")
LARAVEL = """<?php
require "/usr/share/php/Illuminate/Queue/autoload.php";
require "/usr/share/php/Illuminate/Redis/autoload.php";
require "/usr/share/php/Illuminate/Database/autoload.php";
use Illuminate\\Container\\Container;
$app = new Container;
Container::setInstance($app);
$prefix = ["prefix" => "laravel_database_"];
$redis = new Illuminate\\Redis\\RedisManager($app, "phpredis", [
    "options" => $prefix, "default" => ["host" => getenv("SOCKET"), "port" => 0, "database" => 0],
]);
$capsule = new Illuminate\\Database\\Capsule\\Manager($app);
$capsule->addConnection(["driver" => "sqlite", "database" => getenv("DATABASE"), "prefix" => ""]);
$queues = [
    "redis" => fn() => new Illuminate\\Queue\\RedisQueue($redis, "work", "default", 90),
    "db" => fn() => new Illuminate\\Queue\\DatabaseQueue($capsule->getConnection(), "jobs", "work", 90),
];
$queue = $queues[$argv[1]]();
$queue->setContainer($app);
$queue->setConnectionName($argv[1]);
if ($argv[1] == "db") {
    $capsule->getConnection()->getSchemaBuilder()->create("jobs", function ($table) {
        $table->bigIncrements("id");
        $table->string("queue")->index();
        $table->longText("payload");
        $table->unsignedTinyInteger("attempts");
        $table->unsignedInteger("reserved_at")->nullable();
        $table->unsignedInteger("available_at");
        $table->unsignedInteger("created_at");
    });
}
for ($n = 0; $n < 5; $n++) $queue->push("Job@run", ["n" => $n]);
foreach ([600, 3600] as $late) $queue->later($late, "Job@run");
$queue->push("Job@run", "", "other");
if (!$queue->pop() || !$queue->pop()) exit(1);
"""


@pytest.mark.parametrize("kind", ["redis", "db"])
def test_laravel(lab: Lab, socket: Path, kind: str) -> None:
    php = program("php", "php-cli")
    how = "apt-get install php-laravel-framework php-redis php-sqlite3"
    installed("Laravel", how, ILLUMINATE.exists() and {"redis", "pdo_sqlite"} <= set(lab.run(php, "-m").split()))
    database = lab.folder / "laravel.sqlite"
    database.touch()
    lab.environment["DATABASE"] = str(database)
    (lab.folder / "app.php").write_text(LARAVEL)
    redis = f"laravel+unix://{socket}?prefix=laravel_database_"
    url = {"redis": redis, "db": f"laravel+sqlite://{database}"}[kind]
    if kind == "redis":
        assert read(url) == Reading(0, 0, 0)
    lab.run(php, "app.php", kind)
    assert counts(read(url)) == (3, 2, 2)
    assert with_soon(read(url, within=1000)) == (4, 2, 1, 1)
    assert counts(read(url, "other")) == (1, 0, 0)
    # In a database there is a time for each; in Redis newer ones write it.
    assert is_young(read(url)) == (kind == "db")


def test_newer_laravel(socket: Path) -> None:
    with Redis(unix_socket_path=str(socket)) as redis:
        redis.rpush("queues:work", json.dumps({"createdAt": int(time.time() - 90), "delay": 30}))
        redis.zadd("queues:work:reserved", {"given up": time.time() - 5, "runs": time.time() + 80})
    found = read(f"laravel+unix://{socket}?prefix=")
    assert counts(found) == (2, 1, 0)
    assert found.oldest == pytest.approx(60, abs=5)
