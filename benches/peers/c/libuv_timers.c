/* Timers on libuv: a uv_timer_t for each, due in whole milliseconds. See src/timers.rs for the method. */
#include "timers.h"
#include <uv.h>

static struct timers timers;

static void on_timer(uv_timer_t *timer)
{
    (void)timer;
    /* Without timers the loop ends by itself. */
    timers.fired++;
}

static void arm(uv_loop_t *loop, uv_timer_t *all)
{
    /* libuv counts from the loop's own time, which stands still outside of callbacks. */
    uv_update_time(loop);
    for (long i = 0; i < timers.count; i++)
        if (uv_timer_start(&all[i], on_timer, timers.delays_us[i] / 1000, 0) != 0)
            die("uv_timer_start");
}

int main(int argc, char **argv)
{
    version_flag(argc, argv, uv_version_string());
    timers_options(&timers, argc, argv);
    uv_loop_t *loop = uv_default_loop();
    uv_timer_t *all = timers_memory(&timers, sizeof *all);

    timers_start(&timers);
    for (long i = 0; i < timers.count; i++)
        uv_timer_init(loop, &all[i]);
    arm(loop, all);
    timers_lap(&timers, "arm", timers.count);
    for (long i = 0; i < timers.cancel; i++)
        uv_timer_stop(&all[i]);
    timers_lap(&timers, "cancel", timers.cancel);
    for (long i = timers.cancel; i < timers.count; i++)
        uv_timer_stop(&all[i]);

    arm(loop, all);
    timers_wait(&timers);
    timers_start(&timers);
    uv_run(loop, UV_RUN_DEFAULT);
    timers_lap(&timers, "fire", timers.count);
    puts("");
    return timers.fired != timers.count;
}
