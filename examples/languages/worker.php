<?php // A worker that tells procq what it does, in plain PHP. README.md says how to give it jobs.

declare(strict_types=1);

/** The stream between procq and this worker. Run by hand there is none: nothing is said, and nothing heard. */
final class Procq
{
    public bool $parked = false;

    /** @param ?resource $stream */
    public function __construct(private $stream) {}

    public function say(string ...$lines): void
    {
        $this->stream && @fwrite($this->stream, implode("\n", $lines) . "\n");
    }

    /** Waits so long for a word of procq. Called between jobs only: then it is true at once that no job begins. */
    public function listen(float $seconds): void
    {
        [$readable, $none, $usec] = [[$this->stream], null, (int) ($seconds * 1e6)];
        if (!$this->stream) {
            usleep($usec);
        } elseif (@stream_select($readable, $none, $none, 0, $usec)) { // a signal ends it with a warning
            $word = fgets($this->stream);
            $this->parked = $word === "PARK\n"; // and not RESUME
            $this->say('X_PROCQ_PARKED=' . (int) $this->parked);
            $this->stream = $word === false ? null : $this->stream; // procq has closed it
        }
    }
}

/** Takes a job by renaming its file: of all who try, one succeeds. Its name, or null where there is none. */
function claim(): ?string
{
    foreach (glob('spool/*.job') as $path) {
        $name = basename($path, '.job');
        if (@rename($path, "spool/$name.taken")) return $name;
    }
    return null;
}

/** The job itself: it takes as many seconds as its file says. */
function work(string $name): void
{
    $seconds = trim(file_get_contents("spool/$name.taken"));
    is_numeric($seconds) || throw new UnexpectedValueException("$name: \"$seconds\" is no number of seconds");
    time_sleep_until(microtime(true) + (float) $seconds); // SIGTERM would end a usleep early
    echo "$name done\n";
}

$leaving = false;
pcntl_async_signals(true);
pcntl_signal(SIGTERM, function () use (&$leaving) { $leaving = true; }); // the job in hand is finished

$number = getenv('PROCQ_NOTIFY_FD');
$procq = new Procq($number === false ? null : fopen("php://fd/$number", 'r+'));
[$jobs, $failed, $took] = [0, 0, 0];
$procq->say('READY=1', 'X_PROCQ_PARKED=0'); // who says that it is not parked can be told to park
while (!$leaving) {
    if ($procq->parked || ($name = claim()) === null) {
        $procq->listen(0.2);
        continue;
    }
    $procq->say('X_PROCQ_BUSY=1', "X_PROCQ_JOB=$name");
    $began = hrtime(true);
    try {
        work($name);
        unlink("spool/$name.taken");
    } catch (Throwable $error) {
        fwrite(STDERR, $error->getMessage() . "\n");
        rename("spool/$name.taken", "spool/$name.failed");
        $failed++;
    }
    $jobs++;
    $took += intdiv(hrtime(true) - $began, 1000);
    $procq->say("X_PROCQ_JOBS=$jobs", "X_PROCQ_FAILED=$failed", "X_PROCQ_TOOK_USEC=$took",
        'X_PROCQ_BUSY=0', 'X_PROCQ_JOB=');
    $procq->listen(0);
}
