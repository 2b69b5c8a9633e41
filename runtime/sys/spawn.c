/* spawn.c: starting a child process as vfork does: it runs in the parent's memory, on a stack of its own, while the parent's
   thread waits in the kernel; so the cost does not grow with the parent's memory.

   The child's functions (CHILD) make system calls directly: those of the C library may be points of cancellation, signal
   other threads of the parent (setuid), or keep books in memory that is the parent's.  A child that becomes another user gets a
   copy of the memory, as by fork: the kernel would else take the parent, too, for one that has changed its user.  What fails
   the child writes into memory that is shared in either case. */
#include "sys/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

/* The functions that take 32-bit ids have other names where there were 16-bit ones. */
#ifdef SYS_setuid32
#define SETUID SYS_setuid32
#define SETGID SYS_setgid32
#define SETGROUPS SYS_setgroups32
#else
#define SETUID SYS_setuid
#define SETGID SYS_setgid
#define SETGROUPS SYS_setgroups
#endif

/* ThreadSanitizer puts a function of its own before clone, which takes the child for one with memory of its own. */
#ifdef __SANITIZE_THREAD__
int __clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);
#define clone __clone
#endif

#define CHILD __attribute__((no_sanitize("address", "undefined", "thread")))

enum {
    SIGNALS = 64,
    SIGSET_BYTES = SIGNALS / 8, /* of the kernel's form */
    STACK_BYTES = 32768,
    FAILED_STATUS = 127
};

typedef enum step {
    STEP_NONE,
    STEP_OPEN,
    STEP_PIPE,
    STEP_SOCKETPAIR,
    STEP_CLONE,
    STEP_SETSID,
    STEP_SETPGID,
    STEP_DUP,
    STEP_CLOSE_RANGE,
    STEP_CHDIR,
    STEP_SETGROUPS,
    STEP_SETGID,
    STEP_SETUID,
    STEP_PRCTL,
    STEP_EXEC
} step;

static const char *const step_names[] = {
    [STEP_NONE] = "prepare",
    [STEP_OPEN] = "open",
    [STEP_PIPE] = "pipe",
    [STEP_SOCKETPAIR] = "socketpair",
    [STEP_CLONE] = "clone",
    [STEP_SETSID] = "setsid",
    [STEP_SETPGID] = "setpgid",
    [STEP_DUP] = "dup",
    [STEP_CLOSE_RANGE] = "close_range",
    [STEP_CHDIR] = "chdir",
    [STEP_SETGROUPS] = "setgroups",
    [STEP_SETGID] = "setgid",
    [STEP_SETUID] = "setuid",
    [STEP_PRCTL] = "prctl",
    [STEP_EXEC] = "exec",
};

/* A descriptor of the child. */
typedef struct move {
    int from;   /* the parent's; the child may note a copy here */
    int to;     /* its number in the child */
    int theirs; /* made for the child: the parent closes it; -1: none */
} move;

/* What the child could not do. */
typedef struct report {
    step step;
    int32_t code;
} report;

typedef struct plan {
    const neap_process_options *o;
    np_alloc *alloc;
    np_env env;
    np_paths paths;
    move *moves;                      /* one for each of o->fds */
    void *stack;                      /* the child's */
    int null;                         /* /dev/null, or -1 */
    uint64_t reset;                   /* signals that get their default, by bit signo - 1 */
    unsigned char mask[SIGSET_BYTES]; /* of the parent's thread */
    report *report;                   /* the child's, in shared memory */
    step step;                        /* that failed in the parent */
} plan;

/* ---- The child */

/* A struct sigaction of the kernel's that is all zero means SIG_DFL on each machine; the words are more than any has. */
typedef struct raw_action {
    unsigned long words[8];
} raw_action;

