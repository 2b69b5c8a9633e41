/* Files whose operations are cancelled: whoever waits is free at once, nothing is lost, nothing is left. */
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "files.h"

enum {
    N = 100,
    BIG = 4 << 20
};

static char data[BIG];

/* All end, and in each state only what may be. */
static int end_all(neap_future **futures, int n) {
    int cancelled = 0;
    for (int i = 0; i < n; i++) {
        assert_int_equal(neap_future_done(futures[i]), 1);
        cancelled += neap_future_state(futures[i]) == NEAP_STATE_CANCELLED;
        neap_future_unref(futures[i]);
    }
    return cancelled;
}

static void a_cancel_answers_at_once(void **state) {
    (void)state;
    neap_future *futures[N];
    const char *path = nt_path("file");
    nt_put_file("file", "x", 1);
    for (int i = 0; i < N; i++) {
        int32_t code = neap_file_open(nt.loop, NT_PATH(path), NEAP_OPEN_READ, 0, &futures[i]);
        assert_code(code, NEAP_PENDING);
    }
    for (int i = 0; i < N; i++)
        assert_int_equal(neap_future_cancel(futures[i], "enough"), 1);
    assert_int_equal(end_all(futures, N), N);
}

static void a_cancelled_read_leaves_the_position(void **state) {
    (void)state;
    nt_put_file("file", "0123456789", 10);
    neap_file *file = nt_open("file", NEAP_OPEN_READ);
    for (int i = 0; i < 20; i++) {
        neap_future *future = NULL;
        assert_code(neap_file_read(file, 3, NEAP_WANT_FUTURE, NULL, &future), NEAP_PENDING);
        if (i % 2 == 1)
            nt_turn();
        if (neap_future_done(future)) {
            neap_future_unref(future);
            break;
        }
        assert_int_equal(neap_future_cancel(future, NULL), 1);
        assert_code(neap_future_error(future), NEAP_ECANCELED);
        neap_future_unref(future);
        nt_assert_read(file, 10, "0123456789");
        int64_t at;
        assert_ok(neap_file_seek(file, 0, NEAP_SEEK_SET, &at, &future));
    }
    nt_close(file);
}

static void one_that_waits_for_its_turn_never_begins(void **state) {
    (void)state;
    neap_future *futures[3];
    neap_file *file = nt_open("file", NEAP_OPEN_WRITE | NEAP_OPEN_CREATE);
    memset(data, 'x', sizeof data);
    assert_code(neap_file_write(file, data, sizeof data, &futures[0]), NEAP_PENDING);
    assert_code(neap_file_write(file, "lost", 4, &futures[1]), NEAP_PENDING);
    assert_code(neap_file_write(file, "kept", 4, &futures[2]), NEAP_PENDING);
    assert_int_equal(neap_future_cancel(futures[1], NULL), 1);
    assert_int_equal(neap_future_partial(futures[1]), 0);
    nt_until(futures[2]);
    assert_int_equal(end_all(futures, 3), 1);
    neap_stat st;
    neap_future *future = NULL;
    int32_t code = neap_file_stat(file, &future);
    assert_ok(nt_await(code, future));
    assert_ok(neap_future_get_stat(future, &st, sizeof st));
    assert_int_equal(st.bytes, BIG + 4);
    neap_future_unref(future);
    nt_close(file);
}

static void the_position_is_behind_what_a_cancelled_write_has_written(void **state) {
    (void)state;
    neap_file *file = nt_open("file", NEAP_OPEN_WRITE | NEAP_OPEN_CREATE);
    for (int i = 0; i < 10; i++) {
        neap_future *future = NULL, *seeking = NULL;
        neap_stat st;
        int64_t at = -1;
        assert_code(neap_file_write(file, data, sizeof data, &future), NEAP_PENDING);
        neap_future_cancel(future, NULL);
        assert_true(neap_future_partial(future) <= BIG);
        neap_future_unref(future);
        int32_t code = neap_file_seek(file, 0, NEAP_SEEK_CUR, &at, &seeking);
        if (code == NEAP_PENDING) {
            assert_ok(nt_await(code, seeking));
            at = nt_int(seeking);
            neap_future_unref(seeking);
        }
        code = neap_file_stat(file, &future);
        assert_ok(nt_await(code, future));
        assert_ok(neap_future_get_stat(future, &st, sizeof st));
        neap_future_unref(future);
        assert_int_equal(at, st.bytes);
    }
    nt_close(file);
}

static void bytes_of_a_pipe_are_not_lost(void **state) {
    (void)state;
    int fds[2];
    neap_file *file = NULL;
    neap_future *future = NULL;
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    assert_ok(neap_file_adopt(nt.loop, fds[0], &file));
    assert_int_equal(write(fds[1], "precious", 8), 8);
    neap_buf *buf = NULL;
    assert_code(neap_file_read(file, 4, 0, &buf, &future), NEAP_PENDING);
    neap_future_cancel(future, NULL);
    neap_future_unref(future);
    nt_assert_read(file, 4, "prec");
    nt_assert_read(file, 4, "ious");
    nt_close(file);
    close(fds[1]);
}

