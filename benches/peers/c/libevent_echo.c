/*
 * The echo server on libevent: a bufferevent per connection, its input moved to its output.
 *
 * Moving takes chains of buffers over without copying. While more than one buffer's worth waits to go out,
 * reading is off.
 */
#include "common.h"
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

static void on_drained(struct bufferevent *connection, void *unused);
static void on_end(struct bufferevent *connection, short what, void *unused);

static void on_read(struct bufferevent *connection, void *unused)
{
    struct evbuffer *output = bufferevent_get_output(connection);
    evbuffer_add_buffer(output, bufferevent_get_input(connection));
    if (evbuffer_get_length(output) > SCRATCH_BYTES) {
        bufferevent_disable(connection, EV_READ);
        bufferevent_setcb(connection, on_read, on_drained, on_end, unused);
    }
    (void)unused;
}


static void on_drained(struct bufferevent *connection, void *unused)
{
    bufferevent_setcb(connection, on_read, NULL, on_end, unused);
    bufferevent_enable(connection, EV_READ);
}

static void on_end(struct bufferevent *connection, short what, void *unused)
{
    (void)unused;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        bufferevent_free(connection);
}

static void on_connection(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                          int length, void *unused)
{
    (void)address, (void)length, (void)unused;
    no_delay(fd);
    struct event_base *base = evconnlistener_get_base(listener);
    struct bufferevent *connection = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (connection == NULL)
        die("memory for a connection");
    bufferevent_setcb(connection, on_read, NULL, on_end, NULL);
    bufferevent_enable(connection, EV_READ | EV_WRITE);
}

int main(int argc, char **argv)
{
    version_flag(argc, argv, event_get_version());
    struct event_base *base = event_base_new();
    /* A backlog of 0 says that the socket listens already. */
    if (evconnlistener_new(base, on_connection, NULL, LEV_OPT_CLOSE_ON_EXEC, 0,
                           echo_listener(argc, argv)) == NULL)
        die("evconnlistener_new");
    event_base_dispatch(base);
    return 0;
}
