/* The core under failing memory.  Each scenario runs with the 1st, 2nd, 3rd ... allocation
   failing, once each and from there on, until a run needs no more.  Every call answers success
   or NEAP_ENOMEM; what succeeded keeps its promises: each callback and completion once, each
   destroy hook once, the loop closable, nothing left. */
#include <string.h>

#include "support.h"

/* What a call may answer. */
static int ok(int32_t code) {
    if (code < 0)
        assert_int_equal(code, NEAP_ENOMEM);
    return code >= 0;
}

/* Counts calls and destroys of one registration. */
struct once {
    int called;
    int destroyed;
};

static void once_call(void *user) {
    ((struct once *)user)->called++;
}

static void once_future_call(neap_future *future, void *user) {
    assert_int_equal(neap_future_done(future), 1);
    ((struct once *)user)->called++;
}

static void once_destroy(void *user) {
    ((struct once *)user)->destroyed++;
}

/* A registration that succeeded was called `calls` times; it was destroyed once in any case. */
static void assert_once(const struct once *o, int succeeded, int calls) {
    assert_int_equal(o->called, succeeded ? calls : 0);
    assert_int_equal(o->destroyed, 1);
}

static void end(neap_loop *loop) {
    assert_ok(neap_loop_close(loop, 0));
    neap_loop_unref(loop);
}

/* Ticks until nothing happens; memory may fail in each. */
static void settle(neap_loop *loop) {
    for (int quiet = 0; quiet < 3;) {
        int32_t n = neap_loop_run_once(loop, 0);
        assert_true(n >= 0 || n == NEAP_ENOMEM);
        quiet = n == 0 ? quiet + 1 : 0;
    }
}

/* ---- Scenarios ------------------------------------------------------------------------------- */

static void loop_is_made(void) {
    neap_loop *loop = nt_fault_loop(0);
    if (loop == NULL)
        return;
    settle(loop);
    end(loop);
}

static void callbacks(void) {
    neap_loop *loop = nt_fault_loop(0);
    struct once soon[3] = {0};
    struct once later = {0};
    int made[3];
    if (loop == NULL)
        return;
    for (int i = 0; i < 3; i++)
        made[i] = ok(neap_call_soon(loop, once_call, &soon[i], once_destroy, NULL));
    int timed = ok(neap_call_later(loop, 0, once_call, &later, once_destroy, NULL));
    settle(loop);
    for (int i = 0; i < 3; i++)
        assert_once(&soon[i], made[i], 1);
    assert_once(&later, timed, 1);
    end(loop);
}

static void timers(void) {
    enum {
        N = 70
    }; /* more than the first block of the heap */
    neap_loop *loop = nt_fault_loop(NEAP_LOOP_VIRTUAL_CLOCK);
    struct once o[N];
    neap_handle *handles[N];
    int made[N];
    if (loop == NULL)
        return;
    memset(o, 0, sizeof o);
    for (int i = 0; i < N; i++) {
        handles[i] = NULL;
        made[i] = ok(neap_call_later(loop, i * NT_MS, once_call, &o[i], once_destroy, &handles[i]));
        assert_int_equal(handles[i] != NULL, made[i]);
    }
    for (int i = 0; i < N; i += 2)
        if (made[i])
            assert_int_equal(neap_handle_cancel(handles[i]), 1);
    if (made[1])
        assert_ok(neap_handle_reset(handles[1], 200 * NT_MS));
    assert_ok(neap_loop_advance(loop, NT_SEC));
    settle(loop);
    for (int i = 0; i < N; i++) {
        assert_once(&o[i], made[i], i % 2);
        neap_handle_unref(handles[i]);
    }
    end(loop);
}

