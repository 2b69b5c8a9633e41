/* report.c: what the loop tells: failures that nobody awaits, log lines, traces, broken invariants. */
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "core/future.h"
#include "core/task.h"

void np_hook_set(np_hook *hook, void *user, neap_destroy_fn destroy) {
    np_hook old = *hook;
    hook->user = user;
    hook->destroy = destroy;
    if (old.destroy != NULL)
        old.destroy(old.user);
}

/* The part that all setters of hooks share: refuses, or puts user and destroy in place. */
static int32_t take_hook(neap_loop *loop, np_hook *hook, void *user, neap_destroy_fn destroy) {
    int32_t rc = np_enter(loop);
    if (rc == 0)
        np_hook_set(hook, user, destroy);
    else if (destroy != NULL)
        destroy(user);
    return rc;
}

int32_t neap_loop_set_error_hook(neap_loop *loop, neap_report_fn fn, void *user,
                                 neap_destroy_fn destroy) {
    int32_t rc = take_hook(loop, &loop->report_hook, user, destroy);
    if (rc == 0)
        loop->on_report = fn;
    return rc;
}

int32_t neap_loop_set_log_hook(neap_loop *loop, neap_log_fn fn, void *user,
                               neap_destroy_fn destroy) {
    int32_t rc = take_hook(loop, &loop->log_hook, user, destroy);
    if (rc == 0)
        loop->on_log = fn;
    return rc;
}

int32_t neap_loop_set_fatal_hook(neap_loop *loop, neap_fatal_fn fn, void *user,
                                 neap_destroy_fn destroy) {
    int32_t rc = take_hook(loop, &loop->fatal_hook, user, destroy);
    if (rc == 0)
        loop->on_fatal = fn;
    return rc;
}

static void trace_ready(np_io *io, int fd) {
    np_trace(np_container(io, neap_loop, io), NEAP_TRACE_READY, fd, NULL, NULL, NULL);
}

int32_t neap_loop_set_trace_hook(neap_loop *loop, neap_trace_fn fn, void *user,
                                 neap_destroy_fn destroy) {
    int32_t rc = take_hook(loop, &loop->trace_hook, user, destroy);
    if (rc < 0)
        return rc;
    loop->on_trace = fn;
    loop->io.on_ready = fn != NULL ? trace_ready : NULL;
    return 0;
}

int32_t neap_loop_set_idle_hook(neap_loop *loop, neap_idle_fn fn, void *user,
                                neap_destroy_fn destroy) {
    int32_t rc = take_hook(loop, &loop->idle_hook, user, destroy);
    if (rc == 0)
        loop->on_idle = fn;
    return rc;
}

/* ---- Telling */

void np_report(neap_loop *loop, neap_report report) {
    if (loop->on_report == NULL)
        return;
    report.size = sizeof report;
    if (report.message == NULL)
        report.message = neap_strerror(report.code);
    if (report.handle == NULL)
        report.handle = loop->current_handle;
    loop->on_report(loop, &report, loop->report_hook.user);
}

static void describe_failure(neap_future *f, char *buf, size_t cap) {
    neap_task *t = neap_future_task(f);
    const char *site = t != NULL ? neap_task_site(t) : neap_future_site(f);
    const char *what = t != NULL ? neap_task_name(t) : "future";
    const char *made = site[0] == '\0' ? "" : t != NULL ? ", spawned at " : ", made at ";
    snprintf(buf, cap, "nobody awaits the failure of %s%s%s: %s", what, made, site,
             neap_future_message(f));
}

void np_report_failure(neap_loop *loop, neap_future *f, const char *text) {
    neap_future *o = np_future_origin(f);
    neap_report r = {.kind = NEAP_REPORT_UNHANDLED,
                     .code = o->code,
                     .message = text,
                     .future = f,
                     .task = neap_future_task(f)};
    if (o->kind == NP_KIND_EXCEPTION) {
        r.exception_tag = o->value.ptr.tag;
        r.exception = o->value.ptr.ptr;
    }
    np_report(loop, r);
}

static void report_unseen(neap_loop *loop, neap_future *f) {
    char text[512];
    describe_failure(f, text, sizeof text);
    np_report_failure(loop, f, text);
}

/* At the end of the tick in which they happened; whoever has looked by then has seen them. */
void np_report_failures(neap_loop *loop) {
    while (!np_list_empty(&loop->failed)) {
        neap_future *f = np_container(np_list_pop(&loop->failed), neap_future, all);
        f->flags &= (uint8_t)~NP_F_FAILED;
        if ((f->flags & (NP_F_RETRIEVED | NP_F_IGNORED)) == 0)
            report_unseen(loop, f);
        np_future_unref(f);
    }
}

int32_t neap_loop_fail(neap_loop *loop, int32_t code, const char *message, const void *tag,
                       void *exception) {
    int32_t rc = loop == NULL ? NEAP_EINVAL : np_look(loop);
    if (rc < 0)
        return rc;
    np_report(loop, (neap_report){.kind = NEAP_REPORT_CALLBACK,
                                  .code = code,
                                  .message = message,
                                  .exception_tag = tag,
                                  .exception = exception});
    return 0;
}

void np_logf(neap_loop *loop, int32_t level, const char *format, ...) {
    char text[256];
    va_list args;
    if (loop->on_log == NULL)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    loop->on_log(loop, level, text, loop->log_hook.user);
}

void np_fatal(neap_loop *loop, const char *file, int32_t line, const char *text) {
    atomic_store(&loop->life, NP_CORRUPT);
    if (loop->on_fatal != NULL)
        loop->on_fatal(loop, file, line, text, loop->fatal_hook.user);
}

void np_trace_emit(neap_loop *loop, int32_t kind, int64_t value, neap_task *task,
                   neap_future *future, neap_handle *handle) {
    bool virtual = (loop->flags & NEAP_LOOP_VIRTUAL_CLOCK) != 0;
    const neap_trace t = {sizeof t, kind,   value,         task,
                          future,   handle, loop->current, virtual ? loop->now : np_clock_ns()};
    loop->on_trace(loop, &t, loop->trace_hook.user);
}
