/* Push mode: callbacks from the batch, in order, and what each of them may do. */
#include "push_client.h"

#include <poll.h>
#include <sys/socket.h>

/* ---- In order */

static void nothing_is_called_inside_the_call_that_starts(void **state) {
    (void)state;
    int peer;
    client c = {0};
    neap_stream *stream = st_unix(&peer);
    net_put(peer, "hello");
    net_wait(neap_sock_fd(neap_stream_sock(stream)), POLLIN);
    client_start(&c, stream);
    assert_notes("");
    nt_settle();
    assert_notes("data");
    assert_string_equal(c.bytes, "hello");
    client_end(&c, peer);
}

static void N11_data_then_eof_then_closed(void **state) {
    (void)state;
    int peer;
    client c = {.in_eof = client_close};
    client_start(&c, st_unix(&peer));
    nt_settle();
    net_put(peer, "one");
    nt_settle();
    net_put(peer, " two");
    net_close(peer);
    nt_settle();
    assert_notes("data data eof closed");
    assert_string_equal(c.bytes, "one two");
    neap_stream_unref(c.stream);
    client_expect_over(&c, 0);
}

static void without_eof_the_stream_closes_at_the_end(void **state) {
    (void)state;
    int peer;
    client c = {0};
    neap_stream_callbacks few = client_callbacks;
    few.eof = NULL;
    c.starts = 1;
    c.stream = st_unix(&peer);
    assert_ok(neap_stream_start(c.stream, &few, &c, client_destroy));
    st_write(c.stream, "bye");
    assert_int_equal(shutdown(peer, SHUT_WR), 0);
    nt_settle();
    net_expect(peer, "bye");
    net_expect_eof(peer);
    assert_notes("closed");
    client_expect_over(&c, 0);
    neap_stream_unref(c.stream);
    net_close(peer);
}

static void after_eof_the_stream_can_still_be_written(void **state) {
    (void)state;
    int peer;
    client c = {0};
    client_start(&c, st_tcp(&peer));
    assert_int_equal(shutdown(peer, SHUT_WR), 0);
    nt_settle();
    nt_settle();
    assert_notes("eof");
    st_write(c.stream, "answer");
    nt_turn();
    net_expect(peer, "answer");
    client_end(&c, peer);
    assert_notes("eof closed");
}

static void bytes_that_were_there_before_come_first(void **state) {
    (void)state;
    int peer;
    client c = {0};
    neap_stream *stream = st_unix(&peer);
    net_put(peer, "head\nrest ");
    st_next(stream, "head\n");
    net_put(peer, "more");
    client_start(&c, stream);
    nt_settle();
    assert_string_equal(c.bytes, "rest more");
    client_end(&c, peer);
}

/* ---- Pause, resume, stop */

static void pause_takes_effect_at_once_and_loses_nothing(void **state) {
    (void)state;
    int peer;
    client c = {.in_data = client_pause};
    client_start(&c, st_unix(&peer));
    net_put(peer, "one");
    nt_settle();
    net_put(peer, "two");
    nt_settle();
    assert_int_equal(c.calls, 1);
    assert_ok(neap_stream_pause(c.stream));
    assert_ok(neap_stream_resume(c.stream));
    assert_int_equal(c.calls, 1);
    nt_settle();
    assert_string_equal(c.bytes, "onetwo");
    client_end(&c, peer);
}

static void a_pause_before_the_turn_of_what_has_come_keeps_it(void **state) {
    (void)state;
    int peer;
    client c = {0};
    client_start(&c, st_unix(&peer));
    nt_settle();
    assert_ok(neap_stream_pause(c.stream));
    net_put(peer, "kept");
    net_close(peer);
    nt_settle();
    assert_notes("");
    assert_int_equal(nt_metrics().operations, 0);
    assert_ok(neap_stream_resume(c.stream));
    nt_settle();
    assert_notes("data eof");
    client_end(&c, -1);
}

static void after_stop_the_rest_can_be_read(void **state) {
    (void)state;
    int peer;
    client c = {.in_data = client_stop, .room = 4};
    neap_stream *stream = st_unix(&peer);
    net_put(peer, "xonetwo");
    st_next(stream, "x");
    client_start_own(&c, stream);
    nt_settle();
    assert_string_equal(c.bytes, "onet");
    assert_int_equal(c.destroyed, 1);
    assert_int_equal(neap_stream_stop(c.stream), 0);
    st_rest(c.stream, "wo");
    st_end(c.stream, peer);
    nt_settle();
    assert_notes("data");
    assert_int_equal(c.closed, 0);
}

static void restart(void *user) {
    client *c = user;
    c->in_data = NULL;
    client_stop(c);
    client_start(c, c->stream);
}

