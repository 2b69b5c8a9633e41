/* fileio.c: what is done to an open file. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/options.h"
#include "sys/file.h"
#include "sys/fileread.h"

enum {
    PEEK_MOST =
        256 *
        1024 /* bytes that are taken at once if they are in memory: more keeps the others waiting */
};

static const np_given nothing = {0};

/* ---- Reading */

static int32_t check_read(const neap_file *file, size_t len, uint32_t flags, neap_buf **ret_buf,
                          neap_future **ret_future) {
    uint32_t known = NEAP_NOWAIT | NEAP_WANT_FUTURE;
    bool now = (flags & NEAP_WANT_FUTURE) == 0, later = (flags & NEAP_NOWAIT) == 0;
    if ((flags & ~known) != 0 || (now && ret_buf == NULL) || (later && ret_future == NULL) ||
        (!now && !later) || (!later && len > INT32_MAX))
        return NEAP_EINVAL;
    return np_file_enter(file);
}

/* Takes what is in memory: the count (less than asked for only at the end of the file), or NEAP_EAGAIN. */
static int32_t peek(neap_file *file, int64_t offset, size_t len, neap_buf *buf) {
    np_fileop fo = {.fd = file->fd, .offset = offset};
    size_t moved = 0;
    int64_t n = 1;
    while (moved < len && n > 0) {
        fo.op.buf = np_buf_bytes(buf) + moved;
        fo.op.len = len - moved;
        fo.offset = offset + (int64_t)moved;
        n = np_fileop_peek(&fo);
        moved += n > 0 ? (size_t)n : 0;
    }
    if (n == NEAP_ENOTSUP)
        file->peeks = false;
    if (n < 0)
        return NEAP_EAGAIN; /* whoever waits is told of a failure, too */
    np_buf_set_len(buf, moved);
    return (int32_t)moved;
}

static bool may_peek(const neap_file *file, bool positioned, size_t len) {
    bool turn = !positioned || (file->turn == NULL && np_list_empty(&file->queue));
    return file->peeks && file->seeks && turn && len <= PEEK_MOST;
}

static int32_t read_now(neap_file *file, bool positioned, int64_t offset, size_t len,
                        neap_buf **ret_buf) {
    neap_buf *buf = np_buf_new(file->obj.loop->alloc, len);
    int32_t n = buf == NULL ? NEAP_ENOMEM : peek(file, offset, len, buf);
    if (n < 0) {
        neap_buf_unref(buf);
        return n;
    }
    if (positioned)
        file->pos += n;
    *ret_buf = buf;
    return n;
}

static int32_t read_later(neap_file *file, bool positioned, int64_t offset, size_t len,
                          neap_future **ret_future) {
    np_filejob *job = np_fileread_new(file->obj.loop, "a read", nothing, len);
    if (job == NULL)
        return NEAP_ENOMEM;
    job->positioned = positioned;
    job->op.offset = offset;
    return np_file_launch(file, job, ret_future);
}

static int32_t read_from(neap_file *file, bool positioned, int64_t offset, size_t len,
                         uint32_t flags, neap_buf **ret_buf, neap_future **ret_future) {
    int32_t rc = check_read(file, len, flags, ret_buf, ret_future);
    if (rc < 0)
        return rc;
    rc = NEAP_EAGAIN;
    if ((flags & NEAP_WANT_FUTURE) == 0 && may_peek(file, positioned, len))
        rc = read_now(file, positioned, positioned ? file->pos : offset, len, ret_buf);
    if (rc != NEAP_EAGAIN || (flags & NEAP_NOWAIT) != 0)
        return rc;
    return read_later(file, positioned, offset, len, ret_future);
}

int32_t neap_file_read(neap_file *file, size_t len, uint32_t flags, neap_buf **ret_buf,
                       neap_future **ret_future) {
    return read_from(file, true, 0, len, flags, ret_buf, ret_future);
}

int32_t neap_file_pread(neap_file *file, int64_t offset, size_t len, uint32_t flags,
                        neap_buf **ret_buf, neap_future **ret_future) {
    if (offset < 0)
        return NEAP_EINVAL;
    return read_from(file, false, offset, len, flags, ret_buf, ret_future);
}

/* ---- Writing */

static int32_t write_to(neap_file *file, bool positioned, int64_t offset, const void *data,
                        size_t len, neap_future **ret_future) {
    int32_t rc =
        (data == NULL && len > 0) || ret_future == NULL ? NEAP_EINVAL : np_file_enter(file);
    if (rc < 0)
        return rc;
    np_given given = np_give(data != NULL ? data : "", len);
    np_filejob *job = np_filejob_new(file->obj.loop, "a write", nothing, nothing, given);
    if (job == NULL)
        return NEAP_ENOMEM;
    np_filejob_piece(job, NP_FILE_WRITE, job->data);
    job->step = np_filejob_transfer;
    job->gives = NP_GIVES_COUNT;
    job->counts = true;
    job->positioned = positioned;
    job->op.offset = offset;
    return np_file_launch(file, job, ret_future);
}

