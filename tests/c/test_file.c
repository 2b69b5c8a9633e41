/* Open files: reading, writing, the position, closing; on special files too. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "net.h"

enum {
    READ = NEAP_OPEN_READ,
    WRITE = NEAP_OPEN_WRITE | NEAP_OPEN_CREATE,
    BOTH = READ | WRITE,
    BIG = 700 * 1024
};

static void put(neap_file *file, const char *text) {
    neap_future *future = NULL;
    int32_t code = neap_file_write(file, text, strlen(text), &future);
    assert_ok(nt_await(code, future));
    assert_int_equal(nt_int(future), strlen(text));
    neap_future_unref(future);
}

static int64_t seek(neap_file *file, int64_t offset, int32_t whence) {
    neap_future *future = NULL;
    int64_t at = -1;
    int32_t code = neap_file_seek(file, offset, whence, &at, &future);
    if (code == NEAP_PENDING) {
        code = nt_await(code, future);
        at = code < 0 ? code : nt_int(future);
        neap_future_unref(future);
    }
    return code < 0 ? code : at;
}

/* ---- Opening ------------------------------------------------------------------------------ */

static int32_t open_code(const char *path, size_t len, uint32_t how) {
    neap_future *future = NULL;
    int32_t code = neap_file_open(nt.loop, path, len, how, 0644, &future);
    return code == NEAP_PENDING ? nt_done(code, &future) : code;
}

static void what_cannot_be_opened_says_why(void **state) {
    (void)state;
    const char *path = nt_path("none");
    assert_code(open_code(NT_PATH(path), READ), NEAP_ENOENT);
    assert_code(open_code(NT_PATH("/tmp"), WRITE), NEAP_EISDIR);
    nt_put_file("there", "x", 1);
    path = nt_path("there");
    assert_code(open_code(NT_PATH(path), WRITE | NEAP_OPEN_EXCL), NEAP_EEXIST);
    path = nt_path("there/below");
    assert_code(open_code(NT_PATH(path), READ), NEAP_ENOTDIR);
}

static void a_path_with_a_zero_inside_is_refused(void **state) {
    (void)state;
    assert_code(open_code("/tmp\0x", 6, READ), NEAP_EVALUE);
    assert_code(open_code(NULL, 0, READ), NEAP_EINVAL);
    assert_code(open_code("/tmp", 4, 0), NEAP_EINVAL);
    assert_code(open_code("/tmp", 4, 1u << 30), NEAP_EINVAL);
}

static void a_path_that_is_too_long_is_refused_by_the_system(void **state) {
    (void)state;
    static char path[10000];
    memset(path, 'a', sizeof path);
    path[0] = '/';
    assert_code(open_code(path, sizeof path, READ), -ENAMETOOLONG);
}

static void a_path_need_not_end_with_a_zero(void **state) {
    (void)state;
    char path[4096];
    nt_put_file("file", "x", 1);
    strcpy(path, nt_path("file"));
    size_t len = strlen(path);
    strcat(path, "rest");
    assert_ok(open_code(path, len, READ));
}

