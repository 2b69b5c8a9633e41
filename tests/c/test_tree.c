/* A look at the program: all tasks as a tree, each once; what each waits for; background tasks; figures of time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"
#include "support.h"

/* ---- Text that grows ------------------------------------------------------------------------- */

typedef struct page {
    char *text;
    size_t len, cap;
} page;

static void take(const char *text, size_t len, void *user) {
    page *p = user;
    if (p->len + len + 1 > p->cap) {
        p->cap = 2 * (p->len + len + 1);
        p->text = realloc(p->text, p->cap);
        assert_non_null(p->text);
    }
    memcpy(p->text + p->len, text, len);
    p->len += len;
    p->text[p->len] = '\0';
}

static page tree_of(neap_loop *loop, uint32_t flags) {
    page p = {NULL, 0, 0};
    take("", 0, &p);
    assert_ok(neap_loop_write_tree(loop, flags, take, &p));
    return p;
}

/* Without the figures that end a line, which other tests are about. */
static void drop_steps(char *text) {
    char *to = text;
    for (char *from = text; *from != '\0'; from++) {
        if (strncmp(from, "; ", 2) == 0 && from[2] >= '0' && from[2] <= '9')
            from += strcspn(from, "\n");
        *to++ = *from;
    }
    *to = '\0';
}

static void assert_tree(const char *expected) {
    page p = tree_of(nt.loop, 0);
    drop_steps(p.text);
    assert_string_equal(p.text, expected);
    free(p.text);
}

static size_t count_of(const char *text, const char *word) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at += strlen(word))
        n++;
    return n;
}

static void nothing(const char *text, size_t len, void *user) {
    (void)text;
    *(size_t *)user += len;
}

/* ---- Who is below whom ----------------------------------------------------------------------- */

typedef struct stage {
    neap_scope *scope;
    uint32_t flags;
    int64_t deadline;
    nt_script *children; /* spawned by spawn_children */
    const nt_act *acts;
    int n;
} stage;

static void enter(void *user) {
    stage *g = user;
    neap_task *me = neap_task_current(nt.loop);
    assert_ok(neap_scope_new(nt.loop, NULL, g->flags, &g->scope));
    if (g->deadline > 0)
        assert_ok(neap_scope_set_deadline(g->scope, neap_loop_time(nt.loop) + g->deadline));
    assert_ok(neap_scope_enter(g->scope, me));
    for (int i = 0; i < g->n; i++)
        neap_task_unref(nt_spawn(&g->children[i], NULL, g->acts));
}

static void cancel_scope(stage *g) {
    assert_int_equal(neap_scope_cancel(g->scope, "enough"), 1);
}

static void D21_tasks_stand_below_the_one_whose_group_they_were_spawned_into(void **state) {
    (void)state;
    nt_script s, other, inner[2];
    neap_future *f = nt_future();
    stage g = {.flags = NEAP_SCOPE_GROUP, .children = inner, .n = 2, .acts = NT_ACTS(NT_AWAIT(f))};
    neap_task *owner =
        nt_spawn(&s, "owner", NT_ACTS(NT_CALL(enter, &g), NT_AWAIT_CATCH(f), NT_NOTE("-")));
    neap_task *alone = nt_spawn(&other, "alone", NT_ACTS(NT_SLEEP(2 * NT_SEC)));
    assert_tree("test: 2 tasks\n"
                "owner #1 is ready to start\n"
                "alone #2 is ready to start\n");
    nt_turns(2);
    assert_tree("test: 4 tasks\n"
                "owner #1 waits for a future\n"
                "  - in a group of 2\n"
                "  task-3 #3 waits for a future\n"
                "  task-4 #4 waits for a future\n"
                "alone #2 waits for a sleep\n");
    assert_null(neap_task_parent(owner));
    assert_null(neap_task_group(owner));
    assert_ptr_equal(neap_scope_owner(g.scope), owner);
    assert_null(neap_scope_parent(g.scope));
    assert_int_equal(neap_scope_flags(g.scope), NEAP_SCOPE_GROUP);
    assert_ok(neap_future_set_int(f, 1));
    nt_until_task(alone);
    neap_task_unref(owner);
    neap_task_unref(alone);
    neap_future_unref(f);
    neap_scope_unref(g.scope);
}

