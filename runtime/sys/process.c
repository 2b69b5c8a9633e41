/* process.c: child processes.

   A process that runs stands in loop->processes and holds itself; its pidfd is parked in the backend until it is readable,
   which is when the process is dead.  Then it is reaped by that descriptor, whose number nobody else can have taken, and who
   waits goes on.  The pidfd of a group's leader is kept longer: through it the rest of the group can be reached. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/options.h"
#include "core/lot.h"
#include "io/backend.h"
#include "sys/spawn.h"
#include "sys/sys.h"

enum {
    FLAGS = NEAP_PROCESS_KILL | NEAP_PROCESS_CLEAR_ENV | NEAP_PROCESS_GROUP | NEAP_PROCESS_SESSION |
            NEAP_PROCESS_UID | NEAP_PROCESS_GID | NEAP_PROCESS_KEEP_FDS | NEAP_PROCESS_KEEP_SIGNALS,
    LEADS = NEAP_PROCESS_GROUP | NEAP_PROCESS_SESSION,
    DEATH_MS = 1000 /* how long a closing loop waits for a process that it has killed */
};

struct neap_process {
    np_obj obj;
    np_list link; /* in loop->processes while it runs */
    np_desc desc; /* the pidfd; fd -1: closed */
    np_op op;
    np_lot waiters;
    neap_process_status status; /* valid once it has ended */
    np_pipe_end *ends;
    size_t n_ends;
    int32_t pid;
    uint32_t flags;
    bool ended;
};

/* ---- Signals to it */

static int32_t send_to(const neap_process *p, int32_t signo, unsigned flags) {
    return syscall(SYS_pidfd_send_signal, p->desc.fd, signo, NULL, flags) < 0 ? -errno : 0;
}

/* Before Linux 6.9 the group is reached by its number, which is ours as long as its leader is not reaped. */
static int32_t send_to_group(const neap_process *p, int32_t signo) {
    const unsigned group = 1 << 2; /* PIDFD_SIGNAL_PROCESS_GROUP */
    int32_t rc = p->desc.fd < 0 ? NEAP_ESRCH : send_to(p, signo, group);
    if (rc != NEAP_EINVAL || signo < 0 || signo > SIGRTMAX)
        return rc;
    if (p->ended)
        return NEAP_ESRCH;
    return kill(-p->pid, signo) < 0 ? -errno : 0;
}

static void put_to_death(const neap_process *p) {
    if ((p->flags & LEADS) != 0)
        (void)send_to_group(p, SIGKILL);
    if (!p->ended)
        (void)send_to(p, SIGKILL, 0);
}

/* ---- Its end */

static void note_exit(neap_process *p, int wait_status) {
    neap_process_status *s = &p->status;
    bool exited = WIFEXITED(wait_status);
    s->how = exited ? NEAP_EXITED : NEAP_SIGNALED;
    s->code = exited ? WEXITSTATUS(wait_status) : WTERMSIG(wait_status);
    s->dumped = !exited && WCOREDUMP(wait_status);
}

/* The head of the kernel's struct pidfd_info, as Linux 6.15 has it. */
typedef struct pidfd_info {
    uint64_t mask;
    uint64_t cgroup;
    uint32_t ids[11];
    int32_t exit_code;
} pidfd_info;

/* The host reaps all children, or ignores SIGCHLD: a recent kernel remembers for those who have the pidfd. */
static void ask_kernel(neap_process *p) {
    const uint64_t has_exit = 1 << 3;
    pidfd_info info = {.mask = has_exit};
    p->status.how = NEAP_EXIT_UNKNOWN;
    if (ioctl(p->desc.fd, _IOWR(0xff, 11, pidfd_info), &info) == 0 && (info.mask & has_exit) != 0)
        note_exit(p, info.exit_code);
}

static int64_t to_ns(struct timeval t) {
    return (int64_t)t.tv_sec * NP_NS_PER_S + (int64_t)t.tv_usec * 1000;
}

static void note_usage(neap_process *p, const struct rusage *usage) {
    p->status.user_ns = to_ns(usage->ru_utime);
    p->status.system_ns = to_ns(usage->ru_stime);
    p->status.max_rss = (int64_t)usage->ru_maxrss * 1024;
}

/* Whether it is over: a process that is traced has to be reaped by its tracer first. */
static bool reap(neap_process *p) {
    siginfo_t info = {0};
    struct rusage usage;
    long rc = syscall(SYS_waitid, P_PIDFD, p->desc.fd, &info, WEXITED | WNOHANG, &usage);
    if (rc == 0 && info.si_pid == 0)
        return false;
    if (rc < 0)
        ask_kernel(p);
    else if (info.si_code == CLD_EXITED)
        note_exit(p, W_EXITCODE(info.si_status, 0));
    else
        note_exit(p, info.si_status | (info.si_code == CLD_DUMPED ? WCOREFLAG : 0));
    if (rc == 0)
        note_usage(p, &usage);
    return true;
}

static void close_pidfd(neap_process *p) {
    np_sys_close(p->obj.loop, p->desc.fd);
    p->desc.fd = -1;
}