static void an_open_file_knows_its_path_and_descriptor(void **state) {
    (void)state;
    neap_file *file = nt_open("file", BOTH);
    assert_string_equal(neap_file_path(file), nt_path("file"));
    assert_ptr_equal(neap_file_loop(file), nt.loop);
    neap_fd fd = neap_file_fd(file);
    assert_true(fd >= 0);
    assert_int_equal(fcntl((int)fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    nt_close(neap_file_ref(file));
    assert_int_equal(neap_file_fd(file), NEAP_ECLOSED);
    neap_file_unref(file);
}

static void a_file_that_nobody_takes_is_closed(void **state) {
    (void)state;
    int fds = nt_fd_count();
    neap_future *future = NULL;
    neap_file *file = NULL;
    const char *path = nt_path("file");
    int32_t code = neap_file_open(nt.loop, NT_PATH(path), BOTH, 0644, &future);
    assert_ok(nt_await(code, future));
    assert_int_equal(neap_future_kind(future), NEAP_KIND_FILE);
    assert_ok(neap_future_take_file(future, &file));
    assert_code(neap_future_take_file(future, &file), NEAP_EINVALID_STATE);
    neap_future_unref(future);
    neap_file_unref(file);
    assert_ok(open_code(NT_PATH(path), READ)); /* whose future goes with the file in it */
    for (int i = 0; i < 20000 && nt_fd_count() > fds + 1; i++)
        neap_loop_run_once(nt.loop, NT_MS);
    nt_settle();
}

/* ---- Reading and writing ------------------------------------------------------------------- */

static void what_is_written_is_read(void **state) {
    (void)state;
    neap_file *file = nt_open("file", BOTH | NEAP_OPEN_TRUNCATE);
    put(file, "hello ");
    put(file, "world");
    nt_assert_file("file", "hello world");
    assert_int_equal(seek(file, 0, NEAP_SEEK_SET), 0);
    nt_assert_read(file, 5, "hello");
    nt_assert_read(file, 100, " world");
    nt_assert_read(file, 100, "");
    nt_close(file);
}

static void a_storm_of_signals_disturbs_no_file(void **state) {
    (void)state;
    net_storm_begin();
    do {
        neap_file *file = nt_open("file", BOTH | NEAP_OPEN_TRUNCATE);
        put(file, "hello world");
        assert_int_equal(seek(file, -5, NEAP_SEEK_END), 6);
        nt_assert_read(file, 100, "world");
        nt_close(file);
        assert_code(open_code(NT_PATH("/nowhere"), READ), NEAP_ENOENT);
    } while (net_storms() < 100);
    net_storm_end();
}

static void large_pieces_go_and_come_whole(void **state) {
    (void)state;
    static char data[BIG];
    neap_future *future = NULL;
    const void *got;
    size_t n;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 31 + i / 977);
    neap_file *file = nt_open("file", BOTH);
    int32_t code = neap_file_write(file, data, sizeof data, &future);
    assert_ok(nt_done(code, &future));
    code = neap_file_pread(file, 0, sizeof data + 10, 0, NULL, &future);
    assert_code(code, NEAP_EINVAL);
    neap_buf *buf = NULL;
    code = neap_file_pread(file, 0, sizeof data + 10, 0, &buf, &future);
    assert_ok(nt_await(code, future));
    assert_ok(neap_future_get_bytes(future, &got, &n));
    assert_int_equal(n, sizeof data);
    assert_memory_equal(got, data, n);
    neap_future_unref(future);
    nt_close(file);
}

static void what_is_in_memory_comes_at_once(void **state) {
    (void)state;
    neap_buf *buf = NULL;
    nt_put_file("file", "cached", 6);
    neap_file *file = nt_open("file", READ);
    int32_t code = neap_file_read(file, 100, NEAP_NOWAIT, &buf, NULL);
    if (code == NEAP_EAGAIN) { /* a file system that cannot tell */
        nt_assert_read(file, 100, "cached");
    } else {
        assert_int_equal(code, 6);
        assert_memory_equal(neap_buf_data(buf), "cached", 6);
        neap_buf_unref(buf);
    }
    nt_close(file);
}

static void a_future_is_had_on_request(void **state) {
    (void)state;
    neap_future *future = NULL;
    nt_put_file("file", "cached", 6);
    neap_file *file = nt_open("file", READ);
    int32_t code = neap_file_read(file, 100, NEAP_WANT_FUTURE, NULL, &future);
    assert_ok(nt_await(code, future));
    assert_int_equal(neap_future_kind(future), NEAP_KIND_BYTES);
    neap_future_unref(future);
    nt_close(file);
}

static void the_order_of_calls_is_the_order_in_the_file(void **state) {
    (void)state;
    enum {
        N = 200
    };
    neap_future *futures[N];
    char expected[N + 1] = "";
    neap_file *file = nt_open("file", BOTH);
    for (int i = 0; i < N; i++) {
        expected[i] = (char)('a' + i % 26);
        assert_code(neap_file_write(file, &expected[i], 1, &futures[i]), NEAP_PENDING);
    }
    for (int i = 0; i < N; i++) {
        nt_until(futures[i]);
        neap_future_unref(futures[i]);
    }
    nt_assert_file("file", expected);
    nt_close(file);
}

static void reads_that_wait_get_consecutive_pieces(void **state) {
    (void)state;
    neap_future *futures[4];
    const void *data;
    size_t n;
    nt_put_file("file", "0123456789", 10);
    neap_file *file = nt_open("file", READ);
    for (int i = 0; i < 4; i++)
        assert_code(neap_file_read(file, 3, NEAP_WANT_FUTURE, NULL, &futures[i]), NEAP_PENDING);
    for (int i = 0; i < 4; i++) {
        nt_until(futures[i]);
        assert_ok(neap_future_get_bytes(futures[i], &data, &n));
        nt_note("%.*s", (int)n, (const char *)data);
        neap_future_unref(futures[i]);
    }
    assert_notes("012 345 678 9");
    nt_close(file);
}

static void pread_and_pwrite_leave_the_position(void **state) {
    (void)state;
    neap_future *future = NULL;
    neap_buf *buf = NULL;
    nt_put_file("file", "0123456789", 10);
    neap_file *file = nt_open("file", BOTH);
    nt_assert_read(file, 2, "01");
    int32_t code = neap_file_pwrite(file, 5, "XY", 2, &future);
    assert_ok(nt_done(code, &future));
    code = neap_file_pread(file, 4, 4, 0, &buf, &future);
    if (code == NEAP_PENDING)
        assert_ok(nt_done(code, &future));
    else
        assert_memory_equal(neap_buf_data(buf), "4XY7", 4);
    neap_buf_unref(buf);
    nt_assert_read(file, 4, "234X");
    nt_assert_file("file", "01234XY789");
    assert_code(neap_file_pread(file, -1, 4, 0, &buf, &future), NEAP_EINVAL);
    nt_close(file);
}

static void appending_goes_to_the_end_wherever_that_is(void **state) {
    (void)state;
    nt_put_file("file", "one", 3);
    neap_file *file = nt_open("file", READ | NEAP_OPEN_APPEND);
    put(file, " two");
    neap_file *other = nt_open("file", NEAP_OPEN_APPEND);
    put(other, " three");
    put(file, " four");
    nt_assert_file("file", "one two three four");
    assert_int_equal(seek(file, 0, NEAP_SEEK_CUR), 18);
    assert_int_equal(seek(file, 4, NEAP_SEEK_SET), 4);
    nt_assert_read(file, 3, "two");
    nt_close(file);
    nt_close(other);
}

static void seeking_says_where_it_led(void **state) {
    (void)state;
    nt_put_file("file", "0123456789", 10);
    neap_file *file = nt_open("file", READ);
    assert_int_equal(seek(file, 3, NEAP_SEEK_SET), 3);
    assert_int_equal(seek(file, 2, NEAP_SEEK_CUR), 5);
    assert_int_equal(seek(file, -4, NEAP_SEEK_END), 6);
    nt_assert_read(file, 2, "67");
    assert_int_equal(seek(file, -1, NEAP_SEEK_SET), NEAP_EINVAL);
    assert_int_equal(seek(file, -11, NEAP_SEEK_END), NEAP_EINVAL);
    assert_int_equal(seek(file, INT64_MAX, NEAP_SEEK_CUR), NEAP_EINVAL);
    assert_int_equal(seek(file, 0, 3), NEAP_EINVAL);
    nt_assert_read(file, 2, "89");
    nt_close(file);
}

static void a_seek_waits_for_what_was_called_before(void **state) {
    (void)state;
    neap_future *first = NULL, *second = NULL;
    int64_t at = 0;
    neap_file *file = nt_open("file", BOTH);
    assert_code(neap_file_write(file, "abc", 3, &first), NEAP_PENDING);
    assert_code(neap_file_seek(file, 2, NEAP_SEEK_CUR, &at, &second), NEAP_PENDING);
    nt_until(second);
    assert_int_equal(nt_int(second), 5);
    assert_int_equal(neap_future_done(first), 1);
    neap_future_unref(first);
    neap_future_unref(second);
    nt_close(file);
}

static void files_beyond_two_gigabytes_work(void **state) {
    (void)state;
    const int64_t far = INT64_C(5) << 30;
    neap_future *future = NULL;
    neap_stat st;
    neap_file *file = nt_open("file", BOTH);
    assert_int_equal(seek(file, far, NEAP_SEEK_SET), far);
    put(file, "far");
    assert_int_equal(seek(file, -2, NEAP_SEEK_END), far + 1);
    nt_assert_read(file, 10, "ar");
    int32_t code = neap_file_stat(file, &future);
    assert_ok(nt_await(code, future));
    assert_ok(neap_future_get_stat(future, &st, sizeof st));
    assert_int_equal(st.bytes, far + 3);
    assert_true(st.allocated < 1 << 20);
    neap_future_unref(future);
    code = neap_file_truncate(file, 2, &future);
    assert_ok(nt_done(code, &future));
    nt_assert_file("file", "");
    nt_close(file);
}

static void a_file_can_be_synced(void **state) {
    (void)state;
    neap_future *future = NULL;
    neap_file *file = nt_open("file", BOTH);
    put(file, "x");
    int32_t code = neap_file_sync(file, 0, &future);
    assert_ok(nt_done(code, &future));
    code = neap_file_sync(file, 1, &future);
    assert_ok(nt_done(code, &future));
    nt_close(file);
}

/* ---- When it does not go well ---------------------------------------------------------------- */

static neap_file *open_path(const char *path, uint32_t how) {
    neap_future *future = NULL;
    neap_file *file = NULL;
    int32_t code = neap_file_open(nt.loop, NT_PATH(path), how, 0644, &future);
    assert_ok(nt_await(code, future));
    assert_ok(neap_future_take_file(future, &file));
    neap_future_unref(future);
    return file;
}

static int32_t write_code(neap_file *file, const void *data, size_t len, int64_t *ret_partial) {
    neap_future *future = NULL;
    int32_t code = neap_file_write(file, data, len, &future);
    code = nt_await(code, future);
    *ret_partial = neap_future_partial(future);
    neap_future_unref(future);
    return code;
}

static void a_full_device_is_reported(void **state) {
    (void)state;
    int64_t partial = -1;
    neap_file *file = open_path("/dev/full", NEAP_OPEN_WRITE);
    assert_code(write_code(file, "abc", 3, &partial), NEAP_ENOSPC);
    assert_int_equal(partial, 0);
    nt_close(file);
}

static void a_write_that_the_limit_cuts_tells_how_much_went(void **state) {
    (void)state;
    static char data[100000];
    struct rlimit before, limit;
    int64_t partial = -1;
    neap_file *file = nt_open("file", WRITE);
    getrlimit(RLIMIT_FSIZE, &before);
    limit = before;
    limit.rlim_cur = 65536;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    int32_t code = write_code(file, data, sizeof data, &partial);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_DFL);
    assert_code(code, NEAP_EFBIG);
    assert_int_equal(partial, 65536);
    assert_int_equal(seek(file, 0, NEAP_SEEK_CUR), 65536);
    nt_close(file);
}

