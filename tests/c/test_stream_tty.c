/* Streams over what is no socket: terminals, pipes, character devices, files; as one's own, and beside others. */
#include "streams.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* The two ends of a terminal; a machine without pseudo-terminals is said to have none. */
static void make_terminal(int *ret_master, int *ret_slave) {
    if (openpty(ret_master, ret_slave, NULL, NULL, NULL) == 0)
        return;
    print_message("no pseudo-terminals here: %s\n", strerror(errno));
    skip();
}

/* One that passes bytes as they are. */
static void make_pty(int *ret_master, int *ret_slave) {
    struct termios raw;
    make_terminal(ret_master, ret_slave);
    assert_int_equal(tcgetattr(*ret_slave, &raw), 0);
    cfmakeraw(&raw);
    assert_int_equal(tcsetattr(*ret_slave, TCSANOW, &raw), 0);
}

/* A file without a name that holds so much of the pattern. */
static int make_file(size_t len) {
    char path[] = "/tmp/neap-test-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    unsigned char *data = malloc(len + 1);
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    net_fill_pattern(data, len, 0);
    assert_int_equal(pwrite(fd, data, len, 0), len);
    free(data);
    return fd;
}

/* Those of net.h are for sockets. */
static void put(int fd, const char *text) {
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void expect(int fd, const char *text) {
    char got[64];
    size_t have = 0, want = strlen(text);
    while (have < want) {
        net_wait(fd, POLLIN);
        ssize_t n = read(fd, got + have, want - have);
        assert_true(n > 0);
        have += (size_t)n;
    }
    assert_memory_equal(got, text, want);
}

static int is_blocking(int fd) {
    int flags = fcntl(fd, F_GETFL);
    assert_true(flags >= 0);
    return (flags & O_NONBLOCK) == 0;
}

/* ---- Terminals */

static void a_terminal_is_read_and_written_and_keeps_its_flags(void **state) {
    (void)state;
    int master, slave;
    make_pty(&master, &slave);
    neap_stream *s = st_open(slave, NEAP_STREAM_SHARED);
    neap_future *future = st_park_exactly(s, 5);
    assert_int_equal(is_blocking(slave), 1);
    for (int i = 0; i < 5; i++) {
        put(master, (char[]){"typed"[i], '\0'});
        nt_settle();
    }
    st_bytes(future, "typed");
    st_write(s, "shown");
    nt_turn();
    expect(master, "shown");
    assert_int_equal(is_blocking(slave), 1);
    st_end(s, slave);
    net_close(master);
}

static void the_master_of_a_terminal_can_be_shared_too(void **state) {
    (void)state;
    int master, slave;
    make_pty(&master, &slave);
    neap_stream *s = st_open(master, NEAP_STREAM_SHARED);
    neap_future *future = st_park_exactly(s, 2);
    put(slave, "ok");
    st_bytes(future, "ok");
    st_write(s, "typed");
    nt_turn();
    expect(slave, "typed");
    assert_int_equal(is_blocking(master), 1);
    st_end(s, master);
    net_close(slave);
}

static void a_master_whose_slave_is_closed_is_at_its_end(void **state) {
    (void)state;
    for (uint32_t shared = 0; shared <= NEAP_STREAM_SHARED; shared += NEAP_STREAM_SHARED) {
        int master, slave;
        const void *data = NULL;
        neap_future *future = NULL;
        make_pty(&master, &slave);
        neap_stream *s = st_open(master, shared);
        assert_int_equal(neap_stream_read_all(s, 99, 0, &data, &future), NEAP_PENDING);
        put(slave, "last words");
        nt_settle();
        net_close(slave);
        st_bytes(future, "last words");
        assert_int_equal(neap_stream_at_end(s), 1);
        st_end(s, shared ? master : -1);
    }
}

static void a_terminal_that_nobody_reads_makes_writers_wait(void **state) {
    (void)state;
    int master, slave;
    make_pty(&master, &slave);
    neap_stream *s = st_open(slave, 0);
    neap_future *future = st_stuff(s, 1 << 18);
    nt_turns(3);
    assert_state(future, NEAP_STATE_PENDING);
    st_expect_pattern(master, 1 << 18);
    nt_until(future);
    assert_ok(neap_future_error(future));
    neap_future_unref(future);
    st_end(s, -1);
    net_close(master);
}

static void a_file_is_sent_to_a_terminal(void **state) {
    (void)state;
    enum {
        LEN = 100000
    };
    int master, slave, fd = make_file(LEN);
    neap_future *future = NULL;
    make_pty(&master, &slave);
    neap_stream *s = st_open(slave, NEAP_STREAM_SHARED);
    int64_t rc = neap_stream_sendfile(s, fd, 0, -1, NEAP_WANT_FUTURE, &future);
    assert_int_equal(rc, NEAP_PENDING);
    net_close(fd); /* the stream has its own */
    st_expect_pattern(master, LEN);
    nt_until(future);
    assert_ok(neap_future_error(future));
    neap_future_unref(future);
    st_end(s, slave);
    net_close(master);
}

static void an_end_of_input_that_is_typed_ends_the_reading(void **state) {
    (void)state;
    int master, slave;
    const void *data = NULL;
    neap_future *future = NULL;
    make_terminal(&master, &slave);
    neap_stream *s = st_open(slave, NEAP_STREAM_SHARED);
    assert_int_equal(neap_stream_read_all(s, 99, 0, &data, &future), NEAP_PENDING);
    put(master, "a line\n\004");
    st_bytes(future, "a line\n");
    st_end(s, slave);
    net_close(master);
}

static void a_terminal_whose_writing_ends_is_closed(void **state) {
    (void)state;
    int master, slave;
    neap_future *future = NULL;
    make_pty(&master, &slave);
    int held = dup(slave); /* with its last descriptor what was not read would go */
    neap_stream *s = st_open(slave, 0);
    neap_future *read = st_park_exactly(s, 1);
    st_write(s, "x");
    assert_ok(neap_stream_write_eof(s, 0, &future));
    net_failure(read, NEAP_ECLOSED);
    expect(master, "x");
    net_close(held);
    st_end(s, master);
}

/* ---- Pipes */

static void a_pipe_ends_with_its_writer(void **state) {
    (void)state;
    neap_stream *from, *to;
    const void *data = NULL;
    neap_future *future = NULL;
    st_pipe(&from, &to);
    assert_int_equal(neap_stream_read_all(from, 99, 0, &data, &future), NEAP_PENDING);
    st_write(to, "all ");
    nt_settle();
    st_write(to, "of it");
    st_end(to, -1);
    st_bytes(future, "all of it");
    st_end(from, -1);
}

static void a_pipe_has_one_direction(void **state) {
    (void)state;
    neap_stream *from, *to;
    const void *data = NULL;
    neap_future *future = NULL;
    st_pipe(&from, &to);
    assert_int_equal(neap_stream_read(to, 1, 0, &data, &future), NEAP_EBADF);
    st_write(from, "x");
    assert_int_equal(neap_stream_drain(from, 0, &future), NEAP_EBADF);
    assert_int_equal(neap_stream_close(from, 0, NULL), NEAP_EBADF);
    neap_stream_unref(from);
    st_end(to, -1);
}

static void a_file_is_sent_to_a_pipe(void **state) {
    (void)state;
    enum {
        LEN = 500000
    };
    int fds[2], fd = make_file(LEN);
    neap_future *future = NULL;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    neap_stream *s = st_open(fds[1], 0);
    assert_int_equal(neap_stream_sendfile(s, fd, 0, -1, 0, &future), NEAP_PENDING);
    net_close(fd);
    st_expect_pattern(fds[0], LEN);
    nt_until(future);
    assert_ok(neap_future_error(future));
    neap_future_unref(future);
    st_end(s, fds[0]);
}

static void a_fifo_without_a_reader_can_be_shared(void **state) {
    (void)state;
    int fds[2];
    neap_stream *s;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    net_close(fds[0]);
    s = st_open(fds[1], NEAP_STREAM_SHARED);
    st_write(s, "x");
    assert_int_equal(neap_stream_drain(s, NEAP_NOWAIT, NULL), NEAP_EPIPE);
    assert_int_equal(neap_stream_close(s, 0, NULL), NEAP_EPIPE);
    neap_stream_unref(s);
    net_close(fds[1]);
}

/* ---- Sockets that others use, too */

static void make_sockets(int fds[2]) {
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

/* Another process that reads what it can, without a pause, and says so for each byte. */
static pid_t start_rival(int from, int took) {
    char byte;
    pid_t rival = fork();
    assert_true(rival >= 0);
    if (rival == 0)
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (rival == 0)
        if (recv(from, &byte, 1, MSG_DONTWAIT) == 1 && write(took, "x", 1) != 1)
            _exit(0);
    return rival;
}

/* Whoever is slower must not block: it would for ever. */
static void a_shared_socket_is_read_beside_another_process(void **state) {
    (void)state;
    enum {
        ROUNDS = 500,
        TURNS = 1000000
    };
    int fds[2], took[2];
    char byte;
    make_sockets(fds);
    assert_int_equal(pipe2(took, O_CLOEXEC | O_NONBLOCK), 0);
    pid_t rival = start_rival(fds[0], took[1]);
    neap_stream *s = st_open(fds[0], NEAP_STREAM_SHARED);
    neap_future *future = NULL;
    for (int i = 0; i < ROUNDS; i++) {
        int turns = 0;
        if (future == NULL)
            future = st_park_exactly(s, 1);
        put(fds[1], "x");
        while (!neap_future_done(future) && read(took[0], &byte, 1) != 1 && turns++ < TURNS)
            nt_turn();
        assert_true(turns < TURNS);
        if (!neap_future_done(future))
            continue;
        st_bytes(future, "x");
        future = NULL;
    }
    assert_int_equal(is_blocking(fds[0]), 1);
    neap_future_unref(future);
    st_end(s, fds[0]);
    assert_int_equal(kill(rival, SIGKILL), 0);
    assert_int_equal(waitpid(rival, NULL, 0), rival);
    net_close(fds[1]);
    net_close(took[0]);
    net_close(took[1]);
}

static void a_shared_socket_that_nobody_reads_makes_writers_wait(void **state) {
    (void)state;
    int fds[2];
    make_sockets(fds);
    neap_stream *s = st_open(fds[0], NEAP_STREAM_SHARED);
    neap_future *future = st_stuff(s, 1 << 20);
    nt_turns(3);
    assert_state(future, NEAP_STATE_PENDING);
    st_expect_pattern(fds[1], 1 << 20);
    nt_until(future);
    assert_ok(neap_future_error(future));
    neap_future_unref(future);
    st_end(s, fds[0]);
    net_close(fds[1]);
}

/* ---- Files and devices */

static void a_file_is_read_and_written_on_the_spot(void **state) {
    (void)state;
    int fd = make_file(200000);
    const void *data = NULL;
    neap_future *future = NULL;
    neap_stream *s = st_open(dup(fd), 0);
    for (size_t at = 0; at < 200000; at += 50000) {
        assert_int_equal(neap_stream_read_exactly(s, 50000, 0, &data, &future), 50000);
        net_expect_pattern(data, 50000, at);
    }
    assert_int_equal(neap_stream_read(s, 1, 0, &data, &future), 0);
    st_write(s, "appended");
    assert_ok(neap_stream_drain(s, 0, &future));
    char text[9] = "";
    assert_int_equal(pread(fd, text, 8, 200000), 8);
    assert_string_equal(text, "appended");
    st_end(s, fd);
}

static void a_file_that_shrinks_meanwhile_ends_the_writing(void **state) {
    (void)state;
    enum {
        LEN = 8 << 20
    };
    int peer, fd = make_file(LEN);
    neap_future *future = NULL, *later = NULL;
    static char part[65536];
    neap_stream *s = st_unix(&peer);
    assert_int_equal(neap_stream_sendfile(s, fd, 0, -1, 0, &future), NEAP_PENDING);
    assert_ok(neap_future_ignore(future));
    assert_int_equal(neap_stream_write(s, "behind", 6, NEAP_STREAM_BUFFER, NULL), 6);
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    net_nonblock(peer);
    for (int tries = 0; tries < 100000 && !neap_future_done(future); tries++) {
        (void)!read(peer, part, sizeof part);
        nt_turn();
    }
    net_failure(future, NEAP_EINCOMPLETE);
    assert_int_equal(neap_stream_write(s, "x", 1, 0, &later), NEAP_EINCOMPLETE);
    assert_int_equal(neap_stream_close(s, 0, NULL), NEAP_EINCOMPLETE);
    neap_stream_unref(s);
    net_close(fd);
    net_close(peer);
}

static void count_call(void *user) {
    ++*(int *)user;
}

static void a_long_file_lets_others_have_their_turns(void **state) {
    (void)state;
    int calls = 0, null = open("/dev/null", O_WRONLY | O_CLOEXEC), fd = make_file(1);
    neap_future *future = NULL;
    neap_stream *s = st_open(null, 0);
    assert_int_equal(ftruncate(fd, 20 << 20), 0);
    assert_int_equal(neap_stream_sendfile(s, fd, 0, -1, 0, &future), NEAP_PENDING);
    for (int i = 0; i < 5; i++) {
        assert_ok(neap_call_soon(nt.loop, count_call, &calls, NULL, NULL));
        nt_turn();
        assert_int_equal(calls, i + 1);
        assert_state(future, NEAP_STATE_PENDING);
    }
    nt_until(future);
    assert_ok(neap_future_error(future));
    neap_future_unref(future);
    st_end(s, fd);
}

static void a_file_of_no_bytes_is_sent(void **state) {
    (void)state;
    int peer, fd = make_file(10);
    neap_future *future = NULL;
    neap_stream *s = st_unix(&peer);
    assert_int_equal(neap_stream_sendfile(s, fd, 10, -1, 0, &future), 0);
    assert_int_equal(neap_stream_sendfile(s, fd, 99, -1, 0, &future), 0);
    assert_int_equal(neap_stream_sendfile(s, fd, 5, 0, 0, &future), 0);
    assert_int_equal(neap_stream_sendfile(s, fd, 10, 1, 0, &future), NEAP_EINCOMPLETE);
    st_end(s, peer);
    net_close(fd);
}

static void devices_are_streams(void **state) {
    (void)state;
    for (uint32_t shared = 0; shared <= NEAP_STREAM_SHARED; shared += NEAP_STREAM_SHARED) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC),
            zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
        const void *data = NULL;
        neap_future *future = NULL;
        neap_stream *nowhere = st_open(null, shared), *zeros = st_open(zero, shared);
        assert_int_equal(neap_stream_read(nowhere, 1, 0, &data, &future), 0);
        char *much = calloc(1, 1 << 20);
        assert_int_equal(neap_stream_write(nowhere, much, 1 << 20, 0, &future), 1 << 20);
        assert_int_equal(neap_stream_read_exactly(zeros, 100000, 0, &data, &future), 100000);
        assert_memory_equal(data, much, 100000);
        free(much);
        st_end(nowhere, shared ? null : -1);
        st_end(zeros, shared ? zero : -1);
    }
}

