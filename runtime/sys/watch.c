/* watch.c: readers and writers of descriptors that users own, and one-shot waits for readiness.

   A descriptor without an owner in the table gets one here (raw_fd), which goes, with its registration, when its last watch
   and wait are gone.  One that belongs to a socket is shared.  A watch is a handle with a POLL operation inside: ready ->
   queued -> called -> queued again, to verify the level in the next tick just before the call: a callback that leaves bytes
   behind is called again, one whose bytes are gone is parked. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "core/future.h"
#include "core/handle.h"
#include "io/backend.h"
#include "sys/sys.h"

typedef struct raw_fd {
    np_desc desc;
    uint32_t users;         /* watches and waits */
    struct watch *watch[2]; /* by direction */
} raw_fd;

typedef struct watch {
    np_list link; /* in loop->watches */
    np_op op;
    neap_loop *loop;
    neap_handle *handle; /* NULL for a one-shot wait */
    bool fresh;          /* the kernel has just said so: no need to verify */
} watch;

/* ---- The descriptor */

static int32_t check_fd(neap_fd fd) {
    struct stat st;
    if (fd < 0 || fd > INT32_MAX || fstat((int)fd, &st) < 0)
        return NEAP_EBADF;
    return S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) ? NEAP_EPERM : 0;
}

static raw_fd *raw_of(np_desc *desc) {
    return (desc->bits & NP_D_RAW) != 0 ? np_container(desc, raw_fd, desc) : NULL;
}

static int32_t use_fd(neap_loop *loop, int fd, np_desc **ret_desc) {
    np_desc *desc = np_io_owner(&loop->io, fd);
    if (desc == NULL) {
        raw_fd *raw = np_pool_get(&loop->pool, sizeof *raw);
        if (raw == NULL)
            return NEAP_ENOMEM;
        np_desc_init(&raw->desc, fd, NP_D_RAW | NP_D_SHARED);
        int32_t rc = np_io_attach(&loop->io, &raw->desc, false);
        if (rc < 0) {
            np_pool_put(&loop->pool, raw, sizeof *raw);
            return rc;
        }
        desc = &raw->desc;
    }
    if (raw_of(desc) != NULL)
        raw_of(desc)->users++;
    *ret_desc = desc;
    return 0;
}

static void unuse_fd(neap_loop *loop, np_desc *desc) {
    raw_fd *raw = raw_of(desc);
    if (raw == NULL || --raw->users > 0)
        return;
    if (loop->io.backend != NULL)
        loop->io.backend->detach(&loop->io, desc, NEAP_ECLOSED);
    np_pool_put(&loop->pool, raw, sizeof *raw);
}

/* ---- One watch or wait per descriptor and direction: the list is searched only for descriptors of sockets */

static watch *find(neap_loop *loop, int fd, uint8_t dir) {
    np_desc *desc = np_io_owner(&loop->io, fd);
    if (desc == NULL || raw_of(desc) != NULL)
        return desc != NULL ? raw_of(desc)->watch[dir] : NULL;
    for (np_list *at = loop->watches.next; at != &loop->watches; at = at->next) {
        watch *w = np_container(at, watch, link);
        if (w->op.desc->fd == fd && w->op.dir == dir)
            return w;
    }
    return NULL;
}

static int32_t init(neap_loop *loop, watch *w, int fd, uint8_t dir, void (*done)(np_op *op)) {
    np_desc *desc;
    int32_t rc = use_fd(loop, fd, &desc);
    if (rc < 0)
        return rc;
    w->loop = loop;
    w->op = (np_op){.desc = desc, .done = done, .kind = NP_OP_POLL, .dir = dir};
    np_list_init(&w->op.link);
    np_list_append(&loop->watches, &w->link);
    if (raw_of(desc) != NULL)
        raw_of(desc)->watch[dir] = w;
    return 0;
}

static void fini(watch *w) {
    neap_loop *loop = w->loop;
    if (w->op.state != NP_OP_IDLE)
        (void)loop->io.backend->cancel(&loop->io, &w->op);
    np_list_unlink(&w->op.link); /* it may stand on the completed list */
    np_list_unlink(&w->link);
    raw_fd *raw = raw_of(w->op.desc);
    if (raw != NULL && raw->watch[w->op.dir] == w)
        raw->watch[w->op.dir] = NULL;
    unuse_fd(loop, w->op.desc);
}

/* Parks for the next announcement, which comes for what is ready already when the descriptor is new to the kernel. */
static int32_t await_event(watch *w) {
    np_desc *desc = w->op.desc;
    unsigned both = np_watched_bit(w->op.dir) | np_dir_bit(w->op.dir);
    bool known_ready = (desc->bits & both) == both;
    np_io *io = &w->loop->io;
    return known_ready ? 1 : io->backend->park(io, &w->op);
}