static void what_was_opened_for_reading_only_cannot_be_written(void **state) {
    (void)state;
    int64_t partial;
    nt_put_file("file", "x", 1);
    neap_file *file = nt_open("file", READ);
    assert_code(write_code(file, "abc", 3, &partial), NEAP_EBADF);
    nt_close(file);
}

static void a_directory_cannot_be_read(void **state) {
    (void)state;
    neap_future *future = NULL;
    neap_buf *buf = NULL;
    neap_file *file = open_path("/tmp", READ);
    int32_t code = neap_file_read(file, 10, 0, &buf, &future);
    assert_code(nt_done(code, &future), NEAP_EISDIR);
    code = neap_file_read(file, 100 << 20, 0, &buf, &future);
    assert_code(nt_done(code, &future), NEAP_EISDIR);
    nt_close(file);
}

static void special_files_are_files(void **state) {
    (void)state;
    neap_file *file = open_path("/dev/null", READ | NEAP_OPEN_WRITE);
    put(file, "gone");
    nt_assert_read(file, 10, "");
    nt_close(file);
    file = open_path("/dev/zero", READ);
    neap_future *future = NULL;
    neap_buf *buf = NULL;
    const void *data;
    size_t n = 0;
    int32_t code = neap_file_read(file, 3 << 20, 0, &buf, &future);
    assert_ok(nt_await(code, future));
    assert_ok(neap_future_get_bytes(future, &data, &n));
    assert_int_equal(n, 3 << 20);
    neap_future_unref(future);
    nt_close(file);
}

