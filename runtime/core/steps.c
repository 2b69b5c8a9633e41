/* steps.c: how long steps and callbacks take, how late timers are, and the loop's other figures. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "core/task.h"
#include "core/waits.h"

/* ---- Counts */

void np_stamp(neap_loop *loop) {
    if (loop->timed == NP_TIMED_COUNTER)
        loop->stamp = np_cycles();
    else
        loop->stamp = (uint64_t)loop->now;
}

/* What a count of the processor is worth, the loop's whole life so far says. */
static int64_t counts_to_ns(const neap_loop *loop, uint64_t counts) {
    if (loop->timed == NP_TIMED_VIRTUAL)
        return (int64_t)counts;
    uint64_t span = np_cycles() - loop->origin_cycles;
    int64_t span_ns = np_clock_ns() - loop->origin_ns;
    return span == 0 ? 0 : (int64_t)((double)counts * (double)span_ns / (double)span);
}

/* ---- Steps that are worth a word */

/* Of no clock of today are fewer counts than this as many ns: the division waits. */
void np_steps_watch(neap_loop *loop) {
    uint64_t slow = (uint64_t)loop->slow_ns / 8;
    loop->notable = loop->longest < slow ? loop->longest : slow;
}

static void report_slow(neap_loop *loop, int64_t ns, neap_task *task, neap_handle *handle) {
    char bytes[1024], where[256] = "";
    np_text text = {.bytes = bytes, .cap = sizeof bytes};
    np_text_add(&text, "%s took %.6g s", task != NULL ? "a step" : "a callback", (double)ns / 1e9);
    if (task != NULL && task->ops->describe != NULL)
        task->ops->describe(task, task->user, where, sizeof where);
    if (where[0] != '\0')
        np_text_add(&text, ", up to %s", where);
    np_report(loop, (neap_report){.kind = NEAP_REPORT_SLOW,
                                  .message = bytes,
                                  .task = task,
                                  .future = task != NULL ? &task->f : NULL,
                                  .handle = handle,
                                  .elapsed_ns = ns,
                                  .where = where[0] != '\0' ? where : NULL});
}

static void note_longest(neap_loop *loop, uint64_t spent, neap_task *task) {
    np_text text = {.bytes = loop->longest_what, .cap = sizeof loop->longest_what};
    loop->longest = spent;
    if (task == NULL) {
        np_text_add(&text, "a callback");
    } else {
        np_name_add(&text, task);
        np_where_add(&text, task, " at ");
    }
    np_steps_watch(loop);
}

void np_step_look(neap_loop *loop, uint64_t spent, neap_task *task, neap_handle *handle) {
    if (spent > loop->longest)
        note_longest(loop, spent, task);
    if (spent > (uint64_t)loop->slow_ns / 8) {
        int64_t ns = counts_to_ns(loop, spent);
        if (ns >= loop->slow_ns)
            report_slow(loop, ns, task, handle);
    }
    np_stamp(loop);
}

void np_step_virtual(neap_loop *loop, uint64_t *total, neap_task *task, neap_handle *handle) {
    uint64_t now = (uint64_t)loop->now, spent = now - loop->stamp;
    if (loop->timed == NP_TIMED_NOT)
        return;
    loop->stamp = now;
    *total += spent;
    if (spent > loop->notable)
        np_step_look(loop, spent, task, handle);
}

int64_t neap_task_step_time(neap_task *task) {
    int32_t rc = np_look(task->f.obj.loop);
    return rc < 0 ? rc : counts_to_ns(task->f.obj.loop, task->step_cycles);
}

/* ---- The rest of the time */

void np_batch_ended(neap_loop *loop, uint64_t begun) {
    uint64_t spent = loop->timed != NP_TIMED_NOT ? loop->stamp - begun : 0;
    loop->busy += spent;
    if (np_unlikely(spent > loop->longest_batch))
        loop->longest_batch = spent;
}

void np_timer_was_late(neap_loop *loop, int64_t ns) {
    uint64_t us = (uint64_t)ns / 1000;
    int bucket = us == 0 ? 0 : 64 - __builtin_clzll(us);
    loop->late[bucket < NEAP_LATE_MAX ? bucket : NEAP_LATE_MAX - 1]++;
    loop->late_last = ns;
    if (ns > loop->late_longest)
        loop->late_longest = ns;
}

/* ---- Figures */

static uint64_t list_len(const np_list *list) {
    uint64_t n = 0;
    for (const np_list *at = list->next; at != list; at = at->next)
        n++;
    return n;
}

static void fill_times(const neap_loop *loop, neap_metrics *m) {
    m->elapsed_ns = loop->timed == NP_TIMED_VIRTUAL ? loop->now : np_clock_ns() - loop->origin_ns;
    m->busy_ns = counts_to_ns(loop, loop->busy);
    m->longest_batch_ns = counts_to_ns(loop, loop->longest_batch);
    m->longest_step_ns = counts_to_ns(loop, loop->longest);
    memcpy(m->longest_step, loop->longest_what, sizeof m->longest_step);
    m->late_last_ns = loop->late_last;
    m->late_longest_ns = loop->late_longest;
    memcpy(m->late, loop->late, sizeof m->late);
}

static void fill(neap_loop *loop, neap_metrics *m) {
    *m = (neap_metrics){
        .size = sizeof *m,
        .ticks = loop->ticks,
        .polls = loop->polls,
        .blocked_polls = loop->blocked_polls,
        .events = loop->kernel_events,
        .runs = loop->runs,
        .registrations = loop->io.registrations,
        .ready = list_len(&loop->ready) + list_len(&loop->batch),
        .timers = loop->timers.len,
        .tasks = list_len(&loop->tasks),
        .futures = list_len(&loop->futures),
        .operations = loop->io.parked,
        .socks = list_len(&loop->socks),
        .objects = loop->objects,
        .bytes = atomic_load(&loop->alloc->bytes),
        .blocks = atomic_load(&loop->alloc->blocks),
        .allocations = atomic_load(&loop->alloc->total),
    };
    fill_times(loop, m);
}

int32_t neap_loop_metrics(neap_loop *loop, neap_metrics *out, size_t size) {
    int32_t rc = np_look(loop);
    if (rc < 0)
        return rc;
    if (out == NULL || size < sizeof out->size)
        return NEAP_EINVAL;
    neap_metrics m;
    fill(loop, &m);
    size_t n = size < sizeof m ? size : sizeof m;
    memcpy(out, &m, n);
    return (int32_t)n;
}
