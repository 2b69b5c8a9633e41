#include "sys/filejob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "sys/file.h"
#include "sys/pool.h"
#include "sys/sys.h"

/* ---- Memory */

int32_t np_path_check(const char *path, size_t len) {
    if (path == NULL)
        return NEAP_EINVAL;
    return memchr(path, '\0', len) != NULL ? NEAP_EVALUE : 0;
}

static char *put(char **at, np_given given) {
    char *here = *at;
    if (given.bytes == NULL)
        return NULL;
    memcpy(here, given.bytes, given.len);
    here[given.len] = '\0';
    *at += given.len + given.room + 1;
    return here;
}

np_filejob *np_filejob_new(neap_loop *loop, const char *what, np_given text, np_given text2,
                           np_given data) {
    const size_t most = SIZE_MAX / 8;
    if (text.len > most || text2.len > most || data.len > most)
        return NULL;
    size_t room = text.room + text2.room + data.room + 3;
    size_t size = sizeof(np_filejob) + text.len + text2.len + data.len + room;
    np_filejob *job = np_alloc_get(loop->alloc, size);
    if (job == NULL)
        return NULL;
    char *at = (char *)(job + 1);
    memset(job, 0, sizeof *job);
    job->loop = loop;
    job->what = what;
    job->size = size;
    job->refs = 1;
    job->fd = -1;
    job->op.fd = AT_FDCWD;
    job->op.offset = NP_FILE_HERE;
    job->text = put(&at, text);
    job->text_len = text.len;
    job->text2 = put(&at, text2);
    job->data = put(&at, data);
    job->len = data.len;
    job->op.path = job->text;
    job->op.to = job->text2;
    np_list_init(&job->op.op.link);
    np_list_init(&job->of_file);
    np_list_init(&job->link);
    atomic_init(&job->moved, 0);
    atomic_init(&job->stop, false);
    np_loop_keep(loop);
    np_sys_attach(loop);
    return job;
}

/* What the kernel may still write to stays for good. */
void np_filejob_unref(np_filejob *job) {
    neap_loop *loop = job->loop;
    if (--job->refs > 0)
        return;
    np_list_unlink(&job->of_file);
    if (job->file != NULL)
        np_obj_unref(&job->file->obj);
    if (!job->op.lost) {
        neap_buf_unref(job->buf);
        np_alloc_put(loop->alloc, job, job->size);
    }
    np_loop_let_go(loop);
}

/* ---- The future */

static np_filejob *job_of(const neap_future *f) {
    return np_container(f, np_filefuture, f)->job;
}

static void destroy(np_obj *obj) {
    neap_future *f = np_container(obj, neap_future, obj);
    np_filejob *job = job_of(f);
    if (job->future != NULL && &job->future->f == f)
        job->future = NULL;
    np_future_fini(f);
    np_obj_free(obj, sizeof(np_filefuture));
    np_filejob_unref(job);
}

static int32_t cancel(neap_future *f, const char *msg) {
    np_filejob_detach(job_of(f), NEAP_ECANCELED, msg);
    return 1;
}

static void end_closed(neap_future *f) {
    np_filejob_detach(job_of(f), NEAP_ECLOSED, NULL);
}

static const char *what(const neap_future *f) {
    return job_of(f)->what;
}

static void detail(const neap_future *f, char *buf, size_t cap) {
    const np_filejob *job = job_of(f);
    const char *path = job->text == NULL && job->file != NULL ? job->file->path : job->text;
    if (path != NULL)
        snprintf(buf, cap, " of %s", path);
}

static const np_future_type file_future = {.base = {.name = "a file", .destroy = destroy},
                                           .cancel = cancel,
                                           .end = end_closed,
                                           .what = what,
                                           .detail = detail};

bool np_filejob_promise(np_filejob *job) {
    neap_future *f = np_future_new(job->loop, &file_future, sizeof(np_filefuture));
    if (f == NULL)
        return false;
    np_container(f, np_filefuture, f)->job = job;
    job->refs++;
    job->future = np_container(f, np_filefuture, f);
    f->flags |= NP_F_RESOURCE | NP_F_ACTIVE;
    np_future_ref(f);
    return true;
}

void np_filejob_unpromise(np_filejob *job) {
    neap_future *f = &job->future->f;
    np_filejob_detach(job, NEAP_ECANCELED, NULL);
    np_future_unref(f);
}

np_filejob *np_filejob_of(neap_future *future) {
    neap_future *o = np_future_origin(future);
    return o->obj.type == &file_future.base ? job_of(o) : NULL;
}

