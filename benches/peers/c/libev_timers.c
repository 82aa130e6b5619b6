/* Timers on libev: an ev_timer for each. See src/timers.rs for the method. */
#include "timers.h"
#include <ev.h>

static struct timers timers;

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)timer, (void)events;
    /* Without timers the loop ends by itself. */
    timers.fired++;
}

static void arm(struct ev_loop *loop, ev_timer *all)
{
    /* libev counts from the loop's own time, which stands still outside of callbacks. */
    ev_now_update(loop);
    for (long i = 0; i < timers.count; i++) {
        ev_timer_init(&all[i], on_timer, timers.delays_us[i] / 1e6, 0.);
        ev_timer_start(loop, &all[i]);
    }
}

int main(int argc, char **argv)
{
    char version[16];
    snprintf(version, sizeof version, "%d.%02d", ev_version_major(), ev_version_minor());
    version_flag(argc, argv, version);
    timers_options(&timers, argc, argv);
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL);
    ev_timer *all = timers_memory(&timers, sizeof *all);

    timers_start(&timers);
    arm(loop, all);
    timers_lap(&timers, "arm", timers.count);
    for (long i = 0; i < timers.cancel; i++)
        ev_timer_stop(loop, &all[i]);
    timers_lap(&timers, "cancel", timers.cancel);
    for (long i = timers.cancel; i < timers.count; i++)
        ev_timer_stop(loop, &all[i]);

    arm(loop, all);
    timers_wait(&timers);
    timers_start(&timers);
    ev_run(loop, 0);
    timers_lap(&timers, "fire", timers.count);
    puts("");
    return timers.fired != timers.count;
}
