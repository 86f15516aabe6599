#!/usr/bin/env bash
# A worker that tells procq what it does, in bash. README.md says how to give it jobs.

# `systemd-notify` tells the socket that NOTIFY_SOCKET names; its option --ready is short for READY=1. Where it is not
# installed, the same lines go to the stream that procq has put into our hands. Run by hand there is neither.
if [[ -z ${PROCQ_NOTIFY_FD-} ]]; then
    say() { :; }
elif command -v systemd-notify >/dev/null; then
    say() { systemd-notify "$@"; }
else
    say() { local IFS=$'\n'; echo "$*" >&"$PROCQ_NOTIFY_FD"; } # one line each, all in one write
fi

# Waits so long for a word of procq. Called between jobs only: then it is true at once that no job begins.
parked=0
listen() {
    local word
    if [[ -z ${PROCQ_NOTIFY_FD-} ]]; then
        sleep "$1"
    elif read -r -t "$1" -u "$PROCQ_NOTIFY_FD" word; then
        [[ $word == PARK ]] && parked=1 || parked=0 # RESUME
        say "X_PROCQ_PARKED=$parked"
    elif (($? <= 128)); then # it is not that the time is over: procq has gone
        unset PROCQ_NOTIFY_FD
        say() { :; }
    fi
}

# Takes a job by renaming its file: of all who try, one succeeds. Its name is in $name.
claim() {
    local file
    for file in spool/*.job; do
        name=${file#spool/} name=${name%.job}
        [[ -e $file ]] && mv "$file" "spool/$name.taken" 2>/dev/null && return
    done
    return 1
}

# The job itself: it takes as many seconds as its file says.
work() {
    sleep "$(<"spool/$name.taken")" && echo "$name done"
}

leaving=
trap 'leaving=yes' TERM # bash runs it when the command at hand is over: the job is finished
trap : PIPE             # procq may have gone; the jobs have not

jobs=0 failed=0 took=0
say READY=1 X_PROCQ_PARKED=0 # who says that it is not parked can be told to park
until [[ $leaving ]]; do
    if ((parked)) || ! claim; then
        listen 0.2
        continue
    fi
    say X_PROCQ_BUSY=1 "X_PROCQ_JOB=$name"
    began=${EPOCHREALTIME/[.,]/} # microseconds
    if work; then
        rm "spool/$name.taken"
    else
        mv "spool/$name.taken" "spool/$name.failed"
        ((failed += 1))
    fi
    ((jobs += 1, took += ${EPOCHREALTIME/[.,]/} - began))
    say "X_PROCQ_JOBS=$jobs" "X_PROCQ_FAILED=$failed" "X_PROCQ_TOOK_USEC=$took" X_PROCQ_BUSY=0 X_PROCQ_JOB=
    listen 0.01
done
