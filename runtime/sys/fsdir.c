/* fsdir.c: directories: read whole, made with their parents. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/options.h"
#include "sys/fsverb.h"

static const np_given nothing = {0};

static np_filejob *job_of(np_fileop *fo) {
    return np_container(fo, np_filejob, op);
}

/* ---- Reading: entries stand one behind the other in the job's buffer */

typedef struct entry {
    uint64_t inode;
    uint32_t len; /* of the name, which follows with a zero */
    int32_t type;
} entry;

enum {
    CHUNK = 32 * 1024
};

static size_t size_of(size_t name_len) {
    return (sizeof(entry) + name_len + 1 + 7) & ~(size_t)7;
}

static int32_t type_of_mode(uint32_t mode) {
    static const int32_t types[] = {
        [S_IFREG >> 12] = NEAP_FILE_REGULAR, [S_IFDIR >> 12] = NEAP_FILE_DIRECTORY,
        [S_IFLNK >> 12] = NEAP_FILE_SYMLINK, [S_IFIFO >> 12] = NEAP_FILE_FIFO,
        [S_IFSOCK >> 12] = NEAP_FILE_SOCKET, [S_IFCHR >> 12] = NEAP_FILE_CHAR,
        [S_IFBLK >> 12] = NEAP_FILE_BLOCK};
    size_t format = (mode & S_IFMT) >> 12;
    return format < sizeof types / sizeof *types ? types[format] : NEAP_FILE_UNKNOWN;
}

/* Some file systems do not tell in passing. */
static int32_t type_of(int fd, const struct dirent64 *from) {
    struct stat st;
    if (from->d_type != DT_UNKNOWN)
        return type_of_mode(DTTOIF((uint32_t)from->d_type));
    return fstatat(fd, from->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? NEAP_FILE_UNKNOWN
                                                                   : type_of_mode(st.st_mode);
}

static bool reserve(np_filejob *job, size_t more) {
    size_t len = neap_buf_len(job->buf), cap = np_buf_cap(job->buf);
    if (cap - len >= more)
        return true;
    neap_buf *buf = np_buf_resize(job->buf, cap * 2 > len + more ? cap * 2 : len + more);
    if (buf == NULL)
        return false;
    job->buf = buf;
    return true;
}

static int add(np_filejob *job, int fd, const struct dirent64 *from) {
    size_t name_len = strlen(from->d_name), size = size_of(name_len);
    if (strcmp(from->d_name, ".") == 0 || strcmp(from->d_name, "..") == 0)
        return 0;
    if (!reserve(job, size))
        return NEAP_ENOMEM;
    size_t at = neap_buf_len(job->buf);
    entry e = {from->d_ino, (uint32_t)name_len, type_of(fd, from)};
    memcpy(np_buf_bytes(job->buf) + at, &e, sizeof e);
    memcpy(np_buf_bytes(job->buf) + at + sizeof e, from->d_name, name_len + 1);
    np_buf_set_len(job->buf, at + size);
    return 0;
}

static int add_chunk(np_filejob *job, int fd, const char *chunk, size_t len) {
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < len;) {
        const struct dirent64 *from = (const void *)(chunk + at);
        rc = add(job, fd, from);
        at += from->d_reclen;
    }
    return rc;
}

static int read_entries(np_filejob *job, int fd, char *chunk) {
    for (;;) {
        if (atomic_load_explicit(&job->stop, memory_order_relaxed))
            return NEAP_ECANCELED;
        ssize_t n = getdents64(fd, chunk, CHUNK);
        int rc = n < 0 ? -errno : add_chunk(job, fd, chunk, (size_t)n);
        if (n <= 0 || rc < 0)
            return rc;
    }
}

static int64_t readdir_it(np_fileop *fo) {
    np_filejob *job = job_of(fo);
    np_alloc *alloc = job->loop->alloc;
    int fd = open(job->text, O_RDONLY | O_DIRECTORY | O_CLOEXEC | fo->flags);
    if (fd < 0)
        return -errno;
    char *chunk = np_alloc_get(alloc, CHUNK);
    job->buf = np_buf_new(alloc, 4096);
    int rc = chunk == NULL || job->buf == NULL ? NEAP_ENOMEM : read_entries(job, fd, chunk);
    np_alloc_put(alloc, chunk, CHUNK);
    np_fd_close(fd);
    return rc;
}

int32_t neap_fs_readdir(neap_loop *loop, const char *path, size_t len, uint32_t flags,
                        neap_future **ret_future) {
    int32_t rc = np_fs_enter(loop, path, len, flags, NEAP_FS_NOFOLLOW, ret_future);
    if (rc < 0)
        return rc;
    np_filejob *job = np_fs_call(loop, "a readdir", readdir_it, np_give(path, len));
    if (job != NULL)
        job->op.flags = (flags & NEAP_FS_NOFOLLOW) != 0 ? O_NOFOLLOW : 0;
    return np_filejob_launch(job, ret_future);
}

