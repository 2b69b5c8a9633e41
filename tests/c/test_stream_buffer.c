/* Where the bytes of streams stand: in the loop's lent memory, in buffers of their own, in the values of futures; whoever
   else needs the memory, none is lost, changed, or kept for nothing. */
#include "streams.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    LENT = 65536
};

static long heap_bytes(void) {
    return atomic_load(&nt.heap.bytes);
}

static void note_bytes(neap_future *future, void *user) {
    const void *data = NULL;
    size_t len = 0;
    (void)user;
    assert_ok(neap_future_get_bytes(future, &data, &len));
    nt_note("%.*s", (int)len, (const char *)data);
}

static void waits_of_callbacks_get_each_their_own_bytes(void **state) {
    (void)state;
    enum {
        MANY = 8
    };
    neap_stream *streams[MANY];
    neap_future *futures[MANY];
    int peers[MANY];
    for (int i = 0; i < MANY; i++) {
        streams[i] = st_unix(&peers[i]);
        futures[i] = st_park_exactly(streams[i], 2);
        assert_ok(neap_future_on_done(futures[i], note_bytes, NULL, NULL, NULL));
    }
    for (int i = 0; i < MANY; i++)
        net_put(peers[i], (char[]){(char)('a' + i), (char)('0' + i), '\0'});
    nt_settle();
    assert_int_equal(nt.notes_len, 3 * MANY - 1);
    for (int i = 0; i < MANY; i++) {
        char text[] = {(char)('a' + i), (char)('0' + i), '\0'};
        assert_non_null(strstr(nt.notes, text));
        st_bytes(futures[i], text);
        st_end(streams[i], peers[i]);
    }
}

static void futures_that_are_kept_do_not_keep_the_lent_memory(void **state) {
    (void)state;
    enum {
        MANY = 50
    };
    neap_stream *streams[MANY];
    neap_future *futures[MANY];
    int peers[MANY];
    for (int i = 0; i < MANY; i++) {
        streams[i] = st_unix(&peers[i]);
        futures[i] = st_park_exactly(streams[i], 5);
    }
    long before = heap_bytes();
    for (int i = 0; i < MANY; i++)
        net_put(peers[i], "hello");
    nt_settle();
    assert_true(heap_bytes() - before < 2 * LENT);
    for (int i = 0; i < MANY; i++) {
        st_bytes(futures[i], "hello");
        st_end(streams[i], peers[i]);
    }
}

/* Reads the pattern in `n` pieces of `len`, by turns from each of two streams. */
static void read_in_turn(neap_stream *streams[2], size_t len, size_t n) {
    for (size_t i = 0; i < 2 * n; i++) {
        const void *data = NULL;
        assert_int_equal(neap_stream_read_exactly(streams[i % 2], len, NEAP_NOWAIT, &data, NULL),
                         len);
        net_expect_pattern(data, len, i / 2 * len);
    }
}

static void bytes_that_are_left_give_way_to_others(void **state) {
    (void)state;
    /* What is left when the other stream receives: little, and more than a quarter of the lent memory. */
    const size_t sizes[] = {2, 100, 1000, 20000, 60000, 70000};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        int peers[2];
        neap_stream *streams[2] = {st_unix(&peers[0]), st_unix(&peers[1])};
        unsigned char *data = malloc(2 * sizes[k]);
        net_fill_pattern(data, 2 * sizes[k], 0);
        for (int i = 0; i < 2; i++)
            net_write(peers[i], data, 2 * sizes[k]);
        free(data);
        read_in_turn(streams, sizes[k], 2);
        for (int i = 0; i < 2; i++)
            st_end(streams[i], peers[i]);
    }
}

static void one_that_is_idle_holds_no_buffer(void **state) {
    (void)state;
    enum {
        MANY = 300
    };
    static neap_stream *streams[MANY];
    static int peers[MANY];
    static neap_future *futures[MANY];
    for (int i = 0; i < MANY; i++)
        streams[i] = st_unix(&peers[i]);
    for (int i = 0; i < MANY; i++)
        futures[i] = st_park_exactly(streams[i], 3);
    long idle = heap_bytes();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++)
            net_put(peers[i], "abc");
        for (int i = 0; i < MANY; i++) {
            st_bytes(futures[i], "abc");
            futures[i] = st_park_exactly(streams[i], 3);
        }
    }
    assert_true(heap_bytes() - idle < 2 * LENT);
    for (int i = 0; i < MANY; i++) {
        neap_future_cancel(futures[i], NULL);
        net_cancelled(futures[i]);
        st_end(streams[i], peers[i]);
    }
}