static void what_cannot_be_opened_is_refused_and_stays(void **state) {
    (void)state;
    int fds[2];
    neap_stream *s = NULL, *again = NULL;
    assert_int_equal(neap_stream_open(nt.loop, -1, 0, &s), NEAP_EBADF);
    assert_int_equal(neap_stream_open(nt.loop, 9999, 0, &s), NEAP_EBADF);
    assert_int_equal(neap_stream_open(nt.loop, 0, 1 << 20, &s), NEAP_EINVAL);
    assert_int_equal(neap_stream_open(NULL, 0, 0, &s), NEAP_EINVAL);
    assert_int_equal(neap_stream_open(nt.loop, 0, 0, NULL), NEAP_EINVAL);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    s = st_open(fds[0], 0);
    assert_int_equal(neap_stream_open(nt.loop, fds[0], 0, &again), NEAP_EBUSY_FD);
    st_end(s, -1);
    net_close(fds[1]);
    neap_addr any;
    int udp = net_raw_udp(&any);
    assert_int_equal(neap_stream_open(nt.loop, udp, 0, &again), NEAP_ENOTSUP);
    net_close(udp);
    assert_null(again);
}

NT_MAIN(NT_TEST(a_terminal_is_read_and_written_and_keeps_its_flags),
        NT_TEST(the_master_of_a_terminal_can_be_shared_too),
        NT_TEST(a_master_whose_slave_is_closed_is_at_its_end),
        NT_TEST(a_terminal_that_nobody_reads_makes_writers_wait),
        NT_TEST(a_file_is_sent_to_a_terminal),
        NT_TEST(an_end_of_input_that_is_typed_ends_the_reading),
        NT_TEST(a_terminal_whose_writing_ends_is_closed), NT_TEST(a_pipe_ends_with_its_writer),
        NT_TEST(a_pipe_has_one_direction), NT_TEST(a_file_is_sent_to_a_pipe),
        NT_TEST(a_fifo_without_a_reader_can_be_shared),
        NT_TEST(a_shared_socket_is_read_beside_another_process),
        NT_TEST(a_shared_socket_that_nobody_reads_makes_writers_wait),
        NT_TEST(a_file_is_read_and_written_on_the_spot),
        NT_TEST(a_file_that_shrinks_meanwhile_ends_the_writing),
        NT_TEST(a_long_file_lets_others_have_their_turns), NT_TEST(a_file_of_no_bytes_is_sent),
        NT_TEST(devices_are_streams), NT_TEST(what_cannot_be_opened_is_refused_and_stays))
