#include "sys/fileread.h"

#include <errno.h>
#include <fcntl.h>

#include "sys/file.h"

enum {
    EXACT_MOST = 1 << 20, /* so many bytes are asked for without a look at how many there are */
    GUESS = 64 * 1024     /* for files that do not know their size */
};

enum {
    OPENING = 0,
    LOOKING,
    READING,
    CLOSING
};

static void next(np_filejob *job, uint8_t at, uint8_t kind) {
    job->at = at;
    job->op.kind = kind;
}

/* The result is there; what was opened goes first. */
static bool finish(np_filejob *job, int64_t result) {
    job->result = result;
    if (job->fd < 0)
        return false;
    next(job, CLOSING, NP_FILE_CLOSE);
    job->fd = -1;
    return true;
}

static bool read_more(np_filejob *job) {
    size_t moved = atomic_load_explicit(&job->moved, memory_order_relaxed);
    size_t room = np_buf_cap(job->buf) - moved;
    next(job, READING, NP_FILE_READ);
    job->op.op.buf = np_buf_bytes(job->buf) + moved;
    job->op.op.len = room < NP_FILE_MOST ? room : NP_FILE_MOST;
    return true;
}

/* One byte more than the file has, so that its end is found without another buffer. */
static size_t expected(const np_filejob *job) {
    uint64_t size = S_ISREG(job->stx.stx_mode) ? job->stx.stx_size : 0;
    uint64_t from = job->op.offset > 0 ? (uint64_t)job->op.offset : 0;
    uint64_t rest = size > from ? size - from : 0;
    uint64_t want = rest > 0 ? rest + 1 : GUESS;
    return want < job->len ? (size_t)want : job->len;
}

static bool looked(np_filejob *job) {
    if (S_ISDIR(job->stx.stx_mode))
        return finish(job, -EISDIR);
    job->buf = np_buf_new(job->loop->alloc, expected(job));
    return job->buf == NULL ? finish(job, NEAP_ENOMEM) : read_more(job);
}

static bool grow(np_filejob *job) {
    size_t cap = np_buf_cap(job->buf);
    size_t more = cap < job->len / 2 ? cap * 2 : job->len;
    neap_buf *buf = np_buf_resize(job->buf, more < GUESS ? GUESS : more);
    if (buf == NULL)
        return finish(job, NEAP_ENOMEM);
    job->buf = buf;
    return read_more(job);
}

/* What was read before a failure counts; whoever goes on meets the failure again. */
static bool came(np_filejob *job, int64_t n) {
    size_t moved = atomic_load_explicit(&job->moved, memory_order_relaxed);
    bool stopped = atomic_load_explicit(&job->stop, memory_order_relaxed);
    if (n > 0) {
        moved += (size_t)n;
        atomic_store_explicit(&job->moved, moved, memory_order_relaxed);
        job->op.offset += job->op.offset != NP_FILE_HERE ? n : 0;
    }
    if (n > 0 && moved < job->len && !stopped)
        return moved == np_buf_cap(job->buf) ? grow(job) : read_more(job);
    np_buf_set_len(job->buf, moved);
    bool whole = n >= 0 || (moved > 0 && job->text == NULL);
    return finish(job, whole ? (int64_t)moved : n);
}

static bool step(np_filejob *job) {
    int64_t result = job->op.op.result;
    switch (job->at) {
    case OPENING:
        if (result < 0)
            return finish(job, result);
        job->fd = (int)result;
        job->op.fd = job->fd;
        job->op.offset = 0;
        np_filejob_stat(job);
        job->at = LOOKING;
        return true;
    case LOOKING:
        return result < 0 ? finish(job, result) : looked(job);
    case READING:
        return np_filejob_has_no_offsets(job) || came(job, result);
    default:
        return false;
    }
}

np_filejob *np_fileread_new(neap_loop *loop, const char *what, np_given path, size_t len) {
    const np_given none = {0};
    np_filejob *job = np_filejob_new(loop, what, path, none, none);
    if (job == NULL)
        return NULL;
    job->step = step;
    job->gives = NP_GIVES_BYTES;
    job->len = len;
    if (path.bytes != NULL) {
        next(job, OPENING, NP_FILE_OPEN);
        job->op.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    } else if (len > EXACT_MOST) {
        np_filejob_stat(job);
        job->at = LOOKING;
    } else {
        job->buf = np_buf_new(loop->alloc, len);
        if (job->buf == NULL) {
            np_filejob_unref(job);
            return NULL;
        }
        read_more(job);
    }
    return job;
}