static void partial_bytes_of_thousands_cost_little(void **state) {
    (void)state;
    enum {
        MANY = 2000
    };
    static neap_stream *streams[MANY];
    static neap_sock *others[MANY];
    static neap_future *futures[MANY];
    net_need_descriptors(2 * MANY + 100);
    for (int i = 0; i < MANY; i++) {
        neap_sock *sock = NULL;
        assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &sock, &others[i]));
        assert_ok(neap_stream_new(sock, &streams[i]));
        neap_sock_unref(sock);
        futures[i] = st_park_exactly(streams[i], 6);
    }
    long before = heap_bytes();
    for (int i = 0; i < MANY; i++)
        net_send_text(others[i], "half");
    nt_settle();
    assert_true(heap_bytes() - before < MANY * 1200 + 2 * LENT);
    for (int i = 0; i < MANY; i++)
        net_send_text(others[i], "ok");
    for (int i = 0; i < MANY; i++) {
        st_bytes(futures[i], "halfok");
        st_end(streams[i], -1);
        net_end(others[i]);
    }
}

/* ---- Sizes */

static void a_read_may_be_larger_than_every_buffer(void **state) {
    (void)state;
    const size_t sizes[] = {1, 4095, 4096, 65535, 65536, 65537, 1 << 20, (1 << 20) + 1, 3 << 20};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const void *data = NULL;
        neap_stream *a = NULL, *b = NULL;
        assert_ok(neap_stream_pair(nt.loop, &a, &b));
        unsigned char *out = malloc(sizes[k]);
        net_fill_pattern(out, sizes[k], 0);
        neap_future *future = st_park_exactly(b, sizes[k]);
        assert_int_equal(neap_stream_write(a, out, sizes[k], NEAP_STREAM_BUFFER, NULL), sizes[k]);
        free(out);
        size_t len = 0;
        nt_until(future);
        assert_ok(neap_future_get_bytes(future, &data, &len));
        assert_int_equal(len, sizes[k]);
        net_expect_pattern(data, len, 0);
        neap_future_unref(future);
        st_end(a, -1);
        st_end(b, -1);
    }
}

static void a_read_to_the_end_copies_few_times(void **state) {
    (void)state;
    enum {
        LEN = 32 << 20
    };
    char path[] = "/tmp/neap-test-XXXXXX";
    int fd = mkstemp(path);
    const void *data = NULL;
    neap_future *future = NULL;
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(ftruncate(fd, LEN), 0);
    neap_stream *stream = st_open(fd, 0);
    nt_heap_fail(&nt.heap, 0, 0); /* counts from here */
    assert_int_equal(neap_stream_read_all(stream, LEN, 0, &data, &future), NEAP_PENDING);
    size_t len = 0;
    nt_until(future);
    assert_ok(neap_future_get_bytes(future, &data, &len));
    assert_int_equal(len, LEN);
    assert_true(atomic_load(&nt.heap.calls) < 50);
    neap_future_unref(future);
    st_end(stream, -1);
}

static void count_calls(void *user) {
    int *left = user;
    if (--*left > 0)
        assert_ok(neap_call_soon(nt.loop, count_calls, left, NULL, NULL));
}

static void a_source_that_never_ends_does_not_keep_others_waiting(void **state) {
    (void)state;
    int left = 20;
    const void *data = NULL;
    neap_future *future = NULL;
    FILE *zero = fopen("/dev/zero", "rb");
    assert_non_null(zero);
    neap_stream *stream = st_open(dup(fileno(zero)), 0);
    assert_int_equal(fclose(zero), 0);
    assert_ok(neap_call_soon(nt.loop, count_calls, &left, NULL, NULL));
    assert_int_equal(neap_stream_read_all(stream, 1 << 28, 0, &data, &future), NEAP_PENDING);
    while (left > 0) {
        assert_state(future, NEAP_STATE_PENDING);
        nt_turn();
    }
    neap_future_cancel(future, NULL);
    net_cancelled(future);
    assert_true(neap_stream_peek(stream, &data) > 0);
    st_end(stream, -1);
}

static void bytes_put_back_meanwhile_go_in_front(void **state) {
    (void)state;
    const void *data = NULL;
    neap_future *future = NULL;
    FILE *zero = fopen("/dev/zero", "rb");
    assert_non_null(zero);
    neap_stream *stream = st_open(dup(fileno(zero)), 0);
    assert_int_equal(fclose(zero), 0);
    assert_int_equal(neap_stream_read_exactly(stream, 40 << 20, 0, &data, &future), NEAP_PENDING);
    for (int i = 0; i < 3; i++) {
        assert_ok(neap_stream_unread(stream, "x", 1));
        nt_turn();
    }
    size_t len = 0;
    nt_until(future);
    assert_ok(neap_future_get_bytes(future, &data, &len));
    assert_int_equal(len, 40 << 20);
    assert_memory_equal(data, "xxx\0", 4);
    neap_future_unref(future);
    st_end(stream, -1);
}

