/* waits.c: who waits for whom, for reports: what each task waits for, and which tasks wait in a ring. */
#include <stdarg.h>
#include <stdio.h>

#include "core/task.h"

enum {
    TEXT_MAX = 2048,
    TASKS_SEARCHED = 1000 /* for rings */
};

typedef struct text {
    char bytes[TEXT_MAX];
    size_t len;
} text;

/* Adds to a text that may be full already. */
static void __attribute__((format(printf, 2, 3))) add(text *t, const char *format, ...) {
    va_list args;
    if (t->len >= sizeof t->bytes)
        return;
    va_start(args, format);
    int n = vsnprintf(t->bytes + t->len, sizeof t->bytes - t->len, format, args);
    va_end(args);
    t->len += n > 0 ? (size_t)n : 0;
}

/* ---- One wait */

static neap_task *find_task(const neap_loop *loop, uint64_t id) {
    for (np_list *at = loop->tasks.next; at != &loop->tasks; at = at->next) {
        neap_task *t = np_container(at, neap_task, f.all);
        if (t->id == id)
            return t;
    }
    return NULL;
}

/* The one live task that has to go on before this one can, if there is such a task. */
static neap_task *waits_for(const neap_task *t) {
    neap_future *f = t->awaiting;
    if (f == NULL || !np_future_pending(f))
        return NULL;
    if (f->is_task)
        return np_container(f, neap_task, f);
    uint64_t (*holder)(const neap_future *f) = np_future_type_of(f)->holder;
    uint64_t id = holder != NULL ? holder(f) : 0;
    return id != 0 ? find_task(f->obj.loop, id) : NULL;
}

static const char *what(const neap_task *t) {
    if (t->asleep)
        return "a sleep";
    if (t->awaiting == NULL)
        return "its turn";
    if (t->awaiting->is_task)
        return neap_task_name((neap_task *)(void *)t->awaiting);
    const char *(*name)(const neap_future *f) = np_future_type_of(t->awaiting)->what;
    return name != NULL ? name(t->awaiting) : t->awaiting->obj.type->name;
}

/* "NAME waits for WHAT, which OTHER has, at WHERE". */
static void add_wait(text *to, neap_task *t) {
    char where[256] = "";
    neap_task *other = waits_for(t);
    if (t->ops->describe != NULL)
        t->ops->describe(t, t->user, where, sizeof where);
    add(to, "%s waits for %s", neap_task_name(t), what(t));
    if (other != NULL && !t->awaiting->is_task)
        add(to, ", which %s has,", neap_task_name(other));
    add(to, "%s%s", where[0] != '\0' ? " at " : "", where);
}

int32_t neap_task_describe(neap_task *task, char *buf, size_t cap) {
    int32_t rc = task == NULL || (buf == NULL && cap > 0) ? NEAP_EINVAL : np_look(task->f.obj.loop);
    text line = {.len = 0};
    if (rc < 0)
        return rc;
    if (!np_future_pending(&task->f))
        add(&line, "%s has ended", neap_task_name(task));
    else if (task->open)
        add(&line, "%s runs", neap_task_name(task));
    else
        add_wait(&line, task);
    return snprintf(buf, cap, "%s", line.bytes);
}

/* ---- Rings */

/* Whether the task is the first, by number, of a ring of tasks that wait for each other. */
static bool leads_ring(const neap_task *t) {
    const neap_task *at = waits_for(t);
    for (int n = 0; at != NULL && at != t && n < TASKS_SEARCHED; n++) {
        if (at->id < t->id)
            return false;
        at = waits_for(at);
    }
    return at == t;
}

static void add_ring(text *to, neap_task *t) {
    add(to, "; in a ring: %s", neap_task_name(t));
    for (neap_task *at = waits_for(t); at != t; at = waits_for(at))
        add(to, " -> %s", neap_task_name(at));
    add(to, " -> %s", neap_task_name(t));
}

/* ---- The reports */

void np_report_pending(neap_loop *loop, neap_task *task) {
    text message = {.len = 0};
    add(&message, "the task was destroyed while it was pending: ");
    add_wait(&message, task);
    np_report(loop, (neap_report){.kind = NEAP_REPORT_PENDING,
                                  .message = message.bytes,
                                  .task = task,
                                  .future = &task->f});
}

void np_report_deadlock(neap_loop *loop, neap_future *future) {
    text message = {.len = 0};
    int n = 0;
    add(&message, "nothing can ever wake what is waited for");
    for (np_list *at = loop->tasks.next; at != &loop->tasks; at = at->next) {
        add(&message, "%s", at == loop->tasks.next ? ": " : "; ");
        add_wait(&message, np_container(at, neap_task, f.all));
    }
    for (np_list *at = loop->tasks.next; at != &loop->tasks && n < TASKS_SEARCHED; at = at->next) {
        neap_task *t = np_container(at, neap_task, f.all);
        if (leads_ring(t))
            add_ring(&message, t);
        n++;
    }
    np_report(loop, (neap_report){.kind = NEAP_REPORT_DEADLOCK,
                                  .code = NEAP_EDEADLOCK,
                                  .message = message.bytes,
                                  .future = future,
                                  .task = neap_future_task(future)});
}
