/* tasks.c - neap's tasks and futures without any Lua: what the core itself costs. Cases: spawn,
 * switch, futures, and backend, which prints the name of the one in use. The third argument names
 * one. */
#include "../micro/micro.h"

#include <neap.h>

enum {
    BATCH = 1000
};

static size_t live;

static void check(int32_t rc) {
    if (rc < 0) {
        fprintf(stderr, "%s\n", neap_strerror(rc));
        exit(1);
    }
}

static void run_until_idle(neap_loop *loop) {
    while (live > 0)
        check(neap_loop_run_once(loop, -1));
}

/* --- spawn and finish --- */

static int32_t finish_step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    (void)task;
    (void)awaited;
    (void)wake;
    (void)user;
    live--;
    return NEAP_STEP_DONE;
}

static const neap_task_ops finish_ops = {.size = sizeof(neap_task_ops), .step = finish_step};

static double spawn_finish(neap_loop *loop, size_t count) {
    size_t batches = count / BATCH + 1;
    uint64_t start = micro_cpu_ns();
    for (size_t b = 0; b < batches; b++) {
        for (live = 0; live < BATCH; live++)
            check(neap_task_spawn(loop, &finish_ops, NULL, NULL, NULL));
        run_until_idle(loop);
    }
    return (double)(micro_cpu_ns() - start) / (double)(batches * BATCH);
}

/* --- switch --- */

static int32_t yield_step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    size_t *left = user;
    (void)task;
    (void)awaited;
    (void)wake;
    if ((*left)-- > 0)
        return NEAP_STEP_YIELD;
    live--;
    return NEAP_STEP_DONE;
}

static const neap_task_ops yield_ops = {.size = sizeof(neap_task_ops), .step = yield_step};

static double task_switch(neap_loop *loop, size_t tasks, size_t count) {
    size_t rounds = count / tasks > 10 ? count / tasks : 10;
    size_t *left = calloc(tasks, sizeof(*left));
    for (live = 0; live < tasks; live++) {
        left[live] = rounds;
        check(neap_task_spawn(loop, &yield_ops, &left[live], NULL, NULL));
    }
    check(neap_loop_run_once(loop, 0));
    uint64_t start = micro_cpu_ns();
    run_until_idle(loop);
    double cost = (double)(micro_cpu_ns() - start) / (double)(tasks * rounds);
    free(left);
    return cost;
}

/* --- hop: a future made, awaited by a task, resolved by the other task --- */

struct player {
    neap_future *ball;
    struct player *other;
    size_t left;
};

static int32_t hop_step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    struct player *p = user;
    (void)awaited;
    (void)wake;
    neap_future_unref(p->ball);
    p->ball = NULL;
    if (p->left > 0)
        check(neap_future_new(neap_future_loop(neap_task_future(task)), &p->ball));
    if (p->other->ball != NULL && !neap_future_done(p->other->ball))
        check(neap_future_set_int(p->other->ball, 1));
    if (p->left == 0) {
        live--;
        return NEAP_STEP_DONE;
    }
    p->left--;
    check(neap_task_await(task, p->ball));
    return NEAP_STEP_AWAIT;
}

static const neap_task_ops hop_ops = {.size = sizeof(neap_task_ops), .step = hop_step};

static double hop(neap_loop *loop, size_t count) {
    struct player players[2] = {{.other = &players[1], .left = count / 2},
                                {.other = &players[0], .left = count / 2}};
    for (live = 0; live < 2; live++)
        check(neap_task_spawn(loop, &hop_ops, &players[live], NULL, NULL));
    uint64_t start = micro_cpu_ns();
    run_until_idle(loop);
    return (double)(micro_cpu_ns() - start) / (double)count;
}

/* --- resolve to resume: tasks wait on futures that are there beforehand --- */

enum {
    WAITERS = 1000
};

static neap_future *coming[WAITERS]; /* NULL: the task ends */
static size_t resumed;

