/* Child processes: how they begin, what they get, how their end is heard, and that nothing of them is left. */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SH(line) ((const char *const[]){"/bin/sh", "-c", (line), NULL})

static const neap_process_fd OUT = {1, NEAP_PROCESS_PIPE_OUT, 0};
static const neap_process_fd IN_AND_OUT[] = {{0, NEAP_PROCESS_PIPE_IN, 0},
                                             {1, NEAP_PROCESS_PIPE_OUT, 0}};

/* ---- Helpers --------------------------------------------------------------------------------- */

static neap_process_options with(const char *const *args, uint32_t flags) {
    return (neap_process_options){
        .size = sizeof(neap_process_options), .args = args, .flags = flags};
}

static neap_process *spawn(const neap_process_options *o) {
    neap_process *p = NULL;
    assert_ok(neap_process_spawn(nt.loop, o, &p));
    assert_true(neap_process_pid(p) > 0);
    return p;
}

static neap_process *run(const char *line, uint32_t flags) {
    neap_process_options o = with(SH(line), flags);
    return spawn(&o);
}

/* A shell whose output is read. */
static neap_process *run_to(const char *line, uint32_t flags, int *ret_fd) {
    neap_process_options o = with(SH(line), flags);
    o.fds = &OUT;
    o.n_fds = 1;
    neap_process *p = spawn(&o);
    *ret_fd = (int)neap_process_take_fd(p, 1);
    assert_true(*ret_fd >= 0);
    return p;
}

static neap_process_status await_end(neap_process *p) {
    neap_future *f = NULL;
    neap_process_status s = {0};
    int32_t rc = neap_process_wait(p, &f);
    if (rc == NEAP_PENDING) {
        nt_until(f);
        assert_state(f, NEAP_STATE_RESULT);
        neap_future_unref(f);
        rc = neap_process_wait(p, NULL);
    }
    assert_ok(rc);
    assert_int_equal(neap_process_get_status(p, &s, sizeof s), sizeof s);
    return s;
}

static void ends_with(neap_process *p, int32_t how, int32_t code) {
    neap_process_status s = await_end(p);
    assert_int_equal(s.how, how);
    assert_int_equal(s.code, code);
    neap_process_unref(p);
}

/* All that comes until the other side closes; the descriptor is ours and non-blocking. */
static const char *read_all(int fd) {
    static char text[65536];
    size_t len = 0;
    for (;;) {
        ssize_t n = read(fd, text + len, sizeof text - 1 - len);
        if (n == 0)
            break;
        if (n < 0) {
            struct pollfd p = {fd, POLLIN, 0};
            assert_true(errno == EAGAIN || errno == EINTR);
            poll(&p, 1, -1);
            continue;
        }
        len += (size_t)n;
    }
    close(fd);
    text[len] = '\0';
    return text;
}

static const char *output_of(const neap_process_options *options) {
    neap_process_options o = *options;
    if (o.n_fds == 0) {
        o.fds = &OUT;
        o.n_fds = 1;
    }
    neap_process *p = spawn(&o);
    const char *text = read_all((int)neap_process_take_fd(p, 1));
    ends_with(p, NEAP_EXITED, 0);
    return text;
}

/* Neither a living child nor a zombie. */
static void no_child_is_left(void) {
    siginfo_t info = {0};
    assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT), -1);
    assert_int_equal(errno, ECHILD);
}

static void refused(const neap_process_options *options, int32_t code, const char *step) {
    neap_process_options o = *options;
    neap_process *p = NULL;
    const char *failed = NULL;
    int fds = nt_fd_count();
    o.step = &failed;
    assert_code(neap_process_spawn(nt.loop, &o, &p), code);
    assert_null(p);
    assert_string_equal(failed, step);
    assert_int_equal(nt_fd_count(), fds);
    no_child_is_left();
}

/* ---- The end --------------------------------------------------------------------------------- */

static void an_exit_code_is_kept(void **state) {
    (void)state;
    neap_process *p = run("exit 7", 0);
    neap_process_status s = await_end(p);
    assert_int_equal(s.how, NEAP_EXITED);
    assert_int_equal(s.code, 7);
    assert_int_equal(s.dumped, 0);
    assert_true(s.max_rss > 0);
    assert_true(s.user_ns + s.system_ns >= 0);
    assert_int_equal(await_end(p).code, 7);
    neap_process_unref(p);
    no_child_is_left();
}

static void the_signal_that_ended_it_is_told(void **state) {
    (void)state;
    ends_with(run("kill -TERM $$", 0), NEAP_SIGNALED, SIGTERM);
}

