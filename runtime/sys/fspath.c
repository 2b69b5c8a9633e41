/* fspath.c: operations on paths that are one call of the kernel, or nearly. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/file.h"
#include "sys/fsverb.h"

static const np_given nothing = {0};

int32_t np_fs_enter(neap_loop *loop, const char *path, size_t len, uint32_t flags, uint32_t known,
                    neap_future **ret_future) {
    bool wrong = loop == NULL || ret_future == NULL || (flags & ~known) != 0;
    int32_t rc = wrong ? NEAP_EINVAL : np_path_check(path, len);
    return rc < 0 ? rc : np_enter(loop);
}

/* ---- Opening */

static int flags_of(uint32_t how) {
    bool reads = (how & NEAP_OPEN_READ) != 0;
    bool writes = (how & (NEAP_OPEN_WRITE | NEAP_OPEN_APPEND)) != 0;
    int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    flags |= reads && writes ? O_RDWR : writes ? O_WRONLY : O_RDONLY;
    flags |= (how & NEAP_OPEN_APPEND) != 0 ? O_APPEND : 0;
    flags |= (how & NEAP_OPEN_CREATE) != 0 ? O_CREAT : 0;
    flags |= (how & NEAP_OPEN_EXCL) != 0 ? O_CREAT | O_EXCL : 0;
    flags |= (how & NEAP_OPEN_TRUNCATE) != 0 ? O_TRUNC : 0;
    flags |= (how & NEAP_OPEN_NOFOLLOW) != 0 ? O_NOFOLLOW : 0;
    return flags;
}

static np_filejob *new_open(neap_loop *loop, const char *path, size_t len, const char *what) {
    neap_file *file = np_file_husk(loop, path, len);
    np_filejob *job =
        file == NULL ? NULL : np_filejob_new(loop, what, np_give(path, len), nothing, nothing);
    if (job == NULL) {
        if (file != NULL)
            np_obj_unref(&file->obj);
        return NULL;
    }
    job->file = file;
    job->end = np_file_opened;
    job->gives = NP_GIVES_FILE;
    return job;
}

int32_t neap_file_open(neap_loop *loop, const char *path, size_t len, uint32_t how,
                       uint32_t permissions, neap_future **ret_future) {
    uint32_t known = NEAP_OPEN_READ | NEAP_OPEN_WRITE | NEAP_OPEN_APPEND | NEAP_OPEN_CREATE |
                     NEAP_OPEN_EXCL | NEAP_OPEN_TRUNCATE | NEAP_OPEN_NOFOLLOW;
    int32_t rc = np_fs_enter(loop, path, len, how, known, ret_future);
    if (rc == 0 && (how & (NEAP_OPEN_READ | NEAP_OPEN_WRITE | NEAP_OPEN_APPEND)) == 0)
        rc = NEAP_EINVAL;
    if (rc < 0)
        return rc;
    np_filejob *job = new_open(loop, path, len, "an open");
    if (job != NULL) {
        job->op.kind = NP_FILE_OPEN;
        job->op.flags = flags_of(how);
        job->op.mode = permissions;
    }
    return np_filejob_launch(job, ret_future);
}

/* ---- Verbs: what differs is the call */

np_filejob *np_fs_job(neap_loop *loop, const char *what, uint8_t kind, np_given path,
                      np_given other) {
    np_filejob *job = np_filejob_new(loop, what, path, other, nothing);
    if (job != NULL)
        job->op.kind = kind;
    return job;
}

np_filejob *np_fs_call(neap_loop *loop, const char *what, int64_t (*call)(np_fileop *fo),
                       np_given path) {
    np_filejob *job = np_fs_job(loop, what, NP_FILE_CALL, path, nothing);
    if (job != NULL)
        job->op.call = call;
    return job;
}

int32_t neap_fs_stat(neap_loop *loop, const char *path, size_t len, uint32_t flags,
                     neap_future **ret_future) {
    int32_t rc = np_fs_enter(loop, path, len, flags, NEAP_FS_NOFOLLOW, ret_future);
    if (rc < 0)
        return rc;
    np_filejob *job = np_fs_job(loop, "a stat", NP_FILE_STAT, np_give(path, len), nothing);
    if (job != NULL) {
        job->op.op.buf = &job->stx;
        job->op.flags = (flags & NEAP_FS_NOFOLLOW) != 0 ? AT_SYMLINK_NOFOLLOW : 0;
    }
    return np_filejob_launch(job, ret_future);
}

int32_t neap_fs_unlink(neap_loop *loop, const char *path, size_t len, neap_future **ret_future) {
    int32_t rc = np_fs_enter(loop, path, len, 0, 0, ret_future);
    if (rc < 0)
        return rc;
    return np_filejob_launch(
        np_fs_job(loop, "an unlink", NP_FILE_UNLINK, np_give(path, len), nothing), ret_future);
}