static void a_task_below_a_region_of_its_owner_still_belongs_to_the_owner(void **state) {
    (void)state;
    nt_script s, child, member;
    neap_future *f = nt_future();
    stage region = {.flags = 0,
                    .deadline = 3 * NT_SEC,
                    .n = 1,
                    .children = &member,
                    .acts = NT_ACTS(NT_AWAIT(f))};
    stage group = {.flags = NEAP_SCOPE_GROUP,
                   .n = 1,
                   .children = &child,
                   .acts = NT_ACTS(NT_CALL(enter, &region), NT_AWAIT_CATCH(f))};
    neap_task *owner = nt_spawn(&s, "owner", NT_ACTS(NT_CALL(enter, &group), NT_AWAIT_CATCH(f)));
    nt_turns(4);
    /* Both are members of the owner's group: the region is no group. */
    assert_tree("test: 3 tasks\n"
                "owner #1 waits for a future\n"
                "  - in a group of 2\n"
                "  task-2 #2 waits for a future\n"
                "    - in a scope, deadline in 3 s\n"
                "  task-3 #3 waits for a future\n");
    cancel_scope(&group);
    page p = tree_of(nt.loop, 0);
    assert_non_null(strstr(p.text, "in a group of 2, cancelled (enough)\n"));
    assert_non_null(strstr(p.text, "deadline in 3 s, cancelled by one around it\n"));
    free(p.text);
    assert_ok(neap_future_set_int(f, 1));
    nt_until_task(owner);
    nt_settle();
    neap_task_unref(owner);
    neap_future_unref(f);
    neap_scope_unref(region.scope);
    neap_scope_unref(group.scope);
}

/* ---- What is waited for ---------------------------------------------------------------------- */

typedef struct hold {
    neap_lock *lock;
    neap_future *future;
} hold;

static void acquire(void *user) {
    hold *h = user;
    h->future = NULL;
    if (neap_lock_acquire(h->lock, &h->future) == NEAP_PENDING)
        return;
    h->future = nt_future();
    assert_ok(neap_future_set_none(h->future));
}

static void a_lock_is_said_with_who_has_it_and_since_when(void **state) {
    (void)state;
    nt_script s[2];
    hold has = {NULL, NULL}, wants = {NULL, NULL};
    char text[64];
    assert_ok(neap_lock_new(nt.loop, &has.lock));
    wants.lock = has.lock;
    neap_task *a = nt_spawn(&s[0], "a", NT_ACTS(NT_CALL(acquire, &has), NT_SLEEP(3 * NT_SEC)));
    neap_task *b =
        nt_spawn(&s[1], "b", NT_ACTS(NT_CALL(acquire, &wants), NT_AWAIT_LATE(&wants.future)));
    nt_turn();
    assert_ok(neap_loop_advance(nt.loop, NT_SEC + NT_SEC / 4));
    assert_tree("test: 2 tasks\n"
                "a #1 waits for a sleep, for 1.25 s\n"
                "b #2 waits for a lock that a has, for 1.25 s\n");
    assert_int_equal(neap_task_waits_for(b), neap_task_id(a));
    assert_int_equal(neap_task_waits_for(a), 0);
    assert_int_equal(neap_task_describe_wait(b, text, 10),
                     (int)strlen("waits for a lock, for 1.25 s"));
    assert_string_equal(text, "waits for");
    neap_task_cancel(b, NULL);
    nt_until_task(a);
    neap_task_unref(a);
    neap_task_unref(b);
    neap_future_unref(has.future);
    neap_future_unref(wants.future);
    neap_lock_unref(has.lock);
}

static void an_operation_is_said_with_the_address_and_the_descriptor(void **state) {
    (void)state;
    nt_script s;
    neap_sock *listener = NULL;
    neap_future *accepted = NULL;
    neap_addr addr;
    char line[256], text[64];
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, &listener));
    assert_ok(neap_addr_parse("127.0.0.1:0", &addr));
    assert_ok(neap_sock_bind(listener, &addr));
    assert_ok(neap_sock_listen(listener, 0));
    assert_ok(neap_sock_local(listener, &addr));
    neap_addr_format(&addr, text, sizeof text);
    assert_code(neap_sock_accept(listener, 0, NULL, NULL, &accepted), NEAP_EINVAL);
    neap_sock *conn = NULL;
    assert_code(neap_sock_accept(listener, 0, &conn, NULL, &accepted), NEAP_PENDING);
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_AWAIT_CATCH(accepted)));
    nt_turn();
    snprintf(line, sizeof line, "waits for an accept on %s (descriptor %d)", text,
             (int)neap_sock_fd(listener));
    page p = tree_of(nt.loop, 0);
    assert_non_null(strstr(p.text, line));
    free(p.text);
    assert_ok(neap_sock_close(listener));
    nt_until_task(task);
    neap_task_unref(task);
    neap_future_unref(accepted);
    neap_sock_unref(listener);
}

