/* Streams whose tasks step in a row: what has come for each is received before the first of them steps.  None of it is lost,
   changed or kept for nothing, whatever the steps between do. */
#include "streams.h"

#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    MANY = 20, /* more than step in a row */
    ROW = 8
};

/* A task that reads lines. */
typedef struct reader {
    neap_stream *stream;
    neap_task *task;
    int peer;
    char got[16384]; /* the lines */
    size_t len;
    int32_t code; /* what the reading ended with */
    bool cancelled;
    neap_future *rest; /* after a line it waits for this, and leaves others unread; or NULL */
    void (*on_line)(struct reader *); /* in a step, for a line that was waited for; may be NULL */
    neap_future *awaited;             /* then */
} reader;

static reader all[MANY];

static void take(reader *r, const void *data, size_t len) {
    assert_true(r->len + len < sizeof r->got);
    memcpy(r->got + r->len, data, len);
    r->len += len;
}

static int32_t await(neap_task *task, neap_future *future) {
    assert_ok(neap_task_await(task, future));
    neap_future_unref(future);
    return NEAP_STEP_AWAIT;
}

static int64_t read_line(reader *r, uint32_t flags, const void **ret_data,
                         neap_future **ret_future) {
    static const neap_iov newline = {"\n", 1};
    return neap_stream_read_until(r->stream, &newline, 1, 60000, flags, ret_data, ret_future);
}

/* Takes the line that was waited for; false: there is none. */
static bool take_awaited(reader *r, neap_future *awaited) {
    const void *data = NULL;
    size_t len = 0;
    r->code = neap_future_error(awaited);
    if (r->code != 0)
        return false;
    assert_ok(neap_future_get_bytes(awaited, &data, &len));
    take(r, data, len);
    r->awaited = awaited;
    if (r->on_line != NULL)
        r->on_line(r);
    r->awaited = NULL;
    return true;
}

static int32_t step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    reader *r = user;
    const void *data = NULL;
    neap_future *future = NULL;
    int64_t n;
    r->cancelled = wake == NEAP_WAKE_CANCEL ||
                   (awaited != NULL && neap_future_state(awaited) == NEAP_STATE_CANCELLED);
    if (r->cancelled)
        return NEAP_STEP_CANCELLED;
    if (awaited != NULL && neap_future_kind(awaited) != NEAP_KIND_NONE) {
        if (!take_awaited(r, awaited))
            return NEAP_STEP_DONE;
        if (r->rest != NULL)
            return await(task, neap_future_ref(r->rest));
    }
    while ((n = read_line(r, 0, &data, &future)) > 0)
        take(r, data, (size_t)n);
    if (n == NEAP_PENDING)
        return await(task, future);
    r->code = (int32_t)n;
    return NEAP_STEP_DONE;
}

static const neap_task_ops ops = {.size = sizeof ops, .step = step};

static void put(reader *r, const char *text) {
    net_put(r->peer, text);
    if (neap_sock_fd(neap_stream_sock(r->stream)) >= 0)
        net_wait(neap_sock_fd(neap_stream_sock(r->stream)), POLLIN);
}

/* As many readers, each of which has read "0\n" and waits. */
static void begin(int many) {
    memset(all, 0, sizeof all);
    for (int i = 0; i < many; i++) {
        all[i].stream = i % 2 ? st_unix(&all[i].peer) : st_tcp(&all[i].peer);
        assert_ok(neap_task_spawn(nt.loop, &ops, &all[i], NULL, &all[i].task));
    }
    nt_turn();
    for (int i = 0; i < many; i++)
        net_put(all[i].peer, "0\n");
    for (int i = 0; i < many; i++)
        while (all[i].len == 0)
            neap_loop_run_once(nt.loop, -1);
}

/* Readers for each of which this comes in one turn. */
static void begin_with(void (*on_line)(reader *), const char *text) {
    begin(MANY);
    for (int i = 0; i < MANY; i++) {
        all[i].on_line = on_line;
        put(&all[i], text);
    }
    nt_settle();
}

static void expect(const reader *r, const char *lines) {
    assert_int_equal(r->len, strlen(lines));
    assert_memory_equal(r->got, lines, r->len);
}

static void end(int many) {
    for (int i = 0; i < many; i++) {
        reader *r = &all[i];
        if (r->rest != NULL)
            neap_future_unref(r->rest);
        neap_task_cancel(r->task, NULL);
        nt_until_task(r->task);
        neap_task_unref(r->task);
        st_end(r->stream, r->peer);
    }
}

/* ---- In a row */

static int received; /* for so many nothing was left in the kernel when the first step ran */