static void futures(void) {
    static const char tag;
    neap_loop *loop = nt_fault_loop(0);
    struct once callback = {0};
    struct once value = {0};
    neap_future *future = NULL;
    if (loop == NULL)
        return;
    if (ok(neap_future_new(loop, &future))) {
        int waits =
            ok(neap_future_on_done(future, once_future_call, &callback, once_destroy, NULL));
        int sited = ok(neap_future_set_site(future, "somewhere"));
        assert_string_equal(neap_future_site(future), sited ? "somewhere" : "");
        int set = ok(neap_future_set_ptr(future, &tag, &value, once_destroy));
        assert_int_equal(value.destroyed, !set);
        assert_state(future, set ? NEAP_STATE_RESULT : NEAP_STATE_PENDING);
        if (!set)
            assert_ok(neap_future_set_none(future));
        settle(loop);
        assert_once(&callback, waits, 1);
        neap_future_unref(future);
        assert_int_equal(value.destroyed, 1);
    }
    end(loop);
}

static void values_that_are_copied(void) {
    neap_loop *loop = nt_fault_loop(0);
    neap_future *bytes = NULL;
    neap_future *error = NULL;
    neap_buf *buf = NULL;
    const void *data = NULL;
    size_t len = 0;
    static const char text[] = "longer than anything that fits into the future itself, for sure";
    if (loop == NULL)
        return;
    if (ok(neap_future_new(loop, &bytes))) {
        if (ok(neap_future_set_bytes(bytes, text, sizeof text))) {
            assert_ok(neap_future_get_bytes(bytes, &data, &len));
            assert_memory_equal(data, text, sizeof text);
        } else {
            assert_state(bytes, NEAP_STATE_PENDING);
        }
        neap_future_unref(bytes);
    }
    if (ok(neap_future_new(loop, &error))) {
        /* A failure is never lost for want of memory for its text. */
        int32_t code = neap_future_set_error(error, NEAP_EPIPE, text);
        assert_true(code == 0 || code == NEAP_ENOMEM);
        if (code == 0) {
            assert_code(neap_future_error(error), NEAP_EPIPE);
            assert_non_null(neap_future_message(error));
        }
        assert_ok(neap_future_ignore(error));
        neap_future_unref(error);
    }
    if (ok(neap_buf_new(loop, text, sizeof text, &buf))) {
        assert_memory_equal(neap_buf_data(buf), text, sizeof text);
        neap_buf_unref(buf);
    }
    settle(loop);
    end(loop);
}

static void cancel_hooks(void) {
    neap_loop *loop = nt_fault_loop(0);
    struct once hook = {0};
    neap_future *future = NULL;
    if (loop == NULL)
        return;
    if (ok(neap_future_new(loop, &future))) {
        int set = ok(neap_future_set_cancel_hook(future, once_future_call, &hook, once_destroy));
        assert_int_equal(neap_future_cancel(future, "a text to be copied"), 1);
        assert_state(future, NEAP_STATE_CANCELLED);
        settle(loop);
        assert_int_equal(hook.called, set);
        neap_future_unref(future);
        assert_int_equal(hook.destroyed, 1);
    }
    end(loop);
}

/* A task, or NULL; the script is destroyed once in any case. */
static neap_task *spawn(neap_loop *loop, nt_script *s, const char *name, const nt_act *acts) {
    neap_task_options options = {sizeof options, name, "fault.c:1", NULL, 0};
    neap_task *task = NULL;
    memset(s, 0, sizeof *s);
    s->acts = acts;
    if (!ok(neap_task_spawn(loop, &nt_script_ops, s, &options, &task))) {
        assert_null(task);
        assert_int_equal(s->destroyed, 1);
        assert_int_equal(s->n_wakes, 0);
    }
    return task;
}

/* Ends the reference; the task is done and its script was destroyed once. */
static void drop(neap_task *task, const nt_script *s) {
    if (task != NULL)
        assert_int_equal(neap_future_done(neap_task_future(task)), 1);
    assert_int_equal(s->destroyed, 1);
    assert_int_equal(s->overlapped, 0);
    neap_task_unref(task);
}

