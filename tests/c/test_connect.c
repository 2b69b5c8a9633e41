/* neap_connect: its outcome is a socket, or the story of each address. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net.h"

static neap_future *dial(const char *format, const neap_addr *to) {
    char text[128];
    neap_future *future = NULL;
    snprintf(text, sizeof text, format, (int)neap_addr_port(to));
    assert_ok(neap_connect(nt.loop, text, NULL, &future));
    return future;
}

static void a_connection_is_the_result_and_its_bytes_arrive(void **state) {
    (void)state;
    neap_addr bound, any = net_loopback();
    neap_sock *sock;
    int listener = net_raw_listen(&any, 10, &bound);
    neap_future *future = dial("localhost:%d", &bound);
    nt_until(future);
    assert_ok(neap_future_take_sock(future, &sock));
    assert_code(neap_future_take_sock(future, &sock), NEAP_EINVALID_STATE);
    neap_future_unref(future);
    int peer = net_raw_accept(listener);
    net_send_text(sock, "hello");
    net_expect(peer, "hello");
    net_end(sock);
    net_close(peer);
    net_close(listener);
}

static void a_connection_that_nobody_takes_is_closed_with_its_future(void **state) {
    (void)state;
    neap_addr bound, any = net_loopback();
    int listener = net_raw_listen(&any, 10, &bound);
    neap_future *future = dial("127.0.0.1:%d", &bound);
    nt_until(future);
    int peer = net_raw_accept(listener);
    neap_future_unref(future);
    net_expect_eof(peer);
    net_close(peer);
    net_close(listener);
}

static void a_failure_tells_of_each_address_that_was_tried(void **state) {
    (void)state;
    neap_addr bound, any = net_loopback(), addr;
    char text[128];
    int32_t code = 0;
    net_close(net_raw_listen(&any, 1, &bound));
    neap_future *future = dial("localhost:%d", &bound);
    assert_int_equal(neap_future_tried(future, 0, &addr, &code), 0);
    nt_until(future);
    assert_code(neap_future_error(future), NEAP_ECONNREFUSED);
    assert_int_equal(neap_future_tried(future, 0, &addr, &code), 1);
    assert_int_equal(addr.family, NEAP_AF_INET6);
    assert_true(code < 0);
    assert_int_equal(neap_future_tried(future, 1, &addr, &code), 1);
    neap_addr_format(&addr, text, sizeof text);
    assert_non_null(strstr(text, "127.0.0.1:"));
    assert_int_equal(code, NEAP_ECONNREFUSED);
    assert_int_equal(neap_future_tried(future, 2, &addr, &code), 0);
    assert_non_null(strstr(neap_future_message(future), text));
    neap_future_unref(future);
    neap_future *other = nt_future();
    assert_int_equal(neap_future_tried(other, 0, &addr, &code), 0);
    neap_future_unref(other);
}

/* The connection and the deadline come in the same tick: a timer is due before those who wait hear of I/O. */
static void C10_a_connection_that_is_there_wins_over_a_deadline(void **state) {
    (void)state;
    neap_addr bound, any = net_loopback();
    neap_future *limited;
    neap_sock *sock;
    int listener = net_raw_listen(&any, 10, &bound);
    neap_future *future = dial("127.0.0.1:%d", &bound);
    assert_ok(neap_wait_for(future, NT_MS, &limited));
    int peer = net_raw_accept(listener);
    usleep(5000);
    nt_until(limited);
    assert_ok(neap_future_error(limited));
    assert_ok(neap_future_take_sock(limited, &sock));
    net_end(sock);
    neap_future_unref(limited);
    neap_future_unref(future);
    net_close(peer);
    net_close(listener);
}

static void what_is_no_address_or_option_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"", "x", "x:", ":1", "::1:1", "[::1]", "@", "x:65536"};
    neap_future *future = NULL;
    neap_connect_options o = {.size = sizeof o, .delay_ns = -2};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_code(neap_connect(nt.loop, bad[i], NULL, &future), NEAP_EVALUE);
    assert_code(neap_connect(nt.loop, "a..b:1", NULL, &future), NEAP_ENAME_BAD);
    assert_code(neap_connect(nt.loop, NULL, NULL, &future), NEAP_EINVAL);
    assert_code(neap_connect(nt.loop, "x:1", NULL, NULL), NEAP_EINVAL);
    assert_code(neap_connect(nt.loop, "localhost:1", &o, &future), NEAP_EVALUE);
    o.delay_ns = 0;
    o.prefer = NEAP_AF_UNIX;
    assert_code(neap_connect(nt.loop, "localhost:1", &o, &future), NEAP_EVALUE);
    assert_null(future);
}

static void a_loop_that_closes_ends_its_connects(void **state) {
    (void)state;
    neap_addr bound, any = net_loopback();
    int listener = net_raw_listen(&any, 10, &bound);
    neap_future *future = dial("127.0.0.1:%d", &bound);
    int done = neap_future_done(future);
    nt_on_done(future, "ended");
    assert_ok(neap_loop_close(nt.loop, 0));
    assert_notes("ended");
    if (!done)
        assert_code(neap_future_error(future), NEAP_ECLOSED);
    neap_future_unref(future);
    neap_loop_unref(nt.loop);
    net_close(listener);
    nt.loop = nt_loop_new(0);
}

NT_MAIN(NT_TEST(a_connection_is_the_result_and_its_bytes_arrive),
        NT_TEST(a_connection_that_nobody_takes_is_closed_with_its_future),
        NT_TEST(a_failure_tells_of_each_address_that_was_tried),
        NT_TEST(C10_a_connection_that_is_there_wins_over_a_deadline),
        NT_TEST(what_is_no_address_or_option_is_refused),
        NT_TEST(a_loop_that_closes_ends_its_connects))