static void settle_failed(np_filejob *job, neap_future *f, int32_t code, const char *msg) {
    if (job->counts) {
        f->kind = NP_KIND_PARTIAL;
        f->value.i = (int64_t)atomic_load(&job->moved);
    }
    if (code == NEAP_ECANCELED)
        np_future_settle_cancelled(f, msg);
    else
        np_future_settle_error(f, code, NULL);
}

static void settle_well(np_filejob *job, neap_future *f) {
    if (job->gives == NP_GIVES_COUNT) {
        f->kind = NEAP_KIND_INT;
        f->value.i = job->result;
    } else if (job->gives == NP_GIVES_BYTES) {
        f->kind = NP_KIND_BUF;
        f->value.buf = neap_buf_ref(job->buf);
    } else if (job->gives == NP_GIVES_FILE) {
        np_obj_outer_ref(&job->file->obj);
        f->kind = NEAP_KIND_FILE;
        f->value.file = job->file;
    }
    np_future_settle(f, NEAP_STATE_RESULT);
}

static void settle(np_filejob *job) {
    neap_future *f = &job->future->f;
    job->future = NULL;
    np_trace(job->loop, NEAP_TRACE_IO, job->result, NULL, f, NULL);
    if (job->result < 0)
        settle_failed(job, f, (int32_t)job->result, NULL);
    else
        settle_well(job, f);
    np_future_deactivate(f);
}

/* ---- The chain */

static void over(np_filejob *job) {
    np_list_unlink(&job->link);
    if (job->end != NULL)
        job->end(job);
    if (job->future != NULL)
        settle(job);
    np_filejob_unref(job);
}

/* The next call is set up, or the job has its result. */
static bool goes_on(np_filejob *job) {
    if (job->step != NULL)
        return job->step(job);
    job->result = job->op.op.result;
    return false;
}

static void run_here(np_filejob *job) {
    do
        job->op.op.result = np_fileop_call(&job->op);
    while (goes_on(job));
}

static void ended(np_op *op) {
    over(np_container(op, np_filejob, op.op));
}

/* ---- On a thread */

/* On the thread.  What nobody wants any more is not begun, but for what gives something back. */
static int64_t run_on_thread(neap_job *thread_job, void *user) {
    np_filejob *job = user;
    (void)thread_job;
    job->ran = true;
    if (job->op.kind == NP_FILE_CLOSE || !atomic_load(&job->stop)) {
        run_here(job);
    } else {
        job->op.op.result = NEAP_ECANCELED;
        if (goes_on(job))
            run_here(job);
    }
    return 0;
}

/* On the loop's thread, or on any once that is closed; also of a job that the pool did not run. */
static void home(void *user) {
    np_filejob *job = user;
    if (job->submitting)
        return;
    job->loop->jobs--;
    if (!job->ran) {
        atomic_store(&job->stop, true);
        (void)run_on_thread(NULL, job);
    }
    over(job);
}

static int32_t start_on_thread(np_filejob *job) {
    const neap_job_options options = {.size = sizeof options, .name = job->what};
    neap_pool *pool;
    int32_t rc = np_loop_pool(job->loop, NEAP_POOL_FILES, &pool);
    if (rc < 0)
        return rc;
    job->ran = false;
    job->submitting = true; /* a failure destroys what it was given */
    rc = neap_pool_submit(pool, job->loop, run_on_thread, job, home, &options, NULL);
    job->submitting = false;
    job->loop->jobs += rc == 0;
    return rc;
}

/* ---- In a ring, or wherever there is room */

static bool is_open(const neap_loop *loop) {
    return atomic_load_explicit(&loop->life, memory_order_relaxed) == NP_OPEN;
}

/* What the kernel would only do without waiting, or was interrupted at, is done by a thread. */
static bool is_refused(const np_filejob *job) {
    int64_t result = job->op.op.result;
    return is_open(job->loop) && !job->op.lost && (result == NEAP_EAGAIN || result == NEAP_EINTR);
}

static void returned(np_op *op) {
    np_filejob *job = np_container(op, np_filejob, op.op);
    job->loop->jobs--;
    if (is_refused(job) && start_on_thread(job) == 0)
        return;
    if (goes_on(job))
        np_filejob_start_anyway(job);
    else
        over(job);
}

static void began(np_filejob *job) {
    job->started = true;
    if (np_list_empty(&job->link))
        np_list_append(&job->loop->file_jobs, &job->link);
}

