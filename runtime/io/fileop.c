#include "io/fileop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int64_t read_some(const np_fileop *fo) {
    if (fo->offset == NP_FILE_HERE)
        return read(fo->fd, fo->op.buf, fo->op.len);
    return pread(fo->fd, fo->op.buf, fo->op.len, fo->offset);
}

static int64_t write_some(const np_fileop *fo) {
    if (fo->offset == NP_FILE_HERE)
        return write(fo->fd, fo->op.buf, fo->op.len);
    return pwrite(fo->fd, fo->op.buf, fo->op.len, fo->offset);
}

static int64_t stat_one(const np_fileop *fo) {
    const char *path = fo->path != NULL ? fo->path : "";
    return statx(fo->fd, path, fo->flags, STATX_BASIC_STATS | STATX_BTIME, fo->op.buf);
}

/* A failed close has closed all the same. */
static int64_t close_one(const np_fileop *fo) {
    return close(fo->fd) < 0 && errno != EINTR ? -1 : 0;
}

static int64_t sync_one(const np_fileop *fo) {
    return (fo->flags & NP_FILE_DATA) != 0 ? fdatasync(fo->fd) : fsync(fo->fd);
}

static int64_t call(np_fileop *fo) {
    switch (fo->kind) {
    case NP_FILE_OPEN:
        return openat(fo->fd, fo->path, fo->flags, fo->mode);
    case NP_FILE_CLOSE:
        return close_one(fo);
    case NP_FILE_READ:
        return read_some(fo);
    case NP_FILE_WRITE:
        return write_some(fo);
    case NP_FILE_SYNC:
        return sync_one(fo);
    case NP_FILE_STAT:
        return stat_one(fo);
    case NP_FILE_RENAME:
        return renameat2(fo->fd, fo->path, fo->fd, fo->to, (unsigned)fo->flags);
    case NP_FILE_UNLINK:
        return unlinkat(fo->fd, fo->path, fo->flags);
    case NP_FILE_MKDIR:
        return mkdirat(fo->fd, fo->path, fo->mode);
    case NP_FILE_SYMLINK:
        return symlinkat(fo->path, fo->fd, fo->to);
    case NP_FILE_LINK:
        return linkat(fo->fd, fo->path, fo->fd, fo->to, fo->flags);
    default:
        errno = ENOSYS;
        return -1;
    }
}

int64_t np_fileop_call(np_fileop *fo) {
    int64_t result;
    if (fo->kind == NP_FILE_CALL)
        return fo->call(fo);
    do
        result = call(fo);
    while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

int64_t np_fileop_peek(np_fileop *fo) {
    const struct iovec iov = {fo->op.buf, fo->op.len};
    int64_t result;
    do
        result = preadv2(fo->fd, &iov, 1, fo->offset, RWF_NOWAIT);
    while (result < 0 && errno == EINTR);
    if (result >= 0)
        return result;
    bool unknown = errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL;
    return unknown ? NEAP_ENOTSUP : -errno;
}