static void combinations_name_what_they_wait_for(void **state) {
    (void)state;
    nt_script s[3];
    neap_future *f = nt_future(), *all = NULL, *shield = NULL, *within = NULL;
    neap_task *a = nt_spawn(&s[0], "a", NT_ACTS(NT_AWAIT(f)));
    neap_future *two[2] = {neap_task_future(a), f};
    assert_ok(neap_gather(nt.loop, two, 2, 0, &all));
    assert_ok(neap_shield(neap_task_future(a), &shield));
    assert_ok(neap_wait_for(shield, NT_SEC, &within));
    neap_task *b = nt_spawn(&s[1], "b", NT_ACTS(NT_AWAIT(all)));
    neap_task *c = nt_spawn(&s[2], "c", NT_ACTS(NT_AWAIT(within)));
    nt_turn();
    assert_tree("test: 3 tasks\n"
                "a #1 waits for a future\n"
                "b #2 waits for all of a, a future\n"
                "c #3 waits for a wait_for of a shield\n");
    assert_int_equal(neap_task_waits_for(c), neap_task_id(a));
    assert_ok(neap_future_set_int(f, 1));
    nt_until_task(c);
    nt_until_task(b);
    neap_task_unref(a);
    neap_task_unref(b);
    neap_task_unref(c);
    neap_future_unref(all);
    neap_future_unref(shield);
    neap_future_unref(within);
    neap_future_unref(f);
}

/* ---- Rings, and each task once --------------------------------------------------------------- */

static void rings_are_named_once_each(void **state) {
    (void)state;
    nt_script s[3];
    neap_task *t[3] = {NULL, NULL, NULL};
    neap_future *f[3] = {NULL, NULL, NULL};
    const char *const names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) { /* a -> b -> c -> b */
        nt_act acts[] = {NT_AWAIT_CATCH(NULL), {.what = NT_DO_END}};
        static nt_act kept[3][2];
        acts[0].lazily = &f[i];
        memcpy(kept[i], acts, sizeof acts);
        t[i] = nt_spawn(&s[i], names[i], kept[i]);
    }
    f[0] = neap_task_future(t[1]);
    f[1] = neap_task_future(t[2]);
    f[2] = neap_task_future(t[1]);
    nt_turn();
    assert_tree("test: 3 tasks\n"
                "a #1 waits for b\n"
                "b #2 waits for c\n"
                "c #3 waits for b\n"
                "in a ring: b -> c -> b\n");
    page p = {NULL, 0, 0};
    assert_ok(neap_task_explain(t[0], take, &p));
    drop_steps(p.text);
    assert_string_equal(p.text, "a #1 waits for b\n"
                                "-> b #2 waits for c\n"
                                "-> c #3 waits for b\n"
                                "  which waits for b: a ring\n");
    free(p.text);
    neap_task_cancel(t[1], NULL);
    nt_until_task(t[0]);
    nt_settle();
    for (int i = 0; i < 3; i++)
        neap_task_unref(t[i]);
}

enum {
    LAYERS = 6,
    WIDTH = 6
};