static void nothing_waits_for_the_other_end_of_a_pipe(void **state) {
    (void)state;
    neap_future *future = NULL;
    neap_buf *buf = NULL;
    int64_t at;
    const char *path = nt_path("fifo");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_code(open_code(NT_PATH(path), NEAP_OPEN_WRITE), -ENXIO);
    neap_file *file = nt_open("fifo", READ | NEAP_OPEN_WRITE);
    int32_t code = neap_file_read(file, 10, 0, &buf, &future);
    assert_code(nt_done(code, &future), NEAP_EAGAIN);
    put(file, "through");
    nt_assert_read(file, 10, "through");
    assert_code(neap_file_seek(file, 0, NEAP_SEEK_SET, &at, &future), NEAP_ESPIPE);
    nt_close(file);
}

/* ---- Closing ---------------------------------------------------------------------------------- */

static void a_closed_file_refuses_everything(void **state) {
    (void)state;
    neap_future *future = NULL;
    neap_buf *buf = NULL;
    int64_t at;
    neap_file *file = nt_open("file", BOTH);
    nt_close(neap_file_ref(file));
    assert_code(neap_file_read(file, 1, 0, &buf, &future), NEAP_ECLOSED);
    assert_code(neap_file_write(file, "x", 1, &future), NEAP_ECLOSED);
    assert_code(neap_file_seek(file, 0, NEAP_SEEK_SET, &at, &future), NEAP_ECLOSED);
    assert_code(neap_file_stat(file, &future), NEAP_ECLOSED);
    assert_code(neap_file_sync(file, 0, &future), NEAP_ECLOSED);
    assert_code(neap_file_truncate(file, 0, &future), NEAP_ECLOSED);
    assert_ok(neap_file_close(file, &future));
    assert_null(future);
    neap_file_unref(file);
}