int32_t np_filejob_start(np_filejob *job) {
    np_io *io = &job->loop->io;
    job->op.op.done = returned;
    bool taken = io->backend->file != NULL && io->backend->file(io, &job->op) == 0;
    int32_t rc = taken ? 0 : start_on_thread(job);
    job->loop->jobs += taken;
    if (rc == 0)
        began(job);
    return rc;
}

void np_filejob_start_anyway(np_filejob *job) {
    if (is_open(job->loop) && np_filejob_start(job) == 0)
        return;
    job->started = true;
    run_here(job);
    over(job);
}

void np_filejob_skip(np_filejob *job) {
    began(job);
    job->op.op.done = ended;
    np_list_append(&job->loop->io.completed, &job->op.op.link);
    np_loop_nudge(job->loop);
}

int32_t np_filejob_launch(np_filejob *job, neap_future **ret_future) {
    if (job == NULL)
        return NEAP_ENOMEM;
    if (!np_filejob_promise(job)) {
        np_filejob_unref(job);
        return NEAP_ENOMEM;
    }
    int32_t rc = np_filejob_start(job);
    if (rc < 0) {
        np_filejob_unpromise(job);
        return rc;
    }
    np_future_give(&job->future->f, ret_future);
    return NEAP_PENDING;
}

void np_filejob_end_all(neap_loop *loop) {
    for (np_list *at = loop->file_jobs.next, *next; at != &loop->file_jobs; at = next) {
        np_filejob *job = np_container(at, np_filejob, link);
        next = at->next;
        if (job->future != NULL)
            np_filejob_detach(job, NEAP_ECLOSED, NULL);
    }
}

/* A job that stands in its file's queue, or was never started, has only its chain's reference and the future's. */
void np_filejob_detach(np_filejob *job, int32_t code, const char *msg) {
    np_io *io = &job->loop->io;
    neap_future *f = &job->future->f;
    job->future = NULL;
    atomic_store(&job->stop, true);
    if (!job->started) {
        np_list_unlink(&job->op.op.link);
        np_list_unlink(&job->of_file);
    } else if (job->op.in_ring && io->backend != NULL) {
        io->backend->file_stop(io, &job->op);
    }
    bool goes = !job->started;
    settle_failed(job, f, code, msg);
    np_future_deactivate(f);
    if (goes)
        np_filejob_unref(job);
}

/* ---- Steps that several have */

void np_filejob_stat(np_filejob *job) {
    job->op.kind = NP_FILE_STAT;
    job->op.path = NULL;
    job->op.flags = AT_EMPTY_PATH;
    job->op.op.buf = &job->stx;
}

void np_filejob_piece(np_filejob *job, uint8_t kind, char *bytes) {
    size_t moved = atomic_load_explicit(&job->moved, memory_order_relaxed);
    size_t rest = job->len - moved;
    job->op.kind = kind;
    job->op.op.buf = bytes + moved;
    job->op.op.len = rest < NP_FILE_MOST ? rest : NP_FILE_MOST;
}

/* Offsets are given wherever that is possible: a ring leaves the position of the descriptor behind when a piece ends early. */
bool np_filejob_has_no_offsets(np_filejob *job) {
    bool refused = job->op.op.result == -ESPIPE && job->op.offset == 0;
    if (refused)
        job->op.offset = NP_FILE_HERE;
    return refused;
}

/* A file that takes nothing is full. */
static int64_t code_of_write(int64_t n) {
    return n == 0 ? -ENOSPC : n;
}

bool np_filejob_transfer(np_filejob *job) {
    bool reads = job->op.kind == NP_FILE_READ;
    int64_t n = job->op.op.result;
    size_t moved = atomic_load_explicit(&job->moved, memory_order_relaxed);
    if (n > 0) {
        moved += (size_t)n;
        atomic_store_explicit(&job->moved, moved, memory_order_relaxed);
        if (job->op.offset != NP_FILE_HERE)
            job->op.offset += n;
    }
    bool stopped = atomic_load_explicit(&job->stop, memory_order_relaxed);
    if (n > 0 && moved < job->len && !stopped) {
        np_filejob_piece(job, job->op.kind, (char *)job->op.op.buf + n - moved);
        return true;
    }
    if (moved == job->len || (reads && (moved > 0 || n == 0)))
        job->result = (int64_t)moved;
    else
        job->result = n > 0 ? NEAP_ECANCELED : code_of_write(n);
    if (reads && job->buf != NULL)
        np_buf_set_len(job->buf, moved);
    return false;
}