static void a_status_of_a_smaller_struct_is_cut(void **state) {
    (void)state;
    neap_process *p = run("exit 3", 0);
    neap_process_status s = await_end(p);
    memset(&s, 0x55, sizeof s);
    size_t old = offsetof(neap_process_status, dumped);
    assert_int_equal(neap_process_get_status(p, &s, old), old);
    assert_int_equal(s.code, 3);
    assert_int_equal(s.dumped, 0x55555555);
    assert_int_equal(s.size, old);
    neap_process_unref(p);
}

static void while_it_runs_there_is_no_status(void **state) {
    (void)state;
    neap_process_status s;
    neap_process *p = run("exec sleep 1000", 0);
    assert_code(neap_process_get_status(p, &s, sizeof s), NEAP_EPENDING);
    assert_code(neap_process_wait(p, NULL), NEAP_EAGAIN);
    assert_ok(neap_process_kill(p, 0));
    assert_ok(neap_process_kill(p, SIGKILL));
    ends_with(p, NEAP_SIGNALED, SIGKILL);
}

static void any_number_may_wait(void **state) {
    (void)state;
    neap_future *waits[5];
    neap_process *p = run("exec sleep 1000", 0);
    for (int i = 0; i < 5; i++)
        assert_code(neap_process_wait(p, &waits[i]), NEAP_PENDING);
    assert_ok(neap_process_kill(p, SIGTERM));
    for (int i = 0; i < 5; i++) {
        nt_until(waits[i]);
        neap_future_unref(waits[i]);
    }
    ends_with(p, NEAP_SIGNALED, SIGTERM);
}

static void a_wait_that_is_cancelled_leaves_the_process_alone(void **state) {
    (void)state;
    neap_future *wait;
    neap_process *p = run("exec sleep 1000", 0);
    assert_code(neap_process_wait(p, &wait), NEAP_PENDING);
    assert_int_equal(neap_future_cancel(wait, NULL), 1);
    assert_state(wait, NEAP_STATE_CANCELLED);
    neap_future_unref(wait);
    assert_ok(neap_process_kill(p, 0));
    assert_ok(neap_process_kill(p, SIGTERM));
    ends_with(p, NEAP_SIGNALED, SIGTERM);
}

static void after_its_end_no_signal_goes_to_its_number(void **state) {
    (void)state;
    neap_process *p = run("exit 0", 0);
    (void)await_end(p);
    assert_code(neap_process_kill(p, SIGTERM), NEAP_ESRCH);
    assert_code(neap_process_kill(p, 0), NEAP_ESRCH);
    neap_process_unref(p);
}

static void a_grandchild_with_its_pipes_does_not_delay_the_end(void **state) {
    (void)state;
    int fd;
    neap_process *p = run_to("sleep 1000 & echo $!; exit 4", NEAP_PROCESS_GROUP, &fd);
    neap_process_status s = await_end(p);
    assert_int_equal(s.code, 4);
    assert_ok(neap_process_kill_group(p, SIGKILL));
    read_all(fd);
    neap_process_unref(p);
}

static void a_stopped_process_has_not_ended(void **state) {
    (void)state;
    neap_future *wait;
    neap_process *p = run("exec sleep 1000", 0);
    assert_ok(neap_process_kill(p, SIGSTOP));
    assert_code(neap_process_wait(p, &wait), NEAP_PENDING);
    for (int i = 0; i < 20; i++)
        assert_true(neap_loop_run_once(nt.loop, NT_MS) >= 0);
    assert_state(wait, NEAP_STATE_PENDING);
    assert_ok(neap_process_kill(p, SIGKILL));
    nt_until(wait);
    neap_future_unref(wait);
    ends_with(p, NEAP_SIGNALED, SIGKILL);
}

/* ---- The beginning --------------------------------------------------------------------------- */

static void a_program_without_a_slash_is_searched(void **state) {
    (void)state;
    neap_process_options o = with((const char *const[]){"true", NULL}, 0);
    ends_with(spawn(&o), NEAP_EXITED, 0);
    o.env = (const char *const[]){"PATH=/nowhere:/bin/true/deeper:/bin:/usr/bin", NULL};
    ends_with(spawn(&o), NEAP_EXITED, 0);
    o.flags = NEAP_PROCESS_CLEAR_ENV;
    o.env = NULL;
    ends_with(spawn(&o), NEAP_EXITED, 0);
    o.env = (const char *const[]){"PATH=/nowhere", NULL};
    refused(&o, NEAP_ENOENT, "exec");
}

static void the_name_that_it_sees_may_differ_from_its_file(void **state) {
    (void)state;
    neap_process_options o = with((const char *const[]){"somebody", "-c", "echo $0", NULL}, 0);
    o.file = "/bin/sh";
    assert_string_equal(output_of(&o), "somebody\n");
}

