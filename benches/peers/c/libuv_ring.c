/* The ring on libuv: a uv_poll_t per pair. See src/ring.rs for the method. */
#include "common.h"
#include <uv.h>

static struct ring ring;

static void on_event(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    if (ring_pass_on(&ring, (long)poll->data))
        uv_stop(poll->loop);
}

int main(int argc, char **argv)
{
    version_flag(argc, argv, uv_version_string());
    ring_options(&ring, argc, argv);
    ring_sockets(&ring);
    uv_loop_t *loop = uv_default_loop();
    uv_poll_t *polls = calloc(ring.pairs, sizeof *polls);
    for (long i = 0; i < ring.pairs; i++) {
        if (uv_poll_init(loop, &polls[i], ring.readers[i]) != 0)
            die("uv_poll_init");
        polls[i].data = (void *)i;
        uv_poll_start(&polls[i], UV_READABLE, on_event);
    }
    /* libuv hands new descriptors to the kernel when it next waits: let it, before the clock starts. */
    uv_run(loop, UV_RUN_NOWAIT);
    ring_kick(&ring);
    double start = now_ns();
    uv_run(loop, UV_RUN_DEFAULT);
    ring_report(&ring, now_ns() - start);
    return 0;
}
