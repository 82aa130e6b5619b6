/*
 * What the C programs with timers share: the command line, the times due, and CPU time lap by lap. It is
 * src/timers.rs once more, where the method is described; the numbers drawn are the same.
 */
#ifndef PEERS_TIMERS_H
#define PEERS_TIMERS_H

#include "common.h"
#include <stdint.h>

struct timers {
    long count, cancel, spread_ms, fired;
    long *delays_us;
    double begun_ns;
};

static void timers_options(struct timers *timers, int argc, char **argv)
{
    timers->count = 100000, timers->cancel = 0, timers->spread_ms = 1000, timers->fired = 0;
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) {
            fprintf(stderr, "error: %s: its value is missing\n", argv[i]);
            exit(2);
        }
        long number = ring_number(argv[i], argv[i + 1]);
        if (strcmp(argv[i], "--timers") == 0)
            timers->count = number;
        else if (strcmp(argv[i], "--cancel") == 0)
            timers->cancel = number;
        else if (strcmp(argv[i], "--spread-ms") == 0)
            timers->spread_ms = number;
        else {
            fprintf(stderr, "error: %s is not a flag of this program\n", argv[i]);
            exit(2);
        }
    }
    if (timers->cancel == 0)
        timers->cancel = timers->count;
    if (timers->cancel > timers->count) {
        fprintf(stderr, "error: --cancel: '%ld' is more than --timers\n", timers->cancel);
        exit(2);
    }
    timers->delays_us = calloc(timers->count, sizeof(long));
    if (timers->delays_us == NULL)
        die("memory for the times due");
    uint64_t state = 1;
    for (long i = 0; i < timers->count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        timers->delays_us[i] = (state >> 33) % (timers->spread_ms * 1000);
    }
}

/* The programs keep their timers in one block, as clients in a table would. */
static void *timers_memory(const struct timers *timers, size_t each)
{
    void *memory = calloc(timers->count, each);
    if (memory == NULL)
        die("memory for the timers");
    return memory;
}

static double processor_time_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static void timers_start(struct timers *timers)
{
    timers->begun_ns = processor_time_ns();
}

/* Prints a lap and starts the next. */
static void timers_lap(struct timers *timers, const char *what, long count)
{
    printf("%s_ns=%.2f ", what, (processor_time_ns() - timers->begun_ns) / count);
    timers->begun_ns = processor_time_ns();
}

/* Waits until all that have been armed are due. */
static void timers_wait(const struct timers *timers)
{
    usleep((timers->spread_ms + 10) * 1000);
}

#endif
