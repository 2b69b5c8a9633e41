/* Watches on descriptors: they fire in each tick in which the descriptor is ready, until
   removed. */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A watch that counts, may read, and may remove itself. */
typedef struct watch {
    int fd;
    int calls;
    int destroyed;
    int reads;      /* bytes to read at each call */
    int remove_at;  /* removes its reader at this call */
    int replace_at; /* replaces its reader at this call by `other` */
    struct watch *other;
} watch;

static void watch_destroyed(void *user) {
    ((watch *)user)->destroyed++;
}

static void watch_called(void *user) {
    watch *w = user;
    char c;
    w->calls++;
    assert_int_equal(w->destroyed, 0);
    for (int i = 0; i < w->reads; i++)
        assert_int_equal(read(w->fd, &c, 1), 1);
    if (w->calls == w->remove_at)
        assert_int_equal(neap_remove_reader(nt.loop, w->fd), 1);
    if (w->calls == w->replace_at)
        assert_int_equal(neap_add_reader(nt.loop, w->fd, watch_called, w->other, watch_destroyed),
                         1);
}

static int32_t add_reader(watch *w) {
    return neap_add_reader(nt.loop, w->fd, watch_called, w, watch_destroyed);
}

static int32_t add_writer(watch *w) {
    return neap_add_writer(nt.loop, w->fd, watch_called, w, watch_destroyed);
}

static void make_pair(int fds[2]) {
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

static void close_pair(int fds[2]) {
    net_close(fds[0]);
    net_close(fds[1]);
}

static void N8_a_reader_fires_in_every_tick_while_the_descriptor_is_readable(void **state) {
    (void)state;
    int fds[2];
    make_pair(fds);
    watch w = {.fd = fds[0]};
    assert_int_equal(add_reader(&w), 0);
    nt_turns(3);
    assert_int_equal(w.calls, 0);
    net_put(fds[1], "x");
    nt_turns(5);
    assert_int_equal(w.calls, 5);
    net_expect(fds[0], "x");
    nt_turns(3);
    assert_int_equal(w.calls, 5);
    net_put(fds[1], "y");
    nt_turns(2);
    assert_int_equal(w.calls, 7);
    assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 1);
    nt_turns(2);
    assert_int_equal(w.calls, 7);
    assert_int_equal(w.destroyed, 1);
    close_pair(fds);
}

static void N8_a_reader_that_reads_one_byte_at_a_time_is_called_for_each(void **state) {
    (void)state;
    int fds[2];
    make_pair(fds);
    watch w = {.fd = fds[0], .reads = 1};
    assert_int_equal(add_reader(&w), 0);
    nt_turn();
    net_put(fds[1], "abc");
    nt_turns(10);
    assert_int_equal(w.calls, 3);
    assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 1);
    close_pair(fds);
}

static void N8_both_directions_of_one_descriptor_have_their_own_watch(void **state) {
    (void)state;
    int fds[2];
    make_pair(fds);
    watch reader = {.fd = fds[0]};
    watch writer = {.fd = fds[0]};
    assert_int_equal(add_reader(&reader), 0);
    assert_int_equal(add_writer(&writer), 0);
    nt_turns(4);
    assert_int_equal(reader.calls, 0);
    assert_int_equal(writer.calls, 4);
    net_put(fds[1], "x");
    nt_turns(3);
    assert_int_equal(reader.calls, 3);
    assert_int_equal(writer.calls, 7);
    assert_int_equal(neap_remove_writer(nt.loop, fds[0]), 1);
    nt_turns(2);
    assert_int_equal(reader.calls, 5);
    assert_int_equal(writer.calls, 7);
    assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 1);
    assert_int_equal(reader.destroyed, 1);
    assert_int_equal(writer.destroyed, 1);
    close_pair(fds);
}

static void N8_a_writer_rests_while_the_descriptor_is_full(void **state) {
    (void)state;
    int fds[2];
    char zeros[4096] = {0};
    make_pair(fds);
    net_nonblock(fds[0]);
    watch w = {.fd = fds[0]};
    while (write(fds[0], zeros, sizeof zeros) > 0)
        continue;
    assert_int_equal(add_writer(&w), 0);
    nt_turns(3);
    assert_int_equal(w.calls, 0);
    net_drain(fds[1]);
    nt_turns(3);
    assert_int_equal(w.calls, 3);
    while (write(fds[0], zeros, sizeof zeros) > 0)
        continue;
    nt_turns(3);
    assert_int_equal(w.calls, 3);
    assert_int_equal(neap_remove_writer(nt.loop, fds[0]), 1);
    close_pair(fds);
}