static void what_cannot_be_run_is_said_with_the_step(void **state) {
    (void)state;
    neap_process_options o = with((const char *const[]){"/nowhere/program", NULL}, 0);
    refused(&o, NEAP_ENOENT, "exec");
    o.args = (const char *const[]){"no-such-program-anywhere", NULL};
    refused(&o, NEAP_ENOENT, "exec");
    o.args = (const char *const[]){"", NULL};
    refused(&o, NEAP_ENOENT, "exec");
    o.args = (const char *const[]){"/etc/passwd", NULL};
    refused(&o, NEAP_EACCES, "exec");
    o.args = (const char *const[]){"passwd", NULL};
    o.env = (const char *const[]){"PATH=/nowhere:/etc:/nowhere", NULL};
    refused(&o, NEAP_EACCES, "exec");
    o.args = (const char *const[]){"/etc/passwd/x", NULL};
    refused(&o, -ENOTDIR, "exec");
    o = with(SH("true"), 0);
    o.cwd = "/nowhere";
    refused(&o, NEAP_ENOENT, "chdir");
    o.cwd = "/etc/passwd";
    refused(&o, -ENOTDIR, "chdir");
}

static void arguments_may_be_too_long(void **state) {
    (void)state;
    size_t len = 8u << 20;
    char *text = malloc(len + 1);
    memset(text, 'x', len);
    text[len] = '\0';
    neap_process_options o = with((const char *const[]){"/bin/true", text, NULL}, 0);
    refused(&o, NEAP_E2BIG, "exec");
    free(text);
}

static void a_file_without_a_header_is_not_handed_to_a_shell(void **state) {
    (void)state;
    char path[] = "/tmp/neap-process-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "exit 0\n", 7), 7);
    assert_int_equal(fchmod(fd, 0700), 0);
    close(fd);
    neap_process_options o = with((const char *const[]){path, NULL}, 0);
    refused(&o, -ENOEXEC, "exec");
    unlink(path);
}

static void a_shortage_of_descriptors_is_said(void **state) {
    (void)state;
    neap_process_options o = with(SH("true"), 0);
    o.fds = (const neap_process_fd[]){
        {1000000000, NEAP_PROCESS_NULL, 0}}; /* more than the limit of any process */
    o.n_fds = 1;
    refused(&o, NEAP_EINVAL, "dup");
    o.fds = (const neap_process_fd[]){{5, NEAP_PROCESS_FD, 1000000}};
    refused(&o, NEAP_EBADF, "dup");
}

static void options_that_make_no_sense_are_refused(void **state) {
    (void)state;
    neap_process *p = NULL;
    neap_process_options o = with(SH("true"), 0);
    struct {
        neap_process_options o;
        uint64_t more;
    } later = {.o = o, .more = 1};
    assert_code(neap_process_spawn(nt.loop, NULL, &p), NEAP_EINVAL);
    assert_code(neap_process_spawn(nt.loop, &o, NULL), NEAP_EINVAL);
    later.o.size = sizeof later;
    assert_code(neap_process_spawn(nt.loop, &later.o, &p), NEAP_E2BIG);
    o.flags = 1u << 31;
    assert_code(neap_process_spawn(nt.loop, &o, &p), NEAP_EINVAL);
    o = with(NULL, 0);
    assert_code(neap_process_spawn(nt.loop, &o, &p), NEAP_EINVAL);
    o = with((const char *const[]){NULL}, 0);
    assert_code(neap_process_spawn(nt.loop, &o, &p), NEAP_EINVAL);
    o = with(SH("true"), 0);
    o.env = (const char *const[]){"=x", NULL};
    assert_code(neap_process_spawn(nt.loop, &o, &p), NEAP_EINVAL);
    const neap_process_fd wrong[][2] = {{{-1, NEAP_PROCESS_NULL, 0}, {3, NEAP_PROCESS_NULL, 0}},
                                        {{3, NEAP_PROCESS_NULL, 0}, {3, NEAP_PROCESS_NULL, 0}},
                                        {{3, 99, 0}, {4, NEAP_PROCESS_NULL, 0}},
                                        {{3, NEAP_PROCESS_FD, -1}, {4, NEAP_PROCESS_NULL, 0}},
                                        {{3, NEAP_PROCESS_SAME, 4}, {4, NEAP_PROCESS_NULL, 0}}};
    o.env = NULL;
    o.n_fds = 2;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        o.fds = wrong[i];
        assert_code(neap_process_spawn(nt.loop, &o, &p), NEAP_EINVAL);
    }
    assert_null(p);
}

