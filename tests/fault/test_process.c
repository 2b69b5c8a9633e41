/* Processes under failing memory: as test_core.c.  Nothing is left of a child that could not be kept. */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "support.h"

static int ok(int32_t code) {
    if (code < 0)
        assert_int_equal(code, NEAP_ENOMEM);
    return code >= 0;
}

static void end(neap_loop *loop) {
    siginfo_t info;
    assert_ok(neap_loop_close(loop, 0));
    neap_loop_unref(loop);
    assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT), -1);
    assert_int_equal(errno, ECHILD);
}

static void await_end(neap_loop *loop, neap_process *p, neap_future **waits, int n) {
    neap_process_status status;
    while (neap_process_get_status(p, &status, sizeof status) == NEAP_EPENDING)
        (void)ok(neap_loop_run_once(loop, NT_SEC));
    assert_int_equal(status.code, 3);
    for (int i = 0; i < n; i++) {
        if (waits[i] != NULL)
            assert_int_equal(neap_future_done(waits[i]), 1);
        neap_future_unref(waits[i]);
    }
}

static void a_process_is_started_and_awaited(void) {
    neap_loop *loop = nt_fault_loop(0);
    if (loop == NULL)
        return;
    const neap_process_fd fds[] = {{0, NEAP_PROCESS_NULL, 0}, {1, NEAP_PROCESS_PIPE_OUT, 0}};
    neap_process_options o = {.size = sizeof o,
                              .args = (const char *const[]){"sh", "-c", "exit 3", NULL},
                              .env = (const char *const[]){"A=b", NULL},
                              .fds = fds,
                              .n_fds = 2,
                              .flags = NEAP_PROCESS_KILL};
    neap_process *p = NULL;
    if (ok(neap_process_spawn(loop, &o, &p))) {
        neap_future *waits[2] = {NULL, NULL};
        for (int i = 0; i < 2; i++) {
            int32_t rc = neap_process_wait(p, &waits[i]);
            if (rc != NEAP_PENDING)
                (void)ok(rc);
        }
        await_end(loop, p, waits, 2);
        neap_process_unref(p);
    } else {
        assert_null(p);
    }
    end(loop);
}

static void a_program_is_not_there(void) {
    neap_loop *loop = nt_fault_loop(0);
    if (loop == NULL)
        return;
    neap_process_options o = {.size = sizeof o, .args = (const char *const[]){"/nowhere", NULL}};
    neap_process *p = NULL;
    int32_t rc = neap_process_spawn(loop, &o, &p);
    assert_true(rc == NEAP_ENOENT || rc == NEAP_ENOMEM);
    assert_null(p);
    end(loop);
}

#define SWEEP(scenario)                                         \
    static void under_failing_memory_##scenario(void **state) { \
        (void)state;                                            \
        nt_fault(scenario);                                     \
    }

SWEEP(a_process_is_started_and_awaited)
SWEEP(a_program_is_not_there)

NT_MAIN(NT_TEST_BARE(under_failing_memory_a_process_is_started_and_awaited),
        NT_TEST_BARE(under_failing_memory_a_program_is_not_there))