static void it_can_be_stopped_and_started_inside_a_callback(void **state) {
    (void)state;
    int peer;
    client c = {.in_data = restart};
    client_start(&c, st_unix(&peer));
    net_put(peer, "one");
    nt_settle();
    net_put(peer, "two");
    nt_settle();
    assert_string_equal(c.bytes, "onetwo");
    st_end(c.stream, peer);
    nt_settle();
    assert_notes("data data closed");
    client_expect_over(&c, 0);
}

static void reads_are_refused_while_it_is_started(void **state) {
    (void)state;
    int peer;
    const void *data = NULL;
    client c = {0}, other = {0};
    neap_stream *stream = st_unix(&peer);
    neap_future *future = st_park_exactly(stream, 2);
    assert_int_equal(neap_stream_start(stream, &client_callbacks, &other, client_destroy),
                     NEAP_EBUSY);
    neap_future_cancel(future, NULL);
    net_cancelled(future);
    assert_int_equal(neap_stream_pause(stream), NEAP_EINVALID_STATE);
    assert_int_equal(neap_stream_resume(stream), NEAP_EINVALID_STATE);
    client_start(&c, stream);
    assert_int_equal(neap_stream_start(stream, &client_callbacks, &other, client_destroy),
                     NEAP_EBUSY);
    assert_int_equal(neap_stream_read(stream, 1, NEAP_NOWAIT, &data, NULL), NEAP_EBUSY);
    assert_int_equal(neap_stream_fill(stream, 1, NEAP_NOWAIT, NULL), NEAP_EBUSY);
    assert_ok(neap_stream_unread(stream, "x", 1));
    assert_int_equal(neap_stream_read_exactly(stream, 1, 0, &data, &future), NEAP_EBUSY);
    client_end(&c, peer);
    assert_int_equal(neap_stream_start(stream, NULL, &other, client_destroy), NEAP_EINVAL);
    assert_int_equal(other.destroyed, 3);
}

/* ---- Closed */

static void close_inside_data_ends_it(void **state) {
    (void)state;
    int peer;
    client c = {.in_data = client_close};
    client_start(&c, st_unix(&peer));
    net_put(peer, "x");
    nt_settle();
    assert_notes("data closed");
    client_expect_over(&c, 0);
    net_expect_eof(peer);
    neap_stream_unref(c.stream);
    net_close(peer);
}

static void abort_inside_data_ends_it(void **state) {
    (void)state;
    int peer;
    client c = {.in_data = client_abort};
    client_start(&c, st_tcp(&peer));
    net_put(peer, "x");
    net_wait(neap_sock_fd(neap_stream_sock(c.stream)), POLLIN);
    nt_settle();
    assert_notes("data closed");
    client_expect_over(&c, NEAP_ECLOSED);
    neap_stream_unref(c.stream);
    net_close(peer);
}

static void the_last_reference_may_go_inside_data(void **state) {
    (void)state;
    int peer;
    client c = {.in_data = client_unref};
    client_start(&c, st_unix(&peer));
    net_put(peer, "x");
    nt_settle();
    assert_notes("data closed");
    client_expect_over(&c, NEAP_ECLOSED);
    net_expect_eof(peer);
    net_close(peer);
}

static void the_last_reference_may_go_inside_closed(void **state) {
    (void)state;
    int peer;
    client c = {.in_closed = client_unref};
    client_start(&c, st_unix(&peer));
    net_close(peer);
    nt_settle();
    client_close(&c);
    nt_settle();
    assert_notes("eof closed");
    client_expect_over(&c, 0);
}

static void stop_inside_can_write_ends_it(void **state) {
    (void)state;
    int peer;
    client c = {.in_write = client_stop};
    client_start(&c, st_unix(&peer));
    neap_future_unref(st_stuff(c.stream, 1 << 20));
    st_expect_pattern(peer, 1 << 20);
    nt_settle();
    assert_notes("can_write");
    assert_int_equal(c.destroyed, 1);
    st_end(c.stream, peer);
    assert_int_equal(c.closed, 0);
}

static void a_close_that_flushes_is_told_when_all_has_gone(void **state) {
    (void)state;
    int peer;
    client c = {0};
    client_start(&c, st_unix(&peer));
    neap_future_unref(st_stuff(c.stream, 1 << 20));
    assert_ok(neap_stream_close(c.stream, 0, NULL));
    net_put(peer, "nobody listens");
    nt_settle();
    assert_notes("");
    st_expect_pattern(peer, 1 << 20);
    nt_settle();
    assert_notes("closed");
    client_expect_over(&c, 0);
    neap_stream_unref(c.stream);
    net_close(peer);
}