static void look_around(reader *r) {
    (void)r;
    for (int i = 0; i < MANY; i++) {
        int left = 0;
        assert_int_equal(ioctl((int)neap_sock_fd(neap_stream_sock(all[i].stream)), FIONREAD, &left),
                         0);
        received += left == 0;
    }
    for (int i = 0; i < MANY; i++)
        all[i].on_line = NULL;
}

static void what_came_for_the_next_few_is_received_before_the_first_steps(void **state) {
    (void)state;
    received = 0;
    begin_with(look_around, "one\ntwo\nthree\n");
    assert_true(received >= ROW);
    for (int i = 0; i < MANY; i++)
        expect(&all[i], "0\none\ntwo\nthree\n");
    end(MANY);
}

static void much_after_little_and_parts_of_lines_come_whole(void **state) {
    (void)state;
    static char line[9000]; /* more than a small buffer */
    memset(line, 'x', sizeof line - 2);
    line[sizeof line - 2] = '\n';
    begin(MANY);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++)
            put(&all[i], i % 3 == 0 ? line : i % 3 == 1 ? "a\nhal" : "b\nc\n");
        nt_settle();
        for (int i = 0; i < MANY; i++) {
            put(&all[i], i % 3 == 1 ? "f\n" : "\n");
            nt_settle();
            assert_int_equal(all[i].got[all[i].len - 1], '\n');
            if (i % 3 == 1)
                expect(&all[i], "0\na\nhalf\n");
            all[i].len = 2;
        }
    }
    end(MANY);
}

static void little_after_much(void **state) {
    (void)state;
    enum {
        LEN = 50000
    };
    static char line[LEN + 1];
    memset(line, 'y', LEN - 1);
    line[LEN - 1] = '\n';
    begin(2);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 2; i++) {
            all[i].rest = nt_future();
            net_put(all[i].peer, "1\n");
            net_write(all[i].peer, line, LEN);
        }
        nt_settle();
        for (int i = 0; i < 2; i++) {
            const void *data = NULL;
            neap_future *future = NULL;
            expect(&all[i], "0\n1\n");
            assert_int_equal(read_line(&all[i], NEAP_WANT_FUTURE, &data, &future), NEAP_PENDING);
            st_bytes(future, line);
            all[i].len = 2;
            assert_ok(neap_future_set_none(all[i].rest));
            neap_future_unref(all[i].rest);
            all[i].rest = NULL;
        }
        nt_settle();
    }
    end(2);
}

/* ---- What the steps between do */

static void cancel_the_others(reader *r) {
    for (int i = 0; i < MANY; i++)
        if (&all[i] != r && !all[i].cancelled) {
            all[i].on_line = NULL;
            neap_task_cancel(all[i].task, NULL);
        }
}

static void
a_task_that_is_cancelled_by_the_step_before_leaves_its_bytes_in_the_stream(void **state) {
    (void)state;
    begin_with(cancel_the_others, "mine\nrest\n");
    int read = 0;
    for (int i = 0; i < MANY; i++) {
        if (!all[i].cancelled) {
            expect(&all[i], "0\nmine\nrest\n");
            read++;
            continue;
        }
        expect(&all[i], "0\n");
        st_rest(all[i].stream, "mine\nrest\n");
    }
    assert_int_equal(read, 1);
    end(MANY);
}

static void abort_the_others(reader *r) {
    for (int i = 0; i < MANY; i++)
        if (&all[i] != r)
            assert_ok(neap_stream_abort(all[i].stream));
}

static void a_stream_that_is_closed_by_the_step_before_tells_its_task(void **state) {
    (void)state;
    begin_with(abort_the_others, "x\n");
    int closed = 0;
    for (int i = 0; i < MANY; i++)
        closed += all[i].code == NEAP_ECLOSED;
    assert_int_equal(closed, MANY - 1);
    end(MANY);
}

static void put_in_front(reader *r) {
    for (int i = 0; i < MANY; i++) {
        all[i].on_line = NULL;
        if (&all[i] != r)
            assert_ok(neap_stream_unread(all[i].stream, "front ", 6));
    }
}

static void bytes_that_the_step_before_puts_back_stand_in_front(void **state) {
    (void)state;
    begin_with(put_in_front, "x\ny\n");
    int first = 0;
    for (int i = 0; i < MANY; i++) {
        bool is_first = all[i].got[2] == 'x';
        expect(&all[i], is_first ? "0\nx\ny\n" : "0\nfront x\ny\n");
        first += is_first;
    }
    assert_int_equal(first, 1);
    end(MANY);
}

/* ---- What is kept */

static neap_future *kept[MANY];

static void keep(reader *r) {
    kept[r - all] = neap_future_ref(r->awaited);
}

static void keep_without_memory(reader *r) {
    keep(r);
    nt_heap_fail(&nt.heap, 1, 1);
}

