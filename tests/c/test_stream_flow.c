/* Push mode: whose memory, how much at a time, when to write; and beside other things. */
#include "push_client.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Memory */

static void bytes_come_into_the_memory_of_the_user(void **state) {
    (void)state;
    int peer;
    client c = {.room = 4};
    client_start_own(&c, st_unix(&peer));
    net_put(peer, "0123456789");
    nt_settle();
    assert_string_equal(c.bytes, "0123456789");
    assert_int_equal(c.calls, 3);
    assert_memory_equal(c.own, "8967", 4);
    client_end(&c, peer);
}

static void without_memory_of_the_user_it_pauses(void **state) {
    (void)state;
    int peer;
    client c = {.room = 0};
    client_start_own(&c, st_unix(&peer));
    nt_settle();
    net_put(peer, "abc");
    nt_settle();
    int asked = c.asked;
    nt_turns(3);
    assert_int_equal(c.asked, asked);
    assert_int_equal(c.calls, 0);
    c.room = 16;
    assert_ok(neap_stream_resume(c.stream));
    nt_settle();
    assert_string_equal(c.bytes, "abc");
    client_end(&c, peer);
}

static void bytes_that_are_consumed_before_the_turn_are_not_told(void **state) {
    (void)state;
    int peer;
    client c = {.room = 16};
    neap_stream *stream = st_unix(&peer);
    net_put(peer, "xyz");
    st_next(stream, "x");
    client_start_own(&c, stream);
    assert_ok(neap_stream_consume(stream, 2));
    nt_settle();
    assert_int_equal(c.calls, 0);
    net_put(peer, "abc");
    nt_settle();
    assert_string_equal(c.bytes, "abc");
    client_end(&c, peer);
}

/* Closes from `buffer`, which is asked when the bytes are there. */
static size_t close_in_buffer(neap_stream *stream, size_t suggested, void **ret_data, void *user) {
    client *c = user;
    (void)suggested;
    c->asked++;
    *ret_data = c->own;
    assert_ok(neap_stream_abort(stream));
    return sizeof c->own;
}

static void a_close_inside_buffer_ends_it(void **state) {
    (void)state;
    for (int kept = 0; kept < 2; kept++) {
        int peer;
        client c = {.starts = 1};
        neap_stream_callbacks on = client_callbacks_own;
        on.buffer = close_in_buffer;
        c.stream = st_unix(&peer);
        net_put(peer, "xyz");
        if (kept)
            st_next(c.stream, "x");
        assert_ok(neap_stream_start(c.stream, &on, &c, client_destroy));
        nt_settle();
        assert_int_equal(c.calls, 0);
        assert_int_equal(c.asked, 1);
        client_expect_over(&c, NEAP_ECLOSED);
        neap_stream_unref(c.stream);
        net_close(peer);
    }
}

static neap_stream *others;

static void read_another(void *user) {
    client *c = user;
    (void)c;
    st_next(others, "other bytes");
}

static void check_kept(neap_stream *stream, const void *data, size_t len, void *user) {
    client *c = user;
    (void)stream;
    read_another(c);
    assert_int_equal(len, 8);
    assert_memory_equal(data, "my bytes", len);
    assert_ok(neap_stream_abort(c->stream));
    assert_memory_equal(data, "my bytes", len);
    c->calls++;
}

static void lent_bytes_stay_while_the_callback_reads_and_closes(void **state) {
    (void)state;
    int peer, other;
    client c = {.starts = 1};
    neap_stream_callbacks on = client_callbacks;
    on.data = check_kept;
    others = st_unix(&other);
    c.stream = st_unix(&peer);
    assert_ok(neap_stream_start(c.stream, &on, &c, client_destroy));
    net_put(other, "other bytes");
    net_put(peer, "my bytes");
    nt_settle();
    assert_int_equal(c.calls, 1);
    client_expect_over(&c, NEAP_ECLOSED);
    neap_stream_unref(c.stream);
    st_end(others, other);
    net_close(peer);
}

/* Takes whole lines and gives the rest back. */
static void take_lines(neap_stream *stream, const void *data, size_t len, void *user) {
    client *c = user;
    const char *text = data, *end;
    while (len > 0 && (end = memchr(text, '\n', len)) != NULL) {
        size_t n = (size_t)(end - text) + 1;
        memcpy(c->bytes + c->len, text, n);
        c->len += n;
        c->calls++;
        text += n;
        len -= n;
    }
    assert_ok(neap_stream_unread(stream, text, len));
}

static void what_is_given_back_comes_again_with_more(void **state) {
    (void)state;
    int peer;
    client c = {.starts = 1};
    neap_stream_callbacks on = client_callbacks;
    on.data = take_lines;
    c.stream = st_unix(&peer);
    assert_ok(neap_stream_start(c.stream, &on, &c, client_destroy));
    const char *text = "a line\nanother\nand a last one\nrest";
    for (const char *at = text; *at != '\0'; at++) {
        net_write(peer, at, 1);
        nt_settle();
    }
    assert_int_equal(c.calls, 3);
    assert_string_equal(c.bytes, "a line\nanother\nand a last one\n");
    assert_int_equal(neap_stream_stop(c.stream), 1);
    st_rest(c.stream, "rest");
    st_end(c.stream, peer);
}