/* ---- What it gets ---------------------------------------------------------------------------- */

static void the_environment_is_added_to_or_replaced(void **state) {
    (void)state;
    setenv("NEAP_TEST_A", "old", 1);
    setenv("NEAP_TEST_B", "kept", 1);
    setenv("NEAP_TEST_C", "gone", 1);
    neap_process_options o =
        with(SH("echo $NEAP_TEST_A-$NEAP_TEST_B-$NEAP_TEST_C-$NEAP_TEST_D"), 0);
    assert_string_equal(output_of(&o), "old-kept-gone-\n");
    o.env = (const char *const[]){"NEAP_TEST_D=first", "NEAP_TEST_A=new", "NEAP_TEST_C",
                                  "NEAP_TEST_D=a=b", NULL};
    assert_string_equal(output_of(&o), "new-kept--a=b\n");
    o = with((const char *const[]){"/usr/bin/env", NULL}, NEAP_PROCESS_CLEAR_ENV);
    assert_string_equal(output_of(&o), "");
    o.env = (const char *const[]){"ONLY=this", NULL};
    assert_string_equal(output_of(&o), "ONLY=this\n");
    unsetenv("NEAP_TEST_A");
    unsetenv("NEAP_TEST_B");
    unsetenv("NEAP_TEST_C");
}

static void it_runs_where_it_was_told_to(void **state) {
    (void)state;
    neap_process_options o = with((const char *const[]){"pwd", NULL}, 0);
    o.cwd = "/usr";
    o.env = (const char *const[]){"PWD", NULL};
    assert_string_equal(output_of(&o), "/usr\n");
    o.args = (const char *const[]){"bin/env", "pwd", NULL};
    assert_string_equal(output_of(&o), "/usr\n");
}

