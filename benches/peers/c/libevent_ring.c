/* The ring on libevent: a persistent event per pair. See src/ring.rs for the method. */
#include "common.h"
#include <event2/event.h>

static struct ring ring;
static struct event_base *base;

static void on_event(evutil_socket_t fd, short events, void *index)
{
    (void)fd, (void)events;
    /* The rest of the batch still runs, as in the other peers' loops. */
    if (ring_pass_on(&ring, (long)index))
        event_base_loopexit(base, NULL);
}

int main(int argc, char **argv)
{
    version_flag(argc, argv, event_get_version());
    ring_options(&ring, argc, argv);
    ring_sockets(&ring);
    base = event_base_new();
    for (long i = 0; i < ring.pairs; i++) {
        struct event *event = event_new(base, ring.readers[i], EV_READ | EV_PERSIST, on_event, (void *)i);
        if (event == NULL || event_add(event, NULL) != 0)
            die("event_add");
    }
    ring_kick(&ring);
    double start = now_ns();
    event_base_dispatch(base);
    ring_report(&ring, now_ns() - start);
    return 0;
}