static void tasks(void) {
    neap_loop *loop = nt_fault_loop(0);
    nt_script yields, waits, fails, sleeps;
    neap_future *gate = NULL;
    if (loop == NULL)
        return;
    if (!ok(neap_future_new(loop, &gate))) {
        end(loop);
        return;
    }
    neap_task *a = spawn(loop, &yields, "yields", NT_ACTS(NT_YIELD, NT_YIELD, NT_RETURN(1)));
    neap_task *b = spawn(loop, &waits, "waits", NT_ACTS(NT_AWAIT(gate), NT_PASS));
    neap_task *c = spawn(loop, &fails, "fails", NT_ACTS(NT_FAIL(NEAP_EPIPE)));
    neap_task *d = spawn(loop, &sleeps, "sleeps", NT_ACTS(NT_SLEEP(0), NT_RETURN(4)));
    settle(loop);
    assert_ok(neap_future_set_int(gate, 2));
    settle(loop);
    if (a != NULL)
        assert_int_equal(nt_int(neap_task_future(a)), 1);
    if (b != NULL)
        assert_int_equal(nt_int(neap_task_future(b)), 2);
    if (c != NULL)
        assert_code(neap_future_error(neap_task_future(c)), NEAP_EPIPE);
    if (d != NULL) {
        /* The sleep was made in a step: it may have failed there. */
        int32_t code = neap_future_error(neap_task_future(d));
        assert_true(code == 0 || code == NEAP_ENOMEM);
    }
    drop(a, &yields);
    drop(b, &waits);
    drop(c, &fails);
    drop(d, &sleeps);
    neap_future_unref(gate);
    end(loop);
}

static void tasks_are_cancelled(void) {
    neap_loop *loop = nt_fault_loop(NEAP_LOOP_VIRTUAL_CLOCK);
    nt_script waits, fresh, catches;
    neap_future *gate = NULL;
    if (loop == NULL)
        return;
    if (!ok(neap_future_new(loop, &gate))) {
        end(loop);
        return;
    }
    neap_task *a = spawn(loop, &waits, "waits", NT_ACTS(NT_AWAIT(gate)));
    neap_task *b =
        spawn(loop, &catches, "catches", NT_ACTS(NT_SLEEP_CATCH(NT_SEC), NT_YIELD, NT_RETURN(1)));
    settle(loop);
    neap_task *c = spawn(loop, &fresh, "fresh", NT_ACTS(NT_RETURN(1)));
    if (a != NULL)
        assert_int_equal(neap_task_cancel(a, "a text to be copied"), 1);
    if (b != NULL && !neap_future_done(neap_task_future(b)))
        assert_int_equal(neap_task_cancel(b, "another"), 1);
    if (c != NULL)
        assert_int_equal(neap_task_cancel(c, "yet another"), 1);
    settle(loop);
    if (a != NULL)
        assert_state(neap_task_future(a), NEAP_STATE_CANCELLED);
    if (c != NULL)
        assert_state(neap_task_future(c), NEAP_STATE_CANCELLED);
    drop(a, &waits);
    drop(b, &catches);
    drop(c, &fresh);
    neap_future_unref(gate);
    end(loop);
}

static void read_step(neap_loop *loop, const neap_shutdown_step *step, void *user) {
    (void)loop;
    (void)user;
    assert_true(strlen(step->text) > 0);
}