static void N8_a_second_reader_replaces_the_first_and_says_so(void **state) {
    (void)state;
    int fds[2];
    make_pair(fds);
    watch first = {.fd = fds[0]};
    watch second = {.fd = fds[0]};
    assert_int_equal(add_reader(&first), 0);
    assert_int_equal(add_reader(&second), 1);
    assert_int_equal(first.destroyed, 1);
    net_put(fds[1], "x");
    nt_turns(2);
    assert_int_equal(first.calls, 0);
    assert_int_equal(second.calls, 2);
    assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 1);
    assert_int_equal(second.destroyed, 1);
    close_pair(fds);
}

static void N8_removing_twice_says_that_nothing_was_there(void **state) {
    (void)state;
    int fds[2];
    make_pair(fds);
    watch w = {.fd = fds[0]};
    assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 0);
    assert_int_equal(neap_remove_writer(nt.loop, fds[0]), 0);
    assert_int_equal(add_reader(&w), 0);
    assert_int_equal(neap_remove_writer(nt.loop, fds[0]), 0);
    assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 1);
    assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 0);
    assert_int_equal(neap_remove_reader(nt.loop, 999999), 0);
    close_pair(fds);
}

static void N8_a_reader_may_remove_itself(void **state) {
    (void)state;
    int fds[2];
    make_pair(fds);
    watch w = {.fd = fds[0], .remove_at = 2};
    assert_int_equal(add_reader(&w), 0);
    net_put(fds[1], "x");
    nt_turns(6);
    assert_int_equal(w.calls, 2);
    assert_int_equal(w.destroyed, 1);
    assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 0);
    close_pair(fds);
}

static void N8_a_reader_may_replace_itself(void **state) {
    (void)state;
    int fds[2];
    make_pair(fds);
    watch second = {.fd = fds[0]};
    watch first = {.fd = fds[0], .replace_at = 2, .other = &second};
    assert_int_equal(add_reader(&first), 0);
    net_put(fds[1], "x");
    nt_turns(5);
    assert_int_equal(first.calls, 2);
    assert_int_equal(first.destroyed, 1);
    assert_true(second.calls >= 2);
    assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 1);
    assert_int_equal(second.destroyed, 1);
    close_pair(fds);
}

static void a_reader_can_be_added_again_after_it_was_removed(void **state) {
    (void)state;
    int fds[2];
    make_pair(fds);
    net_put(fds[1], "x");
    for (int i = 0; i < 5; i++) {
        watch w = {.fd = fds[0]};
        assert_int_equal(add_reader(&w), 0);
        nt_turns(2);
        assert_int_equal(w.calls, 2);
        assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 1);
        assert_int_equal(w.destroyed, 1);
    }
    close_pair(fds);
}

static void N8_a_reader_hears_of_data_that_was_there_before_it(void **state) {
    (void)state;
    int fds[2];
    make_pair(fds);
    net_put(fds[1], "x");
    watch w = {.fd = fds[0]};
    assert_int_equal(add_reader(&w), 0);
    nt_turn();
    assert_int_equal(w.calls, 1);
    assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 1);
    close_pair(fds);
}

static void the_end_of_a_pipe_is_readable(void **state) {
    (void)state;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    watch w = {.fd = fds[0]};
    assert_int_equal(add_reader(&w), 0);
    nt_turns(2);
    assert_int_equal(w.calls, 0);
    net_close(fds[1]);
    nt_turns(3);
    assert_int_equal(w.calls, 3);
    assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 1);
    net_close(fds[0]);
}

static void a_pipe_that_nobody_reads_is_writable(void **state) {
    (void)state;
    int fds[2];
    static char zeros[65536];
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    while (write(fds[1], zeros, sizeof zeros) > 0)
        continue;
    watch w = {.fd = fds[1]};
    assert_int_equal(add_writer(&w), 0);
    nt_turns(2);
    assert_int_equal(w.calls, 0);
    net_close(fds[0]); /* writing would fail at once: that is an answer */
    nt_turns(3);
    assert_int_equal(w.calls, 3);
    assert_int_equal(neap_remove_writer(nt.loop, fds[1]), 1);
    net_close(fds[1]);
}

static void N8_a_regular_file_answers_eperm(void **state) {
    (void)state;
    char path[] = "/tmp/neap-test-XXXXXX";
    int destroyed = 0;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    assert_code(neap_add_reader(nt.loop, fd, nt_count_fn, &destroyed, nt_count_fn), NEAP_EPERM);
    assert_int_equal(destroyed, 1); /* user is taken also by a call that fails */
    assert_code(neap_add_writer(nt.loop, fd, nt_count_fn, &destroyed, nt_count_fn), NEAP_EPERM);
    assert_int_equal(destroyed, 2);
    nt_turns(2);
    assert_int_equal(destroyed, 2);
    assert_int_equal(neap_remove_reader(nt.loop, fd), 0);
    net_close(fd);
}

