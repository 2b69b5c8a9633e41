/* fswhole.c: whole files: read, written, appended to, replaced, copied. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/fd.h"
#include "sys/file.h"
#include "sys/fileread.h"
#include "sys/fsverb.h"

static const np_given nothing = {0};

int32_t neap_fs_read(neap_loop *loop, const char *path, size_t len, neap_future **ret_future) {
    int32_t rc = np_fs_enter(loop, path, len, 0, 0, ret_future);
    if (rc < 0)
        return rc;
    np_given given = np_give(path, len);
    return np_filejob_launch(np_fileread_new(loop, "a read", given, SIZE_MAX), ret_future);
}

/* ---- Writing: open, write, perhaps sync, close */

enum {
    OPENING = 0,
    WRITING,
    SYNCING,
    CLOSING
};

static bool close_it(np_filejob *job) {
    job->at = CLOSING;
    job->op.kind = NP_FILE_CLOSE;
    return true;
}

static bool written(np_filejob *job) {
    if (np_filejob_has_no_offsets(job) || np_filejob_transfer(job))
        return true;
    if (job->result < 0 || job->whence == 0)
        return close_it(job);
    job->at = SYNCING;
    job->op.kind = NP_FILE_SYNC;
    job->op.flags = 0;
    return true;
}

/* The first failure is the one that is told: a close that fails may be the first to know of a full disk. */
static bool note(np_filejob *job, int64_t result) {
    if (job->result >= 0 && result < 0)
        job->result = result;
    return job->at != CLOSING && close_it(job);
}

static bool write_step(np_filejob *job) {
    int64_t result = job->op.op.result;
    if (job->at == WRITING)
        return written(job);
    if (job->at != OPENING || result < 0)
        return job->at == OPENING ? (job->result = result, false) : note(job, result);
    job->op.fd = (int)result;
    job->op.offset = (job->op.flags & O_APPEND) != 0 ? NP_FILE_HERE : 0;
    job->at = WRITING;
    if (job->len == 0) {
        job->op.op.result = 0;
        return written(job);
    }
    np_filejob_piece(job, NP_FILE_WRITE, job->data);
    return true;
}

static int32_t check_data(const void *data, size_t len) {
    return data == NULL && len > 0 ? NEAP_EINVAL : 0;
}

int32_t neap_fs_write(neap_loop *loop, const char *path, size_t len, const void *data,
                      size_t data_len, uint32_t flags, uint32_t permissions,
                      neap_future **ret_future) {
    uint32_t known = NEAP_FS_APPEND | NEAP_FS_EXCL | NEAP_FS_SYNC;
    int32_t rc = np_fs_enter(loop, path, len, flags, known, ret_future);
    if (rc == 0)
        rc = check_data(data, data_len);
    if (rc < 0)
        return rc;
    bool appends = (flags & NEAP_FS_APPEND) != 0;
    np_given given = np_give(data != NULL ? data : "", data_len);
    np_filejob *job =
        np_filejob_new(loop, appends ? "an append" : "a write", np_give(path, len), nothing, given);
    if (job == NULL)
        return NEAP_ENOMEM;
    job->op.kind = NP_FILE_OPEN;
    job->op.flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    job->op.flags |= appends ? O_APPEND : O_TRUNC;
    job->op.flags |= (flags & NEAP_FS_EXCL) != 0 ? O_EXCL : 0;
    job->op.mode = permissions;
    job->whence = (flags & NEAP_FS_SYNC) != 0;
    job->step = write_step;
    job->gives = NP_GIVES_COUNT;
    job->counts = true;
    return np_filejob_launch(job, ret_future);
}

/* ---- On a thread: copying between descriptors */

static bool is_stopped(const np_filejob *job) {
    return atomic_load_explicit(&job->stop, memory_order_relaxed);
}