static void pipes_carry_what_is_written(void **state) {
    (void)state;
    neap_process_options o = with((const char *const[]){"cat", NULL}, 0);
    o.fds = IN_AND_OUT;
    o.n_fds = 2;
    neap_process *p = spawn(&o);
    int in = (int)neap_process_take_fd(p, 0);
    int out = (int)neap_process_take_fd(p, 1);
    assert_true(fcntl(in, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(out, F_GETFD) & FD_CLOEXEC);
    assert_code(neap_process_take_fd(p, 0), NEAP_EBADF);
    assert_code(neap_process_take_fd(p, 2), NEAP_EBADF);
    assert_int_equal(write(in, "hello", 5), 5);
    close(in);
    assert_string_equal(read_all(out), "hello");
    ends_with(p, NEAP_EXITED, 0);
}

static void its_end_of_a_pipe_blocks_as_programs_expect(void **state) {
    (void)state;
    neap_process_options o =
        with(SH("grep flags /proc/self/fdinfo/1 | cut -f 2; cat <&0 >/dev/null"), 0);
    o.fds = IN_AND_OUT;
    o.n_fds = 2;
    neap_process *p = spawn(&o);
    close((int)neap_process_take_fd(p, 0));
    long flags = strtol(read_all((int)neap_process_take_fd(p, 1)), NULL, 8);
    assert_int_equal(flags & O_NONBLOCK, 0);
    ends_with(p, NEAP_EXITED, 0);
}

static void a_pair_goes_both_ways(void **state) {
    (void)state;
    neap_process_options o = with(SH("read line <&5; echo got $line >&5"), 0);
    o.fds = (const neap_process_fd[]){{5, NEAP_PROCESS_PAIR, 0}};
    o.n_fds = 1;
    neap_process *p = spawn(&o);
    int fd = (int)neap_process_take_fd(p, 5);
    assert_int_equal(write(fd, "x\n", 2), 2);
    assert_string_equal(read_all(fd), "got x\n");
    ends_with(p, NEAP_EXITED, 0);
}

static void what_is_not_taken_is_closed_with_the_process(void **state) {
    (void)state;
    int fds = nt_fd_count();
    neap_process_options o = with((const char *const[]){"cat", NULL}, 0);
    o.fds = IN_AND_OUT;
    o.n_fds = 2;
    neap_process *p = spawn(&o);
    assert_ok(neap_process_kill(p, SIGKILL));
    ends_with(p, NEAP_SIGNALED, SIGKILL);
    assert_int_equal(nt_fd_count(), fds);
}

static int temp_with(const char *text) {
    char path[] = "/tmp/neap-process-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void descriptors_may_swap_their_numbers(void **state) {
    (void)state;
    int a = temp_with("a"), b = temp_with("b");
    neap_process_options o = with(NULL, 0);
    char line[128];
    snprintf(line, sizeof line, "cat <&%d; cat <&%d; cat <&9", a, b);
    const char *const args[] = {"/bin/sh", "-c", line, NULL};
    const neap_process_fd fds[] = {{a, NEAP_PROCESS_FD, b},
                                   {b, NEAP_PROCESS_FD, a},
                                   {1, NEAP_PROCESS_PIPE_OUT, 0},
                                   {9, NEAP_PROCESS_NULL, 0}};
    o.args = args;
    o.fds = fds;
    o.n_fds = 4;
    assert_true(a < 10 && b < 10); /* what a shell can name */
    assert_string_equal(output_of(&o), "ba");
    close(a);
    close(b);
}

static void two_descriptors_may_be_the_same(void **state) {
    (void)state;
    neap_process_options o = with(SH("echo out; echo err >&2"), 0);
    o.fds = (const neap_process_fd[]){{1, NEAP_PROCESS_PIPE_OUT, 0}, {2, NEAP_PROCESS_SAME, 1}};
    o.n_fds = 2;
    assert_string_equal(output_of(&o), "out\nerr\n");
}

static bool has_fd(const char *list, int fd) {
    char line[16];
    snprintf(line, sizeof line, "\n%d\n", fd);
    return strstr(list, line) != NULL;
}

static void other_descriptors_are_closed(void **state) {
    (void)state;
    int stray = dup(STDERR_FILENO); /* not close-on-exec */
    neap_process_options o = with(SH("echo; exec ls /proc/self/fd"), 0);
    const char *list = output_of(&o);
    assert_true(has_fd(list, 0) && has_fd(list, 1));
    assert_false(has_fd(list, stray));
    o.flags = NEAP_PROCESS_KEEP_FDS;
    assert_true(has_fd(output_of(&o), stray));
    o.flags = 0;
    o.fds =
        (const neap_process_fd[]){{1, NEAP_PROCESS_PIPE_OUT, 0}, {stray, NEAP_PROCESS_INHERIT, 0}};
    o.n_fds = 2;
    assert_true(has_fd(output_of(&o), stray));
    close(stray);
}

static void signals_have_their_defaults_and_none_is_blocked(void **state) {
    (void)state;
    struct sigaction old, ignore = {.sa_handler = SIG_IGN};
    sigset_t before, usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigaction(SIGPIPE, &ignore, &old);
    pthread_sigmask(SIG_BLOCK, &usr1, &before);
    neap_process_options o =
        with((const char *const[]){"grep", "Sig[BI]", "/proc/self/status", NULL}, 0);
    assert_string_equal(output_of(&o), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    o.flags = NEAP_PROCESS_KEEP_SIGNALS;
    assert_string_equal(output_of(&o), "SigBlk:\t0000000000000200\nSigIgn:\t0000000000001000\n");
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, &before, &now);
    assert_int_equal(sigismember(&now, SIGUSR1), 1);
    assert_int_equal(sigismember(&now, SIGUSR2), 0);
    sigaction(SIGPIPE, &old, NULL);
}

static void a_session_and_a_group_are_its_own(void **state) {
    (void)state;
    int32_t pid, group, session;
    neap_process_options o = with(SH("cut -d ' ' -f 1,5,6 /proc/$$/stat"), 0);
    assert_int_equal(sscanf(output_of(&o), "%d %d %d", &pid, &group, &session), 3);
    assert_int_equal(group, getpgrp());
    o.flags = NEAP_PROCESS_GROUP;
    assert_int_equal(sscanf(output_of(&o), "%d %d %d", &pid, &group, &session), 3);
    assert_int_equal(group, pid);
    assert_int_equal(session, getsid(0));
    o.flags = NEAP_PROCESS_SESSION;
    assert_int_equal(sscanf(output_of(&o), "%d %d %d", &pid, &group, &session), 3);
    assert_int_equal(group, pid);
    assert_int_equal(session, pid);
}

static void a_signal_to_the_group_reaches_grandchildren(void **state) {
    (void)state;
    int fd;
    neap_process *p = run_to("sleep 1000 & sleep 1000 & wait", NEAP_PROCESS_SESSION, &fd);
    assert_ok(neap_process_kill_group(p, SIGTERM));
    assert_string_equal(read_all(fd), ""); /* nobody has the pipe any more */
    ends_with(p, NEAP_SIGNALED, SIGTERM);
    p = run("exit 0", 0);
    assert_code(neap_process_kill_group(p, SIGTERM), NEAP_EINVALID_STATE);
    ends_with(p, NEAP_EXITED, 0);
    p = run("exit 0", NEAP_PROCESS_GROUP);
    (void)await_end(p);
    assert_code(neap_process_kill_group(p, SIGTERM), NEAP_ESRCH);
    neap_process_unref(p);
}

static void another_user_has_none_of_our_groups(void **state) {
    (void)state;
    neap_process_options o = with((const char *const[]){"sh", "-c", "id -u; id -g; id -G", NULL},
                                  NEAP_PROCESS_UID | NEAP_PROCESS_GID);
    o.uid = o.gid = 65534;
    if (geteuid() != 0) {
        refused(&o, NEAP_EPERM, "setgid");
        return;
    }
    int dumpable = prctl(PR_GET_DUMPABLE);
    assert_string_equal(output_of(&o), "65534\n65534\n65534\n");
    assert_int_equal(prctl(PR_GET_DUMPABLE), dumpable); /* the host is who it was */
    o.groups = (const uint32_t[]){10, 20};
    o.n_groups = 2;
    assert_string_equal(output_of(&o), "65534\n65534\n65534 10 20\n");
    o.uid = ~UINT32_C(0);
    refused(&o, NEAP_EINVAL, "setuid");
}

/* ---- The host -------------------------------------------------------------------------------- */

static volatile sig_atomic_t chld;

static void on_chld(int signo) {
    (void)signo;
    chld++;
}

static void the_hosts_children_are_left_alone(void **state) {
    (void)state;
    struct sigaction mine = {.sa_handler = on_chld}, old, now;
    sigaction(SIGCHLD, &mine, &old);
    pid_t own = fork();
    if (own == 0)
        _exit(9);
    ends_with(run("exit 5", 0), NEAP_EXITED, 5);
    sigaction(SIGCHLD, NULL, &now);
    assert_true(now.sa_handler == on_chld);
    int status;
    assert_int_equal(waitpid(own, &status, 0), own);
    assert_int_equal(WEXITSTATUS(status), 9);
    sigaction(SIGCHLD, &old, NULL);
}

/* Newer kernels tell the status all the same. */
static void end_is_heard(neap_process *p, int32_t code) {
    neap_process_status s = await_end(p);
    assert_true(s.how == NEAP_EXIT_UNKNOWN || (s.how == NEAP_EXITED && s.code == code));
    assert_int_equal(s.max_rss, 0);
    neap_process_unref(p);
}

static void a_host_that_ignores_its_children_hears_of_the_end(void **state) {
    (void)state;
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old;
    sigaction(SIGCHLD, &ignore, &old);
    end_is_heard(run("exit 5", 0), 5);
    neap_process_options o = with((const char *const[]){"/nowhere/program", NULL}, 0);
    refused(&o, NEAP_ENOENT, "exec");
    sigaction(SIGCHLD, &old, NULL);
}

static void a_host_that_reaps_all_hears_of_the_end(void **state) {
    (void)state;
    int status;
    neap_process *p = run("exit 5", 0);
    assert_int_equal(waitpid(-1, &status, 0), neap_process_pid(p));
    end_is_heard(p, 5);
}

static void dropped_with_kill_it_is_killed_and_reaped(void **state) {
    (void)state;
    int fd;
    neap_process_unref(run_to("sleep 1000; echo x", NEAP_PROCESS_KILL | NEAP_PROCESS_GROUP, &fd));
    assert_string_equal(read_all(fd), "");
    for (int i = 0; i < 10000 && neap_loop_alive(nt.loop) == 1; i++)
        neap_loop_run_once(nt.loop, NT_SEC);
    no_child_is_left();
}

static void dropped_without_it_runs_on_and_is_reaped(void **state) {
    (void)state;
    int fd;
    neap_process_unref(run_to("sleep 0.05; echo x", 0, &fd));
    assert_string_equal(read_all(fd), "x\n");
    for (int i = 0; i < 10000 && neap_loop_alive(nt.loop) == 1; i++)
        neap_loop_run_once(nt.loop, NT_SEC);
    no_child_is_left();
}

static void a_loop_that_closes_kills_and_reaps(void **state) {
    (void)state;
    neap_loop *loop = nt_loop_new(0);
    neap_process_options o =
        with(SH("trap '' TERM; sleep 1000 & wait"), NEAP_PROCESS_KILL | NEAP_PROCESS_SESSION);
    neap_process *p = NULL;
    neap_future *wait;
    neap_process_status s;
    assert_ok(neap_process_spawn(loop, &o, &p));
    assert_code(neap_process_wait(p, &wait), NEAP_PENDING);
    assert_ok(neap_loop_close(loop, 0));
    assert_code(neap_future_error(wait), NEAP_ECLOSED);
    assert_true(neap_process_get_status(p, &s, sizeof s) > 0);
    assert_int_equal(s.code, SIGKILL);
    no_child_is_left();
    neap_future_unref(wait);
    neap_process_unref(p);
    neap_loop_unref(loop);
}

static void a_loop_that_closes_leaves_the_others_to_the_host(void **state) {
    (void)state;
    int status;
    neap_loop *loop = nt_loop_new(0);
    neap_process_options o = with(SH("exec sleep 1000"), 0);
    neap_process *p = NULL;
    neap_process_status s;
    assert_ok(neap_process_spawn(loop, &o, &p));
    int32_t pid = neap_process_pid(p);
    assert_ok(neap_loop_close(loop, 0));
    assert_code(neap_process_get_status(p, &s, sizeof s), NEAP_EPENDING);
    assert_code(neap_process_kill(p, SIGKILL), NEAP_ESRCH);
    neap_process_unref(p);
    neap_loop_unref(loop);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

static intptr_t spawn_with_death_signal(void *user) {
    neap_process_options o = with(SH("exec sleep 1000"), 0);
    neap_process *p = NULL;
    neap_loop *loop = nt_loop_new(0);
    (void)user;
    o.death_signal = SIGUSR1;
    int32_t rc = neap_process_spawn(loop, &o, &p);
    intptr_t pid = rc < 0 ? rc : neap_process_pid(p);
    neap_process_unref(p);
    nt_loop_end(loop);
    return pid;
}

static void the_end_of_the_thread_that_started_it_may_signal_it(void **state) {
    (void)state;
    int status;
    pid_t pid = (pid_t)nt_in_thread(spawn_with_death_signal, NULL);
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WTERMSIG(status), SIGUSR1);
}

static int abandon(void *user) {
    (void)user;
    return neap_loop_abandon(nt.loop) == 0 ? 0 : 1;
}

static void a_forked_child_that_abandons_the_loop_kills_nobody(void **state) {
    (void)state;
    neap_process *p = run("exec sleep 1000", NEAP_PROCESS_KILL);
    assert_int_equal(nt_in_child(abandon, NULL), 0);
    assert_ok(neap_process_kill(p, 0));
    neap_future *wait;
    assert_code(neap_process_wait(p, &wait), NEAP_PENDING);
    assert_ok(neap_process_kill(p, SIGTERM));
    nt_until(wait);
    neap_future_unref(wait);
    ends_with(p, NEAP_SIGNALED, SIGTERM);
}

static void a_socket_that_a_child_has_too_can_be_closed(void **state) {
    (void)state;
    neap_sock *a, *b;
    neap_future *f;
    char buf[8];
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &a, &b));
    assert_code(neap_sock_recv(a, buf, sizeof buf, 0, &f), NEAP_PENDING);
    neap_process_options o = with(SH("exec sleep 1000"), 0);
    o.fds = (const neap_process_fd[]){{5, NEAP_PROCESS_FD, neap_sock_fd(a)}};
    o.n_fds = 1;
    neap_process *p = spawn(&o);
    assert_ok(neap_sock_close(a));
    nt_settle();
    assert_code(neap_future_error(f), NEAP_ECLOSED);
    neap_future_unref(f);
    char byte = 'x';
    assert_int_equal(write((int)neap_sock_fd(b), &byte, 1), 1); /* the child has the other end */
    uint64_t events = nt_metrics().events;
    for (int i = 0; i < 5; i++)
        neap_loop_run_once(nt.loop, NT_MS);
    assert_int_equal(nt_metrics().events, events);
    neap_sock_unref(a);
    neap_sock_unref(b);
    assert_ok(neap_process_kill(p, SIGKILL));
    ends_with(p, NEAP_SIGNALED, SIGKILL);
}