static void N8_a_bad_descriptor_answers_ebadf(void **state) {
    (void)state;
    int destroyed = 0;
    int fds[2];
    make_pair(fds);
    close_pair(fds);
    assert_code(neap_add_reader(nt.loop, -1, nt_count_fn, &destroyed, nt_count_fn), NEAP_EBADF);
    assert_code(neap_add_reader(nt.loop, fds[0], nt_count_fn, &destroyed, nt_count_fn), NEAP_EBADF);
    assert_code(neap_add_writer(nt.loop, 1000000, nt_count_fn, &destroyed, nt_count_fn),
                NEAP_EBADF);
    assert_int_equal(destroyed, 3);
    assert_int_equal(nt_turn(), 0);
}

static void N8_a_closed_number_that_was_watched_before_answers_ebadf(void **state) {
    (void)state;
    int destroyed = 0;
    int fds[2];
    make_pair(fds);
    watch w = {.fd = fds[0]};
    assert_int_equal(add_reader(&w), 0);
    nt_turn();
    assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 1);
    close_pair(fds);
    assert_code(neap_add_reader(nt.loop, fds[0], nt_count_fn, &destroyed, nt_count_fn), NEAP_EBADF);
    assert_int_equal(destroyed, 1);
}

static void a_number_that_comes_back_as_another_file_can_be_watched(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        int fds[2];
        if (i % 2)
            assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        else
            make_pair(fds);
        watch w = {.fd = fds[0]};
        assert_int_equal(add_reader(&w), 0);
        nt_turns(2);
        assert_int_equal(w.calls, 0);
        assert_int_equal(write(fds[1], "x", 1), 1);
        nt_turns(2);
        assert_int_equal(w.calls, 2);
        assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 1);
        close_pair(fds);
    }
}

static void a_watch_keeps_the_loop_alive(void **state) {
    (void)state;
    int fds[2];
    make_pair(fds);
    watch w = {.fd = fds[0]};
    assert_int_equal(neap_loop_alive(nt.loop), 0);
    assert_int_equal(add_reader(&w), 0);
    assert_int_equal(neap_loop_alive(nt.loop), 1);
    assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 1);
    assert_int_equal(neap_loop_alive(nt.loop), 0);
    close_pair(fds);
}

static void a_waiting_loop_wakes_for_a_watch(void **state) {
    (void)state;
    int fds[2];
    make_pair(fds);
    watch w = {.fd = fds[0]};
    assert_int_equal(add_reader(&w), 0);
    nt_turn();
    net_put(fds[1], "x");
    assert_int_equal(neap_loop_run_once(nt.loop, -1), 1);
    assert_int_equal(w.calls, 1);
    assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 1);
    close_pair(fds);
}

static void closing_the_loop_ends_watches_and_leaves_the_descriptor_alone(void **state) {
    (void)state;
    int fds[2];
    make_pair(fds);
    watch w = {.fd = fds[0]};
    assert_int_equal(add_reader(&w), 0);
    net_put(fds[1], "x");
    assert_ok(neap_loop_close(nt.loop, 0));
    assert_int_equal(w.destroyed, 1);
    assert_int_equal(w.calls, 0);
    net_expect(fds[0], "x");
    assert_true(neap_add_reader(nt.loop, fds[0], nt_count_fn, &w.calls, NULL) < 0);
    close_pair(fds);
}

static void a_watch_on_a_sockets_descriptor_goes_with_its_operations(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    watch w = {.fd = (int)neap_sock_fd(conn)};
    assert_int_equal(add_reader(&w), 0);
    nt_turns(2);
    assert_int_equal(w.calls, 0);
    net_put(peer, "abc");
    net_wait(w.fd, POLLIN);
    nt_turns(3);
    assert_int_equal(w.calls, 3);
    assert_int_equal(neap_sock_recv(conn, buf, sizeof buf, NEAP_NOWAIT, NULL), 3);
    nt_turns(2);
    assert_int_equal(w.calls, 3);
    assert_int_equal(neap_remove_reader(nt.loop, w.fd), 1);
    net_put(peer, "de");
    net_recv_text(conn, "de");
    net_end(conn);
    net_close(peer);
}

