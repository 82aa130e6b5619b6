/*
 * The echo server on libev: an ev_io per connection and one buffer for all reads.
 *
 * libev has no buffers of its own. What does not go out at once is kept, and the watcher waits for room
 * instead of input until it has gone.
 */
#include "common.h"
#include <ev.h>

static char scratch[SCRATCH_BYTES];

struct connection {
    ev_io watcher;
    char *rest; /* NULL while nothing waits */
    size_t length, written;
};

static void hang_up(struct ev_loop *loop, struct connection *connection)
{
    ev_io_stop(loop, &connection->watcher);
    close(connection->watcher.fd);
    free(connection->rest);
    free(connection);
}

static void wait_for(struct ev_loop *loop, struct connection *connection, int events)
{
    ev_io_stop(loop, &connection->watcher);
    ev_io_modify(&connection->watcher, events);
    ev_io_start(loop, &connection->watcher);
}

static void on_room(struct ev_loop *loop, struct connection *connection)
{
    size_t left = connection->length - connection->written;
    ssize_t count = send(connection->watcher.fd, connection->rest + connection->written, left, MSG_NOSIGNAL);
    if (count < 0) {
        if (errno != EAGAIN)
            hang_up(loop, connection);
        return;
    }
    connection->written += count;
    if (connection->written == connection->length) {
        free(connection->rest);
        connection->rest = NULL;
        wait_for(loop, connection, EV_READ);
    }
}

static void on_event(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct connection *connection = (struct connection *)watcher;
    if (events & EV_WRITE) {
        on_room(loop, connection);
        return;
    }
    ssize_t count = recv(watcher->fd, scratch, sizeof scratch, 0);
    if (count <= 0) {
        if (count == 0 || errno != EAGAIN)
            hang_up(loop, connection);
        return;
    }
    ssize_t written = send(watcher->fd, scratch, count, MSG_NOSIGNAL);
    if (written == count)
        return;
    if (written < 0 && errno != EAGAIN) {
        hang_up(loop, connection);
        return;
    }
    if (written < 0)
        written = 0;
    connection->length = count - written;
    connection->written = 0;
    connection->rest = malloc(connection->length);
    if (connection->rest == NULL)
        die("memory for a write");
    memcpy(connection->rest, scratch + written, connection->length);
    wait_for(loop, connection, EV_WRITE);
}

static void on_connection(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)events;
    for (;;) {
        int fd = accept4(watcher->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        no_delay(fd);
        struct connection *connection = calloc(1, sizeof *connection);
        if (connection == NULL)
            die("memory for a connection");
        ev_io_init(&connection->watcher, on_event, fd, EV_READ);
        ev_io_start(loop, &connection->watcher);
    }
}

int main(int argc, char **argv)
{
    char version[16];
    snprintf(version, sizeof version, "%d.%02d", ev_version_major(), ev_version_minor());
    version_flag(argc, argv, version);
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL);
    ev_io listener;
    ev_io_init(&listener, on_connection, echo_listener(argc, argv), EV_READ);
    ev_io_start(loop, &listener);
    ev_run(loop, 0);
    return 0;
}