static void layers_of_tasks_that_all_await_each_other_print_each_task_once(void **state) {
    (void)state;
    nt_script s[LAYERS][WIDTH];
    static nt_act acts[LAYERS][2];
    neap_future *f = nt_future(), *last = f;
    neap_task *tasks[LAYERS][WIDTH];
    neap_future *gathers[LAYERS];
    for (int layer = 0; layer < LAYERS; layer++) {
        neap_future *members[WIDTH];
        acts[layer][0] = (nt_act)NT_AWAIT(last);
        acts[layer][1] = (nt_act){.what = NT_DO_END};
        for (int i = 0; i < WIDTH; i++) {
            tasks[layer][i] = nt_spawn(&s[layer][i], NULL, acts[layer]);
            members[i] = neap_task_future(tasks[layer][i]);
        }
        assert_ok(neap_gather(nt.loop, members, WIDTH, 0, &gathers[layer]));
        last = gathers[layer];
    }
    nt_turn();
    page p = tree_of(nt.loop, NEAP_TREE_STACKS);
    assert_int_equal(count_of(p.text, "\n"), 1 + LAYERS * WIDTH);
    assert_int_equal(count_of(p.text, " #"), LAYERS * WIDTH);
    assert_int_equal(count_of(p.text, "a ring"), 0);
    p.len = 0;
    assert_ok(neap_task_explain(tasks[LAYERS - 1][0], take, &p));
    assert_int_equal(count_of(p.text, " #"), (LAYERS - 1) * WIDTH + 1);
    free(p.text);
    assert_ok(neap_future_set_int(f, 1));
    nt_until(last);
    for (int layer = 0; layer < LAYERS; layer++) {
        neap_future_unref(gathers[layer]);
        for (int i = 0; i < WIDTH; i++)
            neap_task_unref(tasks[layer][i]);
    }
    neap_future_unref(f);
}

/* Counts what is written, per task. */
static size_t bytes_per_task(int n) {
    nt_script *s = calloc((size_t)n, sizeof *s);
    hold *h = calloc((size_t)n, sizeof *h);
    nt_act(*acts)[3] = calloc((size_t)n, sizeof *acts);
    neap_lock *lock;
    size_t bytes = 0;
    assert_ok(neap_lock_new(nt.loop, &lock));
    for (int i = 0; i < n; i++) {
        h[i].lock = lock;
        acts[i][0] = (nt_act)NT_CALL(acquire, &h[i]);
        acts[i][1] = (nt_act)NT_AWAIT_LATE(&h[i].future);
        if (i == 0) /* who has the lock keeps it */
            acts[i][1] = (nt_act)NT_SLEEP(1000 * NT_SEC);
        acts[i][2] = (nt_act){.what = NT_DO_END};
        neap_task_unref(nt_spawn(&s[i], NULL, acts[i]));
    }
    nt_turn();
    neap_metrics before = nt_metrics();
    assert_ok(neap_loop_write_tree(nt.loop, 0, nothing, &bytes));
    neap_metrics after = nt_metrics();
    assert_true(after.bytes == before.bytes); /* looking leaves nothing behind */
    assert_true(after.allocations - before.allocations <= 2);
    assert_int_equal(neap_loop_shutdown(nt.loop, NT_SEC), 0);
    for (int i = 0; i < n; i++)
        neap_future_unref(h[i].future);
    neap_lock_unref(lock);
    free(s);
    free(h);
    free(acts);
    return bytes / (size_t)n;
}

/* With a square anywhere this does not come to its end. */
static void the_tree_of_100000_tasks_is_as_large_per_task_as_that_of_10(void **state) {
    (void)state;
    size_t few = bytes_per_task(10);
    size_t many = bytes_per_task(nt_slow_machine() ? 10000 : 100000);
    assert_true(many < few + 32);
}

typedef struct nest {
    stage g;
    nt_script s;
    const nt_act *acts;
    nt_act next[3];
} nest;

static void groups_in_groups_go_no_further_to_the_right_than_some_steps(void **state) {
    (void)state;
    enum {
        DEEP = 2000
    };
    nest *n = calloc(DEEP, sizeof *n);
    neap_future *f = nt_future();
    for (int i = 0; i < DEEP; i++) {
        int last = i == DEEP - 1;
        n[i].next[0] = (nt_act)NT_CALL(enter, &n[i].g);
        n[i].next[1] = (nt_act)NT_AWAIT_CATCH(f);
        n[i].g = (stage){.flags = NEAP_SCOPE_GROUP,
                         .n = last ? 0 : 1,
                         .children = last ? NULL : &n[i + 1].s,
                         .acts = n[last ? i : i + 1].next};
    }
    neap_task_unref(nt_spawn(&n[0].s, NULL, n[0].next));
    for (int i = 0; i < DEEP; i++)
        nt_turn();
    page p = tree_of(nt.loop, 0);
    assert_int_equal(count_of(p.text, " #"), DEEP);
    assert_non_null(strstr(p.text, "(depth 1999) task-2000 #2000 waits"));
    assert_true(p.len < DEEP * 300);
    free(p.text);
    assert_ok(neap_future_set_int(f, 1));
    nt_settle();
    for (int i = 0; i < DEEP; i++)
        neap_scope_unref(n[i].g.scope);
    neap_future_unref(f);
    free(n);
}