static int32_t waiter_step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    neap_future **next = user;
    (void)wake;
    resumed += awaited != NULL;
    if (*next == NULL) {
        live--;
        return NEAP_STEP_DONE;
    }
    check(neap_task_await(task, *next));
    return NEAP_STEP_AWAIT;
}

static const neap_task_ops waiter_ops = {.size = sizeof(neap_task_ops), .step = waiter_step};

static void resolve_all(neap_loop *loop, neap_future **futures) {
    resumed = 0;
    for (size_t i = 0; i < WAITERS; i++)
        check(neap_future_set_int(futures[i], (int64_t)i));
    while (resumed < WAITERS)
        check(neap_loop_run_once(loop, -1));
}

static double resolve_resume(neap_loop *loop, size_t count) {
    static neap_future *waited[WAITERS];
    size_t rounds = count / WAITERS > 5 ? count / WAITERS : 5;
    uint64_t spent = 0;
    for (live = 0; live < WAITERS; live++) {
        check(neap_future_new(loop, &coming[live]));
        check(neap_task_spawn(loop, &waiter_ops, &coming[live], NULL, NULL));
    }
    check(neap_loop_run_once(loop, 0));
    for (size_t r = 0; r <= rounds; r++) {
        memcpy(waited, coming, sizeof(waited));
        for (size_t i = 0; i < WAITERS; i++) {
            coming[i] = NULL;
            if (r < rounds)
                check(neap_future_new(loop, &coming[i]));
        }
        uint64_t start = micro_cpu_ns();
        resolve_all(loop, waited);
        if (r < rounds)
            spent += micro_cpu_ns() - start;
        for (size_t i = 0; i < WAITERS; i++)
            neap_future_unref(waited[i]);
    }
    run_until_idle(loop);
    return (double)spent / (double)(rounds * WAITERS);
}

static void switches(neap_loop *loop, size_t count, size_t many) {
    neap_sock *listener;
    neap_addr addr;
    neap_future *future = NULL;
    neap_sock *sock = NULL;
    micro_print("switch_1_ns", task_switch(loop, 1, count));
    micro_print("switch_1000_ns", task_switch(loop, 1000, count));
    micro_print("switch_100000_ns", task_switch(loop, many, count));
    check(neap_sock_new(loop, NEAP_TCP, NEAP_AF_UNSPEC, &listener));
    check(neap_addr_parse("127.0.0.1:0", &addr));
    check(neap_sock_bind(listener, &addr));
    check(neap_sock_listen(listener, 1));
    if (neap_sock_accept(listener, 0, &sock, NULL, &future) != NEAP_PENDING)
        check(NEAP_EINVAL);
    micro_print("switch_1_parked_ns", task_switch(loop, 1, count / 4));
    micro_print("switch_1000_parked_ns", task_switch(loop, 1000, count));
    micro_print("switch_100000_parked_ns", task_switch(loop, many, count));
    neap_future_cancel(future, NULL);
    neap_future_unref(future);
    neap_sock_unref(listener);
}

int main(int argc, char **argv) {
    size_t count = micro_scaled(argc, argv, 2000000);
    neap_loop *loop;
    const char *backend = argc > 3 ? argv[3] : getenv("NEAP_BACKEND");
    neap_loop_options options = {.size = sizeof(options), .backend = backend};
    check(neap_loop_new(&options, &loop));
    if (micro_case(argc, argv, "backend")) {
        puts(neap_loop_backend(loop));
        return 0;
    }
    if (micro_case(argc, argv, "spawn")) {
        micro_print("spawn_finish_ns", spawn_finish(loop, count));
    } else if (micro_case(argc, argv, "switch")) {
        switches(loop, count, micro_scaled(argc, argv, 100000));
    } else if (micro_case(argc, argv, "futures")) {
        micro_print("resolve_resume_ns", resolve_resume(loop, count / 2));
        micro_print("hop_ns", hop(loop, count));
    } else {
        micro_unknown_case(argv[0]);
    }
    micro_end();
    check(neap_loop_close(loop, 0));
    neap_loop_unref(loop);
    return 0;
}
