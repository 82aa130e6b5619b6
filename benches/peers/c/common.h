/*
 * What the C peers share: the ring's command line and socket pairs, and a server's listening socket.
 *
 * The ring is the one described in src/ring.rs: a callback reads one byte from its pair and writes one to
 * the next. Reading and writing are plain calls here as there; only the loop differs. A wrong command line
 * ends with exit code 2, as it does in the Rust programs.
 */
#ifndef PEERS_COMMON_H
#define PEERS_COMMON_H

#define _GNU_SOURCE /* accept4 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BACKLOG = 4096, SCRATCH_BYTES = 64 * 1024 };

struct ring {
    long pairs, tokens, events, seen;
    int *readers, *writers;
};

static void die(const char *what)
{
    fprintf(stderr, "error: %s: %s\n", what, strerror(errno));
    exit(1);
}

static long ring_number(const char *flag, const char *text)
{
    char *end;
    long number = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || number < 1) {
        fprintf(stderr, "error: %s: '%s' is not a whole number of at least 1\n", flag, text);
        exit(2);
    }
    return number;
}

/* `--version` prints the library's version, for the report, and ends the program. */
static void version_flag(int argc, char **argv, const char *version)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts(version);
        exit(0);
    }
}

static inline void ring_options(struct ring *ring, int argc, char **argv)
{
    ring->pairs = 1000, ring->tokens = 100, ring->events = 100000, ring->seen = 0;
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) {
            fprintf(stderr, "error: %s: its value is missing\n", argv[i]);
            exit(2);
        }
        long number = ring_number(argv[i], argv[i + 1]);
        if (strcmp(argv[i], "--pairs") == 0)
            ring->pairs = number;
        else if (strcmp(argv[i], "--tokens") == 0)
            ring->tokens = number;
        else if (strcmp(argv[i], "--events") == 0)
            ring->events = number;
        else {
            fprintf(stderr, "error: %s is not a flag of this program\n", argv[i]);
            exit(2);
        }
    }
    if (ring->tokens > ring->pairs / 2) {
        fprintf(stderr, "error: --tokens: '%ld' is more than half of --pairs\n", ring->tokens);
        exit(2);
    }
}

static inline void ring_sockets(struct ring *ring)
{
    ring->readers = calloc(ring->pairs, sizeof(int));
    ring->writers = calloc(ring->pairs, sizeof(int));
    if (ring->readers == NULL || ring->writers == NULL)
        die("memory for the ring");
    for (long i = 0; i < ring->pairs; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
            die("socketpair");
        ring->readers[i] = pair[0];
        ring->writers[i] = pair[1];
    }
}

static inline void ring_kick(struct ring *ring)
{
    for (long token = 0; token < ring->tokens; token++)
        if (send(ring->writers[token * ring->pairs / ring->tokens], "t", 1, MSG_NOSIGNAL) != 1)
            die("sending a token off");
}

/* One event: returns nonzero when the run has seen as many as were asked for. */
static inline int ring_pass_on(struct ring *ring, long index)
{
    char byte;
    long next = index + 1 == ring->pairs ? 0 : index + 1;
    if (recv(ring->readers[index], &byte, 1, 0) != 1)
        die("recv");
    if (send(ring->writers[next], &byte, 1, MSG_NOSIGNAL) != 1)
        die("send");
    return ++ring->seen >= ring->events;
}

static inline double now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static inline void ring_report(const struct ring *ring, double elapsed_ns)
{
    printf("events=%ld ns_per_event=%.1f\n", ring->seen, elapsed_ns / ring->seen);
}

/* A non-blocking listener at `--listen ADDR`, IPv4; tells its address on standard output. */
static inline int echo_listener(int argc, char **argv)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    const char *text = "127.0.0.1:0";
    if (argc == 3 && strcmp(argv[1], "--listen") == 0)
        text = argv[2];
    else if (argc != 1) {
        fprintf(stderr, "error: %s: this program takes --listen ADDR and nothing else\n", argv[1]);
        exit(2);
    }
    char host[64];
    unsigned port;
    if (sscanf(text, "%63[0-9.]:%u", host, &port) != 2 || port > 65535 ||
        inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fprintf(stderr, "error: --listen: '%s' is not an IPv4 address with a port\n", text);
        exit(2);
    }
    address.sin_port = htons(port);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t length = sizeof address;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        die("--listen");
    /* libuv and libevent write without MSG_NOSIGNAL; a client that resets must not end the server. */
    signal(SIGPIPE, SIG_IGN);
    printf("listening on %s:%u\n", inet_ntoa(address.sin_addr), (unsigned)ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static inline void no_delay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

#endif
