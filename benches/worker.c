/* The program that the benchmarks have run: it says when it executes and when it was signalled, and costs next to nothing.
 *
 *   worker idle FIFO               says 's', sleeps
 *   worker polite FIFO             the same; at TERM says 't' and leaves
 *   worker stubborn FIFO           the same; at TERM says 't' and stays
 *   worker talk FIFO LINES         writes so many lines of 80 bytes, says 's', sleeps
 *   worker flood FIFO BYTES        says 's'; for each byte that comes from the FIFO FIFO.go: says 'g', writes, says 'e'
 *   worker copy FILE               copies standard input into FILE: what a file sink cannot beat by much
 *   worker count FILE              reads standard input to its end, then writes into FILE how many lines came
 *
 * What it says are 16 bytes in FIFO: nanoseconds of the monotonic clock, its pid, the letter.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 80, BLOCK = 64 << 10 };

static int fifo = -1;
static char block[BLOCK];

static void say(char what) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    struct { int64_t at; int32_t pid; char what[4]; } word = {now.tv_sec * 1000000000LL + now.tv_nsec, getpid(), {what}};
    if (write(fifo, &word, sizeof word) != sizeof word) _exit(3);
}

static void leave(int signal) { (void)signal; say('t'); _exit(0); }
static void stay(int signal) { (void)signal; say('t'); }

static void put(const char *bytes, size_t count) {
    while (count > 0) {
        ssize_t taken = write(1, bytes, count);
        if (taken < 0) _exit(4);
        bytes += taken;
        count -= taken;
    }
}

static void copy(const char *path) {
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    ssize_t count;
    while ((count = read(0, block, BLOCK)) > 0)
        if (write(file, block, count) != count) _exit(4);
    _exit(count < 0 || file < 0);
}

static void count(const char *path) {
    long long sum = 0;
    ssize_t more;
    while ((more = read(0, block, BLOCK)) > 0)
        for (char *at = block; (at = memchr(at, '\n', block + more - at)); at++) sum++;
    FILE *file = fopen(path, "w");
    _exit(more < 0 || !file || fprintf(file, "%lld\n", sum) < 0 || fclose(file));
}

static void flood(const char *path, long long bytes) {
    const size_t whole = BLOCK / LINE * LINE;
    char name[4096], byte;
    snprintf(name, sizeof name, "%s.go", path);
    int go = open(name, O_RDONLY | O_CLOEXEC);
    say('s');
    while (read(go, &byte, 1) == 1) {
        say('g');
        for (long long left = bytes; left > 0; left -= whole) put(block, whole);
        say('e');
    }
    _exit(5);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    const char *mode = argv[1];
    if (!strcmp(mode, "copy")) copy(argv[2]);
    if (!strcmp(mode, "count")) count(argv[2]);
    fifo = open(argv[2], O_WRONLY | O_CLOEXEC);
    if (fifo < 0) return 3;
    if (!strcmp(mode, "polite")) signal(SIGTERM, leave);
    if (!strcmp(mode, "stubborn")) signal(SIGTERM, stay);
    for (size_t n = 0; n < BLOCK; n++) block[n] = n % LINE == LINE - 1 ? '\n' : 'x';
    if (!strcmp(mode, "talk") && argc > 3)
        for (long n = atol(argv[3]); n > 0; n--) put(block, LINE);
    if (!strcmp(mode, "flood") && argc > 3) flood(argv[2], atoll(argv[3]));
    say('s');
    for (;;) pause();
}
