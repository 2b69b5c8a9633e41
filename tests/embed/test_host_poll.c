/* Hosts with a poll loop of their own: the loop's descriptor is one entry among theirs. */
#include "scene.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

/* Waits for the loop's descriptor; 1 if it is readable. */
static int host_poll(int fd, int timeout_ms) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n;
    do
        n = poll(&p, 1, timeout_ms);
    while (n < 0 && errno == EINTR);
    return n == 1;
}

/* ---- The simple host: readable, so one turn -------------------------------------------------- */

static void D22_a_host_that_turns_when_the_descriptor_is_readable_drives_everything(void **state) {
    (void)state;
    scene s;
    int fd = neap_loop_fd(nt.loop);
    assert_true(fd >= 0);
    scene_begin(&s, nt.loop, NULL, NULL);
    while (!s.done) {
        if (host_poll(fd, 10000) == 0)
            fail_msg("work waits, and the descriptor is not readable");
        assert_true(neap_loop_run_once(nt.loop, 0) >= 0);
    }
    scene_end(&s);
}

static void such_a_host_takes_no_turn_while_the_loop_is_idle(void **state) {
    (void)state;
    idle_scene s;
    int turns = 0;
    int fd = neap_loop_fd(nt.loop);
    idle_begin(&s, nt.loop);
    while (host_poll(fd, 0)) {
        assert_true(neap_loop_run_once(nt.loop, 0) >= 0);
        assert_true(++turns < 10);
    }
    turns = 0;
    for (int i = 0; i < 20; i++)
        turns += host_poll(fd, 10);
    assert_int_equal(turns, 0);
    idle_end(&s);
}

/* ---- The precise host: prepare, poll with its own timeout, wait, dispatch a little ----------- */

static int precise_timeout_ms(int64_t timeout_ns) {
    if (timeout_ns < 0)
        return -1;
    return (int)((timeout_ns + NT_MS - 1) / NT_MS);
}

static void D22_a_host_that_waits_itself_between_the_phases_drives_everything(void **state) {
    (void)state;
    scene s;
    int fd = neap_loop_fd(nt.loop);
    scene_begin(&s, nt.loop, NULL, NULL);
    while (!s.done) {
        int64_t timeout = -2;
        int32_t ready = neap_loop_prepare(nt.loop, &timeout);
        assert_true(ready == 0 || ready == 1);
        assert_true(timeout >= -1);
        if (ready)
            assert_int_equal(timeout, 0);
        host_poll(fd, precise_timeout_ms(timeout));
        assert_true(neap_loop_wait(nt.loop, 0) >= 0);
        int32_t ran = neap_loop_dispatch(nt.loop, 3);
        assert_true(ran >= 0 && ran <= 3);
    }
    scene_end(&s);
}

static void such_a_host_is_told_to_wait_as_long_as_nothing_happens(void **state) {
    (void)state;
    idle_scene s;
    int64_t timeout = 0;
    int fd = neap_loop_fd(nt.loop);
    idle_begin(&s, nt.loop);
    for (int i = 0; i < 3; i++) {
        neap_loop_prepare(nt.loop, &timeout);
        assert_true(neap_loop_wait(nt.loop, 0) >= 0);
        assert_true(neap_loop_dispatch(nt.loop, 0) >= 0);
    }
    assert_int_equal(neap_loop_prepare(nt.loop, &timeout), 0);
    assert_true(timeout > 3500 * NT_SEC);
    int woken = 0;
    for (int i = 0; i < 10; i++)
        woken += host_poll(fd, 10);
    assert_int_equal(woken, 0);
    idle_end(&s);
}

static void without_a_timer_there_is_no_limit_to_the_wait(void **state) {
    (void)state;
    int64_t timeout = 0;
    int64_t when = 0;
    assert_int_equal(neap_loop_prepare(nt.loop, &timeout), 0);
    assert_int_equal(timeout, -1);
    assert_int_equal(neap_loop_next_deadline(nt.loop, &when), 0);
}

/* ---- The frame host: one turn per frame, whatever happens ------------------------------------ */