/* ---- Many, and under fire -------------------------------------------------------------------- */

static void signals_at_a_high_rate_disturb_nothing(void **state) {
    (void)state;
    net_storm_begin();
    for (int i = 0; i < (nt_slow_machine() ? 20 : 200); i++) {
        int fd;
        neap_process *p = run_to("echo x; exit 3", 0, &fd);
        assert_string_equal(read_all(fd), "x\n");
        ends_with(p, NEAP_EXITED, 3);
    }
    net_storm_end();
    no_child_is_left();
}

enum {
    AT_ONCE = 20
};

static void spawn_many(int rounds) {
    const char *const args[] = {"/bin/true", NULL};
    neap_process_options o = with(args, NEAP_PROCESS_KILL);
    o.fds = IN_AND_OUT;
    o.n_fds = 2;
    for (int i = 0; i < rounds; i++) {
        neap_process *p[AT_ONCE];
        for (int k = 0; k < AT_ONCE; k++)
            p[k] = spawn(&o);
        for (int k = 0; k < AT_ONCE; k++)
            ends_with(p[k], NEAP_EXITED, 0);
    }
}

/* How many is said by the environment: the long run makes 10,000. */
static void many_leave_nothing(void **state) {
    (void)state;
    const char *wanted = getenv("NEAP_TEST_SPAWNS");
    int rounds = (wanted != NULL ? atoi(wanted) : nt_slow_machine() ? 100 : 1000) / AT_ONCE;
    spawn_many(1);
    int fds = nt_fd_count();
    long blocks = atomic_load(&nt.heap.blocks), bytes = atomic_load(&nt.heap.bytes);
    uint64_t objects = nt_metrics().objects;
    spawn_many(rounds);
    assert_int_equal(nt_fd_count(), fds);
    assert_int_equal(atomic_load(&nt.heap.blocks), blocks);
    assert_int_equal(atomic_load(&nt.heap.bytes), bytes);
    assert_int_equal(nt_metrics().objects, objects);
    no_child_is_left();
}

