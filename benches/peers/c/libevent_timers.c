/* Timers on libevent: an event for each, in the program's own memory. See src/timers.rs for the method. */
#include "timers.h"
#include <event2/event.h>
#include <event2/event_struct.h>

static struct timers timers;

static void on_timer(evutil_socket_t fd, short events, void *unused)
{
    (void)fd, (void)events, (void)unused;
    /* Without timers the loop ends by itself. */
    timers.fired++;
}

static void arm(struct event_base *base, struct event *events)
{
    for (long i = 0; i < timers.count; i++) {
        struct timeval after = { timers.delays_us[i] / 1000000, timers.delays_us[i] % 1000000 };
        evtimer_assign(&events[i], base, on_timer, NULL);
        if (evtimer_add(&events[i], &after) != 0)
            die("evtimer_add");
    }
}

int main(int argc, char **argv)
{
    version_flag(argc, argv, event_get_version());
    timers_options(&timers, argc, argv);
    struct event_base *base = event_base_new();
    struct event *events = timers_memory(&timers, sizeof *events);

    timers_start(&timers);
    arm(base, events);
    timers_lap(&timers, "arm", timers.count);
    for (long i = 0; i < timers.cancel; i++)
        evtimer_del(&events[i]);
    timers_lap(&timers, "cancel", timers.cancel);
    for (long i = timers.cancel; i < timers.count; i++)
        evtimer_del(&events[i]);

    arm(base, events);
    timers_wait(&timers);
    timers_start(&timers);
    event_base_dispatch(base);
    timers_lap(&timers, "fire", timers.count);
    puts("");
    return timers.fired != timers.count;
}