int32_t neap_file_write(neap_file *file, const void *data, size_t len, neap_future **ret_future) {
    return write_to(file, true, 0, data, len, ret_future);
}

int32_t neap_file_pwrite(neap_file *file, int64_t offset, const void *data, size_t len,
                         neap_future **ret_future) {
    return offset < 0 ? NEAP_EINVAL : write_to(file, false, offset, data, len, ret_future);
}

/* ---- The position */

static int64_t find_end(np_fileop *fo) {
    int64_t at = lseek(fo->fd, 0, SEEK_END);
    return at < 0 ? -errno : at;
}

/* The size says where a regular file ends; of others the file itself does. */
static bool seek_step(np_filejob *job) {
    int64_t found = job->op.op.result;
    bool asked = job->op.kind == NP_FILE_CALL;
    if (found == 0 && !asked && !S_ISREG(job->stx.stx_mode)) {
        job->op.kind = NP_FILE_CALL;
        job->op.call = find_end;
        return true;
    }
    int64_t end = asked ? found : (int64_t)job->stx.stx_size;
    job->result = found < 0 ? found : np_file_position(end, job->delta);
    return false;
}

static int32_t seek_now(neap_file *file, int64_t at, int64_t *ret_pos) {
    if (at < 0)
        return NEAP_EINVAL;
    file->pos = at;
    *ret_pos = at;
    return 0;
}

int32_t neap_file_seek(neap_file *file, int64_t offset, int32_t whence, int64_t *ret_pos,
                       neap_future **ret_future) {
    bool known = whence >= NEAP_SEEK_SET && whence <= NEAP_SEEK_END;
    int32_t rc =
        !known || ret_pos == NULL || ret_future == NULL ? NEAP_EINVAL : np_file_enter(file);
    if (rc < 0)
        return rc;
    if (!file->seeks)
        return -ESPIPE;
    bool idle = file->turn == NULL && np_list_empty(&file->queue);
    if (idle && whence != NEAP_SEEK_END)
        return seek_now(file, np_file_position(whence == NEAP_SEEK_CUR ? file->pos : 0, offset),
                        ret_pos);
    np_filejob *job = np_filejob_new(file->obj.loop, "a seek", nothing, nothing, nothing);
    if (job == NULL)
        return NEAP_ENOMEM;
    np_filejob_stat(job);
    job->step = seek_step;
    job->gives = NP_GIVES_COUNT;
    job->positioned = true;
    job->seeks = true;
    job->whence = (uint8_t)whence;
    job->delta = offset;
    return np_file_launch(file, job, ret_future);
}

/* ---- The rest */

static int32_t simple(neap_file *file, const char *what, uint8_t kind, int flags,
                      neap_future **ret_future) {
    int32_t rc = ret_future == NULL ? NEAP_EINVAL : np_file_enter(file);
    if (rc < 0)
        return rc;
    np_filejob *job = np_filejob_new(file->obj.loop, what, nothing, nothing, nothing);
    if (job == NULL)
        return NEAP_ENOMEM;
    job->op.kind = kind;
    job->op.flags = flags;
    if (kind == NP_FILE_STAT)
        np_filejob_stat(job);
    return np_file_launch(file, job, ret_future);
}

int32_t neap_file_stat(neap_file *file, neap_future **ret_future) {
    return simple(file, "a stat", NP_FILE_STAT, 0, ret_future);
}

int32_t neap_file_sync(neap_file *file, int32_t data_only, neap_future **ret_future) {
    return simple(file, "a sync", NP_FILE_SYNC, data_only ? NP_FILE_DATA : 0, ret_future);
}

static int64_t truncate_it(np_fileop *fo) {
    int rc;
    do
        rc = ftruncate(fo->fd, fo->offset);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

int32_t neap_file_truncate(neap_file *file, int64_t size, neap_future **ret_future) {
    int32_t rc = size < 0 || ret_future == NULL ? NEAP_EINVAL : np_file_enter(file);
    if (rc < 0)
        return rc;
    np_filejob *job = np_filejob_new(file->obj.loop, "a truncate", nothing, nothing, nothing);
    if (job == NULL)
        return NEAP_ENOMEM;
    job->op.kind = NP_FILE_CALL;
    job->op.call = truncate_it;
    job->op.offset = size;
    return np_file_launch(file, job, ret_future);
}