CHILD static void reset_signals(const plan *p) {
    const raw_action none = {{0}};
    const unsigned char nothing[SIGSET_BYTES] = {0};
    bool keep = (p->o->flags & NEAP_PROCESS_KEEP_SIGNALS) != 0;
    for (int signo = 1; signo <= SIGNALS; signo++)
        if ((p->reset >> (signo - 1) & 1) != 0)
            syscall(SYS_rt_sigaction, signo, &none, NULL, SIGSET_BYTES);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, keep ? p->mask : nothing, NULL, SIGSET_BYTES);
}

/* Out of the way of the numbers that will be given out. */
CHILD static bool lift(int *fd, int least) {
    if (*fd >= least)
        return true;
    *fd = (int)syscall(SYS_fcntl, *fd, F_DUPFD_CLOEXEC, least);
    return *fd >= 0;
}

CHILD static step place_fds(plan *p) {
    int least = 3;
    for (size_t i = 0; i < p->o->n_fds; i++)
        if (p->moves[i].to >= least)
            least = p->moves[i].to + 1;
    for (size_t i = 0; i < p->o->n_fds; i++)
        if (p->moves[i].from != p->moves[i].to && !lift(&p->moves[i].from, least))
            return STEP_DUP;
    if ((p->o->flags & NEAP_PROCESS_KEEP_FDS) == 0 &&
        syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
        return STEP_CLOSE_RANGE;
    for (size_t i = 0; i < p->o->n_fds; i++) {
        const move *m = &p->moves[i];
        long rc = m->from == m->to ? syscall(SYS_fcntl, m->to, F_SETFD, 0)
                                   : syscall(SYS_dup3, m->from, m->to, 0);
        if (rc < 0)
            return STEP_DUP;
    }
    return STEP_NONE;
}

/* Groups of the parent would stay with the new user: they go where that is allowed, or was asked for. */
CHILD static bool set_groups(const neap_process_options *o) {
    if ((o->flags & (NEAP_PROCESS_UID | NEAP_PROCESS_GID)) == 0)
        return true;
    bool asked = o->groups != NULL;
    return syscall(SETGROUPS, asked ? o->n_groups : 0, o->groups) == 0 ||
           (!asked && errno == EPERM);
}

CHILD static step become_user(const neap_process_options *o) {
    if (!set_groups(o))
        return STEP_SETGROUPS;
    if ((o->flags & NEAP_PROCESS_GID) != 0 && syscall(SETGID, o->gid) < 0)
        return STEP_SETGID;
    if ((o->flags & NEAP_PROCESS_UID) != 0 && syscall(SETUID, o->uid) < 0)
        return STEP_SETUID;
    if (o->death_signal != 0 && syscall(SYS_prctl, PR_SET_PDEATHSIG, o->death_signal, 0, 0, 0) < 0)
        return STEP_PRCTL; /* after the change of user, which would undo it */
    return STEP_NONE;
}

/* As execvp: a program that may not be run counts only if there is no other; none is handed to a shell. */
CHILD static step run_program(const plan *p) {
    const char *path = p->paths.text;
    bool refused = false;
    errno = ENOENT;
    while (*path != '\0') {
        syscall(SYS_execve, path, p->o->args, p->env.list);
        if (errno == EACCES)
            refused = true;
        else if (errno != ENOENT && errno != ENOTDIR)
            return STEP_EXEC;
        while (*path++ != '\0') {
        }
    }
    if (refused)
        errno = EACCES;
    return STEP_EXEC;
}

CHILD static step become(plan *p) {
    const neap_process_options *o = p->o;
    reset_signals(p);
    if ((o->flags & NEAP_PROCESS_SESSION) != 0 && syscall(SYS_setsid) < 0)
        return STEP_SETSID;
    if ((o->flags & NEAP_PROCESS_GROUP) != 0 && (o->flags & NEAP_PROCESS_SESSION) == 0 &&
        syscall(SYS_setpgid, 0, 0) < 0)
        return STEP_SETPGID;
    step failed = place_fds(p);
    if (failed == STEP_NONE && o->cwd != NULL && syscall(SYS_chdir, o->cwd) < 0)
        return STEP_CHDIR;
    if (failed == STEP_NONE)
        failed = become_user(o);
    return failed != STEP_NONE ? failed : run_program(p);
}

CHILD static int child(void *user) {
    plan *p = user;
    step failed = become(p);
    p->report->code = errno;
    p->report->step = failed;
    syscall(SYS_exit_group, FAILED_STATUS);
    return FAILED_STATUS;
}

/* ---- The parent: descriptors */

static bool fails(plan *p, step at) {
    p->step = at;
    return false;
}

/* What is not blocking is the parent's end alone: they are two files. */
static bool take_ends(plan *p, move *m, np_pipe_end *end, const int fds[2], int theirs, step at) {
    m->from = m->theirs = fds[theirs];
    end->fd = fds[1 - theirs];
    return np_fd_prepare(end->fd) == 0 || fails(p, at);
}

static bool make_pipe(plan *p, move *m, np_pipe_end *end, int theirs) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return fails(p, STEP_PIPE);
    return take_ends(p, m, end, fds, theirs, STEP_PIPE);
}

