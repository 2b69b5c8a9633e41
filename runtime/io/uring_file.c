/* uring_file.c: calls on files that the kernel makes by itself.

   The request is the call's own address, so nothing is looked up; from the submission to the completion the kernel has the
   call and all that it points to.  Small reads and writes are tried at once, and what is in memory is moved while entries are
   submitted; large ones would keep the loop from its other work, so they go to the kernel's own threads. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "io/uring.h"

enum {
    ASIDE_BYTES = 256 * 1024, /* moved by a thread of the kernel's from here on */
    DRAIN_ROUNDS = 1000       /* milliseconds to wait for what was told to stop */
};

static const uint8_t opcodes[] = {
    [NP_FILE_OPEN] = IORING_OP_OPENAT,     [NP_FILE_CLOSE] = IORING_OP_CLOSE,
    [NP_FILE_READ] = IORING_OP_READ,       [NP_FILE_WRITE] = IORING_OP_WRITE,
    [NP_FILE_SYNC] = IORING_OP_FSYNC,      [NP_FILE_STAT] = IORING_OP_STATX,
    [NP_FILE_RENAME] = IORING_OP_RENAMEAT, [NP_FILE_UNLINK] = IORING_OP_UNLINKAT,
    [NP_FILE_MKDIR] = IORING_OP_MKDIRAT,   [NP_FILE_SYMLINK] = IORING_OP_SYMLINKAT,
    [NP_FILE_LINK] = IORING_OP_LINKAT,
};

/* The last bit says that the kernel was asked. */
static uint64_t known_calls(np_uring *u) {
    if (u->file_calls != 0)
        return u->file_calls;
    u->file_calls = UINT64_C(1) << 63;
    struct io_uring_probe *probe = io_uring_get_probe_ring(&u->ring);
    if (probe == NULL)
        return u->file_calls;
    for (size_t kind = 0; kind < sizeof opcodes; kind++)
        if (io_uring_opcode_supported(probe, opcodes[kind]))
            u->file_calls |= UINT64_C(1) << kind;
    io_uring_free_probe(probe);
    return u->file_calls;
}

static bool is_large(const np_fileop *fo) {
    return (fo->kind == NP_FILE_READ || fo->kind == NP_FILE_WRITE) && fo->op.len > ASIDE_BYTES;
}

static void prepare(struct io_uring_sqe *sqe, np_fileop *fo) {
    const char *path = fo->path != NULL ? fo->path : "";
    switch (fo->kind) {
    case NP_FILE_OPEN:
        io_uring_prep_openat(sqe, fo->fd, path, fo->flags, fo->mode);
        break;
    case NP_FILE_CLOSE:
        io_uring_prep_close(sqe, fo->fd);
        break;
    case NP_FILE_READ:
        io_uring_prep_read(sqe, fo->fd, fo->op.buf, (unsigned)fo->op.len, (uint64_t)fo->offset);
        break;
    case NP_FILE_WRITE:
        io_uring_prep_write(sqe, fo->fd, fo->op.buf, (unsigned)fo->op.len, (uint64_t)fo->offset);
        break;
    case NP_FILE_SYNC:
        io_uring_prep_fsync(sqe, fo->fd,
                            (fo->flags & NP_FILE_DATA) != 0 ? IORING_FSYNC_DATASYNC : 0);
        break;
    case NP_FILE_STAT:
        io_uring_prep_statx(sqe, fo->fd, path, fo->flags, STATX_BASIC_STATS | STATX_BTIME,
                            fo->op.buf);
        break;
    case NP_FILE_RENAME:
        io_uring_prep_renameat(sqe, fo->fd, path, fo->fd, fo->to, (unsigned)fo->flags);
        break;
    case NP_FILE_UNLINK:
        io_uring_prep_unlinkat(sqe, fo->fd, path, fo->flags);
        break;
    case NP_FILE_MKDIR:
        io_uring_prep_mkdirat(sqe, fo->fd, path, fo->mode);
        break;
    case NP_FILE_SYMLINK:
        io_uring_prep_symlinkat(sqe, path, fo->fd, fo->to);
        break;
    default:
        io_uring_prep_linkat(sqe, fo->fd, path, fo->fd, fo->to, fo->flags);
    }
    if (is_large(fo))
        sqe->flags |= IOSQE_ASYNC;
}

/* A ring waits for what is not ready, whatever the descriptor says. */
int np_uring_file(np_io *io, np_fileop *fo) {
    np_uring *u = np_uring_of(io);
    if (fo->kind == NP_FILE_CALL || fo->never_waits || (known_calls(u) >> fo->kind & 1) == 0)
        return NEAP_ENOTSUP;
    struct io_uring_sqe *sqe = np_uring_entry(io);
    if (sqe == NULL)
        return NEAP_ENOTSUP; /* the ring is in trouble; a thread can do it */
    prepare(sqe, fo);
    io_uring_sqe_set_data64(sqe, np_uring_word(NP_UR_FILE, (uintptr_t)fo));
    np_list_append(&u->files, &fo->op.link);
    fo->in_ring = true;
    io->parked++;
    return 0;
}

static void end(np_io *io, np_fileop *fo, int64_t result) {
    np_list_unlink(&fo->op.link);
    fo->in_ring = false;
    fo->op.result = result;
    io->parked--;
    np_list_append(&io->completed, &fo->op.link);
}

void np_uring_file_ended(np_io *io, const struct io_uring_cqe *cqe) {
    uint64_t rest = cqe->user_data & (np_uring_word(1, 0) - 1);
    end(io, (np_fileop *)(uintptr_t)rest, cqe->res);
}

/* A close that was stopped would leave the descriptor open. */
void np_uring_file_stop(np_io *io, np_fileop *fo) {
    struct io_uring_sqe *sqe = fo->kind == NP_FILE_CLOSE ? NULL : np_uring_entry(io);
    if (sqe == NULL)
        return;
    io_uring_prep_cancel64(sqe, np_uring_word(NP_UR_FILE, (uintptr_t)fo), 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(sqe, np_uring_word(NP_UR_CANCEL, 0));
}

void np_uring_files_drain(np_io *io) {
    np_uring *u = np_uring_of(io);
    np_list *head = &u->files;
    for (np_list *at = head->next; !io->abandoned && at != head; at = at->next)
        np_uring_file_stop(io, np_fileop_of(np_container(at, np_op, link)));
    for (int round = 0; !io->abandoned && !np_list_empty(head) && round < DRAIN_ROUNDS; round++) {
        (void)np_uring_enter(io, NP_NS_PER_S / 1000);
        (void)np_uring_collect(io);
    }
    np_uring_files_lost(io);
}

void np_uring_files_lost(np_io *io) {
    np_list *head = &np_uring_of(io)->files;
    while (!np_list_empty(head)) {
        np_fileop *fo = np_fileop_of(np_container(head->next, np_op, link));
        fo->lost = !io->abandoned;
        end(io, fo, NEAP_EINTR);
    }
}