static int write_whole(np_filejob *job, int fd, const char *data, size_t len) {
    np_fileop fo = {.kind = NP_FILE_WRITE, .fd = fd, .offset = NP_FILE_HERE};
    for (size_t at = 0; at < len;) {
        fo.op.buf = (void *)(uintptr_t)(data + at);
        fo.op.len = len - at < NP_FILE_MOST ? len - at : NP_FILE_MOST;
        int64_t n = is_stopped(job) ? NEAP_ECANCELED : np_fileop_call(&fo);
        if (n <= 0)
            return n == 0 ? -ENOSPC : (int)n;
        at += (size_t)n;
        atomic_fetch_add_explicit(&job->moved, (size_t)n, memory_order_relaxed);
    }
    return 0;
}

/* Through memory: between file systems, from files that have no size, and for kernels that cannot. */
static int copy_by_hand(np_filejob *job, int from, int to) {
    enum {
        BYTES = 256 * 1024
    };
    np_alloc *alloc = job->loop->alloc;
    char *buf = np_alloc_get(alloc, BYTES);
    np_fileop fo = {.kind = NP_FILE_READ, .fd = from, .offset = NP_FILE_HERE};
    int64_t n = buf == NULL ? NEAP_ENOMEM : 1;
    fo.op.buf = buf;
    fo.op.len = BYTES;
    while (n > 0) {
        n = np_fileop_call(&fo);
        if (n > 0) {
            int rc = write_whole(job, to, buf, (size_t)n);
            n = rc < 0 ? rc : n;
        }
    }
    np_alloc_put(alloc, buf, BYTES);
    return (int)n;
}

static bool is_unable(int error) {
    return error == EXDEV || error == ENOSYS || error == EINVAL || error == EOPNOTSUPP ||
           error == EPERM || error == ETXTBSY;
}

/* The kernel may say that it has copied nothing of a file that it has no size of: then the end is found by reading. */
static int copy_bytes(np_filejob *job, int from, int to) {
    for (;;) {
        if (is_stopped(job))
            return NEAP_ECANCELED;
        ssize_t n = copy_file_range(from, NULL, to, NULL, NP_FILE_MOST, 0);
        if (n > 0)
            atomic_fetch_add_explicit(&job->moved, (size_t)n, memory_order_relaxed);
        else if (n == 0 || is_unable(errno))
            return copy_by_hand(job, from, to);
        else if (errno != EINTR)
            return -errno;
    }
}

static int copy_over(np_filejob *job, int from, int to, const struct stat *source) {
    struct stat target;
    if (fstat(to, &target) < 0)
        return -errno;
    if (target.st_dev == source->st_dev && target.st_ino == source->st_ino)
        return -EINVAL; /* onto itself: nothing would be left */
    if (S_ISREG(target.st_mode) && ftruncate(to, 0) < 0)
        return -errno;
    int rc = copy_bytes(job, from, to);
    if (rc == 0 && S_ISREG(target.st_mode) && fchmod(to, source->st_mode & 07777) < 0)
        rc = -errno;
    return rc;
}

static int close_told(int fd, int rc) {
    return close(fd) < 0 && rc == 0 && errno != EINTR ? -errno : rc;
}

static int copy_from(np_filejob *job, int from) {
    struct stat source;
    if (fstat(from, &source) < 0)
        return -errno;
    if (S_ISDIR(source.st_mode))
        return -EISDIR;
    int to = open(job->text2, job->op.flags, source.st_mode & 0777 & ~(mode_t)077);
    if (to < 0)
        return -errno;
    int rc = copy_over(job, from, to, &source);
    return close_told(to, rc);
}