static bool make_pair(plan *p, move *m, np_pipe_end *end) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return fails(p, STEP_SOCKETPAIR);
    return take_ends(p, m, end, fds, 1, STEP_SOCKETPAIR);
}

static bool open_null(plan *p, move *m) {
    if (p->null < 0)
        p->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    m->from = p->null;
    return p->null >= 0 || fails(p, STEP_OPEN);
}

static void share(plan *p, move *m, neap_fd number) {
    m->from = (int)number; /* if it is not in the list */
    for (const move *at = p->moves; at < m; at++)
        if (at->to == number)
            m->from = at->from;
}

static bool make_fd(plan *p, size_t i, np_pipe_end *end) {
    const neap_process_fd *fd = &p->o->fds[i];
    move *m = &p->moves[i];
    switch (fd->source) {
    case NEAP_PROCESS_NULL:
        return open_null(p, m);
    case NEAP_PROCESS_PIPE_IN:
        return make_pipe(p, m, end, 0);
    case NEAP_PROCESS_PIPE_OUT:
        return make_pipe(p, m, end, 1);
    case NEAP_PROCESS_PAIR:
        return make_pair(p, m, end);
    case NEAP_PROCESS_FD:
        m->from = (int)fd->fd;
        return true;
    case NEAP_PROCESS_SAME:
        share(p, m, fd->fd);
        return true;
    default:
        m->from = fd->number;
        return true;
    }
}

static bool make_fds(plan *p, np_pipe_end *ends) {
    for (size_t i = 0; i < p->o->n_fds; i++)
        if (!make_fd(p, i, &ends[i]))
            return false;
    return true;
}

static void close_fd(int *fd) {
    np_fd_close(*fd);
    *fd = -1;
}

static void close_theirs(plan *p) {
    for (size_t i = 0; i < p->o->n_fds; i++)
        close_fd(&p->moves[i].theirs);
    close_fd(&p->null);
}

/* ---- The parent: memory */

static const char *file_of(const neap_process_options *o) {
    return o->file != NULL ? o->file : o->args[0];
}

