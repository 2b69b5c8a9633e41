/* tasks.c - neap's tasks and futures without any Lua: what the core itself costs. */
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

int main(int argc, char **argv) {
    size_t count = micro_scaled(argc, argv, 2000000);
    neap_loop *loop;
    check(neap_loop_new(NULL, &loop));
    micro_print("spawn_finish_ns", spawn_finish(loop, count));
    micro_print("switch_1_ns", task_switch(loop, 1, count));
    micro_print("switch_1000_ns", task_switch(loop, 1000, count));
    micro_print("switch_100000_ns", task_switch(loop, 100000, count));
    micro_print("hop_ns", hop(loop, count));
    micro_end();
    check(neap_loop_close(loop, 0));
    neap_loop_unref(loop);
    return 0;
}