static void closing_ends_what_is_under_way(void **state) {
    (void)state;
    static char data[BIG];
    neap_future *futures[8], *closing = NULL;
    neap_file *file = nt_open("file", BOTH);
    for (int i = 0; i < 8; i++)
        assert_code(neap_file_write(file, data, sizeof data, &futures[i]), NEAP_PENDING);
    assert_code(neap_file_close(file, &closing), NEAP_PENDING);
    for (int i = 0; i < 8; i++) {
        assert_code(neap_future_error(futures[i]), NEAP_ECLOSED);
        neap_future_unref(futures[i]);
    }
    assert_ok(nt_done(NEAP_PENDING, &closing));
    neap_file_unref(file);
}

static void a_loop_may_close_with_files_at_work(void **state) {
    (void)state;
    static char data[BIG];
    neap_loop *loop = nt_loop_new(0);
    neap_future *opening = NULL, *reading = NULL, *writing = NULL;
    neap_file *file = NULL;
    const char *path = nt_path("file");
    int32_t code = neap_file_open(loop, NT_PATH(path), BOTH, 0644, &opening);
    assert_code(code, NEAP_PENDING);
    assert_ok(neap_loop_run_until(loop, opening));
    assert_ok(neap_future_take_file(opening, &file));
    assert_code(neap_file_write(file, data, sizeof data, &writing), NEAP_PENDING);
    assert_code(neap_file_read(file, 10, NEAP_WANT_FUTURE, NULL, &reading), NEAP_PENDING);
    neap_future_unref(opening);
    assert_code(neap_file_open(loop, NT_PATH(path), READ, 0, &opening), NEAP_PENDING);
    assert_ok(neap_loop_close(loop, 0));
    assert_int_equal(neap_file_fd(file), NEAP_ECLOSED);
    assert_code(neap_future_error(writing), NEAP_ECLOSED);
    assert_code(neap_future_error(reading), NEAP_ECLOSED);
    assert_code(neap_future_error(opening), NEAP_ECLOSED);
    neap_future_unref(opening);
    neap_future_unref(reading);
    neap_future_unref(writing);
    neap_file_unref(file);
    neap_loop_unref(loop);
}

