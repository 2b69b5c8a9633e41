/* file.c: the life of an open file and the order of its jobs; what they do is in fileio.c. */
#include "sys/file.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "sys/sys.h"

/* ---- Closing */

static void end_close(np_filejob *job) {
    np_sys_fd_freed(job->loop);
}

static void close_now(neap_file *file) {
    np_filejob *job = file->closer;
    job->end = end_close;
    job->op.kind = NP_FILE_CLOSE;
    job->op.fd = file->fd;
    file->closer = NULL;
    file->fd = -1;
    if (job->op.fd >= 0)
        np_filejob_start_anyway(job);
    else
        np_filejob_unref(job);
}

/* What stands in the queue goes; what is under way is told to stop, and nobody waits for it. */
static void end_jobs(neap_file *file) {
    np_list jobs;
    np_list_init(&jobs);
    np_list_splice(&jobs, &file->jobs);
    while (!np_list_empty(&jobs)) {
        np_filejob *job = np_container(np_list_pop(&jobs), np_filejob, of_file);
        np_list_append(&file->jobs, &job->of_file);
        if (job->future != NULL)
            np_filejob_detach(job, NEAP_ECLOSED, NULL);
    }
}

/* The caller holds the file. */
void np_file_shut(neap_file *file) {
    if (file->closed)
        return;
    file->closed = true;
    np_list_unlink(&file->link);
    end_jobs(file);
    neap_buf_unref(file->back);
    file->back = NULL;
    if (file->busy == 0)
        close_now(file);
}

static void destroy(np_obj *obj) {
    neap_file *file = np_container(obj, neap_file, obj);
    np_file_shut(file);
    np_alloc_put(obj->loop->alloc, file->path, file->path_len + 1);
    np_obj_free(obj, sizeof *file);
}

/* Nobody can use it any more. */
static void abandoned(np_obj *obj) {
    np_file_shut(np_container(obj, neap_file, obj));
}

static const np_type file_type = {.name = "file", .destroy = destroy, .abandoned = abandoned};

void np_file_close_all(neap_loop *loop) {
    np_filejob_end_all(loop);
    while (!np_list_empty(&loop->files)) {
        neap_file *file = np_container(loop->files.next, neap_file, link);
        np_obj_ref(&file->obj); /* its jobs may have been the last to hold it */
        np_file_shut(file);
        np_obj_unref(&file->obj);
    }
}

/* ---- Made */

static char *copy_path(neap_loop *loop, const char *path, size_t len) {
    char *copy = len > SIZE_MAX / 2 ? NULL : np_alloc_get(loop->alloc, len + 1);
    if (copy != NULL) {
        memcpy(copy, path, len);
        copy[len] = '\0';
    }
    return copy;
}

neap_file *np_file_husk(neap_loop *loop, const char *path, size_t len) {
    np_given none = {0};
    char *copy = copy_path(loop, path, len);
    np_filejob *closer =
        copy == NULL ? NULL : np_filejob_new(loop, "a close", np_give(path, len), none, none);
    neap_file *file = closer == NULL ? NULL : np_obj_new(loop, &file_type, sizeof *file);
    if (file == NULL) {
        if (closer != NULL)
            np_filejob_unref(closer);
        np_alloc_put(loop->alloc, copy, len + 1);
        return NULL;
    }
    np_list_init(&file->link);
    np_list_init(&file->jobs);
    np_list_init(&file->queue);
    np_list_append(&loop->files, &file->link);
    file->closer = closer;
    file->fd = -1;
    file->path = copy;
    file->path_len = len;
    return file;
}

void np_file_give_fd(neap_file *file, int fd, int flags) {
    int64_t at = lseek(fd, 0, SEEK_CUR);
    file->fd = fd;
    file->appends = (flags & O_APPEND) != 0;
    file->seeks = at >= 0;
    file->pos = at >= 0 ? at : NP_FILE_HERE;
    file->peeks = true;
}

void np_file_opened(np_filejob *job) {
    neap_file *file = job->file;
    if (job->result < 0)
        return;
    if (file->closed) { /* with the loop */
        np_fd_close((int)job->result);
        job->result = NEAP_ECLOSED;
        return;
    }
    np_file_give_fd(file, (int)job->result, job->op.flags);
}

int32_t neap_file_adopt(neap_loop *loop, neap_fd fd, neap_file **ret_file) {
    int32_t rc = loop == NULL || ret_file == NULL ? NEAP_EINVAL : np_enter(loop);
    int flags = rc < 0 || fd < 0 || fd > INT32_MAX ? -1 : fcntl((int)fd, F_GETFL);
    if (rc < 0 || flags < 0)
        return rc < 0 ? rc : NEAP_EBADF;
    neap_file *file = np_file_husk(loop, "", 0);
    if (file == NULL)
        return NEAP_ENOMEM;
    (void)fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    np_file_give_fd(file, (int)fd, flags);
    np_obj_publish(&file->obj);
    *ret_file = file;
    return 0;
}

neap_file *neap_file_ref(neap_file *file) {
    np_obj_outer_ref(&file->obj);
    return file;
}

void neap_file_unref(neap_file *file) {
    if (file != NULL)
        np_obj_outer_unref(&file->obj);
}

neap_loop *neap_file_loop(const neap_file *file) {
    return file->obj.loop;
}

neap_fd neap_file_fd(const neap_file *file) {
    int32_t rc = np_look(file->obj.loop);
    if (rc < 0)
        return rc;
    return file->closed ? NEAP_ECLOSED : file->fd;
}

const char *neap_file_path(const neap_file *file) {
    return file->path;
}