/* Nothing of the loop refers to it any more. */
static void leave(neap_process *p) {
    neap_loop *loop = p->obj.loop;
    np_list_unlink(&p->link);
    if (p->op.state != NP_OP_IDLE)
        (void)loop->io.backend->cancel(&loop->io, &p->op);
    np_list_unlink(&p->op.link); /* it may stand on the completed list */
    loop->io.backend->detach(&loop->io, &p->desc, NEAP_ECLOSED);
}

static void end(neap_process *p) {
    p->ended = true;
    leave(p);
    if ((p->flags & LEADS) == 0)
        close_pidfd(p);
    np_trace(p->obj.loop, NEAP_TRACE_IO, p->status.code, NULL, NULL, NULL);
    np_lot_let_all_go(&p->waiters);
    np_obj_unref(&p->obj);
}

static void readable(np_op *op) {
    neap_process *p = np_container(op, neap_process, op);
    np_io *io = &p->obj.loop->io;
    if (reap(p))
        end(p);
    else
        (void)io->backend->park(io, op); /* as before: what that needs is there */
}

/* ---- Life */

static void destroy(np_obj *obj) {
    neap_process *p = np_container(obj, neap_process, obj);
    for (size_t i = 0; i < p->n_ends; i++)
        np_sys_close(obj->loop, p->ends[i].fd);
    close_pidfd(p);
    np_alloc_put(obj->loop->alloc, p->ends, p->n_ends * sizeof *p->ends);
    np_obj_free(obj, sizeof *p);
}

static void abandoned(np_obj *obj) {
    neap_process *p = np_container(obj, neap_process, obj);
    if (!p->ended && (p->flags & NEAP_PROCESS_KILL) != 0 && np_enter(obj->loop) == 0)
        put_to_death(p);
}

static const np_type process_type = {
    .name = "a process", .destroy = destroy, .abandoned = abandoned};

static neap_process *make(neap_loop *loop, const neap_process_options *o) {
    neap_process *p = np_obj_new(loop, &process_type, sizeof *p);
    if (p == NULL)
        return NULL;
    np_list_init(&p->link);
    np_lot_init(&p->waiters, &p->obj);
    np_desc_init(&p->desc, -1, NP_D_SHARED); /* another thread may fork */
    p->flags = o->flags;
    p->ended = true; /* not begun */
    if (o->n_fds == 0)
        return p;
    p->ends = np_alloc_get(loop->alloc, o->n_fds * sizeof *p->ends);
    if (p->ends == NULL) {
        np_obj_unref(&p->obj);
        return NULL;
    }
    p->n_ends = o->n_fds;
    for (size_t i = 0; i < p->n_ends; i++)
        p->ends[i].fd = -1;
    return p;
}

/* A socket of ours that the child has too: its file outlives our descriptor. */
static void note_shared(neap_loop *loop, const neap_process_options *o) {
    for (size_t i = 0; i < o->n_fds; i++) {
        const neap_process_fd *fd = &o->fds[i];
        np_desc *desc = fd->source == NEAP_PROCESS_FD ? np_io_owner(&loop->io, (int)fd->fd) : NULL;
        if (desc != NULL)
            desc->bits |= NP_D_SHARED;
    }
}

/* What cannot be watched is not let loose. */
static int32_t watch(neap_process *p) {
    np_io *io = &p->obj.loop->io;
    p->op = (np_op){.desc = &p->desc, .done = readable, .kind = NP_OP_POLL, .dir = NP_DIR_READ};
    np_list_init(&p->op.link);
    int32_t rc = np_io_attach(io, &p->desc, true);
    if (rc == 0)
        rc = io->backend->park(io, &p->op);
    if (rc == 0)
        return 0;
    siginfo_t info;
    put_to_death(p);
    while (waitid((idtype_t)P_PIDFD, (id_t)p->desc.fd, &info, WEXITED) < 0 && errno == EINTR) {
    }
    leave(p);
    return rc;
}

static int32_t begin(neap_process *p, const neap_process_options *o) {
    np_spawned spawned;
    neap_loop *loop = p->obj.loop;
    int32_t rc = np_spawn(loop->alloc, o, p->ends, &spawned);
    if (rc < 0)
        return rc;
    p->pid = spawned.pid;
    p->desc.fd = spawned.pidfd;
    p->ended = false;
    rc = watch(p);
    if (rc < 0) {
        p->ended = true;
        return rc;
    }
    note_shared(loop, o);
    np_list_append(&loop->processes, &p->link);
    np_obj_ref(&p->obj);
    return 0;
}

/* ---- Options */

static bool is_listed(const neap_process_options *o, size_t n, neap_fd number) {
    for (size_t i = 0; i < n; i++)
        if (o->fds[i].number == number)
            return true;
    return false;
}

static bool is_valid_fd(const neap_process_options *o, size_t i) {
    const neap_process_fd *fd = &o->fds[i];
    bool same = fd->source == NEAP_PROCESS_SAME;
    bool given = same || fd->source == NEAP_PROCESS_FD;
    return fd->number >= 0 && fd->number < INT32_MAX && fd->source >= NEAP_PROCESS_INHERIT &&
           fd->source <= NEAP_PROCESS_SAME && !is_listed(o, i, fd->number) &&
           (!given || (fd->fd >= 0 && fd->fd <= INT32_MAX)) &&
           (!same ||
            (fd->fd != fd->number && (fd->fd <= STDERR_FILENO || is_listed(o, i, fd->fd))));
}