static void a_loop_is_shut_down(void) {
    neap_loop *loop = nt_fault_loop(NEAP_LOOP_VIRTUAL_CLOCK);
    nt_script sleeps, stubborn;
    if (loop == NULL)
        return;
    neap_task *a = spawn(loop, &sleeps, "sleeps", NT_ACTS(NT_SLEEP(9 * NT_SEC)));
    neap_task *b =
        spawn(loop, &stubborn, "stubborn", NT_ACTS(NT_SLEEP_CATCH(9 * NT_SEC), NT_AGAIN));
    settle(loop);
    struct once hook = {0};
    neap_future *begun = NULL;
    int hooked = ok(neap_loop_on_shutdown(loop, once_call, &hook, once_destroy, NULL));
    int32_t code = neap_loop_shutdown_begun(loop, &begun);
    assert_true(code == NEAP_PENDING || code == NEAP_ENOMEM);
    assert_int_equal(neap_loop_begin_shutdown(loop, "a text to be copied"), 1);
    const neap_shutdown_options o = {.size = sizeof o, .grace_ns = NT_SEC, .fn = read_step};
    int32_t aborted = neap_loop_shutdown_with(loop, &o);
    assert_true(aborted >= 0 || aborted == NEAP_ENOMEM);
    if (begun != NULL)
        assert_state(begun, NEAP_STATE_RESULT);
    neap_future_unref(begun);
    if (aborted < 0)
        assert_ok(neap_loop_close(loop, NEAP_CLOSE_SILENT));
    else
        assert_int_equal(hook.called, hooked);
    assert_int_equal(hook.destroyed, 1);
    drop(a, &sleeps);
    drop(b, &stubborn);
    end(loop);
}

static void a_loop_is_closed_with_everything_pending(void) {
    neap_loop *loop = nt_fault_loop(0);
    struct once soon = {0}, later = {0}, posted = {0}, done = {0};
    nt_script s;
    neap_future *future = NULL;
    if (loop == NULL)
        return;
    ok(neap_call_soon(loop, once_call, &soon, once_destroy, NULL));
    ok(neap_call_later(loop, NT_SEC, once_call, &later, once_destroy, NULL));
    ok(neap_loop_post(loop, once_call, &posted, once_destroy));
    if (ok(neap_future_new(loop, &future)))
        ok(neap_future_on_done(future, once_future_call, &done, once_destroy, NULL));
    neap_task *task = spawn(loop, &s, "t", NT_ACTS(NT_YIELD));
    assert_ok(neap_loop_close(loop, 0));
    drop(task, &s);
    if (future != NULL) {
        neap_future_unref(future);
        assert_once(&done, 0, 0);
    }
    assert_once(&soon, 0, 0);
    assert_once(&later, 0, 0);
    assert_once(&posted, 0, 0);
    end(loop);
}

static void waits(void) {
    neap_loop *loop = nt_fault_loop(NEAP_LOOP_VIRTUAL_CLOCK);
    neap_future *members[3] = {NULL, NULL, NULL};
    neap_future *made[4] = {NULL, NULL, NULL, NULL};
    struct once done[4];
    int registered[4] = {0};
    if (loop == NULL)
        return;
    memset(done, 0, sizeof done);
    int all = 1;
    for (int i = 0; i < 3; i++)
        all = ok(neap_future_new(loop, &members[i])) && all;
    if (all) {
        ok(neap_gather(loop, members, 3, 0, &made[0]));
        ok(neap_wait(loop, members, 3, NEAP_WAIT_ALL, NT_SEC, &made[1]));
        ok(neap_wait_for(members[0], NT_SEC, &made[2]));
        ok(neap_shield(members[1], &made[3]));
        for (int i = 0; i < 4; i++)
            if (made[i] != NULL)
                registered[i] = ok(
                    neap_future_on_done(made[i], once_future_call, &done[i], once_destroy, NULL));
        for (int i = 0; i < 3; i++)
            assert_ok(neap_future_set_int(members[i], i));
        settle(loop);
    }
    for (int i = 0; i < 4; i++) {
        if (made[i] == NULL)
            continue;
        /* Whatever was made is done now; bytes or lists may have found no memory. */
        assert_int_equal(neap_future_done(made[i]), 1);
        int32_t code = neap_future_error(made[i]);
        assert_true(code == 0 || code == NEAP_ENOMEM);
        assert_once(&done[i], registered[i], 1);
        neap_future_unref(made[i]);
    }
    for (int i = 0; i < 3; i++) {
        if (members[i] != NULL)
            assert_int_equal(neap_future_waiters(members[i]), 0);
        neap_future_unref(members[i]);
    }
    end(loop);
}

