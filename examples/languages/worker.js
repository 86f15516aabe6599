// A worker that tells procq what it does, in plain Node. README.md says how to give it jobs.
'use strict';

const fs = require('node:fs');
const net = require('node:net');
const readline = require('node:readline');
const { setTimeout: sleep } = require('node:timers/promises');

let leaving = false;
let parked = false;
process.on('SIGTERM', () => { leaving = true; }); // the job in hand is finished

// The stream between procq and this worker. Run by hand there is none: nothing is said, and nothing heard.
const number = process.env.PROCQ_NOTIFY_FD;
const procq = number ? new net.Socket({ fd: Number(number) }) : null;
const say = (...lines) => procq?.write(`${lines.join('\n')}\n`);

if (procq) {
  procq.on('error', () => {}); // procq has gone; the jobs have not
  // A PARK in the middle of a job is answered at once too: procq waits until nothing is busy either.
  readline.createInterface({ input: procq }).on('line', (word) => {
    parked = word === 'PARK'; // and not RESUME
    say(`X_PROCQ_PARKED=${Number(parked)}`);
  });
}

// Takes a job by renaming its file: of all who try, one succeeds. Its name, or undefined where there is none.
function claim() {
  const names = fs.readdirSync('spool').filter((file) => file.endsWith('.job')).map((file) => file.slice(0, -4));
  return names.find((name) => {
    try {
      fs.renameSync(`spool/${name}.job`, `spool/${name}.taken`);
      return true;
    } catch {
      return false;
    }
  });
}

// The job itself: it takes as many seconds as its file says.
async function work(name) {
  const seconds = (await fs.promises.readFile(`spool/${name}.taken`, 'utf8')).trim();
  if (!/^[\d.]+$/.test(seconds)) throw new Error(`${name}: "${seconds}" is no number of seconds`);
  await sleep(seconds * 1000);
  console.log(`${name} done`);
}

// Durations are counted in places: up to 1, 2, 5, 10, 20, 50 … 10,000,000 milliseconds, and longer.
const bounds = Array.from({ length: 22 }, (_, place) => [1, 2, 5][place % 3] * 10 ** Math.floor(place / 3));
const counts = new Array(23).fill(0);

async function main() {
  let [jobs, failed, took] = [0, 0, 0];
  fs.mkdirSync('spool', { recursive: true });
  say('READY=1', 'X_PROCQ_PARKED=0'); // who says that it is not parked can be told to park
  while (!leaving) {
    const name = parked ? undefined : claim(); // no `await` from here until it is said that a job is in hand
    if (name === undefined) {
      await sleep(100);
      continue;
    }
    say('X_PROCQ_BUSY=1', `X_PROCQ_JOB=${name}`);
    const began = performance.now();
    try {
      await work(name);
      fs.unlinkSync(`spool/${name}.taken`);
    } catch (error) {
      console.error(error.message);
      fs.renameSync(`spool/${name}.taken`, `spool/${name}.failed`);
      failed += 1;
    }
    const milliseconds = performance.now() - began;
    jobs += 1;
    took += Math.round(milliseconds * 1000);
    counts[bounds.filter((bound) => bound < milliseconds).length] += 1;
    say(`X_PROCQ_JOBS=${jobs}`, `X_PROCQ_FAILED=${failed}`, 'X_PROCQ_BUSY=0', 'X_PROCQ_JOB=',
      `X_PROCQ_TOOK_USEC=${took}`, `X_PROCQ_TOOK=${counts}`);
  }
  procq?.end(() => process.exit()); // once everything is sent
}

main();