static void two_watches_fire_in_one_tick(void **state) {
    (void)state;
    int a[2];
    int b[2];
    make_pair(a);
    make_pair(b);
    watch one = {.fd = a[0]};
    watch two = {.fd = b[0]};
    assert_int_equal(add_reader(&one), 0);
    assert_int_equal(add_reader(&two), 0);
    nt_turn();
    net_put(a[1], "x");
    net_put(b[1], "x");
    assert_int_equal(nt_turn(), 2);
    assert_int_equal(one.calls, 1);
    assert_int_equal(two.calls, 1);
    assert_int_equal(neap_remove_reader(nt.loop, a[0]), 1);
    assert_int_equal(neap_remove_reader(nt.loop, b[0]), 1);
    close_pair(a);
    close_pair(b);
}

/* Removes the other one's reader. */
typedef struct rival {
    int calls;
    int other_fd;
} rival;

static void remove_rival(void *user) {
    rival *r = user;
    r->calls++;
    neap_remove_reader(nt.loop, r->other_fd);
}

static void a_watch_removed_by_another_in_the_same_tick_does_not_fire(void **state) {
    (void)state;
    int a[2];
    int b[2];
    make_pair(a);
    make_pair(b);
    rival one = {.other_fd = b[0]};
    rival two = {.other_fd = a[0]};
    assert_int_equal(neap_add_reader(nt.loop, a[0], remove_rival, &one, NULL), 0);
    assert_int_equal(neap_add_reader(nt.loop, b[0], remove_rival, &two, NULL), 0);
    net_put(a[1], "x");
    net_put(b[1], "x");
    nt_turns(3);
    /* Whichever came first removed the other for good. */
    assert_int_equal(one.calls + two.calls, 3);
    assert_true(one.calls == 0 || two.calls == 0);
    assert_int_equal(neap_remove_reader(nt.loop, a[0]) + neap_remove_reader(nt.loop, b[0]), 1);
    close_pair(a);
    close_pair(b);
}

static void N8_a_watch_without_a_function_goes_to_the_batch_of_events_or_is_refused(void **state) {
    (void)state;
    int fds[2];
    make_pair(fds);
    int32_t code = neap_add_reader(nt.loop, fds[0], NULL, (void *)(uintptr_t)42, NULL);
    if (code == 0) {
        neap_completion ev[4];
        net_put(fds[1], "x");
        assert_int_equal(neap_loop_poll_completions(nt.loop, ev, sizeof ev[0], 4, -1), 1);
        assert_int_equal(ev[0].kind, NEAP_COMPLETION_CALL);
        assert_int_equal(ev[0].cookie, 42);
        assert_int_equal(neap_remove_reader(nt.loop, fds[0]), 1);
    } else {
        assert_code(code, NEAP_EINVAL);
    }
    close_pair(fds);
}

static void closing_a_socket_ends_the_watch_on_its_descriptor(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    watch w = {.fd = (int)neap_sock_fd(conn)};
    assert_int_equal(add_reader(&w), 0);
    nt_turn();
    net_end(conn);
    nt_turns(3);
    assert_int_equal(w.calls, 0);
    assert_int_equal(w.destroyed, 1);
    assert_int_equal(neap_remove_reader(nt.loop, w.fd), 0);
    assert_int_equal(nt_metrics().operations, 0);
    net_close(peer);
}

static void watches_and_operations_of_one_socket_are_both_served(void **state) {
    (void)state;
    int peer;
    char buf[8];
    neap_sock *conn = net_tcp(&peer);
    watch w = {.fd = (int)neap_sock_fd(conn)};
    assert_int_equal(add_writer(&w), 0);
    neap_future *future = net_park_recv(conn, buf, sizeof buf);
    nt_turns(3);
    assert_int_equal(w.calls, 3);
    net_put(peer, "abc");
    net_result(future, 3);
    assert_int_equal(neap_remove_writer(nt.loop, w.fd), 1);
    future = net_park_recv(conn, buf, sizeof buf);
    net_put(peer, "de");
    net_result(future, 2);
    net_end(conn);
    net_close(peer);
}

static void closing_a_socket_ends_all_watches_on_its_descriptor(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    watch reader = {.fd = (int)neap_sock_fd(conn)};
    watch writer = {.fd = (int)neap_sock_fd(conn)};
    net_put(peer, "x");
    net_wait(reader.fd, POLLIN);
    assert_int_equal(add_reader(&reader), 0);
    assert_int_equal(add_writer(&writer), 0);
    nt_turns(2); /* both are ready, and about to be called again */
    int calls = reader.calls + writer.calls;
    assert_int_equal(calls, 4);
    assert_ok(neap_sock_close(conn));
    nt_turns(3);
    assert_int_equal(reader.calls + writer.calls, calls);
    assert_int_equal(reader.destroyed, 1);
    assert_int_equal(writer.destroyed, 1);
    assert_int_equal(neap_remove_reader(nt.loop, reader.fd), 0);
    assert_int_equal(neap_remove_writer(nt.loop, writer.fd), 0);
    neap_sock_unref(conn);
    nt_turns(2);
    nt_no_reports();
    net_close(peer);
}

