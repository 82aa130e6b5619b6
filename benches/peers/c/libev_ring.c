/* The ring on libev: an ev_io per pair. See src/ring.rs for the method. */
#include "common.h"
#include <ev.h>

static struct ring ring;

static void on_event(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)events;
    if (ring_pass_on(&ring, (long)watcher->data))
        ev_break(loop, EVBREAK_ALL);
}

int main(int argc, char **argv)
{
    char version[16];
    snprintf(version, sizeof version, "%d.%02d", ev_version_major(), ev_version_minor());
    version_flag(argc, argv, version);
    ring_options(&ring, argc, argv);
    ring_sockets(&ring);
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL);
    ev_io *watchers = calloc(ring.pairs, sizeof *watchers);
    for (long i = 0; i < ring.pairs; i++) {
        ev_io_init(&watchers[i], on_event, ring.readers[i], EV_READ);
        watchers[i].data = (void *)i;
        ev_io_start(loop, &watchers[i]);
    }
    /* libev hands new descriptors to the kernel when it next waits: let it, before the clock starts. */
    ev_run(loop, EVRUN_NOWAIT);
    ring_kick(&ring);
    double start = now_ns();
    ev_run(loop, 0);
    ring_report(&ring, now_ns() - start);
    return 0;
}