static void waits_end_early(void) {
    neap_loop *loop = nt_fault_loop(NEAP_LOOP_VIRTUAL_CLOCK);
    neap_future *members[3] = {NULL, NULL, NULL};
    neap_future *made[3] = {NULL, NULL, NULL};
    if (loop == NULL)
        return;
    int all = 1;
    for (int i = 0; i < 3; i++)
        all = ok(neap_future_new(loop, &members[i])) && all;
    if (all) {
        ok(neap_wait(loop, members, 2, NEAP_WAIT_ALL, NT_SEC, &made[0]));
        ok(neap_wait_for(members[2], NT_SEC, &made[1]));
        settle(loop);
        assert_ok(neap_loop_advance(loop, 2 * NT_SEC));
        settle(loop);
        ok(neap_gather(loop, members, 2, 0, &made[2]));
        if (made[2] != NULL)
            assert_int_equal(neap_future_cancel(made[2], "stop"), 1);
        settle(loop);
    }
    for (int i = 0; i < 3; i++) {
        if (made[i] != NULL) {
            assert_int_equal(neap_future_done(made[i]), 1);
            (void)neap_future_error(made[i]);
        }
        neap_future_unref(made[i]);
    }
    for (int i = 0; i < 3; i++)
        neap_future_unref(members[i]);
    settle(loop);
    end(loop);
}

static void posts(void) {
    neap_loop *loop = nt_fault_loop(0);
    struct once o[3];
    int posted[3];
    neap_future *future = NULL;
    if (loop == NULL)
        return;
    memset(o, 0, sizeof o);
    for (int i = 0; i < 3; i++)
        posted[i] = ok(neap_loop_post(loop, once_call, &o[i], once_destroy));
    int sent = 0;
    if (ok(neap_future_new(loop, &future)))
        sent = ok(neap_future_post_bytes(future, "from afar", 9));
    settle(loop);
    for (int i = 0; i < 3; i++) {
        /* A post that was taken runs once; if there was no memory for its entry it is reported. */
        assert_true(o[i].called <= posted[i]);
        assert_int_equal(o[i].destroyed, 1);
        if (posted[i] && !o[i].called)
            assert_true(nt_reports_of(NEAP_REPORT_CALLBACK) > 0);
    }
    if (future != NULL) {
        if (sent) {
            assert_int_equal(neap_future_done(future), 1);
            int32_t code = neap_future_error(future);
            assert_true(code == 0 || code == NEAP_ENOMEM);
        }
        neap_future_unref(future);
    }
    end(loop);
}

static void locals(void) {
    static const char key, other;
    neap_loop *loop = nt_fault_loop(0);
    struct once first = {0}, second = {0}, third = {0};
    void *value = NULL;
    nt_script s;
    if (loop == NULL)
        return;
    int one = ok(neap_local_set(loop, &key, &first, once_destroy));
    int two = ok(neap_local_set(loop, &key, &second, once_destroy));
    ok(neap_local_set(loop, &other, &third, once_destroy));
    if (neap_local_get(loop, &key, &value) == 1)
        assert_ptr_equal(value, two ? &second : &first);
    else
        assert_false(one || two);
    neap_task *task = spawn(loop, &s, "t", NT_ACTS(NT_YIELD));
    settle(loop);
    drop(task, &s);
    end(loop);
    assert_int_equal(first.destroyed, 1);
    assert_int_equal(second.destroyed, 1);
    assert_int_equal(third.destroyed, 1);
}

static void hooks_and_data(void) {
    static const char tag;
    neap_loop *loop = nt_fault_loop(0);
    struct once data = {0}, replaced = {0};
    if (loop == NULL)
        return;
    int one = ok(neap_loop_set_data(loop, &tag, &replaced, once_destroy));
    int two = ok(neap_loop_set_data(loop, &tag, &data, once_destroy));
    void *expected = two ? &data : one ? &replaced : NULL;
    assert_ptr_equal(neap_loop_get_data(loop, &tag), expected);
    end(loop);
    assert_int_equal(replaced.destroyed, 1);
    assert_int_equal(data.destroyed, 1);
}

