/* Conditions: who waits has given up the lock and gets it back, and no notification is swallowed. */
#include <string.h>

#include "support.h"

/* ---- Tasks that do what they are told, one command in a turn */

enum {
    ACTORS = 3,
    EVENTS = 7, /* in a row, after two tasks have begun to wait */
    ACQUIRE = 0,
    RELEASE,
    WAIT,
    NOTIFY,
    CANCEL,
    COMMANDS
};

typedef struct actor {
    nt_script script;
    neap_task *task;
    int command; /* or -1 */
    int32_t answer;
    neap_future *future; /* of its last wait */
} actor;

typedef struct stage {
    neap_lock *lock;
    neap_cond *cond;
    actor actors[ACTORS];
} stage;

static stage on;

static int32_t perform(actor *a) {
    if (a->command == RELEASE)
        return neap_lock_release(on.lock);
    if (a->command == NOTIFY)
        return neap_cond_notify(on.cond, 1);
    neap_future_unref(a->future);
    a->future = NULL;
    return a->command == WAIT ? neap_cond_wait(on.cond, &a->future)
                              : neap_lock_acquire(on.lock, &a->future);
}

static void obey(void *user) {
    actor *a = user;
    if (a->command >= 0)
        a->answer = perform(a);
    a->command = -1;
}

/* The answer of the i-th actor, told to do this. */
static int32_t tell(int i, int command) {
    actor *a = &on.actors[i];
    if (command == CANCEL)
        return neap_future_cancel(a->future, NULL);
    a->command = command;
    nt_turn();
    assert_int_equal(a->command, -1);
    return a->answer;
}

static void enter_stage(void) {
    static nt_act acts[ACTORS][3];
    memset(&on, 0, sizeof on);
    assert_ok(neap_lock_new(nt.loop, &on.lock));
    assert_ok(neap_cond_new(on.lock, &on.cond));
    for (int i = 0; i < ACTORS; i++) {
        actor *a = &on.actors[i];
        a->command = -1;
        acts[i][0] = (nt_act)NT_CALL(obey, a);
        acts[i][1] = (nt_act)NT_YIELD;
        acts[i][2] = (nt_act)NT_AGAIN;
        a->task = nt_spawn(&a->script, "actor", acts[i]);
    }
    nt_turn();
}

static void leave_stage(void) {
    for (int i = 0; i < ACTORS; i++)
        assert_int_equal(neap_task_cancel(on.actors[i].task, NULL), 1);
    nt_settle();
    for (int i = 0; i < ACTORS; i++) {
        neap_task_unref(on.actors[i].task);
        neap_future_unref(on.actors[i].future);
    }
    neap_cond_unref(on.cond);
    neap_lock_unref(on.lock);
}

static int holder(void) {
    uint64_t id = neap_lock_holder(on.lock);
    for (int i = 0; i < ACTORS; i++)
        if (id == neap_task_id(on.actors[i].task))
            return i;
    return -1;
}

static void assert_wait(int i, int32_t state) {
    assert_state(on.actors[i].future, state);
}

/* ---- The rules */

static void a_notified_task_goes_on_when_the_lock_is_released(void **state) {
    (void)state;
    enter_stage();
    assert_ok(tell(0, ACQUIRE));
    assert_code(tell(0, WAIT), NEAP_PENDING);
    assert_int_equal(holder(), -1);
    assert_ok(tell(1, ACQUIRE));
    assert_int_equal(tell(1, NOTIFY), 1);
    assert_wait(0, NEAP_STATE_PENDING);
    assert_ok(tell(1, RELEASE));
    assert_wait(0, NEAP_STATE_RESULT);
    assert_int_equal(holder(), 0);
    leave_stage();
}

static void a_condition_is_only_for_who_holds_the_lock(void **state) {
    (void)state;
    enter_stage();
    assert_code(tell(0, WAIT), NEAP_EPERM);
    assert_code(tell(0, NOTIFY), NEAP_EPERM);
    assert_ok(tell(1, ACQUIRE));
    assert_code(tell(0, WAIT), NEAP_EPERM);
    assert_code(tell(0, NOTIFY), NEAP_EPERM);
    assert_code(neap_cond_notify(on.cond, -1), NEAP_EPERM);
    leave_stage();
}

static void C10_a_cancelled_wait_ends_with_the_lock_held(void **state) {
    (void)state;
    enter_stage();
    assert_ok(tell(0, ACQUIRE));
    assert_code(tell(0, WAIT), NEAP_PENDING);
    assert_ok(tell(1, ACQUIRE));
    assert_int_equal(tell(0, CANCEL), 1);
    nt_turns(3);
    assert_wait(0, NEAP_STATE_PENDING);
    assert_ok(tell(1, RELEASE));
    assert_wait(0, NEAP_STATE_CANCELLED);
    assert_int_equal(holder(), 0);
    leave_stage();
}

static void a_notification_to_one_who_is_cancelled_goes_on_to_the_next(void **state) {
    (void)state;
    enter_stage();
    for (int i = 0; i < 2; i++) {
        assert_ok(tell(i, ACQUIRE));
        assert_code(tell(i, WAIT), NEAP_PENDING);
    }
    assert_ok(tell(2, ACQUIRE));
    assert_int_equal(tell(2, NOTIFY), 1);
    assert_int_equal(tell(0, CANCEL), 1);
    assert_ok(tell(2, RELEASE));
    assert_wait(0, NEAP_STATE_CANCELLED);
    assert_int_equal(holder(), 0);
    assert_ok(tell(0, RELEASE));
    assert_wait(1, NEAP_STATE_RESULT);
    leave_stage();
}