/* The readers get "over" as their second line; how many futures of the first were kept, whose bytes are as they were. */
static int end_kept(void) {
    int n = 0;
    for (int i = 0; i < MANY; i++) {
        all[i].on_line = NULL;
        assert_ok(neap_future_set_none(all[i].rest));
        put(&all[i], "over\n");
    }
    nt_settle();
    for (int i = 0; i < MANY; i++) {
        const char line[] = {(char)('a' + i), '\n', '\0'};
        if (kept[i] == NULL) { /* there was no memory to read it */
            assert_code(all[i].code, NEAP_ENOMEM);
            st_next(all[i].stream, line);
            continue;
        }
        st_bytes(kept[i], line);
        assert_int_equal(all[i].len, 9);
        assert_memory_equal(all[i].got + 2, line, 2);
        assert_memory_equal(all[i].got + 4, "over\n", 5);
        n++;
    }
    return n;
}

static void a_future_that_is_kept_has_its_bytes_for_itself(void **state) {
    (void)state;
    void (*const ways[])(reader *) = {keep, keep_without_memory};
    for (int k = 0; k < 2; k++) {
        memset(kept, 0, sizeof kept);
        begin(MANY);
        for (int i = 0; i < MANY; i++) {
            all[i].on_line = ways[k];
            all[i].rest = nt_future();
            put(&all[i], (char[]){(char)('a' + i), '\n', '\0'});
        }
        nt_settle();
        nt_heap_fail(&nt.heap, 0, 0);
        int n = end_kept();
        assert_true(k == 0 ? n == MANY : n > 0);
        end(MANY);
    }
}

/* The streams of those who rest. */
static void empty_the_others(reader *r) {
    keep(r);
    all[0].on_line = all[1].on_line = NULL;
    for (int i = 2; i < MANY; i++) {
        const void *data = NULL;
        assert_int_equal(read_line(&all[i], NEAP_NOWAIT, &data, NULL), 7);
        assert_memory_equal(data, "unread\n", 7);
    }
}

static void a_step_may_empty_the_buffers_of_many_streams(void **state) {
    (void)state;
    memset(kept, 0, sizeof kept);
    begin(MANY);
    for (int i = 2; i < MANY; i++) {
        all[i].rest = nt_future();
        put(&all[i], "read\nunread\n");
    }
    nt_settle();
    for (int i = 0; i < 2; i++) {
        all[i].on_line = empty_the_others;
        put(&all[i], "line\n");
    }
    nt_settle();
    st_bytes(kept[0] != NULL ? kept[0] : kept[1], "line\n");
    for (int i = 0; i < MANY; i++)
        expect(&all[i], i < 2 ? "0\nline\n" : "0\nread\n");
    end(MANY);
}

static void give_back(reader *r) {
    const void *data = NULL;
    size_t len = 0;
    if (r->len > 6)
        return;
    assert_ok(neap_future_get_bytes(r->awaited, &data, &len));
    assert_int_equal(len, 4);
    nt_heap_fail(&nt.heap, 1, 1);
    assert_ok(neap_stream_unread(r->stream, data, len));
    nt_heap_fail(&nt.heap, 0, 0);
}

static void what_was_just_read_can_be_put_back_without_memory(void **state) {
    (void)state;
    begin_with(give_back, "abc\n");
    for (int i = 0; i < MANY; i++)
        expect(&all[i], "0\nabc\nabc\n");
    end(MANY);
}

static void streams_that_are_idle_again_hold_no_memory(void **state) {
    (void)state;
    begin(MANY);
    for (int i = 0; i < MANY; i++)
        put(&all[i], "warm\n");
    nt_settle();
    long idle = atomic_load(&nt.heap.bytes);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++)
            put(&all[i], "a\nb\n");
        nt_settle();
        assert_true(atomic_load(&nt.heap.bytes) <= idle);
    }
    end(MANY);
}

NT_MAIN(NT_TEST(what_came_for_the_next_few_is_received_before_the_first_steps),
        NT_TEST(much_after_little_and_parts_of_lines_come_whole), NT_TEST(little_after_much),
        NT_TEST(a_task_that_is_cancelled_by_the_step_before_leaves_its_bytes_in_the_stream),
        NT_TEST(a_stream_that_is_closed_by_the_step_before_tells_its_task),
        NT_TEST(bytes_that_the_step_before_puts_back_stand_in_front),
        NT_TEST(a_future_that_is_kept_has_its_bytes_for_itself),
        NT_TEST(a_step_may_empty_the_buffers_of_many_streams),
        NT_TEST(what_was_just_read_can_be_put_back_without_memory),
        NT_TEST(streams_that_are_idle_again_hold_no_memory))