static void without_memory_the_tree_is_refused_and_nothing_is_lost(void **state) {
    (void)state;
    nt_script s;
    size_t bytes = 0;
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_YIELD));
    nt_heap_fail(&nt.heap, 1, 0);
    assert_code(neap_loop_write_tree(nt.loop, 0, nothing, &bytes), NEAP_ENOMEM);
    nt_heap_fail(&nt.heap, 2, 0);
    assert_code(neap_loop_write_tree(nt.loop, 0, nothing, &bytes), NEAP_ENOMEM);
    nt_heap_fail(&nt.heap, 1, 0);
    assert_code(neap_task_explain(task, nothing, &bytes), NEAP_ENOMEM);
    nt_heap_fail(&nt.heap, 0, 0);
    assert_code(neap_loop_write_tree(nt.loop, 8, nothing, &bytes), NEAP_EINVAL);
    assert_code(neap_loop_write_tree(nt.loop, 0, NULL, NULL), NEAP_EINVAL);
    nt_until_task(task);
    page p = {NULL, 0, 0};
    assert_ok(neap_task_explain(task, take, &p));
    assert_non_null(strstr(p.text, "t #1 has ended"));
    free(p.text);
    neap_task_unref(task);
}

/* ---- Background tasks ------------------------------------------------------------------------ */

static int32_t step_until_cancelled(neap_task *task, neap_future *awaited, int32_t wake,
                                    void *user) {
    (void)awaited;
    if (wake == NEAP_WAKE_CANCEL || (awaited != NULL && neap_future_done(awaited)))
        return NEAP_STEP_CANCELLED;
    neap_future *future = user;
    assert_ok(future != NULL ? neap_task_await(task, future) : neap_task_sleep(task, NT_SEC));
    return NEAP_STEP_AWAIT;
}

static const neap_task_ops background_ops = {.size = sizeof(neap_task_ops),
                                             .step = step_until_cancelled};

static neap_task *spawn_background(neap_future *future) {
    neap_task_options options = {
        .size = sizeof options, .name = "guard", .flags = NEAP_TASK_BACKGROUND};
    neap_task *task;
    assert_ok(neap_task_spawn(nt.loop, &background_ops, future, &options, &task));
    return task;
}

static int32_t count_visit(neap_task *task, void *user) {
    (void)task;
    ++*(int *)user;
    return 0;
}

static void a_background_task_is_not_seen_and_changes_no_number(void **state) {
    (void)state;
    nt_script s;
    int visits = 0;
    neap_task *guard = spawn_background(NULL);
    neap_task *task = nt_spawn(&s, NULL, NT_ACTS(NT_SLEEP(NT_SEC / 2)));
    nt_turn();
    assert_int_equal(neap_task_id(task), 1);
    assert_true(neap_task_id(guard) > UINT32_MAX);
    assert_ok(neap_task_walk(nt.loop, count_visit, &visits));
    assert_int_equal(visits, 1);
    assert_int_equal(nt_metrics().tasks, 1);
    assert_tree("test: 1 task\n"
                "task-1 #1 waits for a sleep\n");
    page p = tree_of(nt.loop, NEAP_TREE_BACKGROUND);
    assert_non_null(strstr(p.text, "guard #"));
    assert_non_null(strstr(p.text, " sleeps for another 1 s"));
    free(p.text);
    nt_until_task(task);
    assert_int_equal(neap_loop_shutdown(nt.loop, 0), 0);
    assert_int_equal(neap_future_state(neap_task_future(guard)), NEAP_STATE_CANCELLED);
    neap_task_unref(guard);
    neap_task_unref(task);
}