static void pull_mode(void) {
    static const neap_task_ops ops = {.size = sizeof(neap_task_ops), .destroy = once_destroy};
    neap_loop *loop = nt_fault_loop(0);
    struct once call = {0}, driven = {0};
    neap_completion events[4];
    neap_task *task = NULL;
    if (loop == NULL)
        return;
    int called = ok(neap_call_soon(loop, NULL, &call, once_destroy, NULL));
    int spawned = ok(neap_task_spawn(loop, &ops, &driven, NULL, &task));
    int32_t n = neap_loop_poll_completions(loop, events, sizeof events[0], 4, 0);
    assert_int_equal(n, called + spawned);
    if (spawned) {
        assert_ok(neap_task_answer(task, NEAP_STEP_YIELD));
        assert_int_equal(neap_loop_poll_completions(loop, events, sizeof events[0], 4, 0), 1);
        assert_ok(neap_future_set_int(neap_task_future(task), 1));
        assert_ok(neap_task_answer(task, NEAP_STEP_DONE));
        neap_task_unref(task);
    }
    end(loop);
    assert_int_equal(call.destroyed, 1);
    assert_int_equal(driven.destroyed, 1);
}

static int32_t factory(neap_loop *loop, const neap_task_ops *task_ops, void *task_user,
                       const neap_task_options *options, neap_task **ret_task, void *user) {
    (void)user;
    return neap_task_new(loop, task_ops, task_user, options, ret_task);
}

static void spawn_through_a_factory(void) {
    neap_loop *loop = nt_fault_loop(0);
    struct once hook = {0};
    nt_script s;
    if (loop == NULL)
        return;
    int set = ok(neap_loop_set_task_factory(loop, factory, &hook, once_destroy));
    assert_int_equal(hook.destroyed, !set);
    neap_task *task = spawn(loop, &s, "made", NT_ACTS(NT_RETURN(1)));
    settle(loop);
    drop(task, &s);
    end(loop);
    assert_int_equal(hook.destroyed, 1);
}

static neap_task *spawn_into(neap_loop *loop, neap_scope *scope, nt_script *s, const nt_act *acts) {
    neap_task_options options = {.size = sizeof options, .scope = scope};
    neap_task *task = NULL;
    memset(s, 0, sizeof *s);
    s->acts = acts;
    (void)ok(neap_task_spawn(loop, &nt_script_ops, s, &options, &task));
    return task;
}

static void scopes_and_members(void) {
    neap_loop *loop = nt_fault_loop(NEAP_LOOP_VIRTUAL_CLOCK);
    neap_scope *outer = NULL, *inner = NULL;
    neap_future *joined = NULL, *failure;
    nt_script s, t;
    if (loop == NULL)
        return;
    int made = ok(neap_scope_new(loop, NULL, NEAP_SCOPE_GROUP | NEAP_SCOPE_KEEP, &outer)) &&
               ok(neap_scope_new(loop, outer, NEAP_SCOPE_GROUP, &inner));
    if (made) {
        (void)ok(neap_scope_set_deadline(inner, NT_SEC));
        neap_task *fails = spawn_into(loop, outer, &s, NT_ACTS(NT_YIELD, NT_FAIL(NEAP_EPIPE)));
        neap_task *sleeps = spawn_into(loop, inner, &t, NT_ACTS(NT_SLEEP(9 * NT_SEC)));
        assert_int_equal(neap_scope_members(outer), fails != NULL);
        (void)ok(neap_scope_join(outer, &joined));
        settle(loop);
        assert_int_equal(neap_scope_cancel(outer, "a text that is copied"), 1);
        settle(loop);
        assert_int_equal(neap_scope_members(outer) + neap_scope_members(inner), 0);
        while (neap_scope_next_failure(outer, &failure) == 1)
            neap_future_unref(failure);
        drop(fails, &s);
        drop(sleeps, &t);
    }
    neap_future_unref(joined);
    neap_scope_unref(inner);
    neap_scope_unref(outer);
    end(loop);
}