static intptr_t spawn_on_own_loop(void *user) {
    neap_loop *loop = nt_loop_new(0);
    neap_process_options o = with(SH("exit 6"), 0);
    intptr_t wrong = 0;
    (void)user;
    for (int i = 0; i < 20; i++) {
        neap_process *p;
        neap_process_status s = {0};
        if (neap_process_spawn(loop, &o, &p) < 0)
            return -1;
        while (neap_process_get_status(p, &s, sizeof s) < 0)
            neap_loop_run_once(loop, NT_SEC);
        wrong += s.how != NEAP_EXITED || s.code != 6;
        neap_process_unref(p);
    }
    nt_loop_end(loop);
    return wrong;
}

static void *in_thread(void *user) {
    return (void *)spawn_on_own_loop(user);
}

static void threads_spawn_beside_each_other(void **state) {
    (void)state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, in_thread, NULL), 0);
    for (int i = 0; i < 4; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    no_child_is_left();
}

NT_MAIN(NT_TEST(an_exit_code_is_kept), NT_TEST(the_signal_that_ended_it_is_told),
        NT_TEST(a_status_of_a_smaller_struct_is_cut), NT_TEST(while_it_runs_there_is_no_status),
        NT_TEST(any_number_may_wait), NT_TEST(a_wait_that_is_cancelled_leaves_the_process_alone),
        NT_TEST(after_its_end_no_signal_goes_to_its_number),
        NT_TEST(a_grandchild_with_its_pipes_does_not_delay_the_end),
        NT_TEST(a_stopped_process_has_not_ended), NT_TEST(a_program_without_a_slash_is_searched),
        NT_TEST(the_name_that_it_sees_may_differ_from_its_file),
        NT_TEST(what_cannot_be_run_is_said_with_the_step), NT_TEST(arguments_may_be_too_long),
        NT_TEST(a_file_without_a_header_is_not_handed_to_a_shell),
        NT_TEST(a_shortage_of_descriptors_is_said), NT_TEST(options_that_make_no_sense_are_refused),
        NT_TEST(the_environment_is_added_to_or_replaced), NT_TEST(it_runs_where_it_was_told_to),
        NT_TEST(pipes_carry_what_is_written), NT_TEST(its_end_of_a_pipe_blocks_as_programs_expect),
        NT_TEST(a_pair_goes_both_ways), NT_TEST(what_is_not_taken_is_closed_with_the_process),
        NT_TEST(descriptors_may_swap_their_numbers), NT_TEST(two_descriptors_may_be_the_same),
        NT_TEST(other_descriptors_are_closed),
        NT_TEST(signals_have_their_defaults_and_none_is_blocked),
        NT_TEST(a_session_and_a_group_are_its_own),
        NT_TEST(a_signal_to_the_group_reaches_grandchildren),
        NT_TEST(another_user_has_none_of_our_groups), NT_TEST(the_hosts_children_are_left_alone),
        NT_TEST(a_host_that_ignores_its_children_hears_of_the_end),
        NT_TEST(a_host_that_reaps_all_hears_of_the_end),
        NT_TEST(dropped_with_kill_it_is_killed_and_reaped),
        NT_TEST(dropped_without_it_runs_on_and_is_reaped),
        NT_TEST(a_loop_that_closes_kills_and_reaps),
        NT_TEST(a_loop_that_closes_leaves_the_others_to_the_host),
        NT_TEST(the_end_of_the_thread_that_started_it_may_signal_it),
        NT_TEST(a_forked_child_that_abandons_the_loop_kills_nobody),
        NT_TEST(a_socket_that_a_child_has_too_can_be_closed),
        NT_TEST(signals_at_a_high_rate_disturb_nothing), NT_TEST(many_leave_nothing),
        NT_TEST(threads_spawn_beside_each_other))
