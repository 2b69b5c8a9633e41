/* file.h: an open file: its descriptor, its position, and the order of what moves it.

   Invariants
   - The position is the handle's own, also between processes that share the file, so a read that is cancelled moves nothing
     and loses nothing.  A file that cannot seek, and writes that append, go where the descriptor stands.
   - One job at a time moves the position (`turn`); the others stand in `queue`, in the order of their calls.
   - The descriptor is closed when no job uses it any more (`busy`), which may be after the handle is gone: `closer` is made
     with the file, so that closing needs no memory. */
#ifndef NP_FILE_H
#define NP_FILE_H

#include "sys/filejob.h"

struct neap_file {
    np_obj obj;
    np_list link;  /* in loop->files while open */
    np_list jobs;  /* by np_filejob.of_file: those that have not ended */
    np_list queue; /* by their op's link */
    np_filejob *turn;
    np_filejob *closer; /* NULL once it is under way */
    uint32_t busy;
    int fd; /* -1: not opened yet, or closed */
    bool seeks;
    bool appends;
    bool closed;
    bool peeks; /* reading without waiting works, as far as we know */
    int64_t pos;
    neap_buf *
        back; /* what a read that nobody waited for took from a file that cannot seek; the next begins with it */
    size_t back_at;
    char *path; /* "" for an adopted one */
    size_t path_len;
};

/* A file without a descriptor and one inner reference; NULL when there is no memory. */
neap_file *np_file_husk(neap_loop *loop, const char *path, size_t len);

/* Gives it the descriptor of a fresh open with these flags. */
void np_file_give_fd(neap_file *file, int fd, int flags);

/* Where a seek leads: NEAP_EINVAL if that is nowhere. */
int64_t np_file_position(int64_t base, int64_t delta);

/* What was opened by the job is its file's, or is closed. */
void np_file_opened(np_filejob *job);

/* The file is usable: thread, life, open. */
int32_t np_file_enter(const neap_file *file);

/* Promises a future to a job of this file, starts it or lets it wait for its turn, and answers NEAP_PENDING; takes the job in
   any case.  `job` may be NULL: NEAP_ENOMEM. */
int32_t np_file_launch(neap_file *file, np_filejob *job, neap_future **ret_future);

void np_file_shut(neap_file *file);
void np_file_close_all(neap_loop *loop);

#endif
