/* After a fork: the child cannot use the loop, but it can get rid of it. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "refusals.h"

static void never(void *user) {
    (void)user;
    abort();
}

static int child_calls(void *user) {
    struct things *t = user;
    int taken = refuse_all(t);
    if (t->wrong[0] != '\0' || t->destroyed != taken) {
        fprintf(stderr, "%s(%d of %d destroyed)\n", t->wrong, t->destroyed, taken);
        return 1;
    }
    if (neap_loop_post(t->loop, never, NULL, NULL) != NEAP_EFORKED)
        return 2;
    if (neap_future_post_int(t->future, 1) != NEAP_EFORKED)
        return 3;
    return 0;
}

static void in_a_forked_child_every_call_answers_forked(void **state) {
    (void)state;
    struct things t;
    nt_script s;
    make_things(&t, &s, NEAP_EFORKED);
    assert_int_equal(nt_in_child(child_calls, &t), 0);
    /* The parent goes on as if nothing had been. */
    assert_ok(neap_future_set_int(t.future, 4));
    nt_until_task(t.task);
    assert_int_equal(nt_int(neap_task_future(t.task)), 4);
    drop_things(&t);
}

struct inherited {
    struct things *things;
    neap_future *ready; /* an operation parked in the kernel's interest set */
};

static int child_abandons(void *user) {
    struct inherited *i = user;
    struct things *t = i->things;
    if (neap_loop_abandon(t->loop) != 0)
        return 1;
    if (neap_loop_is_closed(t->loop) != 1)
        return 2;
    neap_future_unref(i->ready);
    unref_things(t);
    neap_loop_unref(t->loop);
    if (atomic_load(&nt.heap.bytes) != 0)
        return 3;
    if (nt_fd_count() != nt.fds)
        return 4;
    return 0;
}

static void abandon_cleans_the_child_and_leaves_the_parent_alone(void **state) {
    (void)state;
    struct things t;
    nt_script s;
    int ends[2];
    struct inherited inherited = {&t, NULL};
    assert_int_equal(pipe(ends), 0);
    nt.fds += 2;
    make_things(&t, &s, 0);
    assert_code(neap_fd_ready(nt.loop, ends[0], NEAP_READ, 0, &inherited.ready), NEAP_PENDING);
    nt_turn();
    assert_int_equal(nt_in_child(child_abandons, &inherited), 0);
    /* The interest of the parent is still there: epoll sets are shared across a fork. */
    assert_int_equal(write(ends[1], "x", 1), 1);
    nt_until(inherited.ready);
    assert_int_equal(nt_int(inherited.ready), NEAP_READ);
    neap_future_unref(inherited.ready);
    assert_ok(neap_future_set_int(t.future, 4));
    nt_until_task(t.task);
    drop_things(&t);
    close(ends[0]);
    close(ends[1]);
    nt.fds -= 2;
}

static int child_makes_a_loop(void *user) {
    neap_loop *inherited = user;
    neap_loop *loop = NULL;
    neap_future *sleep = NULL;
    neap_loop_options options = nt_options(0);
    if (neap_loop_abandon(inherited) != 0)
        return 1;
    if (neap_loop_new(&options, &loop) != 0)
        return 2;
    if (neap_sleep(loop, NT_MS, &sleep) != 0)
        return 3;
    if (neap_loop_run_until(loop, sleep) != 0)
        return 4;
    neap_future_unref(sleep);
    if (neap_loop_close(loop, 0) != 0)
        return 5;
    neap_loop_unref(loop);
    return 0;
}

static void a_forked_child_can_make_a_loop_of_its_own(void **state) {
    (void)state;
    assert_int_equal(nt_in_child(child_makes_a_loop, nt.loop), 0);
    nt_soon("parent");
    nt_turn();
    assert_notes("parent");
}

struct forker {
    pid_t pid;
    int in_child;
};

static void fork_here(void *user) {
    struct forker *f = user;
    f->pid = fork();
    f->in_child = f->pid == 0;
}

static int child_forks_inside(void *user) {
    struct forker f = {-1, 0};
    neap_loop *loop = user;
    /* We are a child ourselves: the loop here is made here. */
    if (neap_loop_abandon(loop) != 0)
        return 1;
    neap_loop_options options = nt_options(0);
    neap_loop *own = NULL;
    if (neap_loop_new(&options, &own) != 0)
        return 2;
    if (neap_call_soon(own, fork_here, &f, NULL, NULL) != 0)
        return 3;
    if (neap_call_soon(own, never, NULL, NULL, NULL) != 0)
        return 3;
    int32_t code = neap_loop_dispatch(own, 1);
    if (f.in_child)
        _exit(code == NEAP_EFORKED && neap_loop_abandon(own) == 0 ? 42 : 43);
    int status = 0;
    if (waitpid(f.pid, &status, 0) != f.pid)
        return 4;
    return code == 1 && WIFEXITED(status) && WEXITSTATUS(status) == 42 ? 0 : 5;
}

static void a_fork_inside_a_callback_makes_the_run_of_the_child_end(void **state) {
    (void)state;
    assert_int_equal(nt_in_child(child_forks_inside, nt.loop), 0);
}

NT_MAIN(NT_TEST(in_a_forked_child_every_call_answers_forked),
        NT_TEST(abandon_cleans_the_child_and_leaves_the_parent_alone),
        NT_TEST(a_forked_child_can_make_a_loop_of_its_own),
        NT_TEST(a_fork_inside_a_callback_makes_the_run_of_the_child_end))