static int32_t look_at(neap_future *future, np_filejob **ret_job) {
    int32_t rc = future == NULL ? NEAP_EINVAL : neap_future_error(future);
    if (rc < 0)
        return rc;
    *ret_job = np_filejob_of(future);
    return *ret_job == NULL ? NEAP_ETYPE : 0;
}

int32_t neap_future_get_entry(neap_future *future, size_t *cursor, neap_dir_entry *ret_entry,
                              size_t size) {
    np_filejob *job = NULL;
    int32_t rc = cursor == NULL || ret_entry == NULL || size < sizeof *ret_entry
                     ? NEAP_EINVAL
                     : look_at(future, &job);
    if (rc == 0 && job->op.call != readdir_it)
        rc = NEAP_ETYPE;
    if (rc < 0 || *cursor >= neap_buf_len(job->buf))
        return rc;
    const char *at = np_buf_bytes(job->buf) + *cursor;
    entry e;
    memcpy(&e, at, sizeof e);
    *ret_entry = (neap_dir_entry){.size = sizeof *ret_entry,
                                  .name = at + sizeof e,
                                  .name_len = e.len,
                                  .type = e.type,
                                  .inode = e.inode};
    *cursor += size_of(e.len);
    return 1;
}

/* ---- Making */

/* Makes what is missing from the first directory on; those made meanwhile by others are as good. */
static int64_t mkdirs_it(np_fileop *fo) {
    np_filejob *job = job_of(fo);
    struct stat st;
    for (char *at = job->text + 1; at < job->text + job->text_len; at++) {
        if (*at != '/' || at[-1] == '/')
            continue;
        *at = '\0';
        int rc = mkdir(job->text, 0777);
        int error = errno;
        *at = '/';
        if (rc < 0 && error != EEXIST && error != EISDIR && error != EROFS && error != EACCES)
            return -error;
    }
    if (mkdir(job->text, (mode_t)fo->mode) == 0)
        return 0;
    int error = errno;
    bool there = error == EEXIST && stat(job->text, &st) == 0 && S_ISDIR(st.st_mode);
    return there ? 0 : -error;
}

int32_t neap_fs_mkdir(neap_loop *loop, const char *path, size_t len, uint32_t flags,
                      uint32_t permissions, neap_future **ret_future) {
    int32_t rc = np_fs_enter(loop, path, len, flags, NEAP_FS_PARENTS, ret_future);
    if (rc < 0)
        return rc;
    bool parents = (flags & NEAP_FS_PARENTS) != 0 && len > 0;
    np_given given = np_give(path, len);
    np_filejob *job = parents ? np_fs_call(loop, "a mkdir", mkdirs_it, given)
                              : np_fs_job(loop, "a mkdir", NP_FILE_MKDIR, given, nothing);
    if (job != NULL)
        job->op.mode = permissions;
    return np_filejob_launch(job, ret_future);
}

/* ---- What a stat found */

static int64_t ns_of(struct statx_timestamp ts) {
    return ts.tv_sec * NP_NS_PER_S + ts.tv_nsec;
}

static void convert(neap_stat *to, const struct statx *from) {
    bool born = (from->stx_mask & STATX_BTIME) != 0;
    *to = (neap_stat){.size = sizeof *to,
                      .type = type_of_mode(from->stx_mode),
                      .permissions = from->stx_mode & 07777,
                      .bytes = from->stx_size,
                      .allocated = from->stx_blocks * 512,
                      .device = (uint64_t)from->stx_dev_major << 32 | from->stx_dev_minor,
                      .inode = from->stx_ino,
                      .links = from->stx_nlink,
                      .user = from->stx_uid,
                      .group = from->stx_gid,
                      .atime_ns = ns_of(from->stx_atime),
                      .mtime_ns = ns_of(from->stx_mtime),
                      .ctime_ns = ns_of(from->stx_ctime),
                      .birth_ns = born ? ns_of(from->stx_btime) : NEAP_TIME_OMIT};
}

int32_t neap_future_get_stat(neap_future *future, neap_stat *ret_stat, size_t size) {
    np_filejob *job = NULL;
    int32_t rc = ret_stat == NULL || size < sizeof(size_t) ? NEAP_EINVAL : look_at(future, &job);
    if (rc == 0 && (job->op.kind != NP_FILE_STAT || job->gives != NP_GIVES_NOTHING))
        rc = NEAP_ETYPE;
    if (rc < 0)
        return rc;
    neap_stat st;
    convert(&st, &job->stx);
    size_t n = size < sizeof st ? size : sizeof st;
    st.size = n;
    memcpy(ret_stat, &st, n);
    return 0;
}