static void a_line_longer_than_the_lent_memory_is_gathered(void **state) {
    (void)state;
    enum {
        LEN = 300000
    };
    int peer;
    client c = {.starts = 1};
    neap_stream_callbacks on = client_callbacks;
    on.data = take_lines;
    c.stream = st_unix(&peer);
    assert_ok(neap_stream_start(c.stream, &on, &c, client_destroy));
    net_nonblock(peer);
    static char line[LEN];
    memset(line, 'x', LEN);
    for (size_t at = 0; at < LEN;) {
        ssize_t n = write(peer, line + at, LEN - at);
        at += n > 0 ? (size_t)n : 0;
        nt_turn();
    }
    nt_settle();
    assert_int_equal(c.calls, 0);
    const void *data = NULL;
    assert_int_equal(neap_stream_peek(c.stream, &data), LEN);
    assert_ok(neap_stream_consume(c.stream, LEN));
    client_end(&c, peer);
}

/* ---- How much, and who else */

static void a_fast_peer_has_one_portion_per_tick(void **state) {
    (void)state;
    int peer;
    client c = {.patterned = 1};
    client_start(&c, st_unix(&peer));
    net_nonblock(peer);
    nt_settle();
    unsigned char *data = malloc(1 << 20);
    net_fill_pattern(data, 1 << 20, 0);
    size_t sent = 0;
    ssize_t n;
    while ((n = write(peer, data + sent, (1 << 20) - sent)) > 0)
        sent += (size_t)n;
    free(data);
    assert_true(sent > 2 * 65536);
    for (size_t before = 0; c.total < sent; before = c.total) {
        nt_turn();
        assert_true(c.total - before <= 2 * 65536);
    }
    client_end(&c, peer);
}

static void two_fast_peers_take_turns(void **state) {
    (void)state;
    int peers[2];
    client c[2] = {{.patterned = 1}, {.patterned = 1}};
    static unsigned char data[100000];
    net_fill_pattern(data, sizeof data, 0);
    for (int i = 0; i < 2; i++) {
        client_start(&c[i], st_unix(&peers[i]));
        net_write(peers[i], data, sizeof data);
    }
    for (int tick = 0; tick < 5; tick++) {
        nt_turn();
        assert_true(c[0].total <= c[1].total + 65536 && c[1].total <= c[0].total + 65536);
    }
    nt_settle();
    for (int i = 0; i < 2; i++) {
        assert_int_equal(c[i].total, sizeof data);
        client_end(&c[i], peers[i]);
    }
}

static void many_idle_ones_hold_no_memory(void **state) {
    (void)state;
    enum {
        MANY = 200
    };
    static client c[MANY];
    static int peers[MANY];
    memset(c, 0, sizeof c);
    for (int i = 0; i < MANY; i++) {
        client_start(&c[i], st_unix(&peers[i]));
        nt_settle();
    }
    long before = atomic_load(&nt.heap.bytes);
    for (int i = 0; i < MANY; i++)
        net_put(peers[i], "hello");
    nt_settle();
    long growth = atomic_load(&nt.heap.bytes) - before;
    assert_true(growth < 2 * 65536 + MANY * 64);
    for (int i = 0; i < MANY; i++) {
        assert_string_equal(c[i].bytes, "hello");
        client_end(&c[i], peers[i]);
    }
}

static const char key;

static void note_local(neap_stream *stream, const void *data, size_t len, void *user) {
    void *value = NULL;
    (void)stream;
    (void)data;
    (void)len;
    (void)user;
    assert_int_equal(neap_local_get(nt.loop, &key, &value), 1);
    nt_note("%s", (char *)value);
}

static void it_sees_the_local_values_of_its_start(void **state) {
    (void)state;
    int peer;
    client c = {.starts = 1};
    neap_stream_callbacks on = client_callbacks;
    on.data = note_local;
    c.stream = st_unix(&peer);
    assert_ok(neap_local_set(nt.loop, &key, NT_WORD("then"), NULL));
    assert_ok(neap_stream_start(c.stream, &on, &c, client_destroy));
    assert_ok(neap_local_set(nt.loop, &key, NT_WORD("now"), NULL));
    net_put(peer, "x");
    nt_settle();
    assert_notes("then");
    client_end(&c, peer);
}

static void it_keeps_a_loop_running_and_pausing_does_not(void **state) {
    (void)state;
    int peer;
    client c = {0};
    client_start(&c, st_unix(&peer));
    nt_settle();
    assert_int_equal(neap_loop_alive(nt.loop), 1);
    assert_ok(neap_stream_pause(c.stream));
    assert_int_equal(neap_loop_alive(nt.loop), 0);
    client_end(&c, peer);
}

/* ---- Writing */

