/*
 * The echo server on libuv's streams: one buffer for all reads, uv_try_write first.
 *
 * What does not go out at once is copied into a write request, and reading stops until that is done, so a
 * client that takes nothing holds one buffer at most.
 */
#include "common.h"
#include <uv.h>

static char scratch[SCRATCH_BYTES];

struct rest {
    uv_write_t request;
    char bytes[];
};

static void on_alloc(uv_handle_t *handle, size_t wish, uv_buf_t *buffer)
{
    (void)handle, (void)wish;
    *buffer = uv_buf_init(scratch, sizeof scratch);
}

static void on_close(uv_handle_t *handle)
{
    free(handle);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer);

static void on_written(uv_write_t *request, int status)
{
    uv_stream_t *stream = request->handle;
    free(request);
    if (status != 0) {
        if (!uv_is_closing((uv_handle_t *)stream))
            uv_close((uv_handle_t *)stream, on_close);
    } else
        uv_read_start(stream, on_alloc, on_read);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    if (count == 0)
        return;
    if (count < 0) {
        uv_close((uv_handle_t *)stream, on_close);
        return;
    }
    uv_buf_t out = uv_buf_init(buffer->base, count);
    int written = uv_try_write(stream, &out, 1);
    if (written == count)
        return;
    if (written < 0 && written != UV_EAGAIN) {
        uv_close((uv_handle_t *)stream, on_close);
        return;
    }
    if (written < 0)
        written = 0;
    struct rest *rest = malloc(sizeof *rest + count - written);
    if (rest == NULL)
        die("memory for a write");
    memcpy(rest->bytes, buffer->base + written, count - written);
    out = uv_buf_init(rest->bytes, count - written);
    uv_read_stop(stream);
    uv_write(&rest->request, stream, &out, 1, on_written);
}

static void on_connection(uv_stream_t *listener, int status)
{
    uv_tcp_t *client = malloc(sizeof *client);
    if (status != 0 || client == NULL)
        die("accept");
    uv_tcp_init(listener->loop, client);
    if (uv_accept(listener, (uv_stream_t *)client) != 0) {
        uv_close((uv_handle_t *)client, on_close);
        return;
    }
    uv_tcp_nodelay(client, 1);
    uv_read_start((uv_stream_t *)client, on_alloc, on_read);
}

int main(int argc, char **argv)
{
    version_flag(argc, argv, uv_version_string());
    uv_tcp_t listener;
    uv_tcp_init(uv_default_loop(), &listener);
    uv_tcp_open(&listener, echo_listener(argc, argv));
    if (uv_listen((uv_stream_t *)&listener, BACKLOG, on_connection) != 0)
        die("uv_listen");
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