static void the_last_reference_of_a_socket_ends_the_watch_on_its_descriptor(void **state) {
    (void)state;
    int peer;
    neap_sock *conn = net_tcp(&peer);
    watch reader = {.fd = (int)neap_sock_fd(conn)};
    watch writer = {.fd = (int)neap_sock_fd(conn)};
    assert_int_equal(add_reader(&reader), 0);
    assert_int_equal(add_writer(&writer), 0);
    nt_turns(2);
    int calls = writer.calls;
    neap_sock_unref(conn);
    nt_turns(3);
    assert_int_equal(reader.calls, 0);
    assert_int_equal(writer.calls, calls);
    assert_int_equal(reader.destroyed, 1);
    assert_int_equal(writer.destroyed, 1);
    net_expect_eof(peer);
    net_close(peer);
}

static void the_loop_may_close_with_watches_on_its_sockets(void **state) {
    (void)state;
    for (int given_up = 0; given_up < 2; given_up++) {
        neap_loop *loop = nt_loop_new(0);
        neap_sock *a = NULL;
        neap_sock *b = NULL;
        int destroyed = 0;
        assert_ok(neap_sock_pair(loop, NEAP_UNIX, &a, &b));
        assert_int_equal(
            neap_add_writer(loop, neap_sock_fd(a), nt_note_fn, &destroyed, nt_count_fn), 0);
        assert_int_equal(
            neap_add_reader(loop, neap_sock_fd(b), nt_note_fn, &destroyed, nt_count_fn), 0);
        if (given_up) {
            neap_sock_unref(a);
            neap_sock_unref(b);
        }
        assert_ok(neap_loop_close(loop, 0));
        assert_int_equal(destroyed, 2);
        if (!given_up) {
            neap_sock_unref(a);
            neap_sock_unref(b);
        }
        neap_loop_unref(loop);
    }
}

NT_MAIN(NT_TEST(N8_a_reader_fires_in_every_tick_while_the_descriptor_is_readable),
        NT_TEST(N8_a_reader_that_reads_one_byte_at_a_time_is_called_for_each),
        NT_TEST(N8_both_directions_of_one_descriptor_have_their_own_watch),
        NT_TEST(N8_a_writer_rests_while_the_descriptor_is_full),
        NT_TEST(N8_a_second_reader_replaces_the_first_and_says_so),
        NT_TEST(N8_removing_twice_says_that_nothing_was_there),
        NT_TEST(N8_a_reader_may_remove_itself), NT_TEST(N8_a_reader_may_replace_itself),
        NT_TEST(a_reader_can_be_added_again_after_it_was_removed),
        NT_TEST(N8_a_reader_hears_of_data_that_was_there_before_it),
        NT_TEST(the_end_of_a_pipe_is_readable), NT_TEST(a_pipe_that_nobody_reads_is_writable),
        NT_TEST(N8_a_regular_file_answers_eperm), NT_TEST(N8_a_bad_descriptor_answers_ebadf),
        NT_TEST(N8_a_closed_number_that_was_watched_before_answers_ebadf),
        NT_TEST(a_number_that_comes_back_as_another_file_can_be_watched),
        NT_TEST(a_watch_keeps_the_loop_alive), NT_TEST(a_waiting_loop_wakes_for_a_watch),
        NT_TEST(closing_the_loop_ends_watches_and_leaves_the_descriptor_alone),
        NT_TEST(a_watch_on_a_sockets_descriptor_goes_with_its_operations),
        NT_TEST(two_watches_fire_in_one_tick),
        NT_TEST(a_watch_removed_by_another_in_the_same_tick_does_not_fire),
        NT_TEST(N8_a_watch_without_a_function_goes_to_the_batch_of_events_or_is_refused),
        NT_TEST(closing_a_socket_ends_the_watch_on_its_descriptor),
        NT_TEST(watches_and_operations_of_one_socket_are_both_served),
        NT_TEST(closing_a_socket_ends_all_watches_on_its_descriptor),
        NT_TEST(the_last_reference_of_a_socket_ends_the_watch_on_its_descriptor),
        NT_TEST(the_loop_may_close_with_watches_on_its_sockets))