static int32_t read_options(neap_process_options *to, const neap_process_options *from) {
    int32_t rc = from == NULL ? NEAP_EINVAL : np_options_read(to, sizeof *to, from);
    if (rc < 0)
        return rc;
    bool valid = (to->flags & ~(uint32_t)FLAGS) == 0 && to->args != NULL && to->args[0] != NULL &&
                 to->death_signal >= 0 && (to->n_fds == 0 || to->fds != NULL) &&
                 (to->n_groups == 0 || to->groups != NULL);
    for (size_t i = 0; valid && i < to->n_fds; i++)
        valid = is_valid_fd(to, i);
    return valid ? 0 : NEAP_EINVAL;
}

/* ---- Public */

int32_t neap_process_spawn(neap_loop *loop, const neap_process_options *options,
                           neap_process **ret_process) {
    neap_process_options o;
    int32_t rc = loop == NULL || ret_process == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc == 0)
        rc = read_options(&o, options);
    if (rc < 0)
        return rc;
    if (o.step != NULL)
        *o.step = "prepare";
    np_sys_attach(loop);
    neap_process *p = make(loop, &o);
    if (p == NULL)
        return NEAP_ENOMEM;
    rc = begin(p, &o);
    if (rc < 0) {
        np_obj_unref(&p->obj);
        return rc;
    }
    np_obj_publish(&p->obj);
    *ret_process = p;
    return 0;
}

neap_process *neap_process_ref(neap_process *process) {
    np_obj_outer_ref(&process->obj);
    return process;
}

void neap_process_unref(neap_process *process) {
    if (process != NULL)
        np_obj_outer_unref(&process->obj);
}

neap_loop *neap_process_loop(const neap_process *process) {
    return process->obj.loop;
}

int32_t neap_process_pid(const neap_process *process) {
    return process->pid;
}

neap_fd neap_process_take_fd(neap_process *process, int32_t number) {
    int32_t rc = process == NULL ? NEAP_EINVAL : np_look(process->obj.loop);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < process->n_ends; i++) {
        np_pipe_end *e = &process->ends[i];
        int fd = e->fd;
        if (e->number == number && fd >= 0) {
            e->fd = -1;
            return fd;
        }
    }
    return NEAP_EBADF;
}

int32_t neap_process_wait(neap_process *process, neap_future **ret_future) {
    int32_t rc = process == NULL ? NEAP_EINVAL : np_enter(process->obj.loop);
    if (rc < 0 || process->ended)
        return rc;
    return np_lot_wait(&process->waiters, ret_future);
}

int32_t neap_process_get_status(neap_process *process, neap_process_status *ret_status,
                                size_t size) {
    bool valid = process != NULL && ret_status != NULL && size >= sizeof ret_status->size;
    int32_t rc = valid ? np_look(process->obj.loop) : NEAP_EINVAL;
    if (rc < 0)
        return rc;
    if (!process->ended)
        return NEAP_EPENDING;
    size_t n = size < sizeof *ret_status ? size : sizeof *ret_status;
    process->status.size = n;
    memcpy(ret_status, &process->status, n);
    return (int32_t)n;
}

int32_t neap_process_kill(neap_process *process, int32_t signo) {
    int32_t rc = process == NULL ? NEAP_EINVAL : np_look(process->obj.loop);
    if (rc < 0)
        return rc;
    return process->ended || process->desc.fd < 0 ? NEAP_ESRCH : send_to(process, signo, 0);
}

int32_t neap_process_kill_group(neap_process *process, int32_t signo) {
    int32_t rc = process == NULL ? NEAP_EINVAL : np_look(process->obj.loop);
    if (rc < 0)
        return rc;
    return (process->flags & LEADS) == 0 ? NEAP_EINVALID_STATE : send_to_group(process, signo);
}

/* ---- Close */

static void await_death(neap_process *p) {
    struct pollfd pfd = {p->desc.fd, POLLIN, 0};
    while (poll(&pfd, 1, DEATH_MS) < 0 && errno == EINTR) {
    }
    p->ended = reap(p);
}

/* After a fork they are the parent's. */
void np_process_close_all(neap_loop *loop) {
    for (np_list *at = loop->processes.next; at != &loop->processes && !loop->io.abandoned;
         at = at->next) {
        const neap_process *p = np_container(at, neap_process, link);
        if ((p->flags & NEAP_PROCESS_KILL) != 0)
            put_to_death(p);
    }
    while (!np_list_empty(&loop->processes)) {
        neap_process *p = np_container(loop->processes.next, neap_process, link);
        leave(p);
        if ((p->flags & NEAP_PROCESS_KILL) != 0 && !loop->io.abandoned)
            await_death(p);
        close_pidfd(p);
        np_lot_refuse_all(&p->waiters, NEAP_ECLOSED);
        np_obj_unref(&p->obj);
    }
}