static void waits_of_a_loop_that_closes_hear_so(void **state) {
    (void)state;
    enter_stage();
    assert_ok(tell(0, ACQUIRE));
    assert_code(tell(0, WAIT), NEAP_PENDING);
    assert_ok(neap_loop_close(nt.loop, NEAP_CLOSE_SILENT));
    assert_code(neap_future_error(on.actors[0].future), NEAP_ECLOSED);
    for (int i = 0; i < ACTORS; i++) {
        neap_task_unref(on.actors[i].task);
        neap_future_unref(on.actors[i].future);
    }
    neap_cond_unref(on.cond);
    neap_lock_unref(on.lock);
}

/* ---- Each order of events, up to a length: the real thing beside a model */

typedef struct queue {
    int who[ACTORS];
    int len;
} queue;

static void push(queue *q, int i) {
    q->who[q->len++] = i;
}

static int has(const queue *q, int i) {
    for (int at = 0; at < q->len; at++)
        if (q->who[at] == i)
            return 1;
    return 0;
}

static void take_out(queue *q, int i) {
    int at = 0;
    while (q->who[at] != i)
        at++;
    memmove(&q->who[at], &q->who[at + 1], (size_t)(--q->len - at) * sizeof *q->who);
}

typedef struct model {
    int holder; /* or -1 */
    queue lock, cond;
    int out_of_cond[ACTORS]; /* stands for the lock because of a wait */
    int cancelled[ACTORS];   /* and was cancelled */
    int32_t expected[ACTORS];
} model;

static void model_hand_on(model *m) {
    m->holder = -1;
    if (m->lock.len == 0)
        return;
    int i = m->lock.who[0];
    take_out(&m->lock, i);
    m->holder = i;
    m->expected[i] = m->cancelled[i] ? NEAP_STATE_CANCELLED : NEAP_STATE_RESULT;
}

static void model_notify(model *m) {
    int i = m->cond.who[0];
    take_out(&m->cond, i);
    push(&m->lock, i);
}

static void model_cancel(model *m, int i) {
    if (has(&m->lock, i) && !m->out_of_cond[i]) {
        take_out(&m->lock, i);
        m->expected[i] = NEAP_STATE_CANCELLED;
        return;
    }
    m->cancelled[i] = 1;
    if (has(&m->cond, i)) {
        take_out(&m->cond, i);
        push(&m->lock, i);
        if (m->holder < 0)
            model_hand_on(m);
    } else if (m->cond.len > 0) {
        model_notify(m);
    }
}

static int is_possible(const model *m, int i, int command) {
    int waits = has(&m->lock, i) || has(&m->cond, i);
    switch (command) {
    case ACQUIRE:
        return !waits && m->holder != i;
    case NOTIFY:
        return m->holder == i && m->cond.len > 0;
    case CANCEL:
        return waits && !m->cancelled[i];
    default:
        return m->holder == i;
    }
}

static void model_event(model *m, int i, int command) {
    switch (command) {
    case ACQUIRE:
        m->out_of_cond[i] = m->cancelled[i] = 0;
        m->expected[i] = m->holder < 0 ? -1 : NEAP_STATE_PENDING;
        if (m->holder < 0)
            m->holder = i;
        else
            push(&m->lock, i);
        break;
    case WAIT:
        m->out_of_cond[i] = 1;
        m->cancelled[i] = 0;
        m->expected[i] = NEAP_STATE_PENDING;
        push(&m->cond, i);
        model_hand_on(m);
        break;
    case NOTIFY:
        model_notify(m);
        break;
    case CANCEL:
        model_cancel(m, i);
        break;
    default:
        model_hand_on(m);
    }
}

static void happen(model *m, int i, int command) {
    assert_true(tell(i, command) >= 0 || on.actors[i].answer == NEAP_PENDING);
    model_event(m, i, command);
    assert_int_equal(holder(), m->holder);
    for (int a = 0; a < ACTORS; a++)
        if (m->expected[a] >= 0)
            assert_wait(a, m->expected[a]);
}

/* Plays the events until one is impossible; answers the number of those that were played. */
static int play(const int *events, long *ret_played) {
    model m = {.holder = -1, .expected = {-1, -1, -1}};
    int n = 0;
    enter_stage();
    for (int i = 0; i < 2; i++) {
        happen(&m, i, ACQUIRE);
        happen(&m, i, WAIT);
    }
    for (; n < EVENTS; n++) {
        int i = events[n] / COMMANDS, command = events[n] % COMMANDS;
        if (!is_possible(&m, i, command))
            break;
        happen(&m, i, command);
    }
    leave_stage();
    *ret_played += n == EVENTS;
    return n;
}

static void
D23_in_every_order_of_events_the_lock_and_each_notification_go_to_one_task(void **state) {
    (void)state;
    int events[EVENTS] = {0};
    long played = 0;
    int last = EVENTS - 1;
    while (last >= 0) {
        int n = play(events, &played);
        last = n < EVENTS ? n : EVENTS - 1;
        memset(&events[last + 1], 0, (size_t)(EVENTS - 1 - last) * sizeof *events);
        while (last >= 0 && ++events[last] == ACTORS * COMMANDS)
            events[last--] = 0;
        if (nt_slow_machine() && played > 2000)
            break;
    }
    assert_true(played > 2000);
}

#define V NT_TEST_VIRTUAL

NT_MAIN(V(a_notified_task_goes_on_when_the_lock_is_released),
        V(a_condition_is_only_for_who_holds_the_lock),
        V(C10_a_cancelled_wait_ends_with_the_lock_held),
        V(a_notification_to_one_who_is_cancelled_goes_on_to_the_next),
        V(waits_of_a_loop_that_closes_hear_so),
        V(D23_in_every_order_of_events_the_lock_and_each_notification_go_to_one_task))
