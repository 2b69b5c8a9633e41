/* The connections of a server as streams with callbacks. */
#include "streams.h"

#include <poll.h>
#include <sys/socket.h>

enum {
    MANY = 20
};

static int opened, ended;
static int32_t last_code;

static void echo_data(neap_stream *stream, const void *data, size_t len, void *user) {
    (void)user;
    assert_int_equal(neap_stream_write(stream, data, len, NEAP_STREAM_BUFFER, NULL), len);
}

static void echo_closed(neap_stream *stream, int32_t code, void *user) {
    (void)user;
    ended++;
    last_code = code;
    neap_stream_unref(stream);
}

static const neap_stream_callbacks echo = {
    .size = sizeof echo, .data = echo_data, .closed = echo_closed};

static void begin(neap_server *server, neap_sock *sock, const neap_addr *peer, void *user) {
    neap_stream *stream = NULL;
    (void)server;
    (void)peer;
    (void)user;
    assert_ok(neap_stream_new(sock, &stream));
    neap_sock_unref(sock);
    assert_ok(neap_stream_start(stream, &echo, NULL, NULL));
    opened++;
}

/* A server, and clients that have had an answer. */
static neap_server *serve(int *peers) {
    neap_server *server = NULL;
    neap_addr any = net_loopback(), addr;
    opened = ended = 0;
    assert_ok(neap_server_new(nt.loop, &any, 1, NULL, &server, NULL));
    assert_ok(neap_server_on_connection(server, begin, NULL, NULL));
    assert_ok(neap_sock_local(neap_server_listener(server, 0), &addr));
    for (int i = 0; i < MANY; i++) {
        peers[i] = net_raw_connect(&addr);
        net_put(peers[i], "hello");
    }
    for (int i = 0; i < MANY; i++) {
        for (int tries = 0; !net_is(peers[i], POLLIN) && tries < 100000; tries++)
            nt_turn();
        net_expect(peers[i], "hello");
    }
    assert_int_equal(opened, MANY);
    return server;
}

static void wait_for_ends(void) {
    for (int tries = 0; ended < MANY && tries < 100000; tries++)
        nt_turn();
    assert_int_equal(ended, MANY);
}

static void finish(neap_server *server, int *peers) {
    neap_future *closed = NULL;
    int32_t rc = neap_server_closed(server, &closed);
    if (rc == NEAP_PENDING)
        nt_until(closed);
    neap_future_unref(closed);
    neap_server_unref(server);
    for (int i = 0; i < MANY; i++)
        net_close(peers[i]);
}

static void N11_each_connection_has_callbacks_and_one_end(void **state) {
    (void)state;
    int peers[MANY];
    neap_server *server = serve(peers);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(shutdown(peers[i], SHUT_WR), 0);
    wait_for_ends();
    assert_int_equal(last_code, 0);
    assert_true(neap_server_close(server, NULL) >= 0);
    finish(server, peers);
}

static void an_abort_of_the_server_is_told_to_each(void **state) {
    (void)state;
    int peers[MANY];
    neap_server *server = serve(peers);
    assert_true(neap_server_abort(server) >= 0);
    wait_for_ends();
    assert_int_equal(last_code, NEAP_ECLOSED);
    finish(server, peers);
}

/* ---- By a task */

static neap_stream *served;

static void write_much_and_close(void *user) {
    static unsigned char data[1 << 20];
    (void)user;
    net_fill_pattern(data, sizeof data, 0);
    assert_int_equal(neap_stream_write(served, data, sizeof data, NEAP_STREAM_BUFFER, NULL),
                     sizeof data);
    assert_ok(neap_stream_close(served, 0, NULL));
    assert_true(neap_stream_unsent(served) > 0);
}

static nt_script script;

static void serve_by_task(neap_server *server, neap_sock *sock, const neap_addr *peer, void *user) {
    static nt_act acts[2];
    (void)peer;
    (void)user;
    acts[0] = (nt_act)NT_CALL(write_much_and_close, NULL);
    acts[1] = (nt_act){.what = NT_DO_END};
    assert_ok(neap_stream_new(sock, &served));
    neap_task *task = nt_spawn(&script, "handler", acts);
    assert_ok(neap_server_serve_by(server, sock, task));
    neap_task_unref(task);
    neap_sock_unref(sock);
    opened++;
}

static void what_a_handler_has_closed_is_sent_to_the_end(void **state) {
    (void)state;
    neap_server *server = NULL;
    neap_addr any = net_abstract();
    opened = 0;
    assert_ok(neap_server_new(nt.loop, &any, 1, NULL, &server, NULL));
    assert_ok(neap_server_on_connection(server, serve_by_task, NULL, NULL));
    int peer = net_raw_connect(&any);
    for (int tries = 0; opened == 0 && tries < 1000; tries++)
        nt_turn();
    nt_settle();
    st_expect_pattern(peer, 1 << 20);
    nt_settle();
    net_expect_eof(peer);
    neap_stream_unref(served);
    neap_future *closed = NULL;
    assert_true(neap_server_close(server, NULL) >= 0);
    if (neap_server_closed(server, &closed) == NEAP_PENDING)
        nt_until(closed);
    neap_future_unref(closed);
    neap_server_unref(server);
    net_close(peer);
}

NT_MAIN(NT_TEST(N11_each_connection_has_callbacks_and_one_end),
        NT_TEST(an_abort_of_the_server_is_told_to_each),
        NT_TEST(what_a_handler_has_closed_is_sent_to_the_end))