static void channels(void) {
    static const char tag;
    neap_loop *loop = nt_fault_loop(0);
    struct once items[20] = {0};
    neap_chan *chan = NULL;
    neap_future *sender = NULL, *receiver = NULL;
    neap_value value;
    if (loop == NULL)
        return;
    if (ok(neap_chan_new(loop, 19, &chan))) {
        int sent = 0, taken = 0, waits = 0;
        for (int i = 0; i < 19; i++)
            sent += ok(neap_chan_send_ptr(chan, &tag, &items[i], once_destroy, NULL));
        int32_t rc = neap_chan_send_ptr(chan, &tag, &items[19], once_destroy, &sender);
        waits = rc == NEAP_PENDING;
        sent += waits ? 0 : ok(rc);
        for (; neap_chan_recv(chan, &value, sizeof value, NULL) == NEAP_KIND_PTR; taken++)
            once_destroy(value.ptr.ptr);
        assert_int_equal(taken, sent + waits);
        rc = neap_chan_recv(chan, &value, sizeof value, &receiver);
        if (rc != NEAP_PENDING)
            (void)ok(rc);
        assert_int_equal(neap_chan_close(chan), 1);
        for (int i = 0; i < 20; i++)
            assert_int_equal(items[i].destroyed, 1);
    }
    neap_future_unref(sender);
    neap_future_unref(receiver);
    neap_chan_unref(chan);
    end(loop);
}

static void a_select_over_channels(void) {
    neap_loop *loop = nt_fault_loop(0);
    neap_chan *chans[2] = {NULL, NULL};
    neap_future *members[2] = {NULL, NULL}, *select = NULL;
    neap_value value;
    int all = loop != NULL;
    if (loop == NULL)
        return;
    for (int i = 0; i < 2; i++) {
        all = all && ok(neap_chan_new_ordered(loop, 1, &chans[i]));
        int32_t rc = all ? neap_chan_recv(chans[i], &value, sizeof value, &members[i]) : 0;
        all = all && (rc == NEAP_PENDING || ok(rc));
        all = all && members[i] != NULL;
    }
    if (all && ok(neap_select(loop, members, 2, &select))) {
        assert_ok(neap_chan_put_int(chans[1], 0, 4, NULL));
        assert_int_equal(nt_int(select), 1);
        assert_int_equal(nt_int(members[1]), 4);
        assert_state(members[0], NEAP_STATE_CANCELLED);
    }
    neap_future_unref(select);
    for (int i = 0; i < 2; i++) {
        neap_future_unref(members[i]);
        neap_chan_unref(chans[i]);
    }
    end(loop);
}

typedef struct guarded {
    neap_lock *lock;
    neap_cond *cond;
    neap_limiter *limiter;
    neap_barrier *barrier;
    neap_future *future;
} guarded;

/* In a step: each wait that could begin ends with the loop. */
static void use_guarded(void *user) {
    guarded *g = user;
    int32_t rc = ok(neap_lock_acquire(g->lock, NULL)) ? neap_cond_wait(g->cond, &g->future) : 0;
    if (rc != NEAP_PENDING)
        (void)ok(rc);
    if (ok(neap_limiter_acquire(g->limiter, NULL)))
        assert_int_equal(neap_limiter_borrowed(g->limiter), 1);
    if (ok(neap_limiter_set_total(g->limiter, 100)))
        assert_int_equal(neap_limiter_total(g->limiter), 100);
    assert_int_equal(neap_barrier_wait(g->barrier, NULL), 0);
}