/* Ready now (> 0), parked (0), or a failure. */
static int32_t ask(watch *w) {
    np_io *io = &w->loop->io;
    int64_t result = io->backend->begin(io, &w->op);
    return result == NP_WAIT ? io->backend->park(io, &w->op) : (int32_t)result;
}

/* ---- Watches */

static void end_watch(neap_handle *h) {
    watch *w = np_source_call_of(h)->owner;
    neap_loop *loop = w->loop;
    np_source_call_of(h)->source = NULL;
    fini(w);
    np_pool_put(&loop->pool, w, sizeof *w);
}

/* The descriptor cannot be watched any more. */
static void fail_watch(neap_handle *h, int32_t code) {
    neap_loop *loop = h->obj.loop;
    if (code != NEAP_ECLOSED)
        np_report(loop, (neap_report){.kind = NEAP_REPORT_CALLBACK, .code = code, .handle = h});
    np_handle_cancel(h);
}

static void watch_done(np_op *op) {
    watch *w = np_container(op, watch, op);
    if (op->result < 0) {
        fail_watch(w->handle, (int32_t)op->result);
    } else if (w->handle->node.where == NP_AT_NONE) {
        w->fresh = true;
        np_enqueue(w->loop, &w->handle->node);
    }
}

static bool still_due(neap_handle *h) {
    watch *w = np_source_call_of(h)->owner;
    if (w->fresh) {
        w->fresh = false;
        return true;
    }
    int32_t rc = ask(w);
    if (rc < 0)
        fail_watch(h, rc);
    return rc > 0;
}

static void look_again(neap_handle *h) {
    np_enqueue(h->obj.loop, &h->node);
}

static const np_call_source source = {end_watch, still_due, look_again};

static int32_t make(neap_loop *loop, int fd, uint8_t dir, neap_handle **ret_handle) {
    watch *w = np_pool_get(&loop->pool, sizeof *w);
    neap_handle *h = w == NULL ? NULL : np_handle_new(loop, NP_CALL_WATCH);
    int32_t rc = h == NULL ? NEAP_ENOMEM : init(loop, w, fd, dir, watch_done);
    if (rc < 0) {
        if (h != NULL)
            np_handle_drop(h);
        if (w != NULL)
            np_pool_put(&loop->pool, w, sizeof *w);
        return rc;
    }
    w->handle = h;
    np_source_call_of(h)->owner = w;
    np_source_call_of(h)->source = &source;
    *ret_handle = h;
    return 0;
}

static int32_t add(neap_loop *loop, neap_fd fd, uint8_t dir, neap_fn fn, void *user,
                   neap_destroy_fn destroy) {
    int32_t rc = loop == NULL || fn == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc == 0)
        rc = check_fd(fd);
    if (rc < 0)
        return rc;
    np_sys_attach(loop);
    watch *old = find(loop, (int)fd, dir);
    if (old != NULL && old->handle == NULL)
        return NEAP_EBUSY_FD;
    neap_handle *h = NULL;
    rc = make(loop, (int)fd, dir, &h);
    if (rc < 0)
        return rc;
    h->fn.call = fn;
    rc = await_event(np_source_call_of(h)->owner);
    if (rc < 0) {
        np_handle_cancel(h);
        return rc;
    }
    if (rc > 0)
        np_enqueue(loop, &h->node); /* verified again in the tick */
    np_handle_take(h, user, destroy);
    if (old != NULL)
        np_handle_cancel(old->handle);
    return old != NULL;
}

static int32_t add_watch(neap_loop *loop, neap_fd fd, uint8_t dir, neap_fn fn, void *user,
                         neap_destroy_fn destroy) {
    int32_t rc = add(loop, fd, dir, fn, user, destroy);
    if (rc < 0 && destroy != NULL)
        destroy(user);
    return rc;
}

static int32_t remove_watch(neap_loop *loop, neap_fd fd, uint8_t dir) {
    int32_t rc = loop == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc < 0 || fd < 0 || fd > INT32_MAX)
        return rc < 0 ? rc : NEAP_EBADF;
    watch *w = find(loop, (int)fd, dir);
    if (w == NULL || w->handle == NULL)
        return 0;
    np_handle_cancel(w->handle);
    return 1;
}

int32_t neap_add_reader(neap_loop *loop, neap_fd fd, neap_fn fn, void *user,
                        neap_destroy_fn destroy) {
    return add_watch(loop, fd, NP_DIR_READ, fn, user, destroy);
}

int32_t neap_add_writer(neap_loop *loop, neap_fd fd, neap_fn fn, void *user,
                        neap_destroy_fn destroy) {
    return add_watch(loop, fd, NP_DIR_WRITE, fn, user, destroy);
}

int32_t neap_remove_reader(neap_loop *loop, neap_fd fd) {
    return remove_watch(loop, fd, NP_DIR_READ);
}

int32_t neap_remove_writer(neap_loop *loop, neap_fd fd) {
    return remove_watch(loop, fd, NP_DIR_WRITE);
}