/* ---- Put back */

static void bytes_put_back_do_not_run_over_those_of_a_future(void **state) {
    (void)state;
    int peer;
    const void *first = NULL, *second = NULL;
    neap_future *a = NULL, *b = NULL;
    size_t len;
    neap_stream *stream = st_unix(&peer);
    net_put(peer, "0123456789");
    assert_int_equal(neap_stream_read_exactly(stream, 4, NEAP_WANT_FUTURE, &first, &a),
                     NEAP_PENDING);
    assert_int_equal(neap_stream_read_exactly(stream, 6, NEAP_WANT_FUTURE, &second, &b),
                     NEAP_PENDING);
    assert_ok(neap_future_get_bytes(a, &first, &len));
    assert_ok(neap_stream_unread(stream, first, 4));
    net_put(peer, "abcdef");
    st_next(stream, "0123abcdef");
    st_bytes(b, "456789");
    neap_future_unref(a);
    st_end(stream, peer);
}

static void a_task_gives_back_what_it_was_lent(void *user) {
    neap_stream *stream = user;
    const void *data = NULL;
    st_next(stream, "x");
    assert_int_equal(neap_stream_read_exactly(stream, 4, NEAP_NOWAIT, &data, NULL), 4);
    nt_heap_fail(&nt.heap, 1, 1);
    assert_ok(neap_stream_unread(stream, data, 4));
    assert_ok(neap_stream_unread(stream, (const char *)data - 1, 1));
    nt_heap_fail(&nt.heap, 0, 0);
}

static void giving_back_what_was_just_lent_needs_no_memory(void **state) {
    (void)state;
    int peer;
    neap_stream *stream = st_unix(&peer);
    net_put(peer, "xlent");
    assert_ok(neap_call_soon(nt.loop, a_task_gives_back_what_it_was_lent, stream, NULL, NULL));
    nt_turn();
    net_put(peer, "+");
    st_rest(stream, "xlent+");
    st_end(stream, peer);
}

static void it_can_be_put_back_in_every_position(void **state) {
    (void)state;
    int peer, other;
    const void *data = NULL;
    neap_stream *stream = st_unix(&peer), *second = st_unix(&other);
    assert_ok(neap_stream_unread(stream, "first ", 6)); /* nothing was received */
    net_put(peer, "and second ");
    st_next(stream, "first and ");
    assert_ok(neap_stream_unread(stream, "or ", 3)); /* in the lent memory */
    net_put(other, "evicts");
    st_next(second, "evicts");
    assert_ok(neap_stream_unread(stream, "either ", 7)); /* in its own */
    st_next(stream, "either or second ");
    assert_ok(neap_stream_unread(stream, NULL, 0));
    assert_int_equal(neap_stream_unread(stream, NULL, 1), NEAP_EINVAL);
    neap_future *future = st_park_exactly(stream, 4);
    assert_ok(neap_stream_unread(stream, "cd", 2)); /* while somebody waits */
    assert_ok(neap_stream_unread(stream, "ab", 2));
    st_bytes(future, "abcd");
    assert_int_equal(shutdown(peer, SHUT_WR), 0);
    st_rest(stream, "");
    assert_int_equal(neap_stream_at_end(stream), 1);
    assert_ok(neap_stream_unread(stream, "again", 5)); /* behind the end */
    assert_int_equal(neap_stream_at_end(stream), 0);
    assert_int_equal(neap_stream_read(stream, 99, 0, &data, (neap_future *[]){NULL}), 5);
    st_end(stream, peer);
    st_end(second, other);
}

NT_MAIN(NT_TEST(waits_of_callbacks_get_each_their_own_bytes),
        NT_TEST(futures_that_are_kept_do_not_keep_the_lent_memory),
        NT_TEST(bytes_that_are_left_give_way_to_others), NT_TEST(one_that_is_idle_holds_no_buffer),
        NT_TEST(partial_bytes_of_thousands_cost_little),
        NT_TEST(a_read_may_be_larger_than_every_buffer),
        NT_TEST(a_read_to_the_end_copies_few_times),
        NT_TEST(a_source_that_never_ends_does_not_keep_others_waiting),
        NT_TEST(bytes_put_back_meanwhile_go_in_front),
        NT_TEST(bytes_put_back_do_not_run_over_those_of_a_future),
        NT_TEST(giving_back_what_was_just_lent_needs_no_memory),
        NT_TEST(it_can_be_put_back_in_every_position))