static void turn_once_per_frame(neap_loop *loop) {
    scene s;
    struct timespec frame = {.tv_nsec = 200000};
    scene_begin(&s, loop, NULL, NULL);
    for (int i = 0; i < 100000 && !s.done; i++) {
        assert_true(neap_loop_run_once(loop, 0) >= 0);
        nanosleep(&frame, NULL);
    }
    assert_int_equal(s.done, 1);
    scene_end(&s);
}

static void a_host_that_turns_once_per_frame_drives_everything(void **state) {
    (void)state;
    turn_once_per_frame(nt.loop);
}

static void frames_need_no_descriptor(void **state) {
    (void)state;
    nt.backend = "poll";
    neap_loop *loop = nt_loop_new(0);
    assert_int_equal(neap_loop_fd(loop), NEAP_ENOTSUP);
    turn_once_per_frame(loop);
    nt_loop_end(loop);
}

/* ---- The host with a thread that polls: it only says that a turn is due ---------------------- */

typedef struct poller {
    int fd;
    int due[2];  /* a pipe: "turn", from the thread */
    int done[2]; /* a pipe: "turned", or closed at the end */
} poller;

static void *poller_main(void *user) {
    poller *p = user;
    char c;
    for (;;) {
        if (host_poll(p->fd, 50) && write(p->due[1], "t", 1) == 1) {
            if (read(p->done[0], &c, 1) != 1)
                break;
        } else if (host_poll(p->done[0], 0)) {
            break;
        }
    }
    return NULL;
}

static void a_host_whose_second_thread_polls_drives_everything(void **state) {
    (void)state;
    scene s;
    poller p;
    pthread_t thread;
    char c;
    p.fd = neap_loop_fd(nt.loop);
    assert_int_equal(pipe(p.due), 0);
    assert_int_equal(pipe(p.done), 0);
    scene_begin(&s, nt.loop, NULL, NULL);
    assert_int_equal(pthread_create(&thread, NULL, poller_main, &p), 0);
    while (!s.done) {
        assert_int_equal(read(p.due[0], &c, 1), 1);
        assert_true(neap_loop_run_once(nt.loop, 0) >= 0);
        assert_int_equal(write(p.done[1], "d", 1), 1);
    }
    assert_int_equal(close(p.done[1]), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(close(p.done[0]), 0);
    assert_int_equal(close(p.due[0]), 0);
    assert_int_equal(close(p.due[1]), 0);
    scene_end(&s);
}

/* ---- A neap loop as the host of another ------------------------------------------------------ */

static void turn_guest(void *user) {
    assert_true(neap_loop_run_once(user, 0) >= 0);
}

static void stop_host(void *user) {
    assert_ok(neap_loop_stop(user));
}

static void a_loop_may_be_a_watch_of_another_loop(void **state) {
    (void)state;
    scene s;
    neap_loop *guest = nt_loop_new(0);
    scene_begin(&s, guest, stop_host, nt.loop);
    assert_int_equal(neap_add_reader(nt.loop, neap_loop_fd(guest), turn_guest, guest, NULL), 0);
    assert_ok(neap_loop_run(nt.loop));
    assert_int_equal(s.done, 1);
    assert_int_equal(neap_remove_reader(nt.loop, neap_loop_fd(guest)), 1);
    scene_end(&s);
    nt_loop_end(guest);
}

NT_MAIN(SCENE_TEST(D22_a_host_that_turns_when_the_descriptor_is_readable_drives_everything),
        SCENE_TEST(such_a_host_takes_no_turn_while_the_loop_is_idle),
        SCENE_TEST(D22_a_host_that_waits_itself_between_the_phases_drives_everything),
        SCENE_TEST(such_a_host_is_told_to_wait_as_long_as_nothing_happens),
        SCENE_TEST(without_a_timer_there_is_no_limit_to_the_wait),
        SCENE_TEST(a_host_that_turns_once_per_frame_drives_everything),
        SCENE_TEST(frames_need_no_descriptor),
        SCENE_TEST(a_host_whose_second_thread_polls_drives_everything),
        SCENE_TEST(a_loop_may_be_a_watch_of_another_loop))