static void what_a_background_task_waits_for_hides_no_deadlock(void **state) {
    (void)state;
    nt_script s;
    neap_sock *pair[2];
    neap_future *never = nt_future(), *received = NULL;
    const void *data;
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &pair[0], &pair[1]));
    assert_code(neap_sock_recv_lent(pair[0], 16, 0, &data, &received), NEAP_PENDING);
    neap_task *reader = spawn_background(received), *sleeper = spawn_background(NULL);
    neap_task *task = nt_spawn(&s, "main", NT_ACTS(NT_AWAIT_CATCH(never)));
    assert_code(neap_loop_run_until(nt.loop, neap_task_future(task)), NEAP_EDEADLOCK);
    assert_non_null(strstr(nt_claim(NEAP_REPORT_DEADLOCK)->message, "main waits for a future"));
    assert_int_equal(neap_loop_alive(nt.loop), 0);
    /* An operation of somebody else is a waker as ever. */
    neap_future *other = NULL;
    assert_code(neap_sock_recv_lent(pair[1], 16, 0, &data, &other), NEAP_PENDING);
    assert_int_equal(neap_loop_alive(nt.loop), 1);
    neap_future_cancel(other, NULL);
    nt_settle();
    neap_future_unref(other);
    assert_ok(neap_future_set_int(never, 1));
    nt_until_task(task);
    assert_int_equal(neap_loop_shutdown(nt.loop, 0), 0);
    neap_task_unref(reader);
    neap_task_unref(sleeper);
    neap_task_unref(task);
    neap_future_unref(received);
    neap_future_unref(never);
    neap_sock_unref(pair[0]);
    neap_sock_unref(pair[1]);
}

static void spawn_another(void *user) {
    neap_task **child = user;
    assert_ok(neap_task_spawn(nt.loop, &background_ops, NULL, NULL, child));
}

static int32_t spawning_step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    (void)task;
    (void)awaited;
    (void)wake;
    spawn_another(user);
    return NEAP_STEP_DONE;
}

static void what_a_background_task_spawns_is_in_the_background_too(void **state) {
    (void)state;
    static const neap_task_ops ops = {.size = sizeof(neap_task_ops), .step = spawning_step};
    neap_task_options options = {.size = sizeof options, .flags = NEAP_TASK_BACKGROUND};
    neap_task *child = NULL;
    assert_ok(neap_task_spawn(nt.loop, &ops, &child, &options, NULL));
    nt_turns(2);
    assert_int_equal(nt_metrics().tasks, 0);
    assert_int_equal(neap_future_state(neap_task_future(child)), NEAP_STATE_PENDING);
    assert_int_equal(neap_loop_shutdown(nt.loop, 0), 0);
    neap_task_unref(child);
}

static void spawn_guard(void *user) {
    *(neap_task **)user = spawn_background(NULL);
}

static void no_group_takes_a_background_task_by_itself(void **state) {
    (void)state;
    nt_script s, member;
    stage g = {.flags = NEAP_SCOPE_GROUP, .children = &member, .n = 1, .acts = NT_ACTS(NT_YIELD)};
    neap_task *guard = NULL;
    neap_task *owner =
        nt_spawn(&s, "owner", NT_ACTS(NT_CALL(enter, &g), NT_CALL(spawn_guard, &guard), NT_YIELD));
    nt_turn();
    assert_int_equal(neap_scope_members(g.scope), 1);
    assert_null(neap_task_group(guard));
    nt_until_task(owner);
    assert_int_equal(neap_loop_shutdown(nt.loop, 0), 0);
    neap_task_unref(guard);
    neap_task_unref(owner);
    neap_scope_unref(g.scope);
}

static void closing_the_loop_ends_background_tasks_without_a_word(void **state) {
    (void)state;
    neap_task_options options = {.size = sizeof options, .flags = NEAP_TASK_BACKGROUND};
    neap_loop *loop = nt_loop_new(0);
    neap_task *task;
    assert_ok(neap_task_spawn(loop, &background_ops, NULL, &options, &task));
    assert_ok(neap_loop_close(loop, 0));
    nt_no_reports();
    assert_int_equal(neap_future_state(neap_task_future(task)), NEAP_STATE_CANCELLED);
    neap_task_unref(task);
    nt_loop_end(loop);
}

/* ---- Figures of time ------------------------------------------------------------------------- */

static void stay(void *user) {
    assert_ok(neap_loop_advance(nt.loop, *(int64_t *)user));
}

