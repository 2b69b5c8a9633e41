/* Files under failing memory: as test_sock.c.  What cannot be begun says so and changes nothing; what has begun ends. */
#include <string.h>

#include "files.h"

static char path[4096];

/* Runs until the future is done, and ends it: the outcome.  A call that did not begin answers its code. */
static int32_t outcome(neap_loop *loop, int32_t code, neap_future **future) {
    if (code != NEAP_PENDING) {
        assert_code(code, NEAP_ENOMEM);
        assert_null(*future);
        return code;
    }
    for (int i = 0; i < 10000 && !neap_future_done(*future); i++) {
        int32_t n = neap_loop_run_once(loop, NT_MS);
        assert_true(n >= 0 || n == NEAP_ENOMEM);
    }
    code = neap_future_error(*future);
    assert_true(code == 0 || code == NEAP_ENOMEM);
    return code;
}

static void end(neap_loop *loop) {
    assert_ok(neap_loop_close(loop, 0));
    neap_loop_unref(loop);
}

static neap_file *open_it(neap_loop *loop, uint32_t how) {
    neap_future *future = NULL;
    neap_file *file = NULL;
    int32_t code = neap_file_open(loop, NT_PATH(path), how, 0644, &future);
    if (outcome(loop, code, &future) == 0)
        assert_ok(neap_future_take_file(future, &file));
    neap_future_unref(future);
    return file;
}

static void a_file_is_written_read_and_closed(void) {
    neap_loop *loop = nt_fault_loop(0);
    if (loop == NULL)
        return;
    neap_file *file =
        open_it(loop, NEAP_OPEN_READ | NEAP_OPEN_WRITE | NEAP_OPEN_CREATE | NEAP_OPEN_TRUNCATE);
    neap_future *future = NULL;
    if (file != NULL) {
        int32_t code = neap_file_write(file, "text", 4, &future);
        int32_t written = outcome(loop, code, &future);
        neap_future_unref(future);
        future = NULL;
        code = neap_file_pread(file, 0, 10, NEAP_WANT_FUTURE, NULL, &future);
        if (outcome(loop, code, &future) == 0) {
            const void *data;
            size_t len;
            assert_ok(neap_future_get_bytes(future, &data, &len));
            assert_int_equal(len, written == 0 ? 4 : 0);
        }
        neap_future_unref(future);
        future = NULL;
        code = neap_file_close(file, &future);
        outcome(loop, code, &future);
        neap_future_unref(future);
        neap_file_unref(file);
    }
    end(loop);
}

static void a_file_that_is_let_go_of_is_closed(void) {
    neap_loop *loop = nt_fault_loop(0);
    if (loop == NULL)
        return;
    neap_file *file = open_it(loop, NEAP_OPEN_WRITE | NEAP_OPEN_CREATE);
    neap_file_unref(file);
    end(loop);
}

static void whole_files_and_directories(void) {
    neap_loop *loop = nt_fault_loop(0);
    if (loop == NULL)
        return;
    neap_future *f[5] = {NULL};
    int32_t code[5];
    code[0] = neap_fs_write(loop, NT_PATH(path), "text", 4, 0, 0644, &f[0]);
    code[1] = neap_fs_readdir(loop, "/dev", 4, 0, &f[1]);
    code[2] = neap_fs_read(loop, "/proc/self/status", 17, &f[2]);
    code[3] = neap_fs_replace(loop, NT_PATH(path), "more", 4, 0644, &f[3]);
    code[4] = neap_fs_realpath(loop, "/tmp", 4, &f[4]);
    for (int i = 0; i < 5; i++) {
        outcome(loop, code[i], &f[i]);
        neap_future_unref(f[i]);
    }
    end(loop);
}

static void T(void **state, void (*scenario)(void)) {
    (void)state;
    strcpy(path, nt_path("file"));
    nt_fault(scenario);
}

static void under_failing_memory_a_file(void **state) {
    T(state, a_file_is_written_read_and_closed);
}

static void under_failing_memory_a_file_that_nobody_has(void **state) {
    T(state, a_file_that_is_let_go_of_is_closed);
}

static void under_failing_memory_whole_files(void **state) {
    T(state, whole_files_and_directories);
}

NT_MAIN(NT_TEST_DIR_BARE(under_failing_memory_a_file),
        NT_TEST_DIR_BARE(under_failing_memory_a_file_that_nobody_has),
        NT_TEST_DIR_BARE(under_failing_memory_whole_files))