int32_t neap_fs_rmdir(neap_loop *loop, const char *path, size_t len, neap_future **ret_future) {
    int32_t rc = np_fs_enter(loop, path, len, 0, 0, ret_future);
    if (rc < 0)
        return rc;
    np_filejob *job = np_fs_job(loop, "an rmdir", NP_FILE_UNLINK, np_give(path, len), nothing);
    if (job != NULL)
        job->op.flags = AT_REMOVEDIR;
    return np_filejob_launch(job, ret_future);
}

/* Two paths: the first is what is there, the second its new name. */
static int32_t two(neap_loop *loop, const char *what, uint8_t kind, np_given from, np_given to,
                   int flags, neap_future **ret_future) {
    int32_t rc = np_fs_enter(loop, from.bytes, from.len, 0, 0, ret_future);
    if (rc == 0)
        rc = np_path_check(to.bytes, to.len);
    if (rc < 0)
        return rc;
    np_filejob *job = np_fs_job(loop, what, kind, from, to);
    if (job != NULL)
        job->op.flags = flags;
    return np_filejob_launch(job, ret_future);
}

int32_t neap_fs_rename(neap_loop *loop, const char *from, size_t from_len, const char *to,
                       size_t to_len, uint32_t flags, neap_future **ret_future) {
    if ((flags & ~(uint32_t)NEAP_FS_EXCL) != 0)
        return NEAP_EINVAL;
    int how = (flags & NEAP_FS_EXCL) != 0 ? RENAME_NOREPLACE : 0;
    return two(loop, "a rename", NP_FILE_RENAME, np_give(from, from_len), np_give(to, to_len), how,
               ret_future);
}

int32_t neap_fs_symlink(neap_loop *loop, const char *target, size_t target_len, const char *path,
                        size_t len, neap_future **ret_future) {
    return two(loop, "a symlink", NP_FILE_SYMLINK, np_give(target, target_len), np_give(path, len),
               0, ret_future);
}

int32_t neap_fs_link(neap_loop *loop, const char *from, size_t from_len, const char *to,
                     size_t to_len, neap_future **ret_future) {
    return two(loop, "a link", NP_FILE_LINK, np_give(from, from_len), np_give(to, to_len), 0,
               ret_future);
}

/* ---- Verbs that only a thread can do */

static np_filejob *job_of(np_fileop *fo) {
    return np_container(fo, np_filejob, op);
}

static int64_t answer(int64_t rc) {
    return rc < 0 ? -errno : rc;
}

static int32_t launch_call(neap_loop *loop, const char *what, int64_t (*call)(np_fileop *fo),
                           const char *path, size_t len, int64_t number, neap_future **ret_future) {
    int32_t rc = np_fs_enter(loop, path, len, 0, 0, ret_future);
    if (rc < 0)
        return rc;
    np_filejob *job = np_fs_call(loop, what, call, np_give(path, len));
    if (job != NULL)
        job->delta = number;
    return np_filejob_launch(job, ret_future);
}

static int64_t chmod_it(np_fileop *fo) {
    return answer(fchmodat(fo->fd, fo->path, (mode_t)job_of(fo)->delta, 0));
}

int32_t neap_fs_chmod(neap_loop *loop, const char *path, size_t len, uint32_t permissions,
                      neap_future **ret_future) {
    return permissions > 07777 ? NEAP_EINVAL
                               : launch_call(loop, "a chmod", chmod_it, path, len,
                                             (int64_t)permissions, ret_future);
}

static int64_t truncate_it(np_fileop *fo) {
    int rc;
    do
        rc = truncate(fo->path, job_of(fo)->delta);
    while (rc < 0 && errno == EINTR);
    return answer(rc);
}

int32_t neap_fs_truncate(neap_loop *loop, const char *path, size_t len, int64_t size,
                         neap_future **ret_future) {
    return size < 0 ? NEAP_EINVAL
                    : launch_call(loop, "a truncate", truncate_it, path, len, size, ret_future);
}

static struct timespec timespec_of(int64_t ns) {
    struct timespec ts = {.tv_nsec = UTIME_OMIT};
    if (ns == NEAP_TIME_NOW)
        ts.tv_nsec = UTIME_NOW;
    else if (ns != NEAP_TIME_OMIT)
        ts = (struct timespec){ns / NP_NS_PER_S, ns % NP_NS_PER_S};
    if (ts.tv_nsec < 0) { /* before 1970 */
        ts.tv_sec--;
        ts.tv_nsec += NP_NS_PER_S;
    }
    return ts;
}

static int64_t utimes_it(np_fileop *fo) {
    const np_filejob *job = job_of(fo);
    const struct timespec times[2] = {timespec_of(job->delta), timespec_of(fo->offset)};
    return answer(utimensat(fo->fd, fo->path, times, fo->flags));
}