static void metrics_tell_busy_time_the_longest_step_and_whose_it_was(void **state) {
    (void)state;
    nt_script s;
    int64_t ms10 = 10 * NT_MS, ms30 = 30 * NT_MS, ms20 = 20 * NT_MS;
    neap_task *task = nt_spawn(&s, "cruncher",
                               NT_ACTS(NT_CALL(stay, &ms10), NT_YIELD, NT_CALL(stay, &ms30),
                                       NT_YIELD, NT_CALL(stay, &ms10)));
    assert_ok(neap_call_soon(nt.loop, stay, &ms20, NULL, NULL));
    nt_until_task(task);
    neap_metrics m = nt_metrics();
    assert_int_equal(m.elapsed_ns, 70 * NT_MS);
    assert_int_equal(m.busy_ns, 70 * NT_MS);
    assert_int_equal(m.longest_step_ns, 30 * NT_MS);
    assert_int_equal(m.longest_batch_ns, 30 * NT_MS);
    assert_string_equal(m.longest_step, "cruncher");
    assert_ok(neap_call_soon(nt.loop, stay, &(int64_t){50 * NT_MS}, NULL, NULL));
    nt_turn();
    m = nt_metrics();
    assert_int_equal(m.longest_step_ns, 50 * NT_MS);
    assert_string_equal(m.longest_step, "a callback");
    neap_task_unref(task);
}

static void metrics_tell_how_late_timers_were(void **state) {
    (void)state;
    nt_later(NT_SEC, "a");
    nt_later(2 * NT_SEC, "b");
    assert_ok(neap_loop_advance(nt.loop, NT_SEC + 5000)); /* 5 us */
    nt_turn();
    neap_metrics m = nt_metrics();
    assert_int_equal(m.late_last_ns, 5000);
    assert_int_equal(m.late[3], 1);
    assert_ok(neap_loop_advance(nt.loop, 100 * NT_SEC));
    nt_turn();
    m = nt_metrics();
    assert_int_equal(m.late_last_ns, 99 * NT_SEC + 5000);
    assert_int_equal(m.late_longest_ns, m.late_last_ns);
    assert_int_equal(m.late[NEAP_LATE_MAX - 1], 1);
    nt_later(0, "c");
    nt_turn();
    m = nt_metrics();
    assert_int_equal(m.late_last_ns, 0);
    assert_int_equal(m.late[0], 1);
    assert_notes("a b c");
}

static int32_t slow_step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    (void)awaited;
    (void)user;
    if (wake != NEAP_WAKE_START)
        return NEAP_STEP_DONE;
    assert_ok(neap_loop_advance(nt.loop, 200 * NT_MS));
    assert_ok(neap_task_sleep(task, NT_MS));
    return NEAP_STEP_AWAIT;
}

static void say_where(neap_task *task, void *user, char *buf, size_t cap) {
    (void)task;
    (void)user;
    snprintf(buf, cap, "main.c:7");
}

static void keep_where(neap_loop *loop, const neap_report *report, void *user) {
    (void)loop;
    assert_int_equal(report->kind, NEAP_REPORT_SLOW);
    assert_true(report->size >= sizeof(neap_report));
    assert_string_equal(report->where, "main.c:7");
    assert_string_equal(report->message, "a step took 0.2 s, up to main.c:7");
    *(neap_task **)user = report->task;
}

static void X1_a_slow_step_is_reported_with_the_line_up_to_which_it_went(void **state) {
    (void)state;
    static const neap_task_ops ops = {
        .size = sizeof(neap_task_ops), .step = slow_step, .describe = say_where};
    neap_task *task = NULL, *seen = NULL;
    assert_ok(neap_loop_set_error_hook(nt.loop, keep_where, &seen, NULL));
    assert_ok(neap_task_spawn(nt.loop, &ops, NULL, NULL, &task));
    nt_until_task(task);
    assert_ptr_equal(seen, task);
    assert_string_equal(nt_metrics().longest_step, "task-1 at main.c:7");
    neap_task_unref(task);
}

static void old_clients_get_the_figures_that_they_know(void **state) {
    (void)state;
    neap_metrics m;
    size_t known = offsetof(neap_metrics, elapsed_ns);
    memset(&m, 0x55, sizeof m);
    assert_int_equal(neap_loop_metrics(nt.loop, &m, known), (int)known);
    assert_int_equal(m.elapsed_ns, 0x5555555555555555);
}