static int64_t copy_it(np_fileop *fo) {
    np_filejob *job = np_container(fo, np_filejob, op);
    int from = open(job->text, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (from < 0)
        return -errno;
    int rc = copy_from(job, from);
    np_fd_close(from);
    return rc < 0 ? rc : (int64_t)atomic_load_explicit(&job->moved, memory_order_relaxed);
}

int32_t neap_fs_copy(neap_loop *loop, const char *from, size_t from_len, const char *to,
                     size_t to_len, uint32_t flags, neap_future **ret_future) {
    int32_t rc = np_fs_enter(loop, from, from_len, flags, NEAP_FS_EXCL, ret_future);
    if (rc == 0)
        rc = np_path_check(to, to_len);
    if (rc < 0)
        return rc;
    np_filejob *job =
        np_fs_job(loop, "a copy", NP_FILE_CALL, np_give(from, from_len), np_give(to, to_len));
    if (job != NULL) {
        job->op.call = copy_it;
        job->op.flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
        job->op.flags |= (flags & NEAP_FS_EXCL) != 0 ? O_EXCL : 0;
        job->gives = NP_GIVES_COUNT;
        job->counts = true;
    }
    return np_filejob_launch(job, ret_future);
}

/* ---- Atomic replacement: whoever looks finds the old file or the new one, also after a crash */

enum {
    RANDOM_CHARS = 12,
    TRIES = 100
};

/* The name of a temporary file in the directory of the path, which stands in text2 with room behind it. */
static void name_temporary(np_filejob *job) {
    static const char chars[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    unsigned char random[RANDOM_CHARS];
    char *end = job->text2 + job->text_len;
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        memset(random, (int)(getpid() & 0xff), sizeof random);
    *end++ = '.';
    for (int i = 0; i < RANDOM_CHARS; i++)
        *end++ = chars[random[i] % (sizeof chars - 1)];
    *end = '\0';
}

static int open_temporary(np_filejob *job) {
    int fd = -1;
    for (int i = 0; i < TRIES; i++) {
        name_temporary(job);
        fd = open(job->text2, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)job->op.mode);
        if (fd >= 0 || errno != EEXIST)
            break;
    }
    return fd < 0 ? -errno : fd;
}

/* The new file is to the rest of the system what the old one was, as far as we may say so. */
static int resemble(np_filejob *job, int fd) {
    struct stat old;
    if (lstat(job->text, &old) < 0 || !S_ISREG(old.st_mode))
        return 0;
    if (fchown(fd, old.st_uid, old.st_gid) < 0 && errno != EPERM)
        return -errno;
    return fchmod(fd, old.st_mode & 07777) < 0 ? -errno : 0;
}

static int sync_directory(const np_filejob *job) {
    const char *slash = strrchr(job->text, '/');
    char *end = job->text2 + (slash == NULL ? 0 : slash - job->text + 1);
    *end = '\0';
    int fd = open(slash == NULL ? "." : job->text2, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES ? 0
                               : -errno; /* one may write to a directory that one may not read */
    int rc = fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
    np_fd_close(fd);
    return rc;
}

static int fill(np_filejob *job, int fd) {
    int rc = resemble(job, fd);
    if (rc == 0)
        rc = write_whole(job, fd, job->data, job->len);
    if (rc == 0 && fsync(fd) < 0)
        rc = -errno;
    rc = close_told(fd, rc);
    return rc == 0 && is_stopped(job) ? NEAP_ECANCELED : rc;
}

static int64_t replace_it(np_fileop *fo) {
    np_filejob *job = np_container(fo, np_filejob, op);
    int fd = open_temporary(job);
    if (fd < 0)
        return fd;
    int rc = fill(job, fd);
    if (rc == 0 && rename(job->text2, job->text) < 0)
        rc = -errno;
    if (rc < 0) {
        (void)unlink(job->text2);
        return rc;
    }
    rc = sync_directory(job);
    return rc < 0 ? rc : (int64_t)job->len;
}

int32_t neap_fs_replace(neap_loop *loop, const char *path, size_t len, const void *data,
                        size_t data_len, uint32_t permissions, neap_future **ret_future) {
    int32_t rc = np_fs_enter(loop, path, len, 0, 0, ret_future);
    if (rc == 0)
        rc = check_data(data, data_len);
    if (rc < 0)
        return rc;
    np_given given = np_give(data != NULL ? data : "", data_len);
    np_filejob *job = np_filejob_new(loop, "a replace", np_give(path, len),
                                     (np_given){path, len, .room = RANDOM_CHARS + 1}, given);
    if (job != NULL) {
        job->op.kind = NP_FILE_CALL;
        job->op.call = replace_it;
        job->op.mode = permissions;
        job->gives = NP_GIVES_COUNT;
    }
    return np_filejob_launch(job, ret_future);
}