int32_t neap_fs_utimes(neap_loop *loop, const char *path, size_t len, int64_t atime_ns,
                       int64_t mtime_ns, uint32_t flags, neap_future **ret_future) {
    int32_t rc = np_fs_enter(loop, path, len, flags, NEAP_FS_NOFOLLOW, ret_future);
    if (rc < 0)
        return rc;
    np_filejob *job = np_fs_call(loop, "a utimes", utimes_it, np_give(path, len));
    if (job != NULL) {
        job->delta = atime_ns;
        job->op.offset = mtime_ns;
        job->op.flags = (flags & NEAP_FS_NOFOLLOW) != 0 ? AT_SYMLINK_NOFOLLOW : 0;
    }
    return np_filejob_launch(job, ret_future);
}

/* ---- Verbs that answer a text */

static int64_t give_text(np_filejob *job, const char *text, size_t len) {
    job->buf = np_buf_new(job->loop->alloc, len);
    if (job->buf == NULL)
        return NEAP_ENOMEM;
    memcpy(np_buf_bytes(job->buf), text, len);
    np_buf_set_len(job->buf, len);
    return 0;
}

/* Links grow: what fills the buffer may have been cut. */
static int64_t readlink_it(np_fileop *fo) {
    np_filejob *job = job_of(fo);
    for (size_t cap = 256;; cap *= 2) {
        neap_buf_unref(job->buf);
        job->buf = np_buf_new(job->loop->alloc, cap);
        if (job->buf == NULL)
            return NEAP_ENOMEM;
        ssize_t n = readlinkat(fo->fd, fo->path, np_buf_bytes(job->buf), cap);
        if (n < 0)
            return -errno;
        np_buf_set_len(job->buf, (size_t)n);
        if ((size_t)n < cap)
            return 0;
    }
}

/* The C library takes the memory for the answer from malloc; it does not outlive this call. */
static int64_t realpath_it(np_fileop *fo) {
    char *path = realpath(fo->path, NULL);
    if (path == NULL)
        return -errno;
    int64_t rc = give_text(job_of(fo), path, strlen(path));
    free(path);
    return rc;
}

/* What was made for nobody, whose name nobody knows, goes again. */
static void remove_unseen(np_filejob *job, int flags) {
    if (job->result < 0 || job->future != NULL)
        return;
    np_filejob *removal = np_fs_job(job->loop, "an unlink", NP_FILE_UNLINK,
                                    np_give(job->text, job->text_len), nothing);
    if (removal == NULL) {
        (void)unlinkat(AT_FDCWD, job->text, flags);
        return;
    }
    removal->op.flags = flags;
    np_filejob_start_anyway(removal);
}

static void made_directory(np_filejob *job) {
    remove_unseen(job, AT_REMOVEDIR);
}

static int64_t mkdtemp_it(np_fileop *fo) {
    np_filejob *job = job_of(fo);
    return mkdtemp(job->text) == NULL ? -errno : give_text(job, job->text, job->text_len);
}

static int32_t launch_text(neap_loop *loop, const char *what, int64_t (*call)(np_fileop *fo),
                           void (*end)(np_filejob *job), const char *path, size_t len,
                           neap_future **ret_future) {
    int32_t rc = np_fs_enter(loop, path, len, 0, 0, ret_future);
    if (rc < 0)
        return rc;
    np_filejob *job = np_fs_call(loop, what, call, np_give(path, len));
    if (job != NULL) {
        job->gives = NP_GIVES_BYTES;
        job->end = end;
    }
    return np_filejob_launch(job, ret_future);
}

int32_t neap_fs_readlink(neap_loop *loop, const char *path, size_t len, neap_future **ret_future) {
    return launch_text(loop, "a readlink", readlink_it, NULL, path, len, ret_future);
}

int32_t neap_fs_realpath(neap_loop *loop, const char *path, size_t len, neap_future **ret_future) {
    return launch_text(loop, "a realpath", realpath_it, NULL, path, len, ret_future);
}

int32_t neap_fs_mkdtemp(neap_loop *loop, const char *pattern, size_t len,
                        neap_future **ret_future) {
    return launch_text(loop, "a mkdtemp", mkdtemp_it, made_directory, pattern, len, ret_future);
}

static int64_t mkstemp_it(np_fileop *fo) {
    return answer(mkostemp(job_of(fo)->text, O_CLOEXEC));
}

/* The name is known only now. */
static void made_temporary(np_filejob *job) {
    if (job->result >= 0)
        memcpy(job->file->path, job->text, job->text_len);
    remove_unseen(job, 0);
    np_file_opened(job);
}

int32_t neap_fs_mkstemp(neap_loop *loop, const char *pattern, size_t len,
                        neap_future **ret_future) {
    int32_t rc = np_fs_enter(loop, pattern, len, 0, 0, ret_future);
    if (rc < 0)
        return rc;
    np_filejob *job = new_open(loop, pattern, len, "a mkstemp");
    if (job != NULL) {
        job->op.kind = NP_FILE_CALL;
        job->op.call = mkstemp_it;
        job->end = made_temporary;
    }
    return np_filejob_launch(job, ret_future);
}