static void can_write_comes_once_below_the_low_mark(void **state) {
    (void)state;
    int peer;
    client c = {0};
    neap_stream *stream = st_unix(&peer);
    client_start(&c, stream);
    assert_ok(neap_stream_set_marks(stream, 10, 1000));
    neap_future_unref(st_stuff(stream, 1 << 20));
    assert_int_equal(neap_stream_write(stream, "x", 1, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    st_expect_pattern(peer, 1 << 19);
    assert_notes("");
    assert_true(neap_stream_unsent(stream) > 10);
    for (size_t at = 1 << 19; at < 1 << 20;) {
        at += net_drain(peer);
        nt_turn();
    }
    nt_settle();
    assert_notes("can_write");
    client_end(&c, peer);
}

static void no_can_write_when_the_high_mark_was_not_passed(void **state) {
    (void)state;
    int peer;
    client c = {0};
    neap_stream *stream = st_unix(&peer);
    client_start(&c, stream);
    st_write(stream, "few");
    nt_settle();
    assert_notes("");
    client_end(&c, peer);
}

static void raised_marks_let_it_write_again(void **state) {
    (void)state;
    int peer;
    client c = {0};
    neap_stream *stream = st_unix(&peer);
    neap_future_unref(st_stuff(stream, 1 << 20));
    client_start(&c, stream);
    assert_ok(neap_stream_set_marks(stream, 1 << 21, 1 << 22));
    nt_settle();
    assert_notes("can_write");
    assert_ok(neap_stream_abort(stream));
    nt_settle();
    client_expect_over(&c, NEAP_ECLOSED);
    neap_stream_unref(stream);
    net_close(peer);
}

/* ---- An echo that is paused when its peer does not read */

typedef struct echo {
    neap_stream *stream;
    size_t most; /* unsent */
} echo;

static void echo_data(neap_stream *stream, const void *data, size_t len, void *user) {
    echo *e = user;
    assert_int_equal(neap_stream_write(stream, data, len, NEAP_STREAM_BUFFER, NULL), len);
    size_t unsent = (size_t)neap_stream_unsent(stream);
    e->most = unsent > e->most ? unsent : e->most;
    if (unsent > 65536)
        assert_ok(neap_stream_pause(stream));
}

static void echo_can_write(neap_stream *stream, void *user) {
    (void)user;
    assert_ok(neap_stream_resume(stream));
}

static void echo_closed(neap_stream *stream, int32_t code, void *user) {
    (void)user;
    assert_int_equal(code, 0);
    neap_stream_unref(stream);
    nt_note("closed");
}

static const neap_stream_callbacks echoes = {
    .size = sizeof echoes, .data = echo_data, .closed = echo_closed, .can_write = echo_can_write};

static void an_echo_is_bounded_when_nobody_reads(void **state) {
    (void)state;
    enum {
        LEN = 3 << 20
    };
    int peer;
    echo e = {0};
    e.stream = st_tcp(&peer);
    assert_ok(neap_stream_start(e.stream, &echoes, &e, NULL));
    net_nonblock(peer);
    unsigned char *data = malloc(LEN);
    net_fill_pattern(data, LEN, 0);
    static unsigned char back[65536];
    size_t sent = 0, got = 0;
    uint64_t seed = 1;
    while (got < LEN) {
        ssize_t n = sent < LEN ? write(peer, data + sent, LEN - sent) : 0;
        sent += n > 0 ? (size_t)n : 0;
        if (net_below(&seed, 3) == 0 && (n = read(peer, back, sizeof back)) > 0) {
            net_expect_pattern(back, (size_t)n, got);
            got += (size_t)n;
        }
        nt_turn();
    }
    free(data);
    assert_true(e.most <= 65536 + 2 * 65536);
    net_close(peer);
    for (int i = 0; i < 20000 && nt.notes_len == 0; i++)
        neap_loop_run_once(nt.loop, NT_MS);
    assert_notes("closed");
}

NT_MAIN(NT_TEST(bytes_come_into_the_memory_of_the_user),
        NT_TEST(without_memory_of_the_user_it_pauses),
        NT_TEST(bytes_that_are_consumed_before_the_turn_are_not_told),
        NT_TEST(a_close_inside_buffer_ends_it),
        NT_TEST(lent_bytes_stay_while_the_callback_reads_and_closes),
        NT_TEST(what_is_given_back_comes_again_with_more),
        NT_TEST(a_line_longer_than_the_lent_memory_is_gathered),
        NT_TEST(a_fast_peer_has_one_portion_per_tick), NT_TEST(two_fast_peers_take_turns),
        NT_TEST(many_idle_ones_hold_no_memory), NT_TEST(it_sees_the_local_values_of_its_start),
        NT_TEST(it_keeps_a_loop_running_and_pausing_does_not),
        NT_TEST(can_write_comes_once_below_the_low_mark),
        NT_TEST(no_can_write_when_the_high_mark_was_not_passed),
        NT_TEST(raised_marks_let_it_write_again), NT_TEST(an_echo_is_bounded_when_nobody_reads))