/* ---- One-shot waits: a future around a watch without a handle */

typedef struct wait_future {
    neap_future f;
    watch w;
    bool over; /* the watch is gone */
} wait_future;

static void end_wait(wait_future *wf) {
    if (!wf->over)
        fini(&wf->w);
    wf->over = true;
}

static void destroy_wait(np_obj *obj) {
    wait_future *wf = np_container(obj, wait_future, f.obj);
    end_wait(wf);
    np_future_fini(&wf->f);
    np_obj_free(obj, sizeof *wf);
}

static void wait_done(np_op *op) {
    wait_future *wf = np_container(op, wait_future, w.op);
    int64_t result = op->result;
    end_wait(wf);
    np_trace(wf->f.obj.loop, NEAP_TRACE_IO, result, NULL, &wf->f, NULL);
    if (result < 0) {
        np_future_settle_error(&wf->f, (int32_t)result, NULL);
    } else {
        wf->f.kind = NEAP_KIND_INT;
        wf->f.value.i = result;
        np_future_settle(&wf->f, NEAP_STATE_RESULT);
    }
    np_future_deactivate(&wf->f);
}

static int32_t cancel_wait(neap_future *f, const char *msg) {
    end_wait(np_container(f, wait_future, f));
    np_future_settle_cancelled(f, msg);
    np_future_deactivate(f);
    return 1;
}

static void detail(const neap_future *f, char *buf, size_t cap) {
    const np_op *op = &np_container(f, wait_future, f)->w.op;
    snprintf(buf, cap, " %d to be %s", op->desc->fd,
             op->dir == NP_DIR_READ ? "readable" : "writable");
}

static const np_future_type wait_type = {.base = {.name = "descriptor", .destroy = destroy_wait},
                                         .cancel = cancel_wait,
                                         .operation = true,
                                         .detail = detail};

static int32_t wait_for(neap_loop *loop, int fd, uint8_t dir, uint32_t flags,
                        neap_future **ret_future) {
    neap_future *f = np_future_new(loop, &wait_type, sizeof(wait_future));
    if (f == NULL)
        return NEAP_ENOMEM;
    wait_future *wf = np_container(f, wait_future, f);
    int32_t rc = init(loop, &wf->w, fd, dir, wait_done);
    wf->over = rc < 0;
    if (rc == 0)
        rc = ask(&wf->w);
    bool wanted = (flags & NEAP_WANT_FUTURE) != 0;
    if (rc < 0 || (rc > 0 && !wanted) || (rc == 0 && (flags & NEAP_NOWAIT) != 0)) {
        np_future_unref(f);
        return rc == 0 ? NEAP_EAGAIN : rc;
    }
    f->flags |= NP_F_ACTIVE;
    np_future_ref(f);
    np_future_give(f, ret_future);
    if (rc > 0) {
        wf->w.op.result = rc;
        wait_done(&wf->w.op);
    }
    return NEAP_PENDING;
}

int32_t neap_fd_ready(neap_loop *loop, neap_fd fd, int32_t event, uint32_t flags,
                      neap_future **ret_future) {
    bool known = event == NEAP_READ || event == NEAP_WRITE;
    bool mute = ret_future == NULL && (flags & NEAP_NOWAIT) == 0;
    int32_t rc = loop == NULL || !known || mute ? NEAP_EINVAL : np_enter(loop);
    if (rc == 0)
        rc = check_fd(fd);
    if (rc < 0)
        return rc;
    np_sys_attach(loop);
    uint8_t dir = event == NEAP_READ ? NP_DIR_READ : NP_DIR_WRITE;
    if (find(loop, (int)fd, dir) != NULL)
        return NEAP_EBUSY_FD;
    return wait_for(loop, (int)fd, dir, flags, ret_future);
}

/* ---- Close */

static void end_with_code(neap_loop *loop, watch *w, int32_t code) {
    if (w->handle != NULL) {
        np_handle_cancel(w->handle);
        return;
    }
    if (w->op.state != NP_OP_IDLE)
        (void)loop->io.backend->cancel(&loop->io, &w->op);
    w->op.result = code;
    wait_done(&w->op);
}

void np_watch_close_all(neap_loop *loop) {
    while (!np_list_empty(&loop->watches))
        end_with_code(loop, np_container(loop->watches.next, watch, link), NEAP_ECLOSED);
}

void np_watch_close_of(neap_loop *loop, const np_desc *desc) {
    for (np_list *at = loop->watches.next, *next; at != &loop->watches; at = next) {
        watch *w = np_container(at, watch, link);
        next = at->next;
        if (w->op.desc == desc)
            end_with_code(loop, w, NEAP_ECLOSED);
    }
}

void np_watch_close_fd(neap_loop *loop, int fd) {
    np_desc *desc = np_io_owner(&loop->io, fd);
    if (desc != NULL) {
        np_watch_close_of(loop, desc);
        np_reap(loop);
    }
}