/* Gives up a read of four bytes, once `left` bytes stand in the pipe. */
static void give_up_read(neap_file *file, int left) {
    neap_future *future = NULL;
    neap_buf *buf = NULL;
    int bytes = -1;
    assert_code(neap_file_read(file, 4, 0, &buf, &future), NEAP_PENDING);
    for (int i = 0; bytes != left && i < 1000000; i++) {
        sched_yield();
        assert_int_equal(ioctl((int)neap_file_fd(file), FIONREAD, &bytes), 0);
    }
    assert_int_equal(bytes, left);
    assert_int_equal(neap_future_cancel(future, NULL), 1);
    neap_future_unref(future);
}

static void bytes_of_a_pipe_that_are_given_up_twice_are_not_lost(void **state) {
    (void)state;
    int fds[2];
    neap_file *file = NULL;
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    assert_ok(neap_file_adopt(nt.loop, fds[0], &file));
    assert_int_equal(write(fds[1], "precious", 8), 8);
    give_up_read(file, 4);
    nt_assert_read(file, 2, "pr");
    give_up_read(file, 4); /* of the rest, which had been put back */
    nt_assert_read(file, 4, "ec");
    give_up_read(file, 0);
    nt_assert_read(file, 4, "ious");
    nt_close(file);
    close(fds[1]);
}

/* Turns, until there are so many entries in the directory. */
static void await_entries(size_t n) {
    for (int i = 0; nt_entries() != n && i < 100000; i++) {
        nt_turn();
        sched_yield();
    }
    assert_int_equal(nt_entries(), n);
}

static void what_was_made_for_a_name_that_nobody_heard_is_removed(void **state) {
    (void)state;
    const char *path = nt_path("temporary-XXXXXX");
    for (int directory = 0; directory < 2; directory++) {
        neap_future *future = NULL;
        int32_t code = directory ? neap_fs_mkdtemp(nt.loop, NT_PATH(path), &future)
                                 : neap_fs_mkstemp(nt.loop, NT_PATH(path), &future);
        assert_code(code, NEAP_PENDING);
        for (int i = 0; nt_entries() == 0 && i < 1000000; i++)
            sched_yield();
        assert_int_equal(nt_entries(), 1);
        assert_int_equal(neap_future_cancel(future, NULL), 1);
        neap_future_unref(future);
        await_entries(0);
    }
}

/* The teardown counts descriptors. */
static void a_cancelled_close_closes(void **state) {
    (void)state;
    neap_file *file = nt_open("file", NEAP_OPEN_WRITE | NEAP_OPEN_CREATE);
    neap_future *future = NULL;
    assert_code(neap_file_close(file, &future), NEAP_PENDING);
    assert_int_equal(neap_future_cancel(future, NULL), 1);
    neap_future_unref(future);
    neap_file_unref(file);
}

/* Each kind, cancelled after some turns. */
static void whatever_is_cancelled_leaves_nothing(void **state) {
    (void)state;
    nt_put_file("from", data, sizeof data);
    const char *from = nt_path("from"), *to = nt_path("to"), *dir = nt_path(".");
    for (int i = 0; i < 60; i++) {
        neap_future *f[8];
        neap_fs_read(nt.loop, NT_PATH(from), &f[0]);
        neap_fs_copy(nt.loop, NT_PATH(from), NT_PATH(to), 0, &f[1]);
        neap_fs_replace(nt.loop, NT_PATH(to), data, 1 << 16, 0644, &f[2]);
        neap_fs_readdir(nt.loop, NT_PATH(dir), 0, &f[3]);
        neap_fs_realpath(nt.loop, NT_PATH(from), &f[4]);
        neap_fs_stat(nt.loop, NT_PATH(from), 0, &f[5]);
        neap_file_open(nt.loop, NT_PATH(from), NEAP_OPEN_READ, 0, &f[6]);
        neap_fs_write(nt.loop, NT_PATH(to), data, 1 << 20, 0, 0644, &f[7]);
        for (int k = 0; k < i / 4; k++)
            neap_loop_run_once(nt.loop, NT_MS / 10);
        for (int k = 0; k < 8; k++)
            neap_future_cancel(f[k], NULL);
        for (int k = 0; k < 8; k++)
            neap_future_ignore(f[k]);
        (void)end_all(f, 8);
    }
    nt_settle();
}

NT_MAIN(NT_TEST_DIR(a_cancel_answers_at_once), NT_TEST_DIR(a_cancelled_read_leaves_the_position),
        NT_TEST_DIR(one_that_waits_for_its_turn_never_begins),
        NT_TEST_DIR(the_position_is_behind_what_a_cancelled_write_has_written),
        NT_TEST_DIR(bytes_of_a_pipe_are_not_lost),
        NT_TEST_DIR(bytes_of_a_pipe_that_are_given_up_twice_are_not_lost),
        NT_TEST_DIR(what_was_made_for_a_name_that_nobody_heard_is_removed),
        NT_TEST_DIR(a_cancelled_close_closes), NT_TEST_DIR(whatever_is_cancelled_leaves_nothing))