static int32_t map_report(plan *p) {
    void *page =
        mmap(NULL, sizeof *p->report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NEAP_ENOMEM;
    p->report = page;
    return 0;
}

static int32_t make(plan *p, np_alloc *a, const neap_process_options *o) {
    *p = (plan){.o = o, .alloc = a, .null = -1};
    int32_t rc = np_env_make(a, o, &p->env);
    if (rc == 0)
        rc = np_paths_make(a, file_of(o), p->env.list, &p->paths);
    if (rc == 0 && o->n_fds > 0 &&
        (p->moves = np_alloc_get(a, o->n_fds * sizeof *p->moves)) == NULL)
        rc = NEAP_ENOMEM;
    for (size_t i = 0; p->moves != NULL && i < o->n_fds; i++)
        p->moves[i] = (move){-1, o->fds[i].number, -1};
    if (rc == 0 && (p->stack = np_alloc_get(a, STACK_BYTES)) == NULL)
        rc = NEAP_ENOMEM;
    return rc < 0 ? rc : map_report(p);
}

static void drop(plan *p) {
    if (p->moves != NULL)
        close_theirs(p);
    if (p->report != NULL)
        (void)munmap(p->report, sizeof *p->report);
    np_alloc_put(p->alloc, p->stack, STACK_BYTES);
    np_alloc_put(p->alloc, p->moves, p->o->n_fds * sizeof *p->moves);
    np_paths_drop(p->alloc, &p->paths);
    np_env_drop(p->alloc, &p->env);
}

/* ---- The parent: the call */

/* What the parent catches would run the parent's functions; what it ignores only a child that is to keep that. */
static uint64_t to_reset(const neap_process_options *o) {
    uint64_t bits = ~UINT64_C(0);
    struct sigaction now;
    if ((o->flags & NEAP_PROCESS_KEEP_SIGNALS) == 0)
        return bits;
    for (int signo = 1; signo <= SIGNALS; signo++)
        if (sigaction(signo, NULL, &now) == 0 && now.sa_handler == SIG_IGN)
            bits &= ~(UINT64_C(1) << (signo - 1));
    return bits;
}

/* No signal, not even one of the C library's own, may find the child in the parent's memory. */
static int32_t clone_child(plan *p, np_spawned *ret_spawned) {
    unsigned char all[SIGSET_BYTES];
    memset(all, 0xff, sizeof all);
    bool changes_user = (p->o->flags & (NEAP_PROCESS_UID | NEAP_PROCESS_GID)) != 0;
    int flags = CLONE_VFORK | CLONE_PIDFD | SIGCHLD | (changes_user ? 0 : CLONE_VM);
    uintptr_t top = ((uintptr_t)p->stack + STACK_BYTES) & ~(uintptr_t)15;
    int state, pidfd = -1;
    p->reset = to_reset(p->o);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, all, p->mask, SIGSET_BYTES);
    int pid = clone(child, (void *)top, flags, p, &pidfd);
    int code = errno;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, p->mask, NULL, SIGSET_BYTES);
    pthread_setcancelstate(state, NULL);
    *ret_spawned = (np_spawned){pid, pidfd};
    return pid < 0 ? -code : 0;
}

static void bury(np_spawned *spawned) {
    siginfo_t info;
    int rc;
    do
        rc = waitid((idtype_t)P_PIDFD, (id_t)spawned->pidfd, &info, WEXITED);
    while (rc < 0 && errno == EINTR);
    close_fd(&spawned->pidfd);
}

static int32_t start(plan *p, np_pipe_end *ends, np_spawned *ret_spawned) {
    if (!make_fds(p, ends))
        return -errno;
    int32_t rc = clone_child(p, ret_spawned);
    if (rc < 0) {
        p->step = STEP_CLONE;
        return rc;
    }
    p->step = p->report->step;
    if (p->step == STEP_NONE)
        return 0;
    bury(ret_spawned);
    return -p->report->code;
}

int32_t np_spawn(np_alloc *a, const neap_process_options *o, np_pipe_end *ends,
                 np_spawned *ret_spawned) {
    plan p;
    int32_t rc = make(&p, a, o);
    for (size_t i = 0; i < o->n_fds; i++)
        ends[i] = (np_pipe_end){o->fds[i].number, -1};
    if (rc == 0)
        rc = start(&p, ends, ret_spawned);
    for (size_t i = 0; rc < 0 && i < o->n_fds; i++)
        close_fd(&ends[i].fd);
    if (rc < 0 && o->step != NULL)
        *o->step = step_names[p.step];
    drop(&p);
    return rc;
}