static void what_tasks_share(void) {
    neap_loop *loop = nt_fault_loop(0);
    guarded g = {0};
    nt_script s;
    if (loop == NULL)
        return;
    if (ok(neap_lock_new(loop, &g.lock)) && ok(neap_cond_new(g.lock, &g.cond)) &&
        ok(neap_limiter_new(loop, 1, &g.limiter)) && ok(neap_barrier_new(loop, 1, &g.barrier))) {
        neap_task *task = spawn_into(loop, NULL, &s, NT_ACTS(NT_CALL(use_guarded, &g)));
        settle(loop);
        drop(task, &s);
    }
    neap_future_unref(g.future);
    neap_cond_unref(g.cond);
    neap_lock_unref(g.lock);
    neap_limiter_unref(g.limiter);
    neap_barrier_unref(g.barrier);
    end(loop);
}

/* ---- The tests ------------------------------------------------------------------------------- */

static void waits_for_all_to_be_blocked(void) {
    neap_loop *loop = nt_fault_loop(NEAP_LOOP_VIRTUAL_CLOCK);
    neap_future *f[3] = {NULL};
    struct once o[3] = {0};
    int made[3];
    const neap_limits limits = {.size = sizeof limits, .ticks = 100};
    if (loop == NULL)
        return;
    for (int i = 0; i < 3; i++)
        made[i] = ok(neap_wait_all_blocked(loop, 0, &f[i])) &&
                  ok(neap_future_on_done(f[i], once_future_call, &o[i], once_destroy, NULL));
    for (int i = 0; i < 3; i++)
        if (f[i] != NULL)
            assert_ok(neap_loop_run_within(loop, f[i], &limits));
    settle(loop);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(o[i].called, made[i]);
        neap_future_unref(f[i]);
    }
    end(loop);
}

#define SWEEP(scenario)                                         \
    static void under_failing_memory_##scenario(void **state) { \
        (void)state;                                            \
        nt_fault(scenario);                                     \
    }

SWEEP(loop_is_made)
SWEEP(callbacks)
SWEEP(timers)
SWEEP(futures)
SWEEP(values_that_are_copied)
SWEEP(cancel_hooks)
SWEEP(tasks)
SWEEP(tasks_are_cancelled)
SWEEP(a_loop_is_shut_down)
SWEEP(a_loop_is_closed_with_everything_pending)
SWEEP(waits)
SWEEP(waits_end_early)
SWEEP(posts)
SWEEP(locals)
SWEEP(hooks_and_data)
SWEEP(pull_mode)
SWEEP(spawn_through_a_factory)
SWEEP(scopes_and_members)
SWEEP(channels)
SWEEP(a_select_over_channels)
SWEEP(what_tasks_share)
SWEEP(waits_for_all_to_be_blocked)

NT_MAIN(NT_TEST_BARE(under_failing_memory_loop_is_made),
        NT_TEST_BARE(under_failing_memory_callbacks), NT_TEST_BARE(under_failing_memory_timers),
        NT_TEST_BARE(under_failing_memory_futures),
        NT_TEST_BARE(under_failing_memory_values_that_are_copied),
        NT_TEST_BARE(under_failing_memory_cancel_hooks), NT_TEST_BARE(under_failing_memory_tasks),
        NT_TEST_BARE(under_failing_memory_tasks_are_cancelled),
        NT_TEST_BARE(under_failing_memory_a_loop_is_shut_down),
        NT_TEST_BARE(under_failing_memory_a_loop_is_closed_with_everything_pending),
        NT_TEST_BARE(under_failing_memory_waits),
        NT_TEST_BARE(under_failing_memory_waits_end_early),
        NT_TEST_BARE(under_failing_memory_posts), NT_TEST_BARE(under_failing_memory_locals),
        NT_TEST_BARE(under_failing_memory_hooks_and_data),
        NT_TEST_BARE(under_failing_memory_pull_mode),
        NT_TEST_BARE(under_failing_memory_spawn_through_a_factory),
        NT_TEST_BARE(under_failing_memory_scopes_and_members),
        NT_TEST_BARE(under_failing_memory_channels),
        NT_TEST_BARE(under_failing_memory_a_select_over_channels),
        NT_TEST_BARE(under_failing_memory_what_tasks_share),
        NT_TEST_BARE(under_failing_memory_waits_for_all_to_be_blocked))