/* ---- The trace ------------------------------------------------------------------------------- */

static void note_trace(neap_loop *loop, const neap_trace *trace, void *user) {
    int64_t *last = user;
    assert_true(trace->size >= sizeof(neap_trace));
    assert_true(trace->time_ns >= *last);
    assert_ptr_equal(trace->current, neap_task_current(loop));
    *last = trace->time_ns;
    nt_note("%s", nt_trace_word(trace->kind));
}

static void D21_each_moment_of_tasks_polls_and_callbacks_is_told_once_and_in_order(void **state) {
    (void)state;
    nt_script s;
    int64_t last = 0;
    neap_future *f = nt_future();
    assert_ok(neap_loop_set_trace_hook(nt.loop, note_trace, &last, NULL));
    neap_task *task = nt_spawn(&s, "t", NT_ACTS(NT_YIELD, NT_AWAIT(f), NT_RETURN(1)));
    assert_notes("spawn");
    nt_turn();
    assert_notes("spawn step yield end");
    nt_turn();
    assert_notes("spawn step yield end step suspend end");
    nt_note_clear();
    assert_ok(neap_future_set_int(f, 1));
    assert_notes("settle wake");
    nt_turn();
    assert_notes("settle wake step done settle end");
    nt_note_clear();
    assert_ok(neap_call_soon(nt.loop, nt_note_fn, NT_WORD("(called)"), NULL, NULL));
    assert_ok(neap_call_later(nt.loop, NT_MS, nt_note_fn, NT_WORD("(timer)"), NULL, NULL));
    nt_turn();
    assert_notes("call (called) called end");
    nt_note_clear();
    assert_int_equal(neap_loop_run_once(nt.loop, -1), 1);
    assert_notes("poll polled call (timer) called end");
    neap_task *never = nt_spawn(&s, "n", NT_ACTS(NT_NOTE("no")));
    nt_note_clear();
    neap_task_cancel(never, NULL);
    nt_turn();
    assert_notes("done settle end");
    assert_ok(neap_loop_set_trace_hook(nt.loop, NULL, NULL, NULL));
    neap_task_unref(task);
    neap_task_unref(never);
    neap_future_unref(f);
}

NT_MAIN(NT_TEST_VIRTUAL(D21_tasks_stand_below_the_one_whose_group_they_were_spawned_into),
        NT_TEST_VIRTUAL(a_task_below_a_region_of_its_owner_still_belongs_to_the_owner),
        NT_TEST_VIRTUAL(a_lock_is_said_with_who_has_it_and_since_when),
        NT_TEST(an_operation_is_said_with_the_address_and_the_descriptor),
        NT_TEST_VIRTUAL(combinations_name_what_they_wait_for),
        NT_TEST_VIRTUAL(rings_are_named_once_each),
        NT_TEST_VIRTUAL(layers_of_tasks_that_all_await_each_other_print_each_task_once),
        NT_TEST_VIRTUAL(the_tree_of_100000_tasks_is_as_large_per_task_as_that_of_10),
        NT_TEST_VIRTUAL(groups_in_groups_go_no_further_to_the_right_than_some_steps),
        NT_TEST_VIRTUAL(without_memory_the_tree_is_refused_and_nothing_is_lost),
        NT_TEST_VIRTUAL(a_background_task_is_not_seen_and_changes_no_number),
        NT_TEST(what_a_background_task_waits_for_hides_no_deadlock),
        NT_TEST_VIRTUAL(what_a_background_task_spawns_is_in_the_background_too),
        NT_TEST_VIRTUAL(no_group_takes_a_background_task_by_itself),
        NT_TEST(closing_the_loop_ends_background_tasks_without_a_word),
        NT_TEST_VIRTUAL(metrics_tell_busy_time_the_longest_step_and_whose_it_was),
        NT_TEST_VIRTUAL(metrics_tell_how_late_timers_were),
        NT_TEST_VIRTUAL(X1_a_slow_step_is_reported_with_the_line_up_to_which_it_went),
        NT_TEST(old_clients_get_the_figures_that_they_know),
        NT_TEST_VIRTUAL(D21_each_moment_of_tasks_polls_and_callbacks_is_told_once_and_in_order))