static void an_adopted_descriptor_goes_on_where_it_stands(void **state) {
    (void)state;
    neap_file *file = NULL;
    nt_put_file("file", "0123456789", 10);
    int fd = open(nt_path("file"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(lseek(fd, 4, SEEK_SET), 4);
    assert_ok(neap_file_adopt(nt.loop, fd, &file));
    assert_int_equal(neap_file_fd(file), fd);
    assert_string_equal(neap_file_path(file), "");
    nt_assert_read(file, 3, "456");
    nt_close(file);
    assert_code(neap_file_adopt(nt.loop, fd, &file), NEAP_EBADF);
}

static void thousands_of_operations_at_once_all_end(void **state) {
    (void)state;
    enum {
        N = 4000
    };
    static neap_future *futures[N];
    neap_file *file = nt_open("file", BOTH);
    for (int i = 0; i < N; i++) {
        char c = (char)('a' + i % 26);
        assert_code(neap_file_pwrite(file, i, &c, 1, &futures[i]), NEAP_PENDING);
    }
    for (int i = 0; i < N; i++) {
        nt_until(futures[i]);
        assert_int_equal(nt_int(futures[i]), 1);
        neap_future_unref(futures[i]);
    }
    assert_int_equal(seek(file, 0, NEAP_SEEK_END), N);
    nt_assert_read(file, 1, "");
    assert_int_equal(seek(file, 25, NEAP_SEEK_SET), 25);
    nt_assert_read(file, 3, "zab");
    nt_close(file);
}

NT_MAIN(NT_TEST_DIR(what_cannot_be_opened_says_why),
        NT_TEST_DIR(a_path_with_a_zero_inside_is_refused),
        NT_TEST_DIR(a_path_that_is_too_long_is_refused_by_the_system),
        NT_TEST_DIR(a_path_need_not_end_with_a_zero),
        NT_TEST_DIR(an_open_file_knows_its_path_and_descriptor),
        NT_TEST_DIR(a_file_that_nobody_takes_is_closed), NT_TEST_DIR(what_is_written_is_read),
        NT_TEST_DIR(a_storm_of_signals_disturbs_no_file),
        NT_TEST_DIR(large_pieces_go_and_come_whole), NT_TEST_DIR(what_is_in_memory_comes_at_once),
        NT_TEST_DIR(a_future_is_had_on_request),
        NT_TEST_DIR(the_order_of_calls_is_the_order_in_the_file),
        NT_TEST_DIR(reads_that_wait_get_consecutive_pieces),
        NT_TEST_DIR(pread_and_pwrite_leave_the_position),
        NT_TEST_DIR(appending_goes_to_the_end_wherever_that_is),
        NT_TEST_DIR(seeking_says_where_it_led),
        NT_TEST_DIR(a_seek_waits_for_what_was_called_before),
        NT_TEST_DIR(files_beyond_two_gigabytes_work), NT_TEST_DIR(a_file_can_be_synced),
        NT_TEST_DIR(a_full_device_is_reported),
        NT_TEST_DIR(a_write_that_the_limit_cuts_tells_how_much_went),
        NT_TEST_DIR(what_was_opened_for_reading_only_cannot_be_written),
        NT_TEST_DIR(a_directory_cannot_be_read), NT_TEST_DIR(special_files_are_files),
        NT_TEST_DIR(nothing_waits_for_the_other_end_of_a_pipe),
        NT_TEST_DIR(a_closed_file_refuses_everything), NT_TEST_DIR(closing_ends_what_is_under_way),
        NT_TEST_DIR(a_loop_may_close_with_files_at_work),
        NT_TEST_DIR(an_adopted_descriptor_goes_on_where_it_stands),
        NT_TEST_DIR(thousands_of_operations_at_once_all_end))