int32_t np_file_enter(const neap_file *file) {
    int32_t rc = file == NULL ? NEAP_EINVAL : np_enter(file->obj.loop);
    return rc == 0 && file->closed ? NEAP_ECLOSED : rc;
}

/* ---- The order of jobs */

int64_t np_file_position(int64_t base, int64_t delta) {
    int64_t at;
    return __builtin_add_overflow(base, delta, &at) || at < 0 ? NEAP_EINVAL : at;
}

/* What was read for nobody comes first.  It stays until somebody has it. */
static bool read_back(const neap_file *file, np_filejob *job) {
    neap_buf *back = file->back;
    if (back == NULL || job->data != NULL || job->seeks)
        return false;
    size_t rest = neap_buf_len(back) - file->back_at;
    size_t n = rest < job->len ? rest : job->len;
    job->buf = job->buf != NULL ? job->buf : np_buf_new(file->obj.loop->alloc, n);
    if (job->buf == NULL)
        return false;
    memcpy(np_buf_bytes(job->buf), np_buf_bytes(back) + file->back_at, n);
    np_buf_set_len(job->buf, n);
    job->result = (int64_t)n;
    job->from_back = true;
    return true;
}

static void consume_back(neap_file *file, size_t n) {
    file->back_at += n;
    if (file->back == NULL || file->back_at < neap_buf_len(file->back))
        return;
    neap_buf_unref(file->back);
    file->back = NULL;
}

/* A seek that need not ask for the size. */
static bool is_known(const neap_file *file, np_filejob *job) {
    if (!job->seeks || job->whence == NEAP_SEEK_END)
        return false;
    int64_t base = job->whence == NEAP_SEEK_CUR ? file->pos : 0;
    job->result = np_file_position(base, job->delta);
    return true;
}

static int32_t begin(neap_file *file, np_filejob *job) {
    file->busy++;
    job->op.fd = file->fd;
    job->op.never_waits = !file->seeks;
    if (job->positioned) {
        bool appends = job->data != NULL && file->appends;
        job->op.offset = appends ? NP_FILE_HERE : file->pos;
        file->turn = job;
        if (is_known(file, job) || read_back(file, job)) {
            np_filejob_skip(job);
            return 0;
        }
    }
    return np_filejob_start(job);
}

/* Where the position is after a job: a read that nobody waits for has moved nothing. */
static void move(neap_file *file, np_filejob *job) {
    int64_t moved = (int64_t)atomic_load_explicit(&job->moved, memory_order_relaxed);
    bool reads = job->data == NULL;
    bool unread = reads && job->future == NULL;
    if (job->seeks) {
        if (job->result >= 0 && job->future != NULL)
            file->pos = job->result;
    } else if (job->from_back) {
        consume_back(file, unread ? 0 : (size_t)job->result);
    } else if (!file->seeks && unread && moved > 0 && !file->closed) {
        file->back = neap_buf_ref(job->buf);
        file->back_at = 0;
    } else if (file->seeks && !reads && file->appends) {
        file->pos = lseek(file->fd, 0, SEEK_CUR);
    } else if (file->seeks && !unread) {
        file->pos += moved;
    }
}

static void fail_to_begin(neap_file *file, np_filejob *job) {
    file->busy--;
    if (file->turn == job)
        file->turn = NULL;
}

static void next_turn(neap_file *file) {
    while (file->turn == NULL && !file->closed && !np_list_empty(&file->queue)) {
        np_filejob *job = np_container(np_list_pop(&file->queue), np_filejob, op.op.link);
        int32_t rc = begin(file, job);
        if (rc < 0) {
            fail_to_begin(file, job);
            np_filejob_detach(job, rc, NULL);
        }
    }
}

/* A descriptor that the kernel may still use stays open for good. */
static void end(np_filejob *job) {
    neap_file *file = job->file;
    np_list_unlink(&job->of_file);
    if (job->positioned) {
        move(file, job);
        file->turn = NULL;
    }
    file->busy -= job->op.lost ? 0 : 1;
    if (file->closed && file->busy == 0)
        close_now(file);
    next_turn(file);
}

static int32_t launch(neap_file *file, np_filejob *job) {
    bool waits = job->positioned && (file->turn != NULL || !np_list_empty(&file->queue));
    if (waits) {
        np_list_append(&file->queue, &job->op.op.link);
        return 0;
    }
    int32_t rc = begin(file, job);
    if (rc < 0)
        fail_to_begin(file, job);
    return rc;
}

int32_t np_file_launch(neap_file *file, np_filejob *job, neap_future **ret_future) {
    if (job == NULL)
        return NEAP_ENOMEM;
    if (!np_filejob_promise(job)) {
        np_filejob_unref(job);
        return NEAP_ENOMEM;
    }
    np_obj_ref(&file->obj);
    job->file = file;
    job->end = end;
    np_list_append(&file->jobs, &job->of_file);
    int32_t rc = launch(file, job);
    if (rc < 0) {
        np_filejob_unpromise(job);
        return rc;
    }
    np_future_give(&job->future->f, ret_future);
    return NEAP_PENDING;
}

int32_t neap_file_close(neap_file *file, neap_future **ret_future) {
    int32_t rc = file == NULL || ret_future == NULL ? NEAP_EINVAL : np_look(file->obj.loop);
    if (rc < 0 || file->closed)
        return rc;
    np_filejob *job = file->closer;
    if (!np_filejob_promise(job))
        return NEAP_ENOMEM;
    neap_future *f = &job->future->f;
    job->started = true; /* a cancel leaves it alone: it is going to be closed */
    np_future_give(f, ret_future);
    np_file_shut(file);
    return NEAP_PENDING;
}