static void a_reset_is_told_with_its_code(void **state) {
    (void)state;
    int peer;
    client c = {0};
    client_start(&c, st_tcp(&peer));
    nt_settle();
    net_reset(peer);
    net_wait(neap_sock_fd(neap_stream_sock(c.stream)), POLLHUP);
    nt_settle();
    assert_notes("closed");
    client_expect_over(&c, NEAP_ECONNRESET);
    neap_stream_unref(c.stream);
}

static void what_came_before_a_failed_write_is_told(void **state) {
    (void)state;
    int peer;
    client c = {0};
    client_start(&c, st_unix(&peer));
    nt_settle();
    net_put(peer, "last words");
    net_close(peer);
    st_write(c.stream, "x");
    assert_int_equal(neap_stream_drain(c.stream, NEAP_NOWAIT, NULL), NEAP_EPIPE);
    nt_settle();
    assert_notes("data eof closed");
    client_expect_over(&c, NEAP_EPIPE);
    neap_stream_unref(c.stream);
}

static void a_failed_write_ends_one_that_is_paused(void **state) {
    (void)state;
    int peer;
    client c = {0};
    client_start(&c, st_unix(&peer));
    assert_ok(neap_stream_pause(c.stream));
    net_close(peer);
    st_write(c.stream, "x");
    nt_settle();
    assert_notes("closed");
    client_expect_over(&c, NEAP_EPIPE);
    neap_stream_unref(c.stream);
}

static void a_socket_closed_behind_its_back_is_told(void **state) {
    (void)state;
    int peer;
    client c = {0};
    client_start(&c, st_unix(&peer));
    assert_ok(neap_stream_pause(c.stream));
    assert_ok(neap_sock_close(neap_stream_sock(c.stream)));
    nt_settle();
    assert_notes("closed");
    client_expect_over(&c, NEAP_ECLOSED);
    neap_stream_unref(c.stream);
    net_close(peer);
}

/* ---- With the loop */

static void close_loop_with(uint32_t flags, int pauses, int queued, client *c) {
    int peer;
    client_start(c, st_unix(&peer));
    nt_settle();
    if (pauses)
        assert_ok(neap_stream_pause(c->stream));
    if (queued)
        net_put(peer, "x");
    assert_ok(neap_loop_close(nt.loop, flags));
    neap_stream_unref(c->stream);
    net_close(peer);
}

static void a_loop_that_closes_tells_it(void **state) {
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        client c = {0};
        neap_loop *outer = nt.loop;
        nt.loop = nt_loop_new(0);
        close_loop_with(0, kind & 1, kind & 2, &c);
        client_expect_over(&c, NEAP_ECLOSED);
        neap_loop_unref(nt.loop);
        nt.loop = outer;
    }
}

static void a_loop_that_closes_silently_only_destroys(void **state) {
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        client c = {0};
        neap_loop *outer = nt.loop;
        nt.loop = nt_loop_new(0);
        close_loop_with(NEAP_CLOSE_SILENT, kind & 1, kind & 2, &c);
        assert_int_equal(c.closed, 0);
        assert_int_equal(c.destroyed, 1);
        neap_loop_unref(nt.loop);
        nt.loop = outer;
    }
}

NT_MAIN(NT_TEST(nothing_is_called_inside_the_call_that_starts),
        NT_TEST(N11_data_then_eof_then_closed), NT_TEST(without_eof_the_stream_closes_at_the_end),
        NT_TEST(after_eof_the_stream_can_still_be_written),
        NT_TEST(bytes_that_were_there_before_come_first),
        NT_TEST(pause_takes_effect_at_once_and_loses_nothing),
        NT_TEST(a_pause_before_the_turn_of_what_has_come_keeps_it),
        NT_TEST(after_stop_the_rest_can_be_read),
        NT_TEST(it_can_be_stopped_and_started_inside_a_callback),
        NT_TEST(reads_are_refused_while_it_is_started), NT_TEST(close_inside_data_ends_it),
        NT_TEST(abort_inside_data_ends_it), NT_TEST(the_last_reference_may_go_inside_data),
        NT_TEST(the_last_reference_may_go_inside_closed), NT_TEST(stop_inside_can_write_ends_it),
        NT_TEST(a_close_that_flushes_is_told_when_all_has_gone),
        NT_TEST(a_reset_is_told_with_its_code), NT_TEST(what_came_before_a_failed_write_is_told),
        NT_TEST(a_failed_write_ends_one_that_is_paused),
        NT_TEST(a_socket_closed_behind_its_back_is_told), NT_TEST(a_loop_that_closes_tells_it),
        NT_TEST(a_loop_that_closes_silently_only_destroys))
